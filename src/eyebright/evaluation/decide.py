"""All that a bundle concludes from the network's output: fitted on validation images, then measured on test images."""

from __future__ import annotations

import dataclasses
import math
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from eyebright.config.decisions import DecisionsConfig
from eyebright.decisions import Calibration, Decisions
from eyebright.decisions.calibration import Method, softmax
from eyebright.evaluation.calibrate import fit_calibration, reliability
from eyebright.evaluation.calibration_choice import choose_calibration, compare_calibrations
from eyebright.evaluation.conformal import fit_sets, measure_sets, share, threshold_images
from eyebright.evaluation.intervals import Floats, Integers
from eyebright.evaluation.outliers import fit_outliers, measure_false_alarms
from eyebright.evaluation.probability_scores import probability_scores
from eyebright.evaluation.selective import DELTA, fit_selection, least_images, measure_selection, what_could_be_promised

_CONFIDENCE_BINS = 25

Siblings = npt.NDArray[np.bool_]


def fit_decisions(
    config: DecisionsConfig,
    *,
    val_logits: npt.ArrayLike,
    val_labels: npt.ArrayLike,
    val_features: npt.ArrayLike | None = None,
    train_features: npt.ArrayLike | None = None,
    train_labels: npt.ArrayLike | None = None,
    siblings: Siblings | None = None,
) -> tuple[Decisions, dict[str, Any]]:
    """Fit every part on validation images; the outlier distance learns from training images.

    The same validation images serve all parts, and chose the network's epoch before; what the parts promise is
    therefore measured again on test images, by `measure_decisions`.

    Args:
        config: what is wanted.
        val_logits: uncalibrated, (N, K), finite.
        val_labels: (N,), class indices; images without a label (below zero) are left out.
        val_features: what goes into the network's classifier, (N, F); None when it cannot be had.
        train_features, train_labels: the same of a sample of the training images, (M, F) and (M,).
        siblings: bool (K, K), which classes share the superclass of each class; None without superclasses.

    Returns:
        the decisions; and what was compared and chosen, as plain JSON values: `images`, `calibration`, `sets`,
        `selection` and `outliers`.

    Raises:
        DataError: there is no labelled validation image, or shapes or values do not fit.
    """
    logits, labels = np.asarray(val_logits, dtype=np.float64), np.asarray(val_labels, dtype=np.int64)
    labelled = labels >= 0
    outliers = fit_outliers(
        used=config.outlier, false_alarms=config.false_alarms, val_logits=logits, val_features=val_features,
        **_labelled_sample(train_features, train_labels),
    ) if len(logits) else None  # fmt: skip
    logits, labels = logits[labelled], labels[labelled]
    calibration, calibrated = _fit_calibration(config.calibration, logits, labels)
    probabilities = calibration.probabilities(logits)
    sets = fit_sets(probabilities, labels, method=config.sets, coverage=config.coverage)
    selection = fit_selection(
        probabilities, labels,
        error_rate=config.error_rate, per_class=config.thresholds == "per-class", siblings=siblings,
    )  # fmt: skip
    decisions = Decisions(calibration=calibration, sets=sets, selection=selection, outliers=outliers)
    facts = decisions.as_dict()
    return decisions, {
        "images": len(labels),
        "calibration": calibrated,
        "sets": {
            **facts["sets"], "images": threshold_images(len(labels), sets.method),
            "enough_images": math.isfinite(sets.threshold),
        },
        "selection": {
            **facts["selection"], "thresholds": config.thresholds, "confidence": 1 - DELTA,
            "least_images": least_images(config.error_rate, len(labels)),
            "other_rates": what_could_be_promised(probabilities, labels),
        },
        "outliers": {**facts["outliers"], "asked": config.outlier},
    }  # fmt: skip


def _labelled_sample(features: npt.ArrayLike | None, labels: npt.ArrayLike | None) -> dict[str, Any]:
    if features is None or labels is None:
        return {"train_features": None, "train_labels": None}
    known = np.asarray(labels, dtype=np.int64) >= 0
    return {"train_features": np.asarray(features)[known], "train_labels": np.asarray(labels, dtype=np.int64)[known]}


def _fit_calibration(
    asked: Literal["auto"] | Method, logits: Floats, labels: Integers
) -> tuple[Calibration, dict[str, Any]]:
    compared = compare_calibrations(logits, labels) if len(labels) else {}
    method, reason = choose_calibration(compared)
    if asked != "auto":
        method, reason = asked, "The configuration asks for it."
    calibration = fit_calibration(logits, labels, method)
    return calibration, {
        "asked": asked,
        "method": method,
        "reason": reason,
        "temperature": calibration.temperature,
        "description": calibration.describe(),
        "compared": {name: dataclasses.asdict(scores) for name, scores in compared.items()},
    }


def measure_decisions(
    decisions: Decisions,
    *,
    probabilities: npt.ArrayLike,
    logits: npt.ArrayLike,
    labels: npt.ArrayLike,
    features: npt.ArrayLike | None = None,
    siblings: Siblings | None = None,
) -> dict[str, Any]:
    """Measure every part on labelled images that it was not fitted on, as plain JSON values.

    Args:
        decisions: fitted on other images.
        probabilities: calibrated, (N, K).
        logits: uncalibrated, (N, K).
        labels: (N,), class indices; images without a label (below zero) are left out.
        features: (N, F), or None.
        siblings: bool (K, K), which classes share the superclass of each class; None without superclasses.

    Returns:
        `images`, `calibration`, `sets`, `selection` and `outliers`, the last three only where the bundle has them;
        `images` alone when no image has a label.
    """
    truth = np.asarray(labels, dtype=np.int64)
    labelled = truth >= 0
    values = np.asarray(probabilities, dtype=np.float64)[labelled]
    raw, truth = np.asarray(logits, dtype=np.float64)[labelled], truth[labelled]
    if not len(truth):
        return {"images": 0}
    known = None if features is None else np.asarray(features)[labelled]
    found: dict[str, Any] = {
        "images": len(truth),
        "calibration": {
            "method": decisions.calibration.method,
            "chosen": _measure_calibration(values, truth),
            "uncalibrated": _measure_calibration(softmax(raw), truth),
        },
    }
    if decisions.sets is not None:
        found["sets"] = measure_sets(decisions.sets, probabilities=values, labels=truth)
    if decisions.selection is not None:
        found["selection"] = measure_selection(
            decisions.selection, probabilities=values, labels=truth, siblings=siblings
        )
    if decisions.outliers is not None:
        found["outliers"] = measure_false_alarms(
            decisions.outliers, logits=raw, features=known, correct=values.argmax(axis=1) == truth
        )
    return found


def _measure_calibration(probabilities: Floats, truth: Integers) -> dict[str, Any]:
    confidence = probabilities.max(axis=1)
    counts, _ = np.histogram(np.minimum(confidence, 1.0), bins=_CONFIDENCE_BINS, range=(0, 1))
    scores = probability_scores(probabilities, truth)
    return {
        **{name: dataclasses.asdict(score) for name, score in scores.items()},
        "accuracy": share(int((probabilities.argmax(axis=1) == truth).sum()), len(truth)),
        "mean_confidence": float(confidence.mean()),
        "bins": [dataclasses.asdict(row) for row in reliability(probabilities, truth)],
        "confidence_counts": counts.tolist(),
    }
