"""Whether the classifier's confidence can be taken at its word, and what mends it."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import numpy.typing as npt
from scipy.optimize import minimize, minimize_scalar
from scipy.special import logsumexp

from eyebright.decisions.calibration import Calibration, Method, softmax
from eyebright.errors import DataError
from eyebright.evaluation.intervals import Floats, Integers, wilson

TEMPERATURE_LIMITS = (0.05, 20.0)
ECE_BINS = 15
MOST_KNOTS = 32
_LEAST_SCALE = 0.05
# Closer corners would turn the rounding of a float32 graph into another probability.
_KNOT_SPACING = 1e-3


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


def fit_calibration(logits: npt.ArrayLike, labels: npt.ArrayLike, method: Method) -> Calibration:
    """Fit one way from logits to probabilities to validation images.

    - `none` fits nothing.
    - `temperature` is `fit_temperature`; the others begin with it.
    - `vector` finds each class's scale and bias by maximum likelihood (Guo et al., On Calibration of Modern Neural
      Networks, 2017, arXiv 1706.04599), with one image's weight of doubt: standard normal priors around scale one and
      bias zero, so that classes without a validation image stay where they are and nothing grows without end. Scales
      stay above zero: no class's logit is turned upside down.
    - `isotonic` fits rising steps for each class against the rest (Zadrozny and Elkan, 2002) to the softmax after the
      temperature, between 1 / (n + 2) and 1 - 1 / (n + 2), and keeps the line through the middles of the steps, at most
      MOST_KNOTS corners each. A class without a validation image keeps its softmax.

    Args:
        logits: (N, K), finite.
        labels: (N,), class indices.
        method: which.

    Raises:
        DataError: there is no image, or shapes or values do not fit.
    """
    if method == "none":
        return Calibration(method="none")
    temperature = fit_temperature(logits, labels)
    values = np.asarray(logits, dtype=np.float64) / temperature
    truth = np.asarray(labels, dtype=np.int64)
    if method == "vector":
        scale, bias = _fit_vector(values, truth)
        return Calibration(method="vector", temperature=temperature, scale=scale, bias=bias)
    if method == "isotonic":
        return Calibration(method="isotonic", temperature=temperature, knots=_fit_isotonic(softmax(values), truth))
    return Calibration(temperature=temperature)


def _fit_vector(values: Floats, truth: Integers) -> tuple[tuple[float, ...], tuple[float, ...]]:
    count, classes = values.shape
    rows, doubt = np.arange(count), 1 / count

    def objective(parameters: Floats) -> tuple[float, Floats]:
        scale, bias = parameters[:classes], parameters[classes:]
        scaled = values * scale + bias
        total = logsumexp(scaled, axis=1)
        loss = np.mean(total - scaled[rows, truth]) + doubt / 2 * (np.square(scale - 1).sum() + np.square(bias).sum())
        residual = np.exp(scaled - total[:, None])
        residual[rows, truth] -= 1
        slopes = np.concatenate([(residual * values).mean(axis=0), residual.mean(axis=0)])
        return float(loss), slopes + doubt * np.concatenate([scale - 1, bias])

    start = np.concatenate([np.ones(classes), np.zeros(classes)])
    bounds = [(_LEAST_SCALE, None)] * classes + [(None, None)] * classes
    found = minimize(objective, start, jac=True, method="L-BFGS-B", bounds=bounds).x
    return tuple(map(float, found[:classes])), tuple(map(float, found[classes:]))


def _fit_isotonic(probabilities: Floats, truth: Integers) -> tuple[tuple[tuple[float, float], ...], ...]:
    from sklearn.isotonic import IsotonicRegression  # a second of import that `predict` does not pay

    count, classes = probabilities.shape
    floor = 1 / (count + 2)
    lines: list[tuple[tuple[float, float], ...]] = []
    for index in range(classes):
        own = truth == index
        if not own.any():
            lines.append(((0.0, floor), (1.0, 1 - floor)))
            continue
        own_probabilities = probabilities[:, index]
        regression = IsotonicRegression(y_min=floor, y_max=1 - floor, out_of_bounds="clip")
        fitted = regression.fit_transform(own_probabilities, own.astype(np.float64))
        lines.append(_line_through_steps(own_probabilities, np.asarray(fitted, dtype=np.float64)))
    return tuple(lines)


def _line_through_steps(x: Floats, y: Floats) -> tuple[tuple[float, float], ...]:
    """A line of at most MOST_KNOTS corners through the middles of the steps of a staircase.

    Regression gives steps: on one, all images would be equally probable, and at its edge the last digit would decide.
    """
    heights, step, counts = np.unique(np.round(y, 12), return_inverse=True, return_counts=True)
    middles = np.bincount(step, weights=x) / counts
    corners: list[tuple[float, float, int]] = []  # middle, height, images
    for middle, height, count in zip(middles, heights, counts, strict=True):
        if corners and middle - corners[-1][0] < _KNOT_SPACING:
            before, below, images = corners[-1]
            share = count / (images + count)
            corners[-1] = before + share * (middle - before), below + share * (height - below), images + count
        else:
            corners.append((middle, height, count))
    if len(corners) == 1:
        corners = [(0.0, corners[0][1], 0), (1.0, corners[0][1], 0)]
    across, up = np.array([corner[0] for corner in corners]), np.array([corner[1] for corner in corners])
    kept = [0, len(across) - 1]
    while len(kept) < min(MOST_KNOTS, len(across)):  # the corner that is farthest from the line joins it
        kept.sort()
        off = np.abs(np.interp(across, across[kept], up[kept]) - up)
        off[kept] = -1.0
        kept.append(int(off.argmax()))
    return tuple((float(across[index]), float(up[index])) for index in sorted(kept))


def image_losses(probabilities: Floats, labels: Integers) -> tuple[Floats, Floats]:
    """Log-loss in nats and Brier score of each image, float64 (N,) each; the Brier score is scikit-learn's.

    Args:
        probabilities: (N, K).
        labels: (N,), class indices.
    """
    rows, classes = np.arange(len(labels)), probabilities.shape[1]
    # Float32 can round a probability to zero; the floor is scikit-learn's.
    floor = np.finfo(np.float64).eps
    losses = -np.log(np.clip(probabilities[rows, labels], floor, 1 - floor))
    distances = probabilities.copy()
    distances[rows, labels] -= 1
    return losses, np.square(distances).sum(axis=1) / (2 if classes == 2 else 1)


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
