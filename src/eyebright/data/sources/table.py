"""A CSV, TSV, JSON Lines or Parquet table that names images: `image_path,label[,split,group,weight]`.

Paths are relative to the table; addresses such as `https://...` are taken too. Further columns are kept. A file that is
missing stays in the manifest as such. Several classes in one row are refused (see `multi_label`).
"""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from eyebright.data.sources.base import SPLIT_ALIASES, Item, Split, Stray, refuse_colliding_class_names
from eyebright.data.sources.listed import ListedImages
from eyebright.data.sources.multi_label import one_class, refuse_several_classes
from eyebright.data.sources.tree import LocalTree, Tree
from eyebright.errors import DataError, did_you_mean

# The first name is the one that messages use.
COLUMN_ALIASES: dict[str, tuple[str, ...]] = {
    "image_path": ("image_path", "path", "file", "filename", "file_name", "filepath", "file_path", "image"),
    "label": ("label", "class", "target", "category", "labels"),
    "split": ("split",),
    "group": ("group",),
    "weight": ("weight",),
}
_REQUIRED = ("image_path", "label")
_NO_VALUE = (None, "")

_Reader = Callable[[bytes, str], tuple[list[str], Sequence[Sequence[Any]]]]


class TableSource:
    """The images that a table names.

    Args:
        path: the table.
        spec: what the user gave, when it is not `path`.
        tree: where the images lie that the table names; the folder of the table when left out.

    Raises:
        DataError: the table cannot be read, lacks a column, or has a value that means nothing; with the line.
    """

    kind = "table"

    def __init__(self, path: Path, spec: str | None = None, *, tree: Tree | None = None) -> None:
        self.spec = str(path) if spec is None else spec
        self.class_names: tuple[str, ...] | None = None
        self._images = ListedImages(LocalTree(path.parent) if tree is None else tree)
        try:
            content = path.read_bytes()
        except OSError as error:
            raise DataError(f"the table {path} cannot be read: {error.strerror}") from error
        self._items = self._images.named(items_of_table(content, path.name))

    def items(self) -> Iterator[Item]:
        """All rows, in the order of the table."""
        return iter(self._items)

    def strays(self) -> list[Stray]:
        """None: a table names images only."""
        return []

    def read(self, source: str) -> bytes:
        """The bytes of one file."""
        return self._images.read(source)


def items_of_table(
    content: bytes, name: str, *, needs_label: bool = True, path_column: str | None = None
) -> list[Item]:
    """An item for every row of a table.

    Args:
        content: the bytes of the table's file.
        name: its name, for messages; the suffix says what it is: `.parquet`, `.jsonl`, `.tsv`, or else CSV.
        needs_label: refuse a table without a label column.
        path_column: the column with the paths, in lower case, where other columns may have such a name, too.

    Raises:
        DataError: the table cannot be read, lacks a column, or has a value that means nothing; with the line.
    """
    suffix = PurePosixPath(name).suffix.lower()
    readers: dict[str, _Reader] = {".parquet": _read_parquet, ".jsonl": _read_json_lines}
    names, rows = readers.get(suffix, _read_csv)(content, name)
    columns = _find_columns(names, name, _REQUIRED if needs_label else _REQUIRED[:1])
    if path_column is not None:
        columns["image_path"] = [column.lower() for column in names].index(path_column)
    extras = [(index, column) for index, column in enumerate(names) if index not in columns.values()]
    # Line 1 of a CSV is the header; lines of JSON count from 1, rows of Parquet from 0.
    first = {".parquet": 0, ".jsonl": 1}.get(suffix, 2)
    if "label" in columns:
        label = columns["label"]
        named = ((f"row {number} of {name}", row[label]) for number, row in enumerate(rows, start=first))
        refuse_several_classes(named, column=names[label], table=name)
    items = [_item(row, columns, extras, f"row {number} of {name}") for number, row in enumerate(rows, start=first)]
    if "label" in columns:
        refuse_colliding_class_names(
            {item.label for item in items if item.label is not None},
            remedy=f"write one spelling in the column {names[columns['label']]!r} of {name}",
        )
    return items


