"""Times and shares as people write them."""

from __future__ import annotations

import re

from eyebright.errors import UsageError

_DURATION_PART = re.compile(r"(\d+(?:\.\d+)?)(h|min|m|s)?")
_SECONDS_IN = {"h": 3600.0, "min": 60.0, "m": 60.0, "s": 1.0, "": 1.0}


def parse_duration(text: str | float) -> float:
    """Seconds in `90`, `"90s"`, `"10m"`, `"1.5h"` or `"1h30m"`.

    Raises:
        UsageError: the text is not a duration above zero.
    """
    compact = str(text).strip().lower().replace(" ", "")
    parts = _DURATION_PART.findall(compact)
    whole = "".join(number + unit for number, unit in parts)
    seconds = sum(float(number) * _SECONDS_IN[unit] for number, unit in parts)
    if not parts or whole != compact or not 0 < seconds < float("inf"):
        raise UsageError(f"{text!r} is not a duration", expected="a time such as 90s, 10m, 1.5h or 1h30m")
    return seconds


def parse_share(text: str | float) -> float:
    """A share in [0, 1] from `0.05`, `"0.05"` or `"5%"`.

    Raises:
        UsageError: the text is not a share.
    """
    compact = str(text).strip()
    try:
        value = float(compact[:-1]) / 100 if compact.endswith("%") else float(compact)
    except ValueError:
        value = -1.0
    if not 0 <= value <= 1:
        raise UsageError(f"{text!r} is not a share", expected="a share such as 5% or 0.05")
    return value
