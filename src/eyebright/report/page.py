"""The report page: sections in reading order, each a title, a template and what the template shows.

A later part of Eyebright adds to the page by passing more sections to `write_report`.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape

from eyebright.atomic import write_text
from eyebright.evaluation.calibrate import reliability
from eyebright.evaluation.estimate import Estimate
from eyebright.evaluation.metrics import Metrics
from eyebright.report import charts, wording
from eyebright.report.content import ReportContent
from eyebright.report.figures import write_figures
from eyebright.report.gallery import Gallery, chosen_samples, most_confident_mistakes, random_examples
from eyebright.report.section import Section
from eyebright.report.training import training_section

_TABLE_CLASSES = 12
_LABELLED_CLASSES = 40
_LEDGER_EXAMPLES = 20
_METRIC_NAMES = {
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
    "log_loss": ("Log-loss", "nats; lower is better"),
    "brier": ("Brier score", "lower is better"),
    "ece": ("Calibration error (ECE)", "confidence against accuracy; lower is better"),
}
_SLICE_TITLES = {"dataset": "data set"}
_NOT_SHARES = ("log_loss", "brier")
_STATUS_MEANINGS = {
    "empty": "files of zero bytes",
    "unreadable": "damaged beyond reading",
    "truncated": "cut off before the end",
    "too-large": "more pixels than allowed",
    "not-an-image": "no image, whatever the name says",
    "missing": "listed, but not there",
    "stray": "belongs to no class",
    "duplicate": "the same image as another one with the same label",
    "conflicting-labels": "the same image under different labels",
    "unlabelled": "no label",
}


def write_report(
    folder: Path,
    content: ReportContent,
    *,
    first_look: Section | None = None,
    more_sections: Sequence[Section] = (),
) -> Path:
    """Write `folder/report.html` and `folder/figures/*.png`; returns the path of the page.

    Args:
        folder: where to.
        content: what the page shows.
        first_look: the section about what was found before training; it stands behind the one about the images.
        more_sections: sections for the end of the page.

    Raises:
        StorageError: the folder cannot be written.
    """
    gallery = Gallery(content.thumbnails)
    parts = sections(content, gallery)
    if first_look is not None:
        place = next((index for index, part in enumerate(parts) if part.anchor == "data"), -1) + 1
        parts.insert(place, first_look)
    page = render(content, gallery, [*parts, *more_sections])
    write_figures(folder / "figures", content, gallery)
    path = folder / "report.html"
    write_text(path, page)
    return path


def render(content: ReportContent, gallery: Gallery, parts: Sequence[Section]) -> str:
    """The whole page as text: style, figures and images inside, nothing to fetch."""
    return render_page("report.html", parts, content=content, headline=_headline(content))


def render_page(template: str, parts: Sequence[Section], **context: Any) -> str:
    """A page as text: `template` extends `base.html` and gives it title, header and footer; `parts` stand between."""
    environment = Environment(
        loader=PackageLoader("eyebright.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    for name in ("percent", "percent_range", "count", "plural", "duration", "size"):
        environment.filters[name] = getattr(wording, name)
    environment.filters["with_code"] = _with_code
    bodies = [(part, environment.get_template(part.template).render(**part.context)) for part in parts]
    return environment.get_template(template).render(bodies=bodies, **context)


def sections(content: ReportContent, gallery: Gallery) -> list[Section]:
    """The sections that this content has something to say in, in reading order."""
    found = []
    if content.plan or content.timings or content.summary:
        found.append(Section("plan", "What was done", "plan.html", _plan(content)))
    if content.class_counts:
        found.append(Section("data", "The images", "data.html", _data(content, gallery)))
    if content.history:
        found.append(Section("training", "Training", "training.html", training_section(content)))
    if content.metrics is not None:
        scored = content.scored()
        shared = {"metrics": content.metrics, "split": wording.SPLIT_NAMES[content.scored_split]}
        found += [
            Section("scores", "Scores", "scores.html", shared | _scores(content)),
            Section("classes", "Class by class", "classes.html", shared | _classes(content.metrics)),
            *_slices(content),
            Section("confusion", "What it confuses", "confusion.html", shared | _confusion(content.metrics)),
            Section("confidence", "Can its confidence be trusted?", "confidence.html", shared | {
                "finding": wording.calibration_finding(scored, content.metrics),
                "chart": charts.reliability_chart(
                    reliability(scored.probabilities(), scored.labels_index()),
                    scored.probabilities().max(axis=1),
                    "Accuracy against confidence",
                ),
                "temperature": content.predictions.calibration.temperature,
            }),
            Section("mistakes", "Most confident mistakes", "mistakes.html", shared | {
                "finding": wording.mistakes_finding(scored),
                "pictures": gallery.pictures(most_confident_mistakes(scored)),
            }),
            Section("examples", "Examples", "examples.html", shared | {
                "pictures": gallery.pictures(random_examples(scored))
            }),
        ]  # fmt: skip
    if content.class_counts:
        found.append(Section("ledger", "Images left out", "ledger.html", _ledger(content)))
    settings = [("Configuration", _dotted(content.config)), ("Environment", _dotted(content.environment))]
    if content.config or content.environment or content.preprocess:
        context = {"tables": [table for table in settings if table[1]], "preprocess": content.preprocess}
        found.append(Section("settings", "How to repeat it", "settings.html", context))
    return found


def _with_code(text: str) -> Markup:
    """Text with what stands between backticks as code; everything is escaped."""
    return Markup(re.sub(r"`([^`]+)`", r"<code>\1</code>", str(escape(text))))


def _headline(content: ReportContent) -> dict[str, Any] | None:
    metrics = content.metrics
    if metrics is None:
        return None
    largest, baseline = wording.always_the_largest_class(metrics)
    split = wording.SPLIT_NAMES[content.scored_split]
    known = dict(metrics.estimates())
    spare = "top5_accuracy" if "top5_accuracy" in known else "log_loss"
    others = ("balanced_accuracy", "macro_f1", spare, "ece")
    return {
        "accuracy": metrics.accuracy,
        "images": metrics.images,
        "split": split,
        "never_seen": content.test is not None,
        "leaks": {
            name: {"images": part["images"], "accuracy": Estimate(**part["accuracy"])}
            for name, part in content.leaks.items()
        },
        "largest": largest,
        "baseline": baseline,
        "others": [(_METRIC_NAMES[name][0], _cell(known[name], share=name not in _NOT_SHARES)) for name in others],
    }


def _plan(content: ReportContent) -> dict[str, Any]:
    wall = content.wall_seconds if content.wall_seconds is not None else sum(content.timings.values())
    budget = content.budget_seconds
    whole = max(wall, budget or 0.0) or 1.0
    step = 0.75 / max(1, len(content.timings) - 1)
    stages = [
        {"name": name, "seconds": seconds, "share": seconds / whole, "strength": 1 - step * index}
        for index, (name, seconds) in enumerate(content.timings.items())
    ]
    return {
        # The last thing that was decided is the first that a reader wants to know.
        "summary": [wording.sentence(text) for text in reversed(content.summary)],
        "plan": [wording.sentence(text) for text in content.plan],
        "stages": stages,
        "wall": wall,
        "budget": budget,
        "budget_share": budget / whole if budget else None,
        "over": max(0.0, wall - budget) if budget else 0.0,
    }


def _data(content: ReportContent, gallery: Gallery) -> dict[str, Any]:
    totals = {name: sum(counts.get(name, 0) for counts in content.class_counts.values()) for name in content.classes}
    names = sorted(totals, key=lambda name: -totals[name])
    rows = [
        {
            "name": name,
            "counts": {split: counts.get(name, 0) for split, counts in content.class_counts.items()},
            "total": totals[name],
        }
        for name in names
    ]
    return {
        "finding": wording.data_finding(content.class_counts),
        "facts": content.facts,
        "data": content.data,
        "rows": rows,
        "largest": max(totals.values(), default=1) or 1,
        "splits": [(split, wording.SPLIT_NAMES.get(split, split)) for split in content.class_counts],
        "many": len(rows) > _LABELLED_CLASSES,
        "columns": charts.column_chart([totals[name] for name in names], "Images of each class, largest class first"),
        "samples": gallery.samples(chosen_samples(content.samples)),
    }


def _scores(content: ReportContent) -> dict[str, Any]:
    splits = [
        (wording.SPLIT_NAMES[name], dict(metrics.estimates()), metrics.images)
        for name, metrics in (("test", content.test), ("val", content.validation))
        if metrics is not None
    ]
    rows = []
    for name in dict.fromkeys(key for _, estimates, _ in splits for key in estimates):
        title, meaning = _METRIC_NAMES.get(name, (name.replace("_", " "), ""))
        cells = [_cell(estimates.get(name), share=name not in _NOT_SHARES) for _, estimates, _ in splits]
        rows.append({"title": title, "meaning": meaning, "cells": cells})
    order = list(_METRIC_NAMES.values())
    rows.sort(key=lambda row: next((i for i, (title, _) in enumerate(order) if title == row["title"]), len(order)))
    return {"rows": rows, "splits": [(title, images) for title, _, images in splits]}


def _cell(estimate: Estimate | None, *, share: bool) -> dict[str, str] | None:
    if estimate is None:
        return None
    if share:
        return {"value": wording.percent(estimate.value), "range": wording.percent_range(estimate)}
    return {"value": f"{estimate.value:.3f}", "range": f"{estimate.low:.3f} to {estimate.high:.3f}"}


def _classes(metrics: Metrics) -> dict[str, Any]:
    rows = sorted(metrics.per_class, key=lambda row: (row.support == 0, row.f1.value))
    return {"finding": wording.classes_finding(metrics), "rows": rows}


def _slices(content: ReportContent) -> list[Section]:
    found = []
    for column, parts in content.slices.items():
        rows = [
            {"name": name, "images": part["images"], "accuracy": Estimate(**part["accuracy"])}
            for name, part in parts.items()
        ]
        context = {"column": column, "rows": rows}
        found.append(Section(f"by-{column}", f"By {_SLICE_TITLES.get(column, column)}", "slices.html", context))
    return found


def _confusion(metrics: Metrics) -> dict[str, Any]:
    number = len(metrics.classes)
    title = "Confusion matrix: true classes in rows, predicted classes in columns"
    chart = None
    if number > _TABLE_CLASSES:
        chart = charts.heat_map(metrics.confusion, metrics.classes, title, labels=number <= _LABELLED_CLASSES)
    return {
        "finding": wording.confusion_finding(metrics),
        "pairs": wording.confused_pairs(metrics),
        "chart": chart,
        "supports": [max(1, sum(row)) for row in metrics.confusion],
    }


def _ledger(content: ReportContent) -> dict[str, Any]:
    counts = Counter(row["status"] for row in content.ledger)
    groups = [
        {
            "status": status,
            "meaning": _STATUS_MEANINGS.get(status, ""),
            "number": number,
            "examples": [row for row in content.ledger if row["status"] == status][:_LEDGER_EXAMPLES],
        }
        for status, number in counts.most_common()
    ]
    used = sum(sum(classes.values()) for classes in content.class_counts.values())
    return {"groups": groups, "used": used, "left_out": len(content.ledger)}


def _dotted(values: Mapping[str, Any], prefix: str = "") -> list[tuple[str, str]]:
    rows: list[tuple[str, str]] = []
    for key, value in values.items():
        if isinstance(value, Mapping):
            rows += _dotted(value, f"{prefix}{key}.")
        elif isinstance(value, (list, tuple)):
            rows.append((f"{prefix}{key}", ", ".join(str(item) for item in value)))
        else:
            rows.append((f"{prefix}{key}", "none" if value is None else str(value)))
    return rows
