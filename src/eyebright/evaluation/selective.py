"""When to answer: how the error falls as fewer images are answered, and the confidence that keeps to a wanted error."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.stats import beta

from eyebright.decisions.selection import Selection
from eyebright.evaluation.conformal import share
from eyebright.evaluation.estimate import Estimate
from eyebright.evaluation.intervals import Floats, percentile_limits

DELTA = 0.1
"""A threshold keeps to the wanted error with a confidence of one less this."""
CURVE_POINTS = 100
OTHER_RATES = (0.01, 0.02, 0.05, 0.1, 0.15, 0.2, 0.3)
_RESAMPLES = 200

Booleans = npt.NDArray[np.bool_]


def risk_coverage(confidence: Floats, correct: Booleans) -> tuple[Floats, Floats, Floats]:
    """The risk-coverage curve (El-Yaniv and Wiener 2010; Geifman and El-Yaniv 2017, arXiv 1705.08500).

    Args:
        confidence: (N,).
        correct: (N,).

    Returns:
        thresholds, falling; the share of images at least as confident; the share of those that are wrong: one of each
        for every different confidence.
    """
    order = np.argsort(-confidence, kind="stable")
    ranked = confidence[order]
    ends = np.flatnonzero(np.append(ranked[1:] != ranked[:-1], True)) if len(ranked) else np.zeros(0, dtype=np.int64)
    answered = ends + 1
    wrong = np.cumsum(~correct[order])[ends]
    return ranked[ends], answered / max(1, len(ranked)), wrong / np.maximum(answered, 1)


def area_under_risk_coverage(confidence: Floats, correct: Booleans) -> float:
    """Mean risk over all numbers of answered images (AURC; Ding et al. 2020, arXiv 1903.02050); the lower, the better.

    Images of equal confidence are taken in the mean of all their orders.
    """
    if len(confidence) == 0:
        return math.nan
    _, groups, sizes = np.unique(-confidence, return_inverse=True, return_counts=True)
    wrong = np.bincount(groups, weights=~correct)
    # Within a group of equals, every image brings the group's mean error.
    steps = np.repeat(wrong / sizes, sizes)
    return float(np.mean(np.cumsum(steps) / np.arange(1, len(confidence) + 1)))


def error_bound(errors: int, images: int, delta: float) -> float:
    """The Clopper-Pearson upper limit of an error rate: with a confidence of 1 - delta it is not higher."""
    return 1.0 if errors >= images else float(beta.ppf(1 - delta, errors + 1, images - errors))


def least_images(error_rate: float, images: int, *, delta: float = DELTA) -> int:
    """How many answers, all of them right, it takes to show an error rate in a search among so many images."""
    # Without an error the limit is 1 - d ** (1 / n).
    return max(1, math.ceil(math.log(delta / max(1, images.bit_length())) / math.log1p(-error_rate) - 1e-9))


def least_confidence(confidence: Floats, correct: Booleans, error_rate: float, *, delta: float = DELTA) -> float | None:
    """The least confidence whose answers keep to an error rate, with a confidence of 1 - delta.

    Selection with guaranteed risk (Geifman and El-Yaniv, Selective classification for deep neural networks, 2017,
    arXiv 1705.08500): a binary search over the thresholds, at each of which the Clopper-Pearson limit at delta divided
    by the number of steps must not be above the rate, so that looking at several thresholds is paid for. Thresholds
    that answer so few images that not even all right answers would do are left out beforehand.

    Args:
        confidence: of validation images, (N,).
        correct: whether they were right, (N,).
        error_rate: wanted share of errors among answers.
        delta: share of draws of the validation images for which the promise may fail.

    Returns:
        the confidence, one of those given; None when no threshold that was looked at keeps to the rate.
    """
    count = len(confidence)
    if count == 0:
        return None
    order = np.argsort(-confidence, kind="stable")
    ranked, wrong = confidence[order], np.cumsum(~correct[order])
    low, high, found = least_images(error_rate, count, delta=delta), count, None
    steps = max(1, (high - low + 1).bit_length())
    while low <= high:
        middle = (low + high + 1) // 2
        threshold = ranked[middle - 1]
        answered = int(np.searchsorted(-ranked, -threshold, side="right"))  # equals are answered too
        if error_bound(int(wrong[answered - 1]), answered, delta / steps) <= error_rate:
            found, low = float(threshold), answered + 1
        else:
            high = middle - 1
    return found


def what_could_be_promised(probabilities: npt.ArrayLike, labels: npt.ArrayLike) -> list[dict[str, Any]]:
    """What answering would be like at other error rates, as plain values: the threshold, if there is one, and the share
    of the validation images that it answers.

    Args:
        probabilities: calibrated, (N, K), of validation images.
        labels: (N,), class indices.
    """
    values, truth = np.asarray(probabilities, dtype=np.float64), np.asarray(labels, dtype=np.int64)
    confidence, correct = values.max(axis=1), values.argmax(axis=1) == truth
    found = []
    for rate in OTHER_RATES:
        threshold = least_confidence(confidence, correct, rate)
        answered = 0 if threshold is None else int((confidence >= threshold).sum())
        found.append({"error_rate": rate, "threshold": threshold, "answered": share(answered, len(truth))})
    return found


def superclass_probability(probabilities: Floats, siblings: Booleans) -> Floats:
    """Probability of all classes of the predicted class's superclass together, (N,)."""
    return np.asarray((probabilities * siblings[probabilities.argmax(axis=1)]).sum(axis=1))


