"""How good the probabilities are: log-loss, Brier score and calibration error, with their intervals."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from eyebright.evaluation.calibrate import ECE_BINS, equal_mass_bins, image_losses
from eyebright.evaluation.estimate import HALL, INVERSION, Estimate
from eyebright.evaluation.intervals import CONFIDENCE, Floats, mean_limits

DRAWS = 500
"""Random errors drawn for the calibration error, each with both signs."""
_HALVINGS = 14
_LARGEST_LOSS = float(-np.log(np.finfo(np.float64).eps))  # scikit-learn's floor for probabilities


def probability_scores(
    probabilities: npt.ArrayLike, labels: npt.ArrayLike, predicted: npt.ArrayLike | None = None, *, seed: int = 0
) -> dict[str, Estimate]:
    """`log_loss`, `brier` and `ece` with their intervals.

    Args:
        probabilities: (N, K), each row summing to one.
        labels: class indices (N,).
        predicted: class indices (N,); the most probable class unless given.
        seed: of the random errors that the interval of `ece` is found with.
    """
    values, truth = np.asarray(probabilities, dtype=np.float64), np.asarray(labels, dtype=np.int64)
    said = values.argmax(axis=1) if predicted is None else np.asarray(predicted, dtype=np.int64)
    losses, briers = image_losses(values, truth)
    worst = 1.0 if values.shape[1] == 2 else 2.0
    confidence = values[np.arange(len(values)), said]
    return {
        "log_loss": Estimate(float(losses.mean()), *mean_limits(losses, lowest=0.0, highest=_LARGEST_LOSS), HALL),
        "brier": Estimate(float(briers.mean()), *mean_limits(briers, lowest=0.0, highest=worst), HALL),
        "ece": calibration_error(confidence, said == truth, seed=seed),
    }


def calibration_error(confidence: Floats, right: npt.NDArray[np.bool_], *, seed: int = 0) -> Estimate:
    """Expected calibration error over equal-mass bins, with an interval for what it would be with endless images.

    With few images the error is far above that even when every probability is right, because an accuracy of ten
    images is seldom what it should be. So the interval is found by asking, for each true error, how likely the measured
    one is: it holds the true errors under which the measured one is neither among the highest nor among the lowest
    2.5 % (J. Neyman, 1937). The accuracy of each bin then errs as a normal with its own variance, and the true error is
    taken to lie where it is hardest to see, in proportion to those standard errors. The interval is widened to hold the
    measured value, which can lie above it: then the value is no more than chance and few images would give.

    Args:
        confidence: probability of the predicted class (N,).
        right: whether it was right, bool (N,).
        seed: of the random errors.
    """
    bins = equal_mass_bins(confidence, ECE_BINS)
    counts = np.bincount(bins).astype(np.float64)
    shares, gaps = counts / len(confidence), np.bincount(bins, weights=confidence - right) / counts
    value = float(shares @ np.abs(gaps))

    # One made-up image a bin, right as often as its confidence says; bins of few images vary more than they show.
    accuracy = (np.bincount(bins, weights=right) + np.bincount(bins, weights=confidence) / counts) / (counts + 1)
    variances = accuracy * (1 - accuracy) / counts / (1 - counts / np.square(counts + 1))
    errors = np.sqrt(np.maximum(variances, np.finfo(np.float64).tiny))
    # The images of another test set also fall otherwise on confidences that are off by more or by less.
    off = float(shares @ (np.square(gaps) - variances)) - max(0.0, value**2 - float(np.square(shares * errors).sum()))
    composition = np.sqrt(max(0.0, off) / len(confidence))

    draws: Floats = np.random.default_rng(seed).normal(size=(DRAWS, len(counts) + 1))
    draws = np.concatenate([draws, -draws])
    noise, common = draws[:, :-1] * (shares * errors), draws[:, -1] * composition
    direction = np.where(gaps < 0, -1.0, 1.0) * shares * errors
    direction /= np.abs(direction).sum()

    def true_error(share: float) -> float:
        """The true error under which this share of measured ones lies below the value."""
        low, high = 0.0, 1.0
        for _ in range(_HALVINGS):
            middle = (low + high) / 2
            measured = np.abs(noise + direction * middle).sum(axis=1) + common
            low, high = (low, middle) if np.quantile(measured, share) >= value else (middle, high)
        return 0.0 if low == 0.0 else (low + high) / 2

    tail = (1 - CONFIDENCE) / 2
    return Estimate(value, min(value, true_error(1 - tail)), max(value, true_error(tail)), INVERSION)