def is_image_table(schema: pa.Schema) -> bool:
    """Whether a Parquet schema has a text column that can name images."""
    return any(
        field.name.lower() in COLUMN_ALIASES["image_path"]
        and (pa.types.is_string(field.type) or pa.types.is_large_string(field.type))
        for field in schema
    )


def _item(row: Sequence[Any], columns: dict[str, int], extras: list[tuple[int, str]], where: str) -> Item:
    def value(name: str) -> Any:
        return row[columns[name]] if name in columns and row[columns[name]] not in _NO_VALUE else None

    path, label, split, group, weight = (value(name) for name in COLUMN_ALIASES)
    label = one_class(label)
    if path is None:
        raise DataError(f"{where} names no image", expected="a path in every row", remedy="fill or remove the row")
    return Item(
        source=str(path),
        label=None if label in _NO_VALUE else str(label),
        split=None if split is None else _split(split, where),
        group=None if group is None else str(group),
        weight=None if weight is None else _weight(weight, where),
        extra={name: None if row[index] == "" else row[index] for index, name in extras},
    )


def decode_text(content: bytes, name: str) -> str:
    """The text of a table or list, which must be UTF-8; a byte order mark is left out.

    Raises:
        DataError: it is in another encoding.
    """
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(
            f"{name} is not UTF-8 text (byte {error.start})",
            expected="text in UTF-8",
            remedy="save the file as UTF-8",
        ) from error


def _read_csv(content: bytes, name: str) -> tuple[list[str], list[list[str]]]:
    text = decode_text(content, name)
    head = text.partition("\n")[0]
    # Only the header decides: a label may well hold a semicolon.
    delimiter = "\t" if name.lower().endswith(".tsv") else max("\t,;", key=head.count)
    try:
        rows = [row for row in csv.reader(io.StringIO(text, newline=""), delimiter=delimiter) if row]
    except csv.Error as error:
        raise DataError(f"the table {name} cannot be read: {error}") from error
    if not rows:
        raise DataError(
            f"the table {name} is empty",
            expected="a header line `image_path,label` and a line for each image",
            remedy="write one line for each image",
        )
    names = [column.strip() for column in rows[0]]
    for number, row in enumerate(rows[1:], start=2):
        if len(row) != len(names):
            raise DataError(
                f"row {number} of {name} has {len(row)} values and the header has {len(names)}",
                expected="one value for each column",
                remedy="put values that hold the separator into double quotes",
            )
    return names, rows[1:]


def _read_parquet(content: bytes, name: str) -> tuple[list[str], list[tuple[Any, ...]]]:
    try:
        table = pq.read_table(pa.BufferReader(content))
    except (OSError, pa.ArrowException) as error:
        raise DataError(f"the table {name} cannot be read: {error}") from error
    columns = [column.to_pylist() for column in table.columns]
    return list(table.schema.names), list(zip(*columns, strict=True))


def _read_json_lines(content: bytes, name: str) -> tuple[list[str], list[list[Any]]]:
    """One JSON object a line; a key that a line lacks is null there."""
    objects = []
    for number, line in enumerate(decode_text(content, name).split("\n"), start=1):
        if not line.strip():
            continue
        try:
            value = json.loads(line)
        except ValueError as error:
            raise DataError(
                f"line {number} of {name} is not JSON: {error}",
                expected='one object a line, as {"file_name": "1.jpg", "label": "cat"}',
                remedy="correct the line",
            ) from error
        if not isinstance(value, dict):
            raise DataError(f"line {number} of {name} is no JSON object", expected="an object with a key for a column")
        objects.append(value)
    names = list(dict.fromkeys(key for value in objects for key in value))
    return names, [[value.get(key) for key in names] for value in objects]


def _find_columns(names: list[str], table: str, required: Sequence[str]) -> dict[str, int]:
    """Index of each known column; the first alias in the order of `COLUMN_ALIASES` wins."""
    lowered = [name.lower() for name in names]
    found = {}
    for column, aliases in COLUMN_ALIASES.items():
        present = [alias for alias in aliases if alias in lowered]
        if present:
            found[column] = lowered.index(present[0])
    for column in required:
        if column not in found:
            close = next((name for name in names if did_you_mean(name, [column])), None)
            raise DataError(
                f"{table} has no column {column!r}{f' (is it {close!r}?)' if close else ''}: "
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
