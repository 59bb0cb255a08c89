"""The smallest difference between two classifiers that so many test images can show."""

from __future__ import annotations

import functools
import math

import numpy as np
from scipy.optimize import brentq
from scipy.special import ndtri
from scipy.stats import binom

from eyebright.evaluation.intervals import CONFIDENCE, QUANTILE, Floats
from eyebright.evaluation.paired import POWER

_LEAST_PROBABILITY = 1e-9


def presumed_disagreement(errors: int, images: int) -> float:
    """Share of images that only one of two classifiers names right, where only one of them is known.

    The other is presumed to share half of the known one's mistakes and to make as many of its own, so that they
    disagree on as many images as the known one has wrong; but on no more than two do that have nothing in common. That
    is between the extremes: a better classifier that makes no new mistake disagrees on the difference only, one that
    shares no mistake disagrees on twice as many. Mistakes are counted by the rule of succession, (errors + 1) /
    (images + 2), since no error seen is not no error.
    """
    wrong = (errors + 1) / (images + 2)
    return min(wrong, 2 * wrong * (1 - wrong))


@functools.lru_cache(maxsize=64)
def detectable_difference(images: int, disagreement: float, *, power: float = POWER) -> float | None:
    """The smallest difference in accuracy on the same images that McNemar's mid-p test finds at 5 % with this power.

    Exact: the number of images that the two disagree on, and who is right on them, are summed over.

    Args:
        images: how many both classifiers were shown.
        disagreement: share of images that only one of them names right; it is raised to the difference if that is
            larger, as they must disagree on as many.
        power: how often the test finds the difference.

    Returns:
        the difference, above 0 and at most 1; None when there are too few images to find any.
    """

    def short(difference: float) -> float:
        return paired_power(images, difference, disagreement) - power

    if images == 0 or short(1.0) < 0:
        return None
    return float(brentq(short, 0.0, 1.0, xtol=1e-5))


def detectable_difference_apart(images: int, errors: int, *, power: float = POWER) -> float | None:
    """The same for two classifiers that were each shown so many other images, by the test of two proportions.

    Against a classifier whose accuracy lies on the side of one half, where more images are needed. The normal
    approximation of J. L. Fleiss, A. Tytun and H. K. Ury (Biometrics 36, 1980), without continuity correction.

    Returns:
        the difference; None when there are too few images to find any.
    """
    accuracy = 1 - (errors + 1) / (images + 2)
    side = -1 if accuracy > 0.5 else 1
    at_power = float(ndtri(power))

    def short(difference: float) -> float:
        other = min(1.0, max(0.0, accuracy + side * difference))
        middle = (accuracy + other) / 2
        equal = math.sqrt(2 * middle * (1 - middle))
        apart = math.sqrt(accuracy * (1 - accuracy) + other * (1 - other))
        return difference * math.sqrt(images) - QUANTILE * equal - at_power * apart

    most = max(accuracy, 1 - accuracy)
    return float(brentq(short, 0.0, most, xtol=1e-5)) if images and short(most) >= 0 else None


def paired_power(images: int, difference: float, disagreement: float) -> float:
    """How often McNemar's mid-p test at 5 % finds a difference in accuracy between two classifiers.

    Args:
        images, disagreement: as for `detectable_difference`.
        difference: from 0 to 1.
    """
    share = min(1.0, max(difference, disagreement))
    first, last = (int(binom.ppf(tail, images, share)) for tail in (_LEAST_PROBABILITY, 1 - _LEAST_PROBABILITY))
    apart = np.arange(first, last + 1, dtype=np.float64)
    fewest = _critical(apart)
    winning = 0.5 + difference / share / 2 if share > 0 else 0.5
    found = binom.cdf(fewest, apart, winning) + binom.sf(apart - fewest - 1, apart, winning)
    return float(binom.pmf(apart, images, share) @ np.where(fewest >= 0, found, 0.0))


def _critical(apart: Floats) -> Floats:
    """The largest count of the loser at which the mid-p value is at most 5 %; -1 where there is none."""
    level = 1 - CONFIDENCE
    least = binom.ppf(level / 2, apart, 0.5) + 1
    for _ in range(3):
        value = 2 * binom.cdf(least - 1, apart, 0.5) + binom.pmf(least, apart, 0.5)
        least = np.where((least >= 0) & (value > level), least - 1, least)
    return np.asarray(least, dtype=np.float64)
