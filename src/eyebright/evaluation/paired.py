"""Whether one classifier is better than another on the same images: tests and intervals for paired results.

Two classifiers that were shown the same images are compared image by image. Images that both name right or both name
wrong say nothing about the difference, so the tests look at the others alone; that makes them far sharper than two
separate intervals laid side by side.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from scipy.stats import binom, norm

from eyebright.evaluation.estimate import BOOTSTRAP, Estimate
from eyebright.evaluation.intervals import (
    CONFIDENCE,
    RESAMPLES,
    Floats,
    Integers,
    percentile_limits,
    resampled_means,
    wilson,
)

NEWCOMBE = "Newcombe, paired"
PAIRED_BOOTSTRAP = f"paired {BOOTSTRAP}"
POWER = 0.8
SIGNIFICANCE = 0.05

Booleans = npt.NDArray[np.bool_]


def mcnemar(right_a: npt.ArrayLike, right_b: npt.ArrayLike) -> float:
    """Two-sided mid-p value of McNemar's test that two classifiers are right equally often.

    Of the images that only one of the two names right, each is as likely to be the one's as the other's when they are
    equally good. The exact test on that count hardly ever reaches its 5 %; the mid-p form (half the probability of
    what was seen is counted) stays at or below 5 % in all but a few corners and comes close to it: M. W. Fagerland,
    S. Lydersen, P. Laake, "The McNemar test for binary matched-pairs data", BMC Medical Research Methodology 13:91
    (2013).

    Args:
        right_a, right_b: boolean (N,), whether each classifier named each image right.

    Returns:
        a number in [0, 1]; 1 when the two are right equally often.
    """
    first, second = _pair(right_a, right_b)
    return mcnemar_of_counts(int((first & ~second).sum()), int((second & ~first).sum()))


def mcnemar_of_counts(only_first: int, only_second: int) -> float:
    """The same from the two counts of images that only one of the two names right."""
    fewer, apart = min(only_first, only_second), only_first + only_second
    below, at = binom.cdf(fewer - 1, apart, 0.5), binom.pmf(fewer, apart, 0.5)
    return float(min(1.0, 2 * below + at))


def holm(p_values: Sequence[float]) -> list[float]:
    """P values adjusted for being several, in the order given: S. Holm, Scandinavian Journal of Statistics 6 (1979).

    Calling every pair with an adjusted value of at most 5 % different makes a false call in at most 5 % of
    comparisons, whichever of the pairs really differ.
    """
    adjusted, largest = [0.0] * len(p_values), 0.0
    for rank, index in enumerate(sorted(range(len(p_values)), key=lambda index: p_values[index])):
        largest = max(largest, min(1.0, (len(p_values) - rank) * p_values[index]))
        adjusted[index] = largest
    return adjusted


def paired_difference(right_a: npt.ArrayLike, right_b: npt.ArrayLike) -> Estimate:
    """Accuracy of the first classifier less that of the second on the same images, with a 95 % interval.

    The interval is Newcombe's for paired proportions (R. G. Newcombe, Statistics in Medicine 17 (1998), method 10): it
    joins the two Wilson intervals of the accuracies and takes their correlation into account. A bootstrap would say
    that two classifiers without a disagreement differ by exactly zero, and is too narrow with few disagreements;
    this one is not, and needs no random numbers.

    Args:
        right_a, right_b: boolean (N,), N at least 1.

    Returns:
        the difference in [-1, 1].
    """
    first, second = _pair(right_a, right_b)
    both, neither = int((first & second).sum()), int((~first & ~second).sum())
    only_first, only_second = int((first & ~second).sum()), int((second & ~first).sum())
    total = len(first)
    hits = np.array([both + only_first, both + only_second])
    lows, highs = wilson(hits, np.array([total, total]))
    share_a, share_b = hits / total
    correlation = _phi(both, neither, only_first, only_second)

    def reach(from_a: float, from_b: float) -> float:
        return float(np.sqrt(max(0.0, from_a**2 - 2 * correlation * from_a * from_b + from_b**2)))

    value = float(share_a - share_b)
    below = reach(share_a - lows[0], highs[1] - share_b)
    above = reach(highs[0] - share_a, share_b - lows[1])
    return Estimate(value, max(-1.0, value - below), min(1.0, value + above), NEWCOMBE)


def _phi(both: int, neither: int, only_first: int, only_second: int) -> float:
    """Newcombe's correlation of the two columns: phi with a correction of half the total when it is positive."""
    margins = (both + only_first) * (only_second + neither) * (both + only_second) * (only_first + neither)
    if margins == 0:
        return 0.0
    total = both + neither + only_first + only_second
    cross = float(both * neither - only_first * only_second)
    if cross > 0:
        cross = max(cross - total / 2, 0.0)
    return cross / math.sqrt(margins)


