"""A CSV, TSV or Parquet table that names images: `image_path,label[,split,group,weight]`.

Paths are relative to the table. Further columns are kept. A file that is missing stays in the manifest as such.
"""

from __future__ import annotations

import csv
import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from eyebright.data.sources.base import SPLIT_ALIASES, Item, Split, Stray, refuse_colliding_class_names
from eyebright.decode import read_image_file
from eyebright.errors import DataError, did_you_mean

# The first name is the one that messages use.
COLUMN_ALIASES: dict[str, tuple[str, ...]] = {
    "image_path": ("image_path", "path", "file", "filename", "file_name", "filepath", "file_path", "image"),
    "label": ("label", "class", "target", "category"),
    "split": ("split",),
    "group": ("group",),
    "weight": ("weight",),
}
_REQUIRED = ("image_path", "label")
_NO_VALUE = (None, "")


class TableSource:
    """The images that a table names.

    Raises:
        DataError: the table cannot be read, lacks a column, or has a value that means nothing; with the line.
    """

    kind = "table"

    def __init__(self, path: Path, spec: str | None = None) -> None:
        self.spec = str(path) if spec is None else spec
        self.class_names: tuple[str, ...] | None = None
        self._root = path.parent
        self._path = path
        names, rows = _read_parquet(path) if path.suffix.lower() == ".parquet" else _read_csv(path)
        columns = _find_columns(names, path)
        extras = [(index, name) for index, name in enumerate(names) if index not in columns.values()]
        # Line 1 of a CSV is the header; rows of Parquet count from 0.
        first = 0 if path.suffix.lower() == ".parquet" else 2
        self._items = [self._item(row, columns, extras, number) for number, row in enumerate(rows, start=first)]
        refuse_colliding_class_names(
            {item.label for item in self._items if item.label is not None},
            remedy=f"write one spelling in the column {names[columns['label']]!r} of {path.name}",
        )

    def items(self) -> Iterator[Item]:
        """All rows, in the order of the table."""
        return iter(self._items)

    def strays(self) -> list[Stray]:
        """None: a table names images only."""
        return []

    def read(self, source: str) -> bytes:
        """The bytes of one file."""
        return read_image_file(self._root / source)

    def _item(self, row: Sequence[Any], columns: dict[str, int], extras: list[tuple[int, str]], number: int) -> Item:
        def value(name: str) -> Any:
            return row[columns[name]] if name in columns and row[columns[name]] not in _NO_VALUE else None

        path, label, split, group, weight = (value(name) for name in COLUMN_ALIASES)
        where = f"row {number} of {self._path.name}"
        if path is None:
            raise DataError(f"{where} names no image", expected="a path in every row", remedy="fill or remove the row")
        return Item(
            source=str(path),
            label=None if label is None else str(label),
            split=None if split is None else _split(split, where),
            group=None if group is None else str(group),
            weight=None if weight is None else _weight(weight, where),
            extra={name: None if row[index] == "" else row[index] for index, name in extras},
        )


def is_image_table(schema: pa.Schema) -> bool:
    """Whether a Parquet schema has a text column that can name images."""
    return any(
        field.name.lower() in COLUMN_ALIASES["image_path"]
        and (pa.types.is_string(field.type) or pa.types.is_large_string(field.type))
        for field in schema
    )


def _read_csv(path: Path) -> tuple[list[str], list[list[str]]]:
    try:
        with open(path, newline="", encoding="utf-8-sig") as handle:
            head = handle.readline()
            handle.seek(0)
            # Only the header decides: a label may well hold a semicolon.
            delimiter = max("\t,;", key=head.count) if path.suffix.lower() != ".tsv" else "\t"
            rows = [row for row in csv.reader(handle, delimiter=delimiter) if row]
    except UnicodeDecodeError as error:
        raise DataError(
            f"{path} is not UTF-8 text (byte {error.start})",
            expected="a table in UTF-8",
            remedy="save the table as UTF-8 CSV",
        ) from error
    except (OSError, csv.Error) as error:
        raise DataError(f"the table {path} cannot be read: {error}") from error
    if not rows:
        raise DataError(
            f"the table {path} is empty",
            expected="a header line `image_path,label` and a line for each image",
            remedy="write one line for each image",
        )
    names = [name.strip() for name in rows[0]]
    for number, row in enumerate(rows[1:], start=2):
        if len(row) != len(names):
            raise DataError(
                f"row {number} of {path.name} has {len(row)} values and the header has {len(names)}",
                expected="one value for each column",
                remedy="put values that hold the separator into double quotes",
            )
    return names, rows[1:]


def _read_parquet(path: Path) -> tuple[list[str], list[tuple[Any, ...]]]:
    try:
        table = pq.read_table(path)
    except (OSError, pa.ArrowException) as error:
        raise DataError(f"the table {path} cannot be read: {error}") from error
    columns = [column.to_pylist() for column in table.columns]
    return list(table.schema.names), list(zip(*columns, strict=True))


def _find_columns(names: list[str], path: Path) -> dict[str, int]:
    """Index of each known column; the first alias in the order of `COLUMN_ALIASES` wins."""
    lowered = [name.lower() for name in names]
    found = {}
    for column, aliases in COLUMN_ALIASES.items():
        present = [alias for alias in aliases if alias in lowered]
        if present:
            found[column] = lowered.index(present[0])
    for column in _REQUIRED:
        if column not in found:
            close = next((name for name in names if did_you_mean(name, [column])), None)
            raise DataError(
                f"{path.name} has no column {column!r}{f' (is it {close!r}?)' if close else ''}: "
                f"its columns are {', '.join(map(repr, names))}",
                expected=f"a column named {' or '.join(COLUMN_ALIASES[column])}",
                remedy="rename the column in the header",
            )
    return found


def _split(value: object, where: str) -> Split:
    split = SPLIT_ALIASES.get(str(value).strip().lower())
    if split is None:
        raise DataError(
            f"{where} has the split {value!r}{did_you_mean(str(value), SPLIT_ALIASES)}",
            expected="train, val or test, or nothing",
            remedy="correct the column split",
        )
    return split


def _weight(value: object, where: str) -> float:
    try:
        weight = float(str(value))
    except ValueError:
        weight = math.nan
    if not 0 <= weight < math.inf:
        raise DataError(
            f"{where} has the weight {value!r}",
            expected="a number from 0 up, or nothing",
            remedy="correct the column weight",
        )
    return weight
