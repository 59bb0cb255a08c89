"""The headline, the table of all scores, and the scores of each class."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from eyebright.evaluation.estimate import Estimate
from eyebright.evaluation.metrics import ClassMetrics, Metrics
from eyebright.report import wording
from eyebright.report.content import ReportContent
from eyebright.report.section import Section

METRIC_NAMES = {
    "accuracy": ("Accuracy", "right predictions"),
    "top5_accuracy": ("Top-5 accuracy", "the label is among the five likeliest"),
    "superclass_accuracy": ("Superclass accuracy", "the predicted class has the superclass of the label"),
    "balanced_accuracy": ("Balanced accuracy", "every class counts the same"),
    "macro_precision": ("Macro precision", "mean over classes"),
    "macro_recall": ("Macro recall", "mean over classes"),
    "macro_f1": ("Macro F1", "mean over classes"),
    "weighted_precision": ("Weighted precision", "by class size"),
    "weighted_recall": ("Weighted recall", "by class size"),
    "weighted_f1": ("Weighted F1", "by class size"),
    "auroc": ("AUROC", "each class against the rest, mean over classes: 50 % is chance"),
    "average_precision": ("Average precision", "each class against the rest, mean over classes"),
    "kappa": ("Cohen's kappa", "agreement beyond chance: 0 is chance, 1 is perfect"),
    "mcc": ("Matthews correlation (MCC)", "0 is chance, 1 is perfect"),
    "mistake_severity": ("Severity of mistakes", "1 within the superclass, 2 beyond it; lower is better"),
    "mean_severity": ("Mean severity", "the same over all images, right ones counting 0"),
    "cost": ("Cost", "mean over images, by the given costs; lower is better"),
    "optimal_cost": ("Least expected cost", "had each image been given the class that is expected to cost least"),
    "log_loss": ("Log-loss", "nats; lower is better"),
    "brier": ("Brier score", "lower is better"),
    "ece": ("Calibration error (ECE)", "confidence against accuracy; lower is better"),
}
"""Names of the metrics and what they say, in reading order."""
_NOT_SHARES = ("log_loss", "brier", "kappa", "mcc", "mistake_severity", "mean_severity", "cost", "optimal_cost")
_MANY_CLASSES = 20
_ENDS = 6


def headline(content: ReportContent) -> dict[str, Any] | None:
    """What stands in large type at the top; None without metrics."""
    metrics = content.metrics
    if metrics is None:
        return None
    largest, baseline = wording.always_the_largest_class(metrics)
    known = dict(metrics.estimates())
    spare = "top5_accuracy" if "top5_accuracy" in known else "log_loss"
    others = ("balanced_accuracy", "macro_f1", spare, "ece")
    return {
        "accuracy": metrics.accuracy,
        "images": metrics.images,
        "split": wording.SPLIT_NAMES[content.scored_split],
        "never_seen": content.test is not None,
        "leaks": {
            name: {"images": part["images"], "accuracy": Estimate(**part["accuracy"])}
            for name, part in content.leaks.items()
        },
        "largest": largest,
        "baseline": baseline,
        "others": [(METRIC_NAMES[name][0], cell(name, known[name])) for name in others],
        "detectable": metrics.detectable_difference,
    }


def scores_section(content: ReportContent) -> Section:
    """All headline numbers of the test and validation splits, each with its interval and how that was found."""
    splits = [
        (wording.SPLIT_NAMES[name], dict(metrics.estimates()), metrics.images)
        for name, metrics in (("test", content.test), ("val", content.validation))
        if metrics is not None
    ]
    names = list(dict.fromkeys(key for _, estimates, _ in splits for key in estimates))
    order = list(METRIC_NAMES)
    names.sort(key=lambda name: order.index(name) if name in order else len(order))
    rows = []
    for name in names:
        title, meaning = METRIC_NAMES.get(name, (name[:1].upper() + name[1:].replace("_", " "), ""))
        cells = [cell(name, estimates.get(name)) for _, estimates, _ in splits]
        methods = {estimates[name].method for _, estimates, _ in splits if name in estimates}
        rows.append({"title": title, "meaning": meaning, "cells": cells, "method": ", ".join(sorted(methods))})
    context = {
        "rows": rows,
        "splits": [(title, images) for title, _, images in splits],
        "detectable": content.metrics.detectable_difference if content.metrics else None,
        "split": wording.SPLIT_NAMES[content.scored_split],
    }
    return Section("scores", "Scores", "scores.html", context)


def cell(name: str, estimate: Estimate | None) -> dict[str, str] | None:
    """An estimate in words: a share in per cent, anything else as a number."""
    if estimate is None:
        return None
    if name not in _NOT_SHARES and 0 <= estimate.low <= estimate.high <= 1:
        return {"value": wording.percent(estimate.value), "range": wording.percent_range(estimate)}
    return {"value": f"{estimate.value:.3f}", "range": f"{estimate.low:.3f} to {estimate.high:.3f}"}


def classes_section(metrics: Metrics, *, split: str) -> Section:
    """The scores of each class, hardest first; of many classes the hardest and the easiest before all of them."""
    rows = sorted(metrics.per_class, key=lambda row: (row.support == 0, row.f1.value))
    known = [row for row in rows if row.support]
    ends: Sequence[tuple[str, Sequence[ClassMetrics]]] = []
    if len(rows) > _MANY_CLASSES:
        ends = [("Hardest", known[:_ENDS]), ("Easiest", known[::-1][:_ENDS])]
    place = {name: index for index, name in enumerate(metrics.classes)}
    context = {
        "finding": wording.classes_finding(metrics), "rows": rows, "ends": ends, "split": split, "place": place,
        "ranked": any(row.auroc is not None for row in rows),
    }  # fmt: skip
    return Section("classes", "Class by class", "classes.html", context)
