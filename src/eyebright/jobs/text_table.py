"""A table whose cells are text until somebody asks for numbers, so that a wrong cell can be named with its row."""

from __future__ import annotations

import csv
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet as pq

from eyebright.errors import DataError
from eyebright.evaluation.intervals import Floats

TABLE_SUFFIXES = (".csv", ".tsv", ".parquet")


class TextTable:
    """Rows of a CSV, TSV or Parquet file. Columns are found in upper and lower case.

    Attributes:
        name: the file's name, for messages.
        names: columns as the file spells them.
    """

    def __init__(self, table: pa.Table, name: str, first_row: int, rows: Sequence[int] | None = None) -> None:
        self._table = table
        self._first_row = first_row  # number of the first row: line 2 of a CSV, row 0 of a Parquet file
        self._rows = rows  # where the rows come from, after `take`
        self.name = name
        self.names: list[str] = list(table.schema.names)
        self._index = {column.lower(): column for column in reversed(self.names)} | {own: own for own in self.names}

    def __len__(self) -> int:
        return int(self._table.num_rows)

    def row(self, index: int) -> str:
        """The row at `index` as a message calls it."""
        number = index if self._rows is None else self._rows[index]
        return f"row {number + self._first_row} of {self.name}"

    def has(self, column: str) -> bool:
        """Whether there is such a column."""
        return self._find(column) is not None

    def spelled(self, column: str) -> str | None:
        """The name of the column as the file spells it."""
        return self._find(column)

    def take(self, rows: Sequence[int]) -> TextTable:
        """Some of the rows."""
        return TextTable(self._table.take(pa.array(rows, pa.int64())), self.name, self._first_row, rows)

    def texts(self, column: str) -> list[str | None]:
        """The cells as text; None where they are empty."""
        values = self._column(column).to_pylist()
        return [None if value is None or value == "" else str(value) for value in values]

    def is_numeric(self, column: str) -> bool:
        """Whether at least half of the cells are numbers: a column of numbers may have a wrong cell."""
        values = self._column(column)
        if pa.types.is_boolean(values.type) or pa.types.is_nested(values.type):
            return False
        return 2 * sum(_is_number(value) for value in values.to_pylist()) >= len(self)

    def numbers(self, column: str, meaning: str = "") -> Floats:
        """The cells as float64 (N,).

        Raises:
            DataError: a cell is empty or no number, with its row.
        """
        values = self._column(column)
        if pa.types.is_boolean(values.type) or pa.types.is_nested(values.type):
            raise DataError(f"the column {column!r} of {self.name} holds no numbers")
        try:
            if pa.types.is_string(values.type):
                values = pc.utf8_trim_whitespace(values)
            numbers = values.cast(pa.float64())
        except pa.ArrowException:
            numbers = None
        if numbers is None or numbers.null_count:
            self._refuse_cell(column, values.to_pylist(), meaning or f"the column {column!r}")
        return np.asarray(numbers.to_numpy(), dtype=np.float64)

    def lists(self, column: str) -> Floats:
        """Cells that hold lists of equal length (JSON in a text file), float64 (N, K).

        Raises:
            DataError: a cell is no list of numbers, or has another length, with its row.
        """
        width = None
        rows = []
        for index, cell in enumerate(self._column(column).to_pylist()):
            try:
                values = np.asarray(json.loads(cell) if isinstance(cell, str) else cell, dtype=np.float64)
            except (TypeError, ValueError):
                values = np.zeros(())
            if values.ndim != 1 or not len(values):
                raise DataError(
                    f"{self.row(index)}: the column {column!r} holds {str(cell)[:60]!r}",
                    expected="a list of numbers, one for each class, such as [0.9, 0.1]",
                )
            width = len(values) if width is None else width
            if len(values) != width:
                raise DataError(
                    f"{self.row(index)}: the column {column!r} holds {len(values)} numbers, {self.row(0)} {width}",
                    expected="one number for each class in every row",
                )
            rows.append(values)
        return np.stack(rows) if rows else np.zeros((0, 0))

    def _refuse_cell(self, column: str, values: Sequence[Any], meaning: str) -> None:
        for index, value in enumerate(values):
            if not _is_number(value):
                shown = "empty" if value is None or value == "" else repr(value)
                raise DataError(f"{self.row(index)}: {meaning} is {shown}", expected="a number")
        raise DataError(f"the column {column!r} of {self.name} holds no numbers")

    def _find(self, column: str) -> str | None:
        return self._index.get(column, self._index.get(column.lower()))

    def _column(self, column: str) -> pa.ChunkedArray:
        found = self._find(column)
        assert found is not None, column
        return self._table[found]


def is_prediction_table(path: str | Path) -> bool:
    """Whether a path has the name of a table rather than that of a run."""
    return Path(path).suffix.lower() in TABLE_SUFFIXES and not Path(path).is_dir()


def listed(names: Sequence[str], last: str = "and", most: int = 12) -> str:
    """`a, b and c`, cut off after `most` names."""
    shown = [str(name) for name in names[:most]]
    if len(names) > most:
        return f"{', '.join(shown)} {last} {len(names) - most} more"
    return shown[0] if len(shown) == 1 else f"{', '.join(shown[:-1])} {last} {shown[-1]}" if shown else "none"


def read_table(path: Path) -> TextTable:
    """Read a CSV, TSV or Parquet file.

    Raises:
        DataError: it cannot be read, is empty, or two columns have the same name.
    """
    try:
        if path.suffix.lower() == ".parquet":
            table, first_row = pq.read_table(path), 0
        else:
            table, first_row = _read_csv(path), 2
    except (pa.ArrowException, OSError, csv.Error) as error:
        raise DataError(
            f"the table {path.name} cannot be read: {error}",
            expected="a CSV or TSV file in UTF-8 with a header, or a whole Parquet file",
        ) from error
    names = list(table.schema.names)
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise DataError(
            f"{path.name} has two columns named {twice!r}", expected="one column of a name", remedy="rename one of them"
        )
    if not table.num_rows:
        raise DataError(f"the table {path.name} has no rows", expected="a row for each image")
    return TextTable(table, path.name, first_row)


def _is_number(value: Any) -> bool:
    try:
        float(value)
    except (TypeError, ValueError):
        return False
    return True


def _read_csv(path: Path) -> pa.Table:
    with path.open("rb") as handle:
        head = handle.readline().decode("utf-8-sig", "replace")
    if not head.strip():
        raise DataError(f"the table {path.name} is empty", expected="a header line and a line for each image")
    delimiter = "\t" if path.suffix.lower() == ".tsv" else max("\t,;", key=head.count)
    names = [name.strip() for name in next(csv.reader([head.rstrip("\r\n")], delimiter=delimiter))]
    return pa.csv.read_csv(
        path,
        # With one thread, an error names the row.
        read_options=pa.csv.ReadOptions(use_threads=False, column_names=names, skip_rows=1),
        parse_options=pa.csv.ParseOptions(delimiter=delimiter, newlines_in_values=True),
        convert_options=pa.csv.ConvertOptions(
            column_types=dict.fromkeys(names, pa.string()), strings_can_be_null=False
        ),
    )
