"""Ties among many classifiers, shown as letters: two that share a letter were not told apart."""

from __future__ import annotations

from collections.abc import Collection, Sequence


def tie_letters(names: Sequence[str], apart: Collection[tuple[str, str]]) -> dict[str, str]:
    """Letters such that two share one exactly when they were not told apart.

    The insert-and-absorb way to a compact letter display: H.-P. Piepho, Journal of Computational and Graphical
    Statistics 13 (2004).

    Args:
        names: in the order in which letters are given out.
        apart: the pairs that were told apart.
    """
    columns = [frozenset(names)]
    for one, other in sorted(apart, key=lambda pair: (names.index(pair[0]), names.index(pair[1]))):
        split = [
            part
            for column in columns
            for part in ((column - {one}, column - {other}) if {one, other} <= column else (column,))
        ]
        unique = list(dict.fromkeys(split))
        columns = [column for column in unique if not any(column < wider for wider in unique)]
    columns.sort(key=lambda column: sorted(names.index(name) for name in column))
    return {name: "".join(_letter(index) for index, column in enumerate(columns) if name in column) for name in names}


def _letter(index: int) -> str:
    return chr(ord("a") + index) if index < 26 else f"({index + 1})"
