"""The figures of the report as files, for papers and slides: PNG drawn without pyplot (no global state), and the SVG
drawings that the page itself shows."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from eyebright.atomic import replacing_folder
from eyebright.evaluation.calibrate import reliability
from eyebright.evaluation.history import figure as value_of
from eyebright.evaluation.history import stage_of
from eyebright.evaluation.metrics import Metrics
from eyebright.evaluation.predictions import Predictions
from eyebright.evaluation.remedies import setting
from eyebright.report.content import ReportContent
from eyebright.report.curves import bands_of
from eyebright.report.gallery import Gallery, chosen_samples, most_confident_mistakes, random_examples
from eyebright.report.training import best_epoch, epochs_in_order
from eyebright.report.wording import SPLIT_NAMES, duration, percent

if TYPE_CHECKING:  # every verb that writes a page comes here, few draw: matplotlib is loaded where a figure is begun
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

ACCENT, MUTED, RIGHT, WRONG, INK = "#5a48c2", "#928ca2", "#0b6580", "#b3362b", "#25222e"
_DPI = 110
_NAMED_CLASSES = 40


def write_figures(
    folder: Path, content: ReportContent, gallery: Gallery, *, drawings: Mapping[str, str] | None = None
) -> None:
    """Write one file a figure into `folder`, which is replaced as a whole; figures without data are left out.

    Args:
        drawings: SVG documents by name, beside the PNG files.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    plots: dict[str, Callable[[], Figure]] = {}
    if content.history:
        plots["curves"] = lambda: curves(content)
    if content.class_counts:
        plots["class_counts"] = lambda: class_counts(content)
    if content.timings:
        plots["stages"] = lambda: stages(content)
    samples = chosen_samples(content.samples)
    if samples:
        cells = [(id_, name, INK) for name, ids in samples.items() for id_ in ids]
        each = max(len(ids) for ids in samples.values())
        plots["samples"] = lambda: picture_grid(cells, gallery, "Samples", columns=each if each > 1 else 8)
    metrics = content.metrics
    if metrics is not None:
        scored = content.scored()
        wrong = most_confident_mistakes(scored)
        plots["confusion_matrix"] = lambda: confusion_matrix(metrics)
        plots["class_scores"] = lambda: class_scores(metrics)
        plots["reliability"] = lambda: reliability_diagram(scored)
        plots["examples"] = lambda: picture_grid(_told(random_examples(scored)), gallery, "Predictions")
        if len(wrong):
            plots["mistakes"] = lambda: picture_grid(_told(wrong), gallery, "Most confident mistakes")
    with replacing_folder(folder) as temporary:
        for name, draw in plots.items():
            figure = draw()
            FigureCanvasAgg(figure)
            figure.savefig(temporary / f"{name}.png")
        for name, document in (drawings or {}).items():
            (temporary / f"{name}.svg").write_text(document, encoding="utf-8")


def new_figure(width: float, height: float) -> Figure:
    """A figure of so many inches."""
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), dpi=_DPI, layout="constrained")


def calm(axes: Axes, title: str) -> None:
    """Axes in the report's style: few lines, the title at the left."""
    axes.set_title(title, loc="left", fontsize=11, color=INK)
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(MUTED)
    axes.tick_params(colors=INK, labelsize=9, length=0)
    axes.grid(axis="y", color=MUTED, alpha=0.3, linewidth=0.7)
    axes.set_axisbelow(True)


