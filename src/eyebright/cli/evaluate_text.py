"""What `eyebright evaluate` prints: aligned lines with intervals."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from eyebright.evaluation.metrics import Metrics
    from eyebright.jobs.evaluate import Evaluation

_LEDGER_LINES = 10
_NAME_WIDTH = 34


def describe_evaluation(result: Evaluation) -> list[str]:
    """Lines about a whole evaluation."""
    lines = []
    if result.seen:
        left_out = ", ".join(f"{count} from {name}" for name, count in result.seen.items())
        lines.append(f"left out because the classifier was made with them: {left_out}")
    if result.stored and result.test_images:
        lines.append("what the run said of its own test images when it was made")
    elif result.test_images:
        lines.append(
            f"{result.test_images} of the images belong to the run's own test split and have been scored before"
        )
    lines += [f"not used: {row['source']}: {row['status']}: {row['reason']}" for row in result.ledger[:_LEDGER_LINES]]
    if len(result.ledger) > _LEDGER_LINES:
        lines.append(f"not used: {len(result.ledger) - _LEDGER_LINES} more")
    lines += _metrics(result.metrics)
    for column, parts in result.slices.items():
        lines += ["", *_slice(column, parts)]
    if result.worst_slices is not None:
        lines += ["", *_worst(result.worst_slices)]
    if result.folder is not None:
        lines += ["", f"written to {result.folder}"]
    return lines


def _metrics(metrics: Metrics) -> list[str]:
    lines = [f"{metrics.images:,} images", ""]
    estimates = [(name.replace("_", " "), estimate) for name, estimate in metrics.estimates()]
    width = max(len(name) for name, _ in estimates)
    lines.append(f"{'':<{width}}  {'value':>8}  {'95 % interval':<18}  method")
    for name, one in estimates:
        interval = f"{one.low:.4f} to {one.high:.4f}"
        lines.append(f"{name:<{width}}  {one.value:>8.4f}  {interval:<18}  {one.method}")
    if metrics.detectable_difference is not None:
        lines += [
            "",
            f"another classifier must be better by {_points(metrics.detectable_difference)} for these images to show "
            "it in four of five cases",
        ]
    width = min(_NAME_WIDTH, max([5, *(len(row.name) for row in metrics.per_class)]))
    lines += ["", f"{'class':<{width}}  {'precision':>9}  {'recall':>6}  {'F1':>6}  {'95 % interval':<14}  images"]
    for row in metrics.per_class:
        f1 = f"{row.f1.low:.3f} to {row.f1.high:.3f}"
        figures = f"{row.precision.value:>9.3f}  {row.recall.value:>6.3f}  {row.f1.value:>6.3f}  {f1:<14}"
        lines.append(f"{_short(row.name, width):<{width}}  {figures}  {row.support:>6,}")
    return lines


def _slice(column: str, parts: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """One column: accuracy of each part beside what its classes alone would give."""
    title = f"by {_title(column)}"
    width = min(_NAME_WIDTH, max(len(name) for name in (title, *parts)))
    lines = [f"{_short(title, width):<{width}}  {'images':>7}  accuracy  {'95 % interval':<16}  its classes in all"]
    for name, part in parts.items():
        expected = f"{_percent(part['expected']):>8}" if part.get("expected") is not None else ""
        one = part["accuracy"]
        interval = _interval(one)
        lines.append(
            f"{_short(name, width):<{width}}  {part['images']:>7,}  {_percent(one['value']):>8}  {interval:<16}  "
            f"{expected}"
        )
    return lines


def _title(column: str) -> str:
    from eyebright.evaluation.image_properties import PROPERTIES

    return {one.name: one.title for one in PROPERTIES}.get(column, column)


def _worst(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    if not rows:
        return ["worst slices: none; no part of the images does worse than its classes and chance explain"]
    lines = [
        "worst slices: parts with more mistakes than their classes and chance explain",
        f"({rows[0]['compared']:,} parts were compared, and p-values are adjusted for that)",
    ]
    for row in rows:
        one = row["accuracy"]
        lines.append(
            f"{' and '.join(row['conditions'])}: {_percent(one['value'])} of {row['images']:,} images "
            f"({_interval(one)}), where the same classes have {_percent(row['expected'])} in all; "
            f"p = {row['p_value']:.2g}"
        )
    return lines


def describe_outliers(found: Mapping[str, Any]) -> list[str]:
    """Lines about images of other things, as `measure_outliers` gives them."""
    lines = [
        f"images of other things: {found['images']:,} of {found['data']} beside {found['own_images']:,} test images",
        f"{'score':<20}  {'AUROC':>6}  {'95 % interval':<14}  {'detected':>8}  {'95 % interval':<16}  false alarms",
    ]
    for name, one in found["scores"].items():
        area, detected, alarms = one["auroc"], one["detected"], one["false_alarms"]
        title = f"{name.replace('_', ' ')}{' (in use)' if name == found['used'] else ''}"
        interval = f"{area['low']:.3f} to {area['high']:.3f}"
        lines.append(
            f"{title:<20}  {area['value']:>6.3f}  {interval:<14}  {_percent(detected['value']):>8}  "
            f"{_interval(detected):<16}  {_percent(alarms['value'])}"
        )
    lines.append(f"false alarms were promised to be {_percent(found['promised'])} of images like the training images")
    if found.get("ledger"):
        lines.append(f"not used: {len(found['ledger'])} images that cannot be read")
    return [*lines, f"written to {found['folder']}"]


def _short(name: str, width: int) -> str:
    return name if len(name) <= width else f"{name[: width - 1]}…"


def _points(difference: float) -> str:
    return f"{100 * difference:.1f} points"


def _interval(estimate: Mapping[str, float]) -> str:
    return f"{100 * estimate['low']:.1f} to {_percent(estimate['high'])}"


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"
