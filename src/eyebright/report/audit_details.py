"""The numbers beside a finding of the audit: which of its details become a bar, an interval or a table.

A finding's `details` are JSON values of any shape. What has a shape that a person can read at a glance is shown;
everything else is left to `--json`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, TypeGuard

from markupsafe import Markup

from eyebright.report import charts, wording

_MOST_ROWS = 100
_ROWS_IN_VIEW = 8
_NAMED_BARS = 40
_LISTED_VALUES = 8
# Floats between 0 and 1 under names that end in one of these words are shares of one.
_SHARES = {"accuracy", "chance", "share", "low", "high", "precision", "recall", "rate", "baseline"}


@dataclasses.dataclass(frozen=True)
class Interval:
    """An accuracy with its 95 % interval, against what chance would give; all are shares of one."""

    accuracy: float
    low: float
    high: float
    chance: float | None
    kind: ClassVar[str] = "interval"


@dataclasses.dataclass(frozen=True)
class Bars:
    """Numbers by name, largest first: `rows` of (name, number, share of the largest).

    Attributes:
        columns: a chart without names, when there are too many names to show at once.
    """

    title: str
    rows: Sequence[tuple[str, int, float]]
    columns: Markup | None
    kind: ClassVar[str] = "bars"


@dataclasses.dataclass(frozen=True)
class Table:
    """A table whose first cell in each row is its heading.

    Attributes:
        columns: headings; empty for a table of two columns that needs none.
        numeric: for each column, whether it is set flush right.
        rows: text, or an Interval; at most `_MOST_ROWS`.
        left_out: how many rows are not shown.
    """

    title: str
    columns: Sequence[str]
    numeric: Sequence[bool]
    rows: Sequence[Sequence[str | Interval]]
    left_out: int = 0
    kind: ClassVar[str] = "table"

    @property
    def long(self) -> bool:
        """Whether it should be folded away."""
        return len(self.rows) > _ROWS_IN_VIEW


Block = Interval | Bars | Table


def detail_blocks(details: Mapping[str, Any]) -> list[Block]:
    """What is shown of the details, in the order in which it should be read."""
    rest = dict(details)
    blocks: list[Block] = []
    interval = _take_interval(rest)
    if interval:
        blocks.append(interval)
    if _is_counts(rest.get("counts")):
        blocks.append(_bars("Images of each class", rest.pop("counts")))
    if len(rest) > 1 and all(_is_row(value) for value in rest.values()):
        return [*blocks, _table_of_rows("", rest)]
    plain = {key: value for key, value in rest.items() if _is_plain(value)}
    if plain:
        blocks.append(_table_of_pairs("", {_words(key): value for key, value in plain.items()}))
    for key, value in rest.items():
        table = _table(_words(key).capitalize(), value)
        if table:
            blocks.append(table)
    return blocks


def _table(title: str, value: Any) -> Table | None:
    if not value or _is_plain(value):
        return None
    if _is_row(value):
        return _table_of_pairs(title, value)
    if isinstance(value, Mapping) and all(isinstance(row, Mapping) for row in value.values()):
        return _table_of_rows(title, value)
    if isinstance(value, list | tuple) and all(isinstance(row, Mapping) for row in value):
        return _table_of_rows(title, value)
    return None


def _table_of_pairs(title: str, values: Mapping[str, Any]) -> Table:
    rows = [[key, _text(key, value)] for key, value in values.items()]
    numeric = [False, all(_is_number(value) for value in values.values())]
    return Table(title, (), numeric, rows[:_MOST_ROWS], max(0, len(rows) - _MOST_ROWS))


def _table_of_rows(title: str, values: Mapping[str, Any] | Sequence[Any]) -> Table:
    """Columns are the keys of the rows; a key whose value is neither text nor number in some row is left out."""
    named = isinstance(values, Mapping)
    rows = [dict(row) for row in (values.values() if isinstance(values, Mapping) else values)]
    intervals = [_take_interval(row) for row in rows]
    every_key = dict.fromkeys(key for row in rows for key in row)
    keys = [key for key in every_key if all(_is_plain(row.get(key)) for row in rows)]
    columns, numeric = [_words(key) for key in keys], [all(_is_number(row.get(key)) for row in rows) for key in keys]
    cells: list[list[str | Interval]] = [[_text(key, row.get(key)) for key in keys] for row in rows]
    if any(intervals):
        columns, numeric = [*columns, "accuracy"], [*numeric, False]
        cells = [[*row, interval or "–"] for row, interval in zip(cells, intervals, strict=True)]
    if named:
        columns, numeric = ["", *columns], [False, *numeric]
        cells = [[key, *row] for key, row in zip(values, cells, strict=True)]
    return Table(title, columns, numeric, cells[:_MOST_ROWS], max(0, len(cells) - _MOST_ROWS))


def _bars(title: str, counts: Mapping[str, int]) -> Bars:
    ordered = sorted(counts.items(), key=lambda pair: -pair[1])
    largest = max(1, ordered[0][1])
    columns = charts.column_chart([number for _, number in ordered], title) if len(ordered) > _NAMED_BARS else None
    return Bars(title, [(name, number, number / largest) for name, number in ordered], columns)


def _take_interval(row: dict[str, Any]) -> Interval | None:
    """Take accuracy, low, high and chance out of `row`, when they are there as shares of one."""
    accuracy, low, high, chance = (row.get(key) for key in ("accuracy", "low", "high", "chance"))
    if not (_is_share(accuracy) and _is_share(low) and _is_share(high)):
        return None
    for key in ("accuracy", "low", "high"):
        del row[key]
    if not _is_share(chance):
        return Interval(accuracy, low, high, None)
    del row["chance"]
    return Interval(accuracy, low, high, chance)


def _is_number(value: Any) -> TypeGuard[float]:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _is_share(value: Any) -> TypeGuard[float]:
    return _is_number(value) and 0 <= value <= 1


def _is_scalar(value: Any) -> bool:
    return value is None or isinstance(value, str | int | float)


def _is_plain(value: Any) -> bool:
    """Fits into one cell: text, a number, or a few of them."""
    few = isinstance(value, list | tuple) and 0 < len(value) <= _LISTED_VALUES
    return _is_scalar(value) or (few and all(_is_scalar(item) for item in value))


def _is_row(value: Any) -> bool:
    return isinstance(value, Mapping) and bool(value) and all(_is_plain(item) for item in value.values())


def _is_counts(value: Any) -> bool:
    whole = isinstance(value, Mapping) and bool(value)
    return whole and all(isinstance(number, int) and not isinstance(number, bool) for number in value.values())


def _text(key: str, value: Any) -> str:
    if value is None:
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return wording.count(value)
    if isinstance(value, float):
        if _is_share(value) and _words(key).rpartition(" ")[2] in _SHARES:
            return wording.percent(value)
        return f"{value:,.0f}" if abs(value) >= 1000 else wording.small_number(value)
    if isinstance(value, list | tuple):
        return ", ".join(_text(key, item) for item in value)
    return str(value)


def _words(key: str) -> str:
    return key.replace("_", " ")