def curves(content: ReportContent) -> Figure:
    """Accuracy, loss and learning rate over epochs: stages on alternating ground, the best epoch and the target."""
    figure = new_figure(11, 3.2)
    every = figure.subplots(1, 3)
    records = epochs_in_order(content.history)
    x = np.arange(1, len(records) + 1)
    panels = (
        ("Accuracy", [("train_accuracy", "training", MUTED), ("val_accuracy", "validation", ACCENT)]),
        ("Loss", [("train_loss", "training", MUTED), ("val_loss", "validation", ACCENT)]),
        ("Learning rate", [("learning_rate", "", ACCENT)]),
    )
    bands = bands_of([stage_of(record) for record in records])
    best, target = best_epoch(records), setting(content.config, "stop.target_accuracy")
    for axes, (title, keys) in zip(every, panels, strict=True):
        calm(axes, title)
        for key, name, colour in keys:
            values = np.array([value_of(record, key) for record in records], dtype=float)  # None is NaN
            if np.isnan(values).all():
                continue
            # Two stages are two lines: nothing was measured between them.
            for _, first, last in bands or [("", 0, len(records) - 1)]:
                part = slice(first, last + 1)
                axes.plot(x[part], values[part], color=colour, linewidth=2, marker="o", markersize=3,
                          label=name if first == 0 else None)  # fmt: skip
        for _, first, last in bands[1::2]:
            axes.axvspan(first + 0.5, last + 1.5, color=MUTED, alpha=0.15, linewidth=0)
        if best is not None:
            axes.axvline(best + 1, color=ACCENT, alpha=0.5, linewidth=1)
        if title == "Accuracy" and target is not None:
            axes.axhline(target, color=RIGHT, linestyle="--", linewidth=1.3, label="target")
        axes.set_xlabel("epoch", fontsize=9)
        if len(axes.get_legend_handles_labels()[1]) > 1:
            axes.legend(frameon=False, fontsize=9)
    return figure


def class_counts(content: ReportContent) -> Figure:
    """Images of each class, stacked by split."""
    names = list(content.classes)
    totals = {name: sum(counts.get(name, 0) for counts in content.class_counts.values()) for name in names}
    names.sort(key=lambda name: totals[name])
    few = len(names) <= _NAMED_CLASSES
    figure = new_figure(8, max(2.2, 0.32 * len(names)) if few else 7)
    axes = figure.subplots()
    calm(axes, "Images of each class")
    axes.grid(axis="x", color=MUTED, alpha=0.3, linewidth=0.7)
    axes.grid(visible=False, axis="y")
    left = np.zeros(len(names))
    for (split, counts), strength in zip(content.class_counts.items(), (1.0, 0.55, 0.28, 0.15), strict=False):
        widths = np.array([counts.get(name, 0) for name in names], dtype=float)
        title = SPLIT_NAMES.get(split, split)
        axes.barh(np.arange(len(names)), widths, left=left, color=ACCENT, alpha=strength, label=title)
        left += widths
    axes.set_yticks(np.arange(len(names)) if few else [], names if few else [])
    axes.legend(frameon=False, fontsize=9, loc="lower right")
    return figure


def stages(content: ReportContent) -> Figure:
    """Seconds of each stage, in the order of the run."""
    names, seconds = list(content.timings), list(content.timings.values())
    figure = new_figure(8, max(1.6, 0.5 + 0.32 * len(names)))
    axes = figure.subplots()
    calm(axes, "Time of each stage")
    axes.grid(axis="x", color=MUTED, alpha=0.3, linewidth=0.7)
    axes.grid(visible=False, axis="y")
    bars = axes.barh(names, seconds, color=ACCENT)
    axes.bar_label(bars, labels=[duration(value) for value in seconds], padding=4, fontsize=9, color=INK)
    axes.invert_yaxis()
    axes.margins(x=0.12)
    axes.set_xlabel("seconds", fontsize=9)
    return figure


def confusion_matrix(metrics: Metrics) -> Figure:
    """Shares of each true class; numbers in the cells while they can be read."""
    counts = np.asarray(metrics.confusion)
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    number = len(counts)
    side = min(10.0, 3.4 + 0.42 * number)
    figure = new_figure(side, side)
    axes = figure.subplots()
    axes.imshow(np.sqrt(shares), cmap="Purples", vmin=0, vmax=1)
    axes.set_title("Confusion matrix", loc="left", fontsize=11, color=INK)
    axes.set_xlabel("predicted", fontsize=9)
    axes.set_ylabel("true", fontsize=9)
    axes.tick_params(length=0, labelsize=9 if number <= 20 else 7)
    for spine in axes.spines.values():
        spine.set_visible(False)
    named = number <= _NAMED_CLASSES
    axes.set_xticks(range(number) if named else [], metrics.classes if named else [], rotation=90 if number > 6 else 0)
    axes.set_yticks(range(number) if named else [], metrics.classes if named else [])
    if number <= 20:
        for row, column in np.argwhere(counts):
            colour = "white" if shares[row, column] > 0.35 else INK
            axes.text(column, row, str(counts[row, column]), ha="center", va="center", fontsize=9, color=colour)
    return figure


