"""Prediction sets that hold the true class at a stated rate: fitted on validation images, measured on test images.

The guarantee is marginal: it holds on average over images and over draws of the validation images, for images that are
like them. It does not hold for each class, nor for each size of set, which is why both are measured.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.stats import betabinom

from eyebright.decisions.sets import Method, PredictionSets
from eyebright.evaluation.estimate import WILSON, Estimate
from eyebright.evaluation.intervals import CONFIDENCE, Floats, Integers, wilson

PENALTIES = (0.0, 0.001, 0.01, 0.05, 0.2)
FREE_RANKS = (1, 2, 5)
DEFAULT_PENALTY, DEFAULT_FREE_RANKS = 0.01, 5
TUNING_SHARE = 0.2
LEAST_TUNING_IMAGES = 100
"""With fewer images in that share, penalty and free ranks are the defaults and every image serves the threshold."""
_SIZE_GROUPS = ((1, 1), (2, 2), (3, 3), (4, 5), (6, 10), (11, 20), (21, 50), (51, 1_000_000))


def conformal_rank(count: int, coverage: float) -> int:
    """Rank, from one, of the score that `count` images must reach: ceil((n + 1) * coverage); above n there is none."""
    # (n + 1) * coverage is a whole number more often than floats tell.
    return math.ceil(round((count + 1) * coverage, 9))


def fit_sets(
    probabilities: npt.ArrayLike, labels: npt.ArrayLike, *, method: Method, coverage: float, seed: int = 0
) -> PredictionSets:
    """The threshold of split conformal prediction (Vovk et al. 2005; Romano et al. 2020, arXiv 2006.02544).

    The threshold is the score of the true class at the rank ceil((n + 1) * coverage). When n is so small that there is
    no such rank, it is infinite, and every set holds all classes: that keeps the promise, if to nobody's use.

    For `raps` (Angelopoulos et al. 2021, arXiv 2009.14193) penalty and free ranks are those of the smallest mean set on
    a share of the validation images that the threshold is then not fitted on, so that choosing them costs no coverage;
    few images all serve the threshold, and penalty and free ranks are fixed beforehand.

    Args:
        probabilities: calibrated, (N, K), of validation images.
        labels: (N,), class indices.
        method: `aps` or `raps`.
        coverage: wanted share of sets that hold the true class.
        seed: of the share that chooses.
    """
    values, truth = np.asarray(probabilities, dtype=np.float64), np.asarray(labels, dtype=np.int64)
    if method == "aps":
        return _with_threshold(PredictionSets(method="aps", coverage=coverage, threshold=math.inf), values, truth)
    form = PredictionSets(
        method="raps", coverage=coverage, threshold=math.inf, penalty=DEFAULT_PENALTY, free_ranks=DEFAULT_FREE_RANKS
    )
    tuning = len(values) - threshold_images(len(values), method)
    if tuning == 0:
        return _with_threshold(form, values, truth)
    order = np.random.default_rng(seed).permutation(len(values))
    chosen = _smallest(values[order[:tuning]], truth[order[:tuning]], coverage)
    return _with_threshold(chosen, values[order[tuning:]], truth[order[tuning:]])


def threshold_images(count: int, method: Method) -> int:
    """How many of so many validation images serve the threshold; the others choose penalty and free ranks."""
    tuning = round(TUNING_SHARE * count)
    return count if method == "aps" or tuning < LEAST_TUNING_IMAGES else count - tuning


def _with_threshold(form: PredictionSets, values: Floats, truth: Integers) -> PredictionSets:
    rank = conformal_rank(len(values), form.coverage)
    if rank > len(values):
        threshold = math.inf
    else:
        own = form.scores(values)[np.arange(len(values)), truth]
        threshold = float(np.partition(own, rank - 1)[rank - 1])
    return PredictionSets(
        method=form.method, coverage=form.coverage, threshold=threshold,
        penalty=form.penalty, free_ranks=form.free_ranks,
    )  # fmt: skip


def _smallest(values: Floats, truth: Integers, coverage: float) -> PredictionSets:
    """The penalty and free ranks whose sets are smallest when they cover these images; of equal ones the mildest."""
    candidates = []
    for penalty in PENALTIES:
        for free_ranks in FREE_RANKS if penalty else (0,):
            form = PredictionSets(
                method="raps", coverage=coverage, threshold=math.inf, penalty=penalty, free_ranks=free_ranks
            )
            candidates.append(_with_threshold(form, values, truth))
    return min(candidates, key=lambda fitted: fitted.sets(values).sum())


def expected_coverage(validation_images: int, coverage: float, test_images: int) -> tuple[float, float]:
    """Limits between which the measured coverage falls in 95 % of cases when the promise is kept exactly.

    The coverage given the validation images follows a beta distribution (Vovk, Conditional validity of inductive
    conformal predictors, 2012), and the covered test images a beta-binomial one.

    Returns:
        low and high, shares of the test images; zero and one when the validation images are too few for a threshold.
    """
    rank = conformal_rank(validation_images, coverage)
    if rank > validation_images or test_images == 0:
        return 0.0, 1.0
    # Summed here: the quantiles of scipy search number by number.
    chances = betabinom(test_images, rank, validation_images + 1 - rank).pmf(np.arange(test_images + 1))
    low, high = np.searchsorted(np.cumsum(chances), [0.5 - CONFIDENCE / 2, 0.5 + CONFIDENCE / 2])
    return float(low / test_images), float(min(high, test_images) / test_images)


def share(successes: int, trials: int) -> dict[str, Any]:
    """A proportion with Wilson's interval, as plain values; the value is None when there was nothing to count."""
    low, high = wilson(successes, trials)
    estimate = Estimate(successes / trials if trials else math.nan, float(low), float(high), WILSON)
    return {
        "value": estimate.value if trials else None, "low": estimate.low, "high": estimate.high,
        "method": estimate.method, "count": successes, "images": trials,
    }  # fmt: skip


