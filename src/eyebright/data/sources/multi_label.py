"""Several classes in one row: recognised and refused, because there is no multi-label training yet.

A row holds several classes when its text has a `|`, or when it is a list of more than one. A class name that really
has a bar in it is written with a backslash before the bar: `salt\\|pepper` is the one class `salt|pepper`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Any

from eyebright.errors import DataError

_BAR = re.compile(r"(?<!\\)\|")


def holds_several_classes(value: object) -> bool:
    """Whether the value of a label column names more than one class."""
    if isinstance(value, (list, tuple)):
        return len(value) > 1 or any(map(holds_several_classes, value))
    return isinstance(value, str) and _BAR.search(value) is not None


def one_class(value: Any) -> Any:
    """What a value names that does not hold several classes: out of its list, bars without their backslash."""
    if isinstance(value, (list, tuple)):
        return one_class(value[0]) if value else None
    return value.replace(r"\|", "|") if isinstance(value, str) else value


def refuse_several_classes(rows: Iterable[tuple[str, object]], *, column: str, table: str) -> None:
    """Raise when a row names more than one class.

    Args:
        rows: for every row its name, as `row 3 of labels.csv`, and the value of its label column.
        column: name of the label column.
        table: name of the table.

    Raises:
        DataError: with the first such row and the number of them.
    """
    first, several, total = None, 0, 0
    for where, value in rows:
        total += 1
        if holds_several_classes(value):
            several += 1
            first = first or (where, value)
    if first is None:
        return
    where, value = first
    shown = list(value) if isinstance(value, Sequence) and not isinstance(value, str) else value
    raise DataError(
        f"{table} is a multi-label table: the column {column!r} holds several classes in {several} of {total} rows; "
        f"the first is {where}: {shown!r}",
        expected="one class a row: training on images of several classes is not there yet",
        remedy=r"keep the class that matters most in each row; where a `|` belongs to the name of a class, "
        r"write `\|`",
    )
