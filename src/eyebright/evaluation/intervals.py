"""How sure a measured number is: the arithmetic of 95 % intervals.

Every method was chosen by simulation (`benchmarks/interval_coverage.py`): its intervals hold the truth in about 95 of
100 test sets, drawn at random from all images that could have been drawn, so that the number of each class is random.

- A proportion (accuracy, recall, precision of one class) gets Wilson's score interval.
- A mean of proportions (balanced accuracy, macro precision) gets a score interval, which is Wilson's for one of them.
- A number from 0 to 1 that is not a proportion, but whose variance is known, gets Wilson's interval of a proportion as
  variable as it is, or an interval on the scale of its logit.
- A mean of skewed values (log-loss, costs) gets Hall's correction for their skewness.
- A bootstrap that resamples images within each true class serves the comparisons. It is vectorised: counts are drawn,
  never images.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
from scipy.optimize import brentq
from scipy.special import expit, logit, ndtri

CONFIDENCE = 0.95
RESAMPLES = 1000
QUANTILE = float(ndtri(0.5 + CONFIDENCE / 2))
"""So many standard errors lie on either side."""
_CHUNK_CELLS = 4_000_000
_SMALLEST = 1e-9
_DRAWN = 0.5

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]


def wilson(successes: npt.ArrayLike, trials: npt.ArrayLike, confidence: float = CONFIDENCE) -> tuple[Floats, Floats]:
    """Wilson's score interval for a proportion (E. B. Wilson, JASA 1927), without continuity correction.

    Args:
        successes: counts, any shape; they need not be whole.
        trials: counts of the same shape; zero trials give the interval from 0 to 1.

    Returns:
        low and high, float64 arrays of that shape.
    """
    count, total = np.broadcast_arrays(np.asarray(successes, dtype=np.float64), np.asarray(trials, dtype=np.float64))
    quantile = float(ndtri(0.5 + confidence / 2))
    some = np.where(total == 0, 1.0, total)
    share = count / some
    centre = (share + quantile**2 / (2 * some)) / (1 + quantile**2 / some)
    half = quantile * np.sqrt(share * (1 - share) / some + quantile**2 / (4 * some**2)) / (1 + quantile**2 / some)
    # At the ends the formula meets 0 and 1 only up to rounding, and a limit must not cross the share itself.
    below, above = np.clip(centre - half, 0.0, 1.0), np.clip(centre + half, 0.0, 1.0)
    low = np.where(total == 0, 0.0, np.where(count == 0, 0.0, np.minimum(below, share)))
    high = np.where(total == 0, 1.0, np.where(count == total, 1.0, np.maximum(above, share)))
    return low, high


def effective_wilson(
    centre: float, variance: float, value: float, *, pivot: float | None = None, low: float = 0.0, high: float = 1.0
) -> tuple[float, float]:
    """Wilson's interval for a number between `low` and `high` with a known variance, widened to hold `value`.

    It is that of a share of as many images as would make a share equally variable: their effective number (Kish, Survey
    Sampling, 1965; used with Wilson's interval by Dean and Pagano, Evaluating confidence interval methods for binomial
    proportions in clustered surveys, J. Surv. Stat. Methodol. 2015).

    Args:
        centre: the number, less its bias where that is known.
        variance: of the number; zero or less gives no interval but `value` and `centre`.
        value: the number itself.
        pivot: where the variance was measured, strictly between the limits; the centre unless given.
    """
    span, centre = high - low, min(max(centre, low), high)
    share = (centre - low) / span
    where = share if pivot is None else min(max((pivot - low) / span, 0.0), 1.0)
    if variance <= 0:
        return min(value, centre), max(value, centre)
    effective = max(where * (1 - where) * span**2 / variance, _SMALLEST)
    below, above = wilson(share * effective, effective)
    return min(value, max(low, low + span * float(below))), max(value, min(high, low + span * float(above)))


def logit_limits(centre: float, variance: float, value: float) -> tuple[float, float]:
    """Limits of a number within (0, 1), normal on the scale of its logit, widened to hold `value`.

    Args:
        centre: the number, less its bias where that is known.
        variance: of the number.
        value: the number itself.
    """
    inside = min(max(centre, _SMALLEST), 1 - _SMALLEST)
    reach = QUANTILE * math.sqrt(variance) / (inside * (1 - inside))
    low, high = expit(logit(inside) - reach), expit(logit(inside) + reach)
    return min(value, float(low)), max(value, float(high))


def mean_of_proportions(successes: npt.ArrayLike, trials: npt.ArrayLike) -> tuple[float, float]:
    """Score limits for the unweighted mean of K independent proportions, such as balanced accuracy.

    A limit is the mean from which the measured one lies 1.96 standard errors away, by the error that the proportions
    would then have, where they are moved as the likelihood has it: first those that say least (A. Martín Andrés and M.
    Álvarez Hernández, Inferences about a linear combination of proportions, Stat. Methods Med. Res. 20, 2011). For one
    proportion that is Wilson's interval. Each proportion is drawn towards the common one by half an image, and its
    variance set against the degrees of freedom that remain, for the sake of classes with few images.

    Args:
        successes: counts (K,).
        trials: counts (K,), at least 1 each.
    """
    right, total = np.asarray(successes, dtype=np.float64), np.asarray(trials, dtype=np.float64)
    drawn = (right + _DRAWN * right.sum() / total.sum()) / (total + _DRAWN)
    value = float((right / total).mean())
    freedom = 1 - (1 - 1 / len(total)) * total / np.square(total + _DRAWN)
    below, above = _score_reach(drawn, total, freedom), _score_reach(1 - drawn, total, freedom)
    return max(0.0, value - below), min(1.0, value + above)


def _score_reach(shares: Floats, trials: Floats, freedom: Floats) -> float:
    """How far below the mean of K proportions its lower score limit lies."""
    classes, mean = len(shares), float(shares.mean())

    def moved(log_multiplier: float) -> Floats:
        # Lagrange's condition n (p - r) = m r (1 - r) for the most likely r whose mean is a given one; solved so that
        # r is exactly 1 where nothing moves a share of 1.
        multiplier = math.exp(log_multiplier) / classes
        root = np.sqrt(np.square(trials - multiplier) + 4 * multiplier * trials * (1 - shares))
        return np.minimum(2 * trials * shares / (trials + multiplier + root), shares)

    def off(log_multiplier: float) -> float:
        rest = moved(log_multiplier)
        error = math.sqrt(float((rest * (1 - rest) / trials / freedom).sum())) / classes
        return mean - float(rest.mean()) - QUANTILE * error

    if mean <= 0:
        return 0.0
    # Where all are right, nothing moves before the multiplier outweighs the images of the smallest class.
    first = -15.0 if (shares < 1).any() else math.log(float(trials.min()) * classes) + _SMALLEST
    last = math.log(float(trials.max()) * classes) + 25
    return mean - float(moved(float(brentq(off, first, last))).mean())


def mean_limits(values: Floats, *, lowest: float, highest: float) -> tuple[float, float]:
    """Limits for the mean of independent values (N,), corrected for their skewness; N at least 1.

    The cubic transformation of the studentised mean by P. Hall (On the removal of skewness by transformation, J. R.
    Stat. Soc. B 54, 1992). When all values are equal, nothing is known of their spread: they then get Wilson's limits
    of a share of which nothing was seen, on the range from `lowest` to `highest`.
    """
    count, mean = len(values), float(values.mean())
    deviations = values - mean
    variance = float(np.square(deviations).sum()) / max(1, count - 1)
    if variance <= (_SMALLEST * (highest - lowest)) ** 2:
        unseen = (highest - lowest) * float(wilson(0, count)[1])
        return max(lowest, mean - unseen), min(highest, mean + unseen)
    third = float(np.power(deviations, 3).mean())
    skewness = third * count**2 / ((count - 1) * (count - 2)) / variance**1.5 if count > 2 else 0.0
    small = skewness / math.sqrt(count)
    error = math.sqrt(variance / count)

    def undone(quantile: float) -> float:
        moved = quantile - small / 6
        return 3 * (float(np.cbrt(1 + small * moved)) - 1) / small if abs(small) > _SMALLEST else moved

    below, above = mean - error * undone(QUANTILE), mean - error * undone(-QUANTILE)
    return max(lowest, min(below, mean)), min(highest, max(above, mean))


def percentile_limits(
    resampled: Floats, value: float, *, centred: bool = False, stretch: float = 1.0, confidence: float = CONFIDENCE
) -> tuple[float, float]:
    """The central limits of resampled values (R,), widened to hold `value`.

    Args:
        centred: shift the resamples so that their mean is `value`: for statistics such as the calibration error
            that resampling alone pushes to one side (the calibration error upwards, macro F1 downwards).
        stretch: factor for the distance from the mean; sqrt(N / (N - K)) makes up for the K class means that
            resampling within N images of K classes takes as known.
    """
    middle = resampled.mean()
    shifted = (resampled - middle) * stretch + (value if centred else middle)
    low, high = np.quantile(shifted, [0.5 - confidence / 2, 0.5 + confidence / 2])
    return min(float(low), value), max(float(high), value)


def resampled_means(values: Floats, strata: Integers, *, resamples: int = RESAMPLES, seed: int = 0) -> Floats:
    """Bootstrap of column means, each stratum resampled on its own.

    Args:
        values: (N, M), one row an image.
        strata: (N,), the class of each image.

    Returns:
        means float64 (R, M).
    """
    chunks = [weights @ values for weights in _resampled_weights(strata, resamples, seed)]
    return np.asarray(np.concatenate(chunks) / len(values), dtype=np.float64)


def _resampled_weights(strata: Integers, resamples: int, seed: int) -> Iterator[Floats]:
    """How often each image was drawn: float64 (R', N) in chunks that fit in memory."""
    generator = np.random.default_rng(seed)
    members = [np.flatnonzero(strata == stratum) for stratum in np.unique(strata)]
    rows_at_once = max(1, _CHUNK_CELLS // max(1, len(strata)))
    for start in range(0, resamples, rows_at_once):
        rows = min(rows_at_once, resamples - start)
        weights = np.zeros((rows, len(strata)))
        for member in members:
            drawn = generator.integers(0, len(member), size=(rows, len(member)))
            drawn += np.arange(rows)[:, None] * len(member)
            counts = np.bincount(drawn.ravel(), minlength=rows * len(member))
            weights[:, member] = counts.reshape(rows, len(member))
        yield weights
