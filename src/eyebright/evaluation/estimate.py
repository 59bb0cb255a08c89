"""A number and how sure it is."""

from __future__ import annotations

import dataclasses

BOOTSTRAP = "stratified bootstrap"
WILSON = "Wilson"
COMBINED = "combined Wilson"


@dataclasses.dataclass(frozen=True)
class Estimate:
    """A number with its 95 % interval and how the interval was found."""

    value: float
    low: float
    high: float
    method: str
