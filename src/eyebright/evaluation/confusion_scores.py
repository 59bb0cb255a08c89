"""All numbers that follow from the confusion matrix alone, with their intervals."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from eyebright.evaluation import agreement
from eyebright.evaluation.averages import Averages, divide
from eyebright.evaluation.estimate import DELTA, SCORE, WILSON, Estimate
from eyebright.evaluation.intervals import Floats, Integers, effective_wilson, mean_of_proportions, wilson


def proportion(successes: int, trials: int) -> Estimate:
    """A share with Wilson's interval; 0 (from 0 to 1) of nothing."""
    low, high = wilson(successes, trials)
    return Estimate(successes / trials if trials else 0.0, float(low), float(high), WILSON)


def confusion_scores(confusion: Integers) -> dict[str, Estimate]:
    """Accuracy, averages over classes, kappa and MCC of a confusion matrix (K, K) with at least one image.

    Means of the recalls or precisions of classes get score limits (`mean_of_proportions`). The other averages get their
    variance by the delta method and their limits from Wilson's interval of a share as variable (`effective_wilson`),
    less their bias (`Averages.biases`). The variance is measured on counts with one more image a class (`smoothed`), so
    that a class of which no image was wrong is not taken to be free of errors.

    A bootstrap within classes was tried first and held the truth in 58 to 96 of 100 test sets: it takes the number of
    images of each class as known, knows no error that did not happen, and is as biased as what it resamples.

    Returns:
        Estimates by name; `kappa` and `mcc` are absent when all labels are of one class.
    """
    counts = confusion.astype(np.float64)
    support, predicted = counts.sum(axis=1), counts.sum(axis=0)
    labelled, present = support > 0, support + predicted > 0
    raw = Averages(counts, present)
    values, biases = {**raw.values(), **agreement.agreement(counts)}, raw.biases()

    regular = smoothed(counts)
    smooth = Averages(regular, present)
    pivots, influences = smooth.values(), smooth.influences()
    lowest = dict.fromkeys(values, 0.0)
    if "kappa" in values:
        pivots |= agreement.agreement(regular)
        influences |= agreement.influences(regular)
        lowest |= agreement.lowest(regular)

    found = {"accuracy": proportion(int(np.trace(confusion)), int(confusion.sum()))}
    for name, value in values.items():
        variance = float((regular * np.square(influences[name])).sum()) / regular.sum() ** 2
        centre = value - biases.get(name, 0.0)
        limits = effective_wilson(centre, variance, value, pivot=pivots[name], low=min(lowest[name], value))
        found[name] = Estimate(value, *limits, DELTA)
    hits = np.diag(counts)
    found["balanced_accuracy"] = _mean(hits, support, labelled)
    found["macro_recall"] = _mean(hits, support, present)
    found["macro_precision"] = _mean(hits, predicted, present)
    return {**found, "weighted_recall": found["accuracy"]}


def _mean(hits: Floats, among: Floats, classes: npt.NDArray[np.bool_]) -> Estimate:
    """Mean of shares over the classes; 0 for a class without any image to take a share of."""
    known = classes & (among > 0)
    scale = float(known.sum() / classes.sum())
    low, high = mean_of_proportions(hits[known], among[known])
    return Estimate(float(divide(hits, among)[classes].mean()), scale * low, scale * high, SCORE)


def class_scores(confusion: Integers) -> list[dict[str, Estimate]]:
    """Precision, recall and F1 of each class.

    F1 = 2 J / (1 + J) rises with the share J of right ones among the images that are of the class or predicted as it,
    so its limits are Wilson's limits of J, carried over.
    """
    hits, support, predicted = np.diag(confusion), confusion.sum(axis=1), confusion.sum(axis=0)
    parts = {"precision": (hits, predicted), "recall": (hits, support), "f1": (hits, support + predicted - hits)}
    found: list[dict[str, Estimate]] = [{} for _ in hits]
    for name, (right, among) in parts.items():
        columns = [divide(right, among), *wilson(right, among)]
        if name == "f1":
            columns = [2 * share / (1 + share) for share in columns]
        for scores, (value, low, high) in zip(found, np.column_stack(columns).tolist(), strict=True):
            scores[name] = Estimate(value, low, high, WILSON)
    return found


def smoothed(confusion: Floats) -> Floats:
    """The counts as if each class that has images had one more, right as often as an image of any class is.

    Rows keep their sums. What that image is wrong about falls on the other classes alike.
    """
    classes, support = len(confusion), confusion.sum(axis=1, keepdims=True)
    right = (np.trace(confusion) + 1) / (confusion.sum() + 2)
    other = (1 - right) / max(1, classes - 1)
    one = np.full((classes, classes), other) + np.eye(classes) * (right - other)
    return np.asarray((confusion + one * (support > 0)) * divide(support, support + 1))