def class_scores(metrics: Metrics) -> Figure:
    """F1 of each class with its interval, hardest first."""
    rows = sorted((row for row in metrics.per_class if row.support), key=lambda row: -row.f1.value)
    few = len(rows) <= _NAMED_CLASSES
    figure = new_figure(8, max(2.2, 0.32 * len(rows)) if few else 8)
    axes = figure.subplots()
    calm(axes, "F1 of each class, 95 % interval")
    values = np.array([row.f1.value for row in rows])
    spread = np.array([[row.f1.value - row.f1.low, row.f1.high - row.f1.value] for row in rows]).reshape(-1, 2).T
    y = np.arange(len(rows))
    axes.errorbar(
        values, y, xerr=np.maximum(spread, 0), fmt="o", color=ACCENT, ecolor=MUTED, elinewidth=2, markersize=5
    )
    axes.set_yticks(y if few else [], [row.name for row in rows] if few else [])
    axes.set(xlim=(0, 1.01), ylim=(-0.6, len(rows) - 0.4))
    return figure


def reliability_diagram(scored: Predictions) -> Figure:
    """Accuracy against confidence in bins of equal counts, with Wilson intervals."""
    bins = reliability(scored.probabilities(), scored.labels_index())
    figure = new_figure(4.6, 4.6)
    axes = figure.subplots()
    calm(axes, "Accuracy against confidence")
    axes.plot([0, 1], [0, 1], color=MUTED, linestyle="--", linewidth=1.2)
    accuracy = np.array([row.accuracy for row in bins])
    spread = np.array([[row.accuracy - row.low, row.high - row.accuracy] for row in bins]).T
    confidence = [row.confidence for row in bins]
    axes.errorbar(confidence, accuracy, yerr=np.maximum(spread, 0), fmt="o", color=ACCENT, elinewidth=1.4)
    axes.set(xlim=(0, 1.02), ylim=(0, 1.02), xlabel="confidence", ylabel="share that is right", aspect="equal")
    return figure


def _told(predictions: Predictions) -> list[tuple[str, str, str]]:
    """(id, what to write under it, colour) for each row."""
    told = []
    confidence = predictions.probabilities().max(axis=1)
    ids, labels, guesses = (predictions.table[name].to_pylist() for name in ("id", "label", "predicted"))
    for id_, label, guess, share in zip(ids, labels, guesses, confidence, strict=True):
        words = f"{guess} {percent(share, 0)}"
        told.append((id_, words, RIGHT) if guess == label else (id_, f"{words}\ntrue: {label}", WRONG))
    return told


def picture_grid(cells: Sequence[tuple[str, str, str]], gallery: Gallery, title: str, columns: int = 6) -> Figure:
    """Pictures with a line of text each, pasted into one image: much faster than one plot a picture."""
    from matplotlib.figure import Figure

    columns = max(columns, 1)
    rows = -(-len(cells) // columns)
    cell, side, text = 1.5, 1.28, 0.34
    width, height = columns * cell + 0.2, rows * (cell + text) + 0.45
    figure = Figure(figsize=(width, height), dpi=_DPI)
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set(xlim=(0, width), ylim=(height, 0))
    axes.axis("off")
    axes.text(0.15, 0.25, title, fontsize=11, color=INK, va="center")
    for index, (id_, words, colour) in enumerate(cells):
        x, y = 0.15 + index % columns * cell, 0.45 + index // columns * (cell + text)
        picture = gallery.image(id_)
        if picture is not None:
            scale = side / max(picture.size)
            wide, tall = picture.width * scale, picture.height * scale
            smooth = "nearest" if gallery.is_tiny(id_) else "antialiased"
            axes.imshow(np.asarray(picture), extent=(x, x + wide, y + tall, y), interpolation=smooth,
                        cmap="gray", vmin=0, vmax=255, aspect="auto")  # fmt: skip
        axes.text(x, y + side + 0.06, words, fontsize=7.5, color=colour, va="top")
    axes.set(xlim=(0, width), ylim=(height, 0))
    return figure
