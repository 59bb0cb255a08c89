"""Which calibration to keep: those that can be had, compared by cross-validation within the validation images."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from eyebright.decisions.calibration import METHODS, Method
from eyebright.evaluation.calibrate import expected_calibration_error, fit_calibration, image_losses
from eyebright.evaluation.intervals import Floats, Integers

FOLDS = 5
LEAST_IMAGES = 50
BEYOND_CHANCE = 2.0
"""So many standard errors must another method be better than the temperature."""
_MOST_CELLS = 2_000_000
_RESAMPLES = 200


@dataclasses.dataclass(frozen=True, kw_only=True)
class MethodScores:
    """How one calibration did on images that it was not fitted to; the lower, the better, but for the accuracy.

    Attributes:
        accuracy: share of right predictions; only `vector` and `isotonic` can change it.
        log_loss, brier, ece: means over all images; `ece` over equal-mass bins of all folds together.
        log_loss_error, brier_error, ece_error: their standard errors; that of `ece` from a bootstrap.
        difference: log-loss less that of the temperature, paired by image.
        difference_error: its standard error.
    """

    accuracy: float
    log_loss: float
    log_loss_error: float
    brier: float
    brier_error: float
    ece: float
    ece_error: float
    difference: float
    difference_error: float


def compare_calibrations(logits: npt.ArrayLike, labels: npt.ArrayLike, *, seed: int = 0) -> dict[Method, MethodScores]:
    """Stratified five-fold cross-validation of every method within the validation images.

    Each method is fitted to four fifths and scored on the last, in turn. Of very many images and classes an even
    sample is taken.

    Args:
        logits: (N, K), finite.
        labels: (N,), class indices.
        seed: of the folds and of the bootstrap.

    Returns:
        the scores by method; nothing when there are fewer than LEAST_IMAGES images.
    """
    values, truth = np.asarray(logits, dtype=np.float64), np.asarray(labels, dtype=np.int64)
    generator = np.random.default_rng(seed)
    order = generator.permutation(len(values))[: max(LEAST_IMAGES, _MOST_CELLS // max(1, values.shape[1]))]
    values, truth = values[order], truth[order]
    if len(values) < LEAST_IMAGES:
        return {}
    # Dealt out class by class, so that each fold has its share of every class.
    fold = np.empty(len(truth), dtype=np.int64)
    fold[np.argsort(truth, kind="stable")] = np.arange(len(truth)) % FOLDS
    found = {method: np.empty_like(values) for method in METHODS}
    for turn in range(FOLDS):
        held = fold == turn
        for method, probabilities in found.items():
            fitted = fit_calibration(values[~held], truth[~held], method)  # type: ignore[arg-type]
            probabilities[held] = fitted.probabilities(values[held])
    reference = image_losses(found["temperature"], truth)[0]
    return {method: _scores(found[method], truth, reference, generator) for method in METHODS}  # type: ignore[misc]


def _scores(probabilities: Floats, truth: Integers, reference: Floats, generator: np.random.Generator) -> MethodScores:
    losses, briers = image_losses(probabilities, truth)
    confidence, correct = probabilities.max(axis=1), probabilities.argmax(axis=1) == truth
    resampled = []
    for _ in range(_RESAMPLES):
        drawn = generator.integers(0, len(truth), size=len(truth))
        resampled.append(expected_calibration_error(confidence[drawn], correct[drawn]))
    difference = losses - reference
    return MethodScores(
        accuracy=float(correct.mean()),
        log_loss=float(losses.mean()),
        log_loss_error=_standard_error(losses),
        brier=float(briers.mean()),
        brier_error=_standard_error(briers),
        ece=expected_calibration_error(confidence, correct),
        ece_error=float(np.std(resampled)),
        difference=float(difference.mean()),
        difference_error=_standard_error(difference),
    )


def _standard_error(values: Floats) -> float:
    return float(values.std(ddof=1) / np.sqrt(len(values)))


def choose_calibration(compared: Mapping[Method, MethodScores]) -> tuple[Method, str]:
    """The method to keep and why, as a sentence.

    The temperature unless another's log-loss is lower by more than BEYOND_CHANCE standard errors of the paired
    difference: it has one number to fit, cannot change a prediction, and cannot go far wrong on few images.
    """
    if not compared:
        return "temperature", f"Fewer than {LEAST_IMAGES} validation images are too few to compare calibrations on."
    better: dict[Method, MethodScores] = {
        method: scores
        for method, scores in compared.items()
        if scores.difference < -BEYOND_CHANCE * scores.difference_error
    }
    if not better:
        return "temperature", "No other calibration has a log-loss that is lower beyond chance."
    best = min(better, key=lambda method: better[method].log_loss)
    scores = better[best]
    return best, (
        f"The log-loss of {best} is lower than that of the temperature by {-scores.difference:.4f}, "
        f"{-scores.difference / max(scores.difference_error, 1e-12):.1f} standard errors."
    )
