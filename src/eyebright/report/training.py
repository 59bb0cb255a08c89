"""The section about training: the curves, whether it overfitted and what to try, and every epoch as a table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from eyebright.evaluation.history import Record, figure, in_order, stage_of
from eyebright.evaluation.overfitting import Diagnosis, Verdict, best_of, diagnose
from eyebright.evaluation.remedies import setting
from eyebright.report import wording
from eyebright.report.content import ReportContent
from eyebright.report.curves import Across, Line, Style, bands_of, draw_curves

_SEVERITIES: Mapping[Verdict, str] = {
    "none": "passed",
    "possible": "warning",
    "clear": "critical",
    "underfitting": "note",
    "too short to tell": "note",
}
_PANELS: Sequence[tuple[str, Style, Sequence[tuple[str, str, str]]]] = (
    ("Accuracy", "percent", (("validation", "val_accuracy", "c-accent"), ("training", "train_accuracy", "c-muted"))),
    ("Loss", "number", (("validation", "val_loss", "c-accent"), ("training", "train_loss", "c-muted"))),
    ("Learning rate", "rate", (("learning rate", "learning_rate", "c-accent"),)),
)
_CHOSEN_BY: Mapping[str | None, str] = {
    "val_loss": "validation loss", "val_accuracy": "validation accuracy", "val_macro_f1": "macro F1",
    "val_balanced_accuracy": "balanced accuracy", "val_top5_accuracy": "top-5 accuracy", "last": "being the last",
}  # fmt: skip
_COLUMNS: Sequence[tuple[str, str, str]] = (
    ("train_loss", "training loss", ".4f"), ("train_accuracy", "training accuracy", ".4f"),
    ("val_loss", "validation loss", ".4f"), ("val_accuracy", "validation accuracy", ".4f"),
    ("learning_rate", "learning rate", ".3g"), ("size", "pixels", ".0f"), ("images_per_second", "images/s", ",.0f"),
    ("seconds", "seconds", ",.0f"),
)  # fmt: skip


def epochs_in_order(history: Sequence[Record]) -> list[Record]:
    """The lines of a history as they are drawn: stage by stage, epochs in order, each once."""
    return [record for stage in in_order(history, without_epoch=True) for record in stage]


def best_epoch(records: Sequence[Record]) -> int | None:
    """The place of the best epoch of the last stage that was validated."""
    scored = [record for record in records if None not in (figure(record, "val_loss"), figure(record, "epoch"))]
    best = best_of([record for record in scored if stage_of(record) == stage_of(scored[-1])])
    return next((index for index, record in enumerate(records) if record is best), None)


def diagnosis_of(content: ReportContent) -> Diagnosis | None:
    """Whether it memorised or stopped too early; None where nothing was trained that could be asked that."""
    if any(figure(record, "epoch") is not None for record in content.history) or content.fit:
        return _diagnosis(content)
    return None


def _diagnosis(content: ReportContent) -> Diagnosis:
    known = {} if content.validation is None else {"images": content.validation.images}
    return diagnose(
        content.history, train=content.fit.get("train"), val={**known, **content.fit.get("val", {})},
        config=content.config,
    )  # fmt: skip


def training_section(content: ReportContent) -> dict[str, Any]:
    """What the template of the section uses."""
    records = epochs_in_order(content.history)
    stages = [stage_of(record) for record in records]
    several = len(set(stages)) > 1
    numbers = [figure(record, "epoch") for record in records]
    labels = ["" if number is None else f"{number:.0f}" for number in numbers]
    places = [
        f"{stage}, epoch {label}" if several and label else f"epoch {label}" if label else stage
        for stage, label in zip(stages, labels, strict=True)
    ]
    across = Across(positions=range(len(records)), labels=labels, places=places, bands=bands_of(stages))
    best = best_epoch(records)
    target = setting(content.config, "stop.target_accuracy")
    drawn = [
        draw_curves(
            title, [Line(name, [figure(record, key) for record in records], look) for name, key, look in lines], across,
            style=style, marked=best, marked_name="best", target=target if title == "Accuracy" else None,
        )
        for title, style, lines in _PANELS
    ]  # fmt: skip
    trained = any(label for label in labels)
    diagnosis = _diagnosis(content)
    columns = [column for column in _COLUMNS if any(figure(record, column[0]) is not None for record in records)]
    return {
        "finding": wording.curves_finding(content.history),
        "across": across.data if records else "",
        "charts": [chart for chart in drawn if chart is not None],
        "stages": list(dict.fromkeys(stage for stage in stages if stage)),
        "best": best is not None,
        "best_by": _CHOSEN_BY.get(setting(content.config, "stop.keep")),
        "augmented": setting(content.config, "recipe") != "shallow",
        "diagnosis": diagnosis if trained or content.fit else None,
        "severity": _SEVERITIES[diagnosis.verdict],
        "columns": [*(["stage"] if several else []), "epoch", *(title for _, title, _ in columns)],
        "rows": [
            [*([stage] if several else []), label, *(_cell(figure(record, key), form) for key, _, form in columns)]
            for record, stage, label in zip(records, stages, labels, strict=True)
        ]
        if trained
        else [],
        "best_row": best,
    }


def _cell(value: float | None, form: str) -> str:
    return "" if value is None else format(value, form)
