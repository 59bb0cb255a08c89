"""Images unlike the training images: scores fitted on features and logits, and how well they tell such images."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.stats import rankdata

from eyebright.decisions.outliers import Energy, FeatureDistance, Outliers, Score
from eyebright.evaluation.conformal import conformal_rank, share
from eyebright.evaluation.estimate import DELONG_NEWCOMBE, Estimate
from eyebright.evaluation.intervals import Floats
from eyebright.evaluation.newcombe import auroc_limits

MOST_DIRECTIONS = 256
_BINS = 24
_TAIL = 0.005


def threshold_at(scores: Floats, false_alarms: float) -> float:
    """The score that a new image like these exceeds at most so often: of the finite-sample rank, as in conformal sets.

    Args:
        scores: of validation images, (N,); the larger, the stranger.
        false_alarms: share of images that may be flagged.

    Returns:
        a score; infinite when there are too few images for the rate.
    """
    rank = conformal_rank(len(scores), 1 - false_alarms)
    return math.inf if rank > len(scores) else float(np.partition(scores, rank - 1)[rank - 1])


def fit_distance(
    features: npt.ArrayLike, labels: npt.ArrayLike, classes: int, *, most_directions: int = MOST_DIRECTIONS
) -> FeatureDistance:
    """Class means and one covariance of training features of length one, without a threshold (it is infinite).

    The covariance within classes is shrunk towards a multiple of the identity (Ledoit and Wolf, A well-conditioned
    estimator for large-dimensional covariance matrices, 2004), so that few images and many features do, and kept in its
    leading directions. It is never formed: a singular value decomposition of the images gives both.

    Args:
        features: (N, F), N at least one.
        labels: (N,), class indices.
        classes: K.
        most_directions: how many directions are kept at most.
    """
    from sklearn.covariance import ledoit_wolf_shrinkage  # a second of import that `predict` does not pay

    values, truth = np.asarray(features, dtype=np.float64), np.asarray(labels, dtype=np.int64)
    lengths = np.linalg.norm(values, axis=1, keepdims=True)
    values = values / np.where(lengths > 0, lengths, 1.0)
    centre = values.mean(axis=0)
    values = values - centre
    counts = np.bincount(truth, minlength=classes)
    sums = np.zeros((classes, values.shape[1]))
    np.add.at(sums, truth, values)
    means = sums / np.maximum(counts, 1)[:, None]
    # A class without an image gets the mean of one that has some, which changes no distance to the nearest.
    means[counts == 0] = means[int(counts.argmax())]
    residuals = values - means[truth]
    _, singular, directions = np.linalg.svd(residuals, full_matrices=False)
    variances = np.square(singular) / len(values)
    average = float(variances.sum()) / values.shape[1]
    shrinkage = float(ledoit_wolf_shrinkage(residuals, assume_centered=True)) if average > 0 else 1.0
    shrunk = (1 - shrinkage) * variances + shrinkage * average
    kept = min(most_directions, len(shrunk))
    # Constant features have no variance at all: any change of them is then far.
    basis = directions[:kept].T / np.sqrt(np.maximum(shrunk[:kept], 1e-8))
    return FeatureDistance(
        threshold=math.inf,
        centre=centre.astype(np.float32),
        basis=basis.astype(np.float32),
        class_means=(means @ basis).astype(np.float32),
    )


def fit_outliers(
    *, used: Score, false_alarms: float, val_logits: npt.ArrayLike, val_features: npt.ArrayLike | None,
    train_features: npt.ArrayLike | None, train_labels: npt.ArrayLike | None,
) -> Outliers:  # fmt: skip
    """Both scores with their thresholds: the distance learnt from training images, the thresholds from validation.

    Args:
        used: the score that shall raise the flag; `energy` does where there are no features.
        false_alarms: share of images like the training images that may be flagged.
        val_logits: uncalibrated, (N, K).
        val_features: (N, F), or None.
        train_features, train_labels: of a sample of the training images, (M, F) and (M,), or None.
    """
    logits = np.asarray(val_logits, dtype=np.float64)
    energy = Energy(threshold=math.inf)
    energy = Energy(threshold=threshold_at(energy.scores(logits), false_alarms))
    distance = None
    if val_features is not None and train_features is not None and train_labels is not None and np.size(train_labels):
        fitted = fit_distance(train_features, train_labels, logits.shape[1])
        threshold = threshold_at(fitted.scores(val_features), false_alarms)
        distance = dataclasses.replace(fitted, threshold=threshold)
    return Outliers(
        false_alarms=false_alarms, used=used if distance is not None else "energy", energy=energy, distance=distance
    )


def measure_false_alarms(
    outliers: Outliers, *, logits: npt.ArrayLike, features: npt.ArrayLike | None, correct: npt.NDArray[np.bool_]
) -> dict[str, Any]:
    """How often each score flags images that are like the training images, as plain values.

    Args:
        outliers: fitted on other images.
        logits: uncalibrated, (N, K).
        features: (N, F), or None.
        correct: whether the prediction is right, (N,).

    Returns:
        `promised`, `used`, and under `scores` by name: `threshold` (None when it is infinite), `false_alarms` with
        Wilson's interval, `histogram`, and the accuracy of the flagged images and of the others.
    """
    found = {}
    for name, scores in outliers.scores(logits, features).items():
        threshold = _threshold_of(outliers, name)
        flagged = scores > threshold
        found[name] = {
            "threshold": threshold if math.isfinite(threshold) else None,
            "false_alarms": share(int(flagged.sum()), len(flagged)),
            "histogram": histogram({"own": scores}),
            "accuracy_of_flagged": share(int((flagged & correct).sum()), int(flagged.sum())),
            "accuracy_of_others": share(int((~flagged & correct).sum()), int((~flagged).sum())),
        }
    return {"promised": outliers.false_alarms, "used": outliers.used, "scores": found}


def measure_detection(
    outliers: Outliers, own: Mapping[str, Floats], others: Mapping[str, Floats]
) -> dict[str, dict[str, Any]]:
    """How well each score tells outliers from images like the training images, as plain values by score.

    Args:
        outliers: the thresholds.
        own: scores by name of images like the training images, (N,) each, that it was not fitted on.
        others: scores by name of the outliers, (M,) each.

    Returns:
        `auroc`, the share of pairs in which the outlier scores higher, with its interval;
        `detected` and `false_alarms` at the bundle's threshold; `detected_at_rate`, at a threshold which the stated
        share of `own` exceeds; `histogram` of both.
    """
    found = {}
    for name, scores in own.items():
        if name not in others or not len(scores) or not len(others[name]):
            continue
        strange, threshold = others[name], _threshold_of(outliers, name)
        found[name] = {
            "threshold": threshold if math.isfinite(threshold) else None,
            "auroc": dataclasses.asdict(area_under_roc(scores, strange)),
            "detected": share(int((strange > threshold).sum()), len(strange)),
            "false_alarms": share(int((scores > threshold).sum()), len(scores)),
            "detected_at_rate": share(
                int((strange > np.quantile(scores, 1 - outliers.false_alarms, method="higher")).sum()), len(strange)
            ),
            "histogram": histogram({"own": scores, "others": strange}),
        }
    return found


def area_under_roc(own: Floats, others: Floats) -> Estimate:
    """Share of pairs (one of each) in which the other scores higher, ties counted half, with a 95 % interval.

    Its variance is that of DeLong et al. (1988), its limits are those of `newcombe.auroc_limits`.

    Args:
        own: (N,), N at least one.
        others: (M,), M at least one.
    """
    ranks = rankdata(np.concatenate([own, others]))
    # Share of the images of the other kind that each image is on the right side of.
    above = (ranks[len(own) :] - rankdata(others)) / len(own)
    below = 1 - (ranks[: len(own)] - rankdata(own)) / len(others)
    area = min(1.0, max(0.0, float(above.mean())))
    variance = None
    if min(len(own), len(others)) > 1:
        variance = float(above.var(ddof=1) / len(others) + below.var(ddof=1) / len(own))
    return Estimate(area, *auroc_limits(area, variance, len(others), len(own)), DELONG_NEWCOMBE)


def histogram(scores: Mapping[str, Floats]) -> dict[str, Any]:
    """Counts of several groups over the same equal bins: `edges` (B + 1) and a list of B counts under each name.

    The first and the last bin hold what lies beyond, so that a few far images do not squeeze all others together.
    """
    values = np.concatenate(list(scores.values())) if scores else np.zeros(0)
    if not len(values):
        return {"edges": [], **{name: [] for name in scores}}
    low, high = np.quantile(values, [_TAIL, 1 - _TAIL])
    edges = np.histogram_bin_edges(np.clip(values, low, high), bins=_BINS)
    counts = {name: np.histogram(np.clip(each, low, high), edges)[0].tolist() for name, each in scores.items()}
    return {"edges": edges.tolist(), **counts}


def _threshold_of(outliers: Outliers, name: str) -> float:
    return outliers.energy.threshold if outliers.distance is None or name == "energy" else outliers.distance.threshold
