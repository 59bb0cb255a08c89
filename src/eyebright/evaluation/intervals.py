"""How sure a measured number is: 95 % intervals, always from the same three methods.

- A proportion (accuracy, recall, precision of one class) gets Wilson's score interval.
- A mean of independent proportions (balanced accuracy) combines their Wilson limits by the method of variance
  estimates recovery, which stays honest where no error was seen.
- Everything else gets a bootstrap that resamples images within each true class, so that every resample has the
  class counts of the data. It is vectorised: counts are drawn, never images.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
from scipy.stats import norm

CONFIDENCE = 0.95
RESAMPLES = 1000
_CHUNK_CELLS = 4_000_000

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]


def wilson(successes: npt.ArrayLike, trials: npt.ArrayLike, confidence: float = CONFIDENCE) -> tuple[Floats, Floats]:
    """Wilson's score interval for a proportion (E. B. Wilson, JASA 1927), without continuity correction.

    Args:
        successes: counts, any shape.
        trials: counts of the same shape; zero trials give the interval from 0 to 1.

    Returns:
        low and high, float64 arrays of that shape.
    """
    count, total = np.broadcast_arrays(np.asarray(successes, dtype=np.float64), np.asarray(trials, dtype=np.float64))
    quantile = float(norm.ppf(0.5 + confidence / 2))
    some = np.maximum(total, 1)
    share = count / some
    centre = (share + quantile**2 / (2 * some)) / (1 + quantile**2 / some)
    half = quantile * np.sqrt(share * (1 - share) / some + quantile**2 / (4 * some**2)) / (1 + quantile**2 / some)
    # At the ends the formula meets 0 and 1 only up to rounding, and a limit must not cross the share itself.
    low = np.where(total == 0, 0.0, np.where(count == 0, 0.0, np.minimum(centre - half, share)))
    high = np.where(total == 0, 1.0, np.where(count == total, 1.0, np.maximum(centre + half, share)))
    return low, high


def mean_of_proportions(shares: Floats, lows: Floats, highs: Floats) -> tuple[float, float]:
    """Limits for the mean of independent proportions from their own limits (Zou and Donner, Stat. Med. 2008)."""
    mean = float(shares.mean())
    below = float(np.sqrt(np.square(shares - lows).sum())) / len(shares)
    above = float(np.sqrt(np.square(highs - shares).sum())) / len(shares)
    return max(0.0, mean - below), min(1.0, mean + above)


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


def resampled_confusions(
    confusion: Integers, *, resamples: int = RESAMPLES, seed: int = 0
) -> tuple[Integers, Integers]:
    """Bootstrap of a confusion matrix, each true class resampled on its own.

    Drawing n images of a class with replacement is drawing its row from a multinomial, so no image is touched.

    Args:
        confusion: counts (K, K), true classes in rows.

    Returns:
        diagonals (R, K): right predictions for each class; columns (R, K): predictions of each class.
    """
    generator = np.random.default_rng(seed)
    classes = len(confusion)
    diagonals = np.zeros((resamples, classes), dtype=np.int64)
    columns = np.zeros((resamples, classes), dtype=np.int64)
    for index, row in enumerate(confusion):
        support = int(row.sum())
        if support == 0:
            continue
        used = np.flatnonzero(row)
        drawn = generator.multinomial(support, row[used] / support, size=resamples)
        columns[:, used] += drawn
        diagonals[:, index] = drawn[:, used == index].sum(axis=1)
    return diagonals, columns


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
