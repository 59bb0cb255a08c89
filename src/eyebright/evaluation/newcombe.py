"""Limits for the AUROC of one class, sound also for few images and for none out of place."""

from __future__ import annotations

import math
from collections.abc import Callable

from scipy.optimize import brentq

from eyebright.evaluation.intervals import QUANTILE

BORROWED = 8
"""So many images of the smaller kind as the model's variance counts for, beside the measured one (by simulation)."""


def auroc_limits(value: float, variance: float | None, positives: int, negatives: int) -> tuple[float, float]:
    """95 % limits of an AUROC, within [0, 1].

    The limits are the areas from which the measured one lies 1.96 standard errors away, with the error that each of
    them would have: method 5 of R. G. Newcombe (Confidence intervals for an effect size measure based on the
    Mann-Whitney statistic, part 2, Stat. Med. 25, 2006). Its variance, after Hanley and McNeil, is of exponential
    scores; that of real scores can be many times smaller. So it is scaled by what was measured (DeLong), as far as
    there are images to measure it by: the model counts as much as `BORROWED` images of the class.

    Args:
        value: the area.
        variance: of the area as measured; None when there are too few images.
        positives, negatives: images of the class and of all others, at least one each.
    """
    model = _model(positives, negatives)
    at_value = model(value)
    scale = 1.0
    if variance is not None and at_value > 0:
        scale = (positives * variance / at_value + BORROWED) / (positives + BORROWED)

    def off(area: float) -> float:
        return abs(value - area) - QUANTILE * math.sqrt(scale * model(area))

    # Inside the limits `off` is negative; at 0 and 1 the model has no variance, so it is not.
    low = brentq(off, 0.0, value) if off(value) < 0 and value > 0 else _from_end(off, value, 0.0)
    high = brentq(off, value, 1.0) if off(value) < 0 and value < 1 else _from_end(off, value, 1.0)
    return float(low), float(high)


def _model(positives: int, negatives: int) -> Callable[[float], float]:
    others = (positives + negatives) / 2 - 1

    def variance(area: float) -> float:
        spread = 1 + others * (1 - area) / (2 - area) + others * area / (1 + area)
        return area * (1 - area) * spread / (positives * negatives)

    return variance


def _from_end(off: Callable[[float], float], value: float, end: float) -> float:
    """The limit towards `end` of an area that is itself 0 or 1, where the model has no variance."""
    if value == end:
        return end
    inside = value + (end - value) * 1e-9
    return float(brentq(off, inside, end)) if off(inside) < 0 else value
