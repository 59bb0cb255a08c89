"""Whether the classifier's confidence can be taken at its word, and the one number that mends most of it."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import numpy.typing as npt
from scipy.optimize import minimize_scalar
from scipy.special import logsumexp

from eyebright.errors import DataError
from eyebright.evaluation.intervals import Floats, Integers, wilson

TEMPERATURE_LIMITS = (0.05, 20.0)
ECE_BINS = 15


@dataclasses.dataclass(frozen=True)
class ReliabilityBin:
    """Images of similar confidence.

    Attributes:
        confidence: their mean confidence.
        accuracy: the share that is right, with its Wilson limits `low` and `high`.
        count: how many they are.
    """

    confidence: float
    accuracy: float
    low: float
    high: float
    count: int


def fit_temperature(logits: npt.ArrayLike, labels: npt.ArrayLike) -> float:
    """The temperature that makes the labels most likely (Guo et al., On Calibration of Modern Neural Networks, 2017).

    Fit it on validation images, never on test images. It changes no prediction, only the confidence.
    When not one of N images is wrong, the likelihood grows without end as the temperature falls. The labels are then
    taken with the doubt that N right answers leave, 1 / (N + 2) for the other classes together (the rule of
    succession, as Platt 1999 smooths his targets), so that the confidence ends near 1 - 1 / (N + 2).

    Args:
        logits: (N, K), finite.
        labels: (N,), class indices.

    Returns:
        the temperature, within TEMPERATURE_LIMITS.

    Raises:
        DataError: there is no image, or shapes or values do not fit.
    """
    values = np.asarray(logits, dtype=np.float64)
    truth = np.asarray(labels, dtype=np.int64)
    if values.ndim != 2 or len(values) == 0 or truth.shape != (len(values),) or not np.isfinite(values).all():
        raise DataError(
            f"a temperature cannot be fitted to logits of shape {values.shape} and labels of shape {truth.shape}",
            expected="at least one validation image, finite logits (N, K) and labels (N,)",
        )
    true_logits = values[np.arange(len(values)), truth]

    if bool((values.argmax(axis=1) == truth).all()) and values.shape[1] > 1:
        doubt = 1 / (len(values) + 2)
        others = (values.sum(axis=1) - true_logits) / (values.shape[1] - 1)
        true_logits = (1 - doubt) * true_logits + doubt * others

    def negative_log_likelihood(log_temperature: float) -> float:
        scale = math.exp(-log_temperature)
        return float(np.mean(logsumexp(values * scale, axis=1) - true_logits * scale))

    low, high = (math.log(limit) for limit in TEMPERATURE_LIMITS)
    found = minimize_scalar(negative_log_likelihood, bounds=(low, high), method="bounded", options={"xatol": 1e-6})
    # The bounded search never evaluates the ends themselves.
    best = min((low, float(found.x), high), key=negative_log_likelihood)
    return math.exp(best)


def equal_mass_bins(confidence: Floats, bins: int) -> Integers:
    """The bin of each confidence, int64 (N,), in at most `bins` bins of about equal counts.

    Equal confidences share a bin, so that the result does not depend on the order of the rows.
    """
    edges = np.unique(np.quantile(confidence, np.arange(1, bins) / bins))
    _, index = np.unique(np.searchsorted(edges, confidence, side="left"), return_inverse=True)
    return index.astype(np.int64)


def expected_calibration_error(confidence: Floats, correct: npt.NDArray[np.bool_], bins: int = ECE_BINS) -> float:
    """Mean distance between confidence and accuracy over equal-mass bins, in [0, 1]."""
    gaps = np.bincount(equal_mass_bins(confidence, bins), weights=confidence - correct)
    return float(np.abs(gaps).sum() / len(confidence))


def reliability(probabilities: npt.ArrayLike, labels: npt.ArrayLike, bins: int = 10) -> list[ReliabilityBin]:
    """Confidence against accuracy in bins of about equal counts, from least to most confident.

    Args:
        probabilities: (N, K).
        labels: (N,), class indices.
        bins: at most so many; fewer when there are few images or many ties.
    """
    values = np.asarray(probabilities, dtype=np.float64)
    confidence = values.max(axis=1)
    correct = values.argmax(axis=1) == np.asarray(labels)
    index = equal_mass_bins(confidence, bins)
    counts = np.bincount(index)
    right = np.bincount(index, weights=correct)
    lows, highs = wilson(right, counts)
    means = np.bincount(index, weights=confidence) / counts
    rows = zip(means, right / counts, lows, highs, counts, strict=True)
    return [ReliabilityBin(float(c), float(a), float(lo), float(hi), int(n)) for c, a, lo, hi, n in rows]