def measure_sets(sets: PredictionSets, *, probabilities: npt.ArrayLike, labels: npt.ArrayLike) -> dict[str, Any]:
    """How the sets of labelled images did, as plain values.

    Args:
        sets: fitted on other images.
        probabilities: calibrated, (N, K).
        labels: (N,), class indices.

    Returns:
        `promised`; `coverage` (Wilson); `mean_size`, `median_size`; `sizes`, how many sets have each size;
        `singletons` and their accuracy; `per_class` and `by_size`: coverage, and mean size, of parts of the images.
    """
    values, truth = np.asarray(probabilities, dtype=np.float64), np.asarray(labels, dtype=np.int64)
    inside = sets.sets(values)
    sizes = inside.sum(axis=1)
    covered = inside[np.arange(len(values)), truth]

    def part(chosen: npt.NDArray[np.bool_]) -> dict[str, Any]:
        return {
            "images": int(chosen.sum()),
            "coverage": share(int(covered[chosen].sum()), int(chosen.sum())),
            "mean_size": float(sizes[chosen].mean()) if chosen.any() else None,
        }

    groups = [(low, high, (sizes >= low) & (sizes <= high)) for low, high in _SIZE_GROUPS]
    single = sizes == 1
    counts = np.bincount(sizes, minlength=2)
    return {
        "promised": sets.coverage,
        **part(np.ones(len(values), dtype=bool)),
        "median_size": float(np.median(sizes)) if len(sizes) else None,
        "sizes": [[int(size), int(counts[size])] for size in np.flatnonzero(counts)],
        "singletons": share(int(single.sum()), len(values)),
        "singleton_accuracy": share(int(covered[single].sum()), int(single.sum())),
        "per_class": [part(truth == index) for index in range(values.shape[1])],
        "by_size": [
            {"from": low, "to": min(high, values.shape[1]), **part(chosen)} for low, high, chosen in groups
            if chosen.any()
        ],
    }  # fmt: skip