def paired_mean_differences(
    values: Floats, pairs: Sequence[tuple[int, int]], strata: Integers, *, seed: int = 0
) -> list[Estimate]:
    """Differences of means with 95 % intervals by the paired stratified bootstrap: the same images for all in a draw.

    Args:
        values: (N, M), such as the log-loss of N images under M classifiers.
        pairs: columns (first, second); each difference is the first's mean less the second's.
        strata: (N,), the true class of each image; images are drawn within each class.
    """
    means, resampled = values.mean(axis=0), resampled_means(values, strata, seed=seed)
    stretch = _stretch(len(strata), len(np.unique(strata)))
    found = []
    for one, other in pairs:
        value = float(means[one] - means[other])
        limits = percentile_limits(resampled[:, one] - resampled[:, other], value, centred=True, stretch=stretch)
        found.append(Estimate(value, *limits, PAIRED_BOOTSTRAP))
    return found


def macro_f1_difference(
    truth: Integers, predicted_a: Integers, predicted_b: Integers, classes: int, *, seed: int = 0
) -> Estimate:
    """Macro F1 of the first classifier less that of the second, with a 95 % interval by the paired bootstrap.

    Images are drawn within each true class. Drawing n images is drawing the counts of what the two classifiers
    answered together from a multinomial, so no image is touched.

    Args:
        truth, predicted_a, predicted_b: class indices (N,).
        classes: their number K.
    """
    generator = np.random.default_rng(seed)
    support = np.bincount(truth, minlength=classes)
    # Row 0 is the data itself, the others are resamples: (1 + R, K) right answers and answers of each class.
    shape = (RESAMPLES + 1, classes)
    hits = [np.zeros(shape), np.zeros(shape)]
    answers = [np.zeros(shape), np.zeros(shape)]
    for index in np.flatnonzero(support):
        together = predicted_a[truth == index] * classes + predicted_b[truth == index]
        pairs, counts = np.unique(together, return_counts=True)
        drawn = generator.multinomial(support[index], counts / support[index], size=RESAMPLES)
        drawn = np.concatenate([counts[None], drawn])
        for side, answered in enumerate((pairs // classes, pairs % classes)):
            hits[side][:, index] = drawn[:, answered == index].sum(axis=1)
            for name in np.unique(answered):
                answers[side][:, name] += drawn[:, answered == name].sum(axis=1)
    scores = [_macro_f1(right, given, support) for right, given in zip(hits, answers, strict=True)]
    differences = scores[0] - scores[1]
    value = float(differences[0])
    stretch = _stretch(len(truth), int((support > 0).sum()))
    limits = percentile_limits(differences[1:], value, centred=True, stretch=stretch)
    return Estimate(value, *limits, PAIRED_BOOTSTRAP)


def _macro_f1(hits: Floats, answers: Floats, support: Integers) -> Floats:
    """(R, K) right answers and answers of each class to (R,), over the classes that occur in the data (row 0)."""
    present = (support + answers[0]) > 0
    f1 = np.divide(2 * hits, answers + support, out=np.zeros_like(hits), where=(answers + support) > 0)
    return np.asarray(f1[:, present].mean(axis=1), dtype=np.float64)


def _stretch(images: int, strata: int) -> float:
    """What makes up for the class means that resampling within classes takes as known (see `percentile_limits`)."""
    return float(np.sqrt(images / max(1, images - strata)))


def images_to_tell_apart(difference: float, disagreement: float) -> int:
    """How many images a paired test needs to find a difference in accuracy in four of five attempts.

    R. J. Connor, "Sample size for testing differences in proportions for the paired-sample design", Biometrics 43
    (1987).

    Args:
        difference: in accuracy, above 0 and at most 1.
        disagreement: share of images that only one of the two names right; raised to the difference if smaller.
    """
    share = max(disagreement, difference)
    at_level, at_power = float(norm.ppf(0.5 + CONFIDENCE / 2)), float(norm.ppf(POWER))
    spread = at_level * np.sqrt(share) + at_power * np.sqrt(max(0.0, share - difference**2))
    return int(np.ceil((spread / difference) ** 2))


def _pair(right_a: npt.ArrayLike, right_b: npt.ArrayLike) -> tuple[Booleans, Booleans]:
    first, second = np.asarray(right_a, dtype=np.bool_), np.asarray(right_b, dtype=np.bool_)
    assert first.shape == second.shape, "paired results have one value an image each"
    assert first.ndim == 1, "paired results have one value an image each"
    assert len(first) > 0, "paired results need an image"
    return first, second