def fit_selection(
    probabilities: npt.ArrayLike, labels: npt.ArrayLike, *,
    error_rate: float, per_class: bool = False, siblings: Booleans | None = None, delta: float = DELTA,
) -> Selection:  # fmt: skip
    """The least confidences at which an answer is given, so that answers keep to an error rate.

    Every threshold is that of `least_confidence` and keeps its own promise, with a confidence of 1 - delta each: the
    global one among all images; that of a class among the images predicted as that class; that of the superclass
    among the images whose class is not sure enough. A class that is predicted for too few images to show the rate even
    without an error takes the global threshold; one that has enough but makes too many errors is never answered.

    Args:
        probabilities: calibrated, (N, K), of validation images.
        labels: (N,), class indices.
        error_rate: wanted share of errors among answers.
        per_class: whether each predicted class has its own threshold.
        siblings: bool (K, K), which classes share the superclass of each class; None without superclasses.
        delta: see `least_confidence`.
    """
    values, truth = np.asarray(probabilities, dtype=np.float64), np.asarray(labels, dtype=np.int64)
    confidence, best = values.max(axis=1), values.argmax(axis=1)
    correct = best == truth
    threshold = least_confidence(confidence, correct, error_rate, delta=delta)
    thresholds: tuple[float | None, ...] = ()
    if per_class:
        thresholds = tuple(
            least_confidence(confidence[own], correct[own], error_rate, delta=delta)
            if own.sum() >= least_images(error_rate, int(own.sum()), delta=delta)
            else threshold
            for own in (best == index for index in range(values.shape[1]))
        )
    selection = Selection(error_rate=error_rate, threshold=threshold, class_thresholds=thresholds)
    if siblings is None:
        return selection
    unsure = ~selection.sure(values)
    above = least_confidence(
        superclass_probability(values, siblings)[unsure], siblings[best, truth][unsure], error_rate, delta=delta
    )
    return dataclasses.replace(selection, superclass_threshold=above)


def measure_selection(
    selection: Selection, *, probabilities: npt.ArrayLike, labels: npt.ArrayLike, siblings: Booleans | None = None
) -> dict[str, Any]:
    """How answering and abstaining went on labelled images, as plain values.

    Args:
        selection: fitted on other images.
        probabilities: calibrated, (N, K).
        labels: (N,), class indices.
        siblings: as for `fit_selection`.

    Returns:
        `answered`, `abstained` (shares of all images) and `error` (among answers) with Wilson's intervals, and
        `error_of_all`; with superclasses `superclass_answered` and `superclass_error`, of the images whose class was
        not sure; `curve`: threshold, share answered and error, at most CURVE_POINTS of each; `aurc` with its interval,
        and `aurc_perfect`, that of the same errors in the best order; `per_class`: of the images predicted as a class.
    """
    values, truth = np.asarray(probabilities, dtype=np.float64), np.asarray(labels, dtype=np.int64)
    confidence, best = values.max(axis=1), values.argmax(axis=1)
    correct, sure = best == truth, selection.sure(values)
    left = ~sure
    found: dict[str, Any] = {
        "error_rate": selection.error_rate,
        "threshold": selection.threshold,
        "answered": share(int(sure.sum()), len(truth)),
        "error": share(int((sure & ~correct).sum()), int(sure.sum())),
        "error_of_all": share(int((~correct).sum()), len(truth)),
    }
    if siblings is not None:
        named = left & selection.sure_of_superclass(superclass_probability(values, siblings))
        wrong = named & ~siblings[best, truth]
        found["superclass_threshold"] = selection.superclass_threshold
        found["superclass_answered"] = share(int(named.sum()), len(truth))
        found["superclass_error"] = share(int(wrong.sum()), int(named.sum()))
        left = left & ~named
    found["abstained"] = share(int(left.sum()), len(truth))
    found["curve"] = _curve(confidence, correct)
    found["aurc"] = _area(confidence, correct)
    found["aurc_perfect"] = area_under_risk_coverage(correct.astype(np.float64), correct)
    found["per_class"] = [
        {
            "threshold": (selection.class_thresholds or (selection.threshold,) * values.shape[1])[index],
            "answered": share(int((own & sure).sum()), int(own.sum())),
            "error": share(int((own & sure & ~correct).sum()), int((own & sure).sum())),
        }
        for index, own in enumerate(best == index for index in range(values.shape[1]))
    ]
    return found


def _curve(confidence: Floats, correct: Booleans) -> dict[str, list[float]]:
    thresholds, answered, risk = risk_coverage(confidence, correct)
    kept = np.unique(np.linspace(0, len(thresholds) - 1, min(CURVE_POINTS, len(thresholds))).astype(np.int64))
    return {
        "thresholds": thresholds[kept].tolist(), "answered": answered[kept].tolist(), "error": risk[kept].tolist()
    }  # fmt: skip


def _area(confidence: Floats, correct: Booleans) -> dict[str, Any]:
    area = area_under_risk_coverage(confidence, correct)
    generator = np.random.default_rng(0)
    resampled = [
        area_under_risk_coverage(confidence[drawn], correct[drawn])
        for drawn in (generator.integers(0, len(correct), size=len(correct)) for _ in range(_RESAMPLES))
    ]
    low, high = percentile_limits(np.asarray(resampled), area)
    return dataclasses.asdict(Estimate(area, max(0.0, low), high, "bootstrap"))
