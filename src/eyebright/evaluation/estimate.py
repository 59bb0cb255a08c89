"""A number and how sure it is."""

from __future__ import annotations

import dataclasses

WILSON = "Wilson"
SCORE = "score, Wilson"
DELTA = "delta method, Wilson"
HALL = "Hall"
HALL_WILSON = "Hall, Wilson"
DELONG = "DeLong, logit"
DELONG_NEWCOMBE = "DeLong, Newcombe"
JACKKNIFE = "jackknife, logit"
INVERSION = "test inversion"
BOOTSTRAP = "stratified bootstrap"


@dataclasses.dataclass(frozen=True)
class Estimate:
    """A number with its 95 % interval and how the interval was found."""

    value: float
    low: float
    high: float
    method: str
