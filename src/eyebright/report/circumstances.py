"""Remarks for the verdict about what surrounds the scores: the data, parts of the images, corruptions, decisions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from eyebright.data.audit.findings import Finding
from eyebright.errors import NewerBundleError
from eyebright.evaluation.estimate import Estimate
from eyebright.evaluation.intervals import CONFIDENCE, wilson
from eyebright.evaluation.robustness import Robustness
from eyebright.report.remarks import Remark, Step
from eyebright.report.wording import listing, percent, percent_range, plural

_SMALL_DROP = 0.05
"""A mean fall of accuracy under corruptions that is surely smaller than this is a strength."""


def about_leaks(leaks: Mapping[str, Mapping[str, Any]]) -> list[Remark]:
    """Test images that are in another split too, and what they change."""
    if not leaks:
        return []
    number, seen, clean = int(leaks["leaked"]["images"]), leaks["leaked"]["accuracy"], leaks.get("clean")
    many = f"{plural(number, 'test image')} {'is' if number == 1 else 'are'} in the training or validation images too"
    if clean is None:
        return [Remark(side="weak", weight=90, anchor="data", text=f"{many}: the score says nothing of new images.")]
    level = Estimate(**clean["accuracy"])
    known = f"without them the accuracy is {percent(level.value)} ({percent_range(level)})"
    # The weight is what the leak does: much, where those images are surely named right more often.
    weight = 90 if float(seen["low"]) > level.high else 33
    return [Remark(side="weak", weight=weight, anchor="data", text=f"{many}: {known}.")]


def about_findings(findings: Sequence[Finding], *, leaks: bool) -> list[Remark]:
    """What the audit found that makes test figures wrong; copies are left to `about_leaks` where that has a say."""
    grave = [finding for finding in findings if finding.severity == "critical"]
    grave = [finding for finding in grave if not (leaks and finding.section == "duplicates")]
    if not grave:
        return []
    more = f" There {'is' if len(grave) == 2 else 'are'} {len(grave) - 1} more of these." if len(grave) > 1 else ""
    return [Remark(
        side="weak", weight=80, anchor="audit",
        text=f"The data has a fault that makes test figures wrong: {grave[0].title.rstrip('.')}.{more}",
    )]  # fmt: skip


def about_parts(
    worst: Sequence[Mapping[str, Any]], slices: Mapping[str, Mapping[str, Mapping[str, Any]]], accuracy: Estimate
) -> list[Remark]:
    """The part of the images that it does worst on: the first that the search found, else one of the slices.

    The search has paid for looking at many parts; of slices, one is told whose interval, widened for their number, lies
    below what its classes alone would give.
    """
    if worst:
        row = worst[0]
        where = listing([str(condition) for condition in row["conditions"]])
        return [_worse(where, row["images"], row["accuracy"], row.get("expected"))]
    number = sum(len(parts) for parts in slices.values())
    found = []
    for column, parts in slices.items():
        for value, part in parts.items():
            images, level = int(part["images"]), part["accuracy"]["value"]
            expected = part.get("expected")
            high = float(wilson(round(level * images), images, 1 - (1 - CONFIDENCE) / number)[1])
            if len(parts) > 1 and high < (accuracy.low if expected is None else expected):
                found.append((level, f"{column.replace('_', ' ')} {value}", images, part["accuracy"], expected))
    return [_worse(*row[1:]) for row in sorted(found, key=lambda row: row[0])[:1]]


def _worse(where: str, images: int, accuracy: Mapping[str, Any], expected: float | None) -> Remark:
    estimate = Estimate(**accuracy)
    instead = "" if expected is None else f", where its classes alone would give {percent(expected)}"
    return Remark(
        side="weak", weight=42, anchor="slices",
        text=f"It does worse on images with {where}: {percent(estimate.value)} of {plural(images, 'image')} "
        f"({percent_range(estimate)}){instead}.",
        steps=(Step(text=f"Add training images with {where}."),),
    )  # fmt: skip


def about_robustness(values: Mapping[str, Any]) -> list[Remark]:
    """What corruptions do to it: little, or which hurts most."""
    if not values:
        return []
    try:
        measured = Robustness.from_dict(values)
    except NewerBundleError:
        return []
    found = []
    drop = measured.mean_drop
    if drop is not None and drop.high < _SMALL_DROP:
        found.append(Remark(
            side="good", weight=5, anchor="robustness",
            text=f"It bears blur, noise and compression: over the usual corruptions it loses {_points(drop)}.",
        ))  # fmt: skip
    hurt = [curve for curve in measured.worst() if curve.drop.low > _SMALL_DROP]
    if hurt:
        first = hurt[0]
        found.append(Remark(
            side="weak", weight=32, anchor="robustness",
            text=f"It suffers from {first.title.lower()} most: accuracy falls by {_points(first.drop)} on average.",
            steps=(Step(
                text="Where such images are to be expected, train on them: `augment.policy=trivialaugment` distorts "
                "training images more."
            ),),
        ))  # fmt: skip
    return found


def _points(drop: Estimate) -> str:
    return f"{100 * drop.value:.1f} points ({100 * drop.low:.1f} to {100 * drop.high:.1f})"


def about_decisions(decisions: Mapping[str, Any]) -> list[Remark]:
    """Whether abstaining and prediction sets keep what they promise."""
    test = decisions.get("test") or {}
    found = []
    selection = test.get("selection") or {}
    error, answered = selection.get("error") or {}, selection.get("answered") or {}
    if answered.get("value") and error.get("value") is not None:
        rate = selection["error_rate"]
        told = f"{percent(error['value'])} ({100 * error['low']:.1f} to {percent(error['high'])})"
        share = percent(answered["value"], 0)
        if error["low"] > rate:
            found.append(Remark(
                side="weak", weight=36, anchor="confidence",
                text=f"Its answers err more often than promised: {told}, where {percent(rate, 0)} were asked for.",
            ))  # fmt: skip
        else:
            found.append(Remark(
                side="good", weight=8.5, anchor="confidence",
                text=f"It knows when to answer: for {share} of the images it does, and errs in {told}; "
                f"{percent(rate, 0)} were asked for.",
            ))  # fmt: skip
    sets = test.get("sets") or {}
    coverage = sets.get("coverage") or {}
    if coverage.get("value") is not None and coverage["high"] < sets["promised"]:
        found.append(Remark(
            side="weak", weight=26, anchor="confidence",
            text=f"Its prediction sets hold the true class less often than promised: {percent(coverage['value'])}, "
            f"where {percent(sets['promised'], 0)} were asked for.",
        ))  # fmt: skip
    return found
