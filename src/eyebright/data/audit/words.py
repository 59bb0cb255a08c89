"""Numbers as people read them, in the sentences of the audit. `report.wording` does the same for the pages above."""

from __future__ import annotations

from collections.abc import Sequence

_NARROW_SPACE = "\N{NARROW NO-BREAK SPACE}"


def count(number: int) -> str:
    """12345 as `12,345`."""
    return f"{number:,}"


def plural(number: int, one: str, many: str | None = None) -> str:
    """`1 image`, `2,000 images`."""
    return f"{count(number)} {one if number == 1 else many or one + 's'}"


def percent(share: float, digits: int = 0) -> str:
    """0.8239 as `82 %`; never rounded up to 100 % nor down to 0 %."""
    shown = f"{100 * share:.{digits}f}"
    if float(shown) >= 100 and share < 1:
        shown = f"{100 - 10.0**-digits:.{digits}f}"
    if float(shown) <= 0 and share > 0:
        shown = f"{10.0**-digits:.{digits}f}"
    return f"{shown}{_NARROW_SPACE}%"


def listing(names: Sequence[str], most: int = 4) -> str:
    """`a`, `a and b`, `a, b and c`, `a, b, c, d and 7 more`."""
    names = list(names)
    if len(names) > most:
        names = [*names[:most], f"{count(len(names) - most)} more"]
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def size(number: float) -> str:
    """Bytes as `71.3 MB`."""
    units = ["B", "kB", "MB", "GB", "TB"]
    while number >= 999.5 and len(units) > 1:
        number, units = number / 1000, units[1:]
    return f"{number:.0f} {units[0]}" if units[0] == "B" else f"{number:.3g} {units[0]}"
