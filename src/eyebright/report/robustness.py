"""The section about robustness: what spoilt images do to the classifier, in words, as a table and as curves."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from typing import Any

from eyebright.errors import NewerBundleError
from eyebright.evaluation.estimate import Estimate
from eyebright.evaluation.robustness import FALLEN, Curve, Robustness
from eyebright.report import wording
from eyebright.report.content import ReportContent
from eyebright.report.curves import Across, Curves, Line, draw_curves
from eyebright.report.gallery import Gallery
from eyebright.report.section import Section

ANCHOR, TITLE, TEMPLATE = "robustness", "What it can bear", "robustness.html"
_MOST_CLASSES = 8
_HONEST_WITHIN = 0.05  # confidence may differ from accuracy by so much and still be called honest
_STRONGEST = 0.5  # of a colour behind text, so that the text stays legible
_FAMILIES = {"noise": "Noise", "blur": "Blur", "weather": "Weather and light", "digital": "Contrast, shape and files"}


def robustness_section(content: ReportContent, gallery: Gallery) -> Section | None:
    """The section; one that says how to measure it where it was not measured."""
    if not content.robustness:
        command = f"eyebright evaluate {shlex.quote(content.path)} --robustness"
        return Section(ANCHOR, TITLE, TEMPLATE, {"measured": None, "command": command, "problem": ""})
    try:
        measured = Robustness.from_dict(content.robustness)
    except NewerBundleError as error:
        return Section(ANCHOR, TITLE, TEMPLATE, {"measured": None, "command": "", "problem": str(error.problem)})
    return Section(ANCHOR, TITLE, TEMPLATE, robustness_context(measured))


def robustness_context(measured: Robustness) -> dict[str, Any]:
    """What the template of the section uses."""
    common = measured.worst()
    own = [curve for curve in measured.curves if not curve.common]
    severities = [str(number + 1) for number in range(max((len(curve.cells) for curve in common), default=0))]
    across = _across(["clean", *severities], ["clean images", *(f"severity {number}" for number in severities)])
    return {
        "measured": measured,
        "findings": findings(measured),
        "severities": severities,
        "rows": [_row(curve, measured.clean.value) for curve in common],
        "families": [
            (title, [_figure(curve, measured, across) for curve in measured.curves if curve.family == family])
            for family, title in _FAMILIES.items()
            if any(curve.family == family for curve in measured.curves)
        ],
        "across": across.data,
        "own": [(_figure(curve, measured, own_across), own_across.data, _unit(curve))
                for curve in own for own_across in [_own_across(curve)]],
        "classes": [(row, points(row.drop.value), _range(row.drop)) for row in measured.classes[:_MOST_CLASSES]],
        "all_classes": len(measured.classes),
        "seconds": wording.duration(measured.seconds),
        "command": "", "problem": "",
    }  # fmt: skip


def findings(measured: Robustness) -> list[str]:
    """The result in plain words, most important first."""
    found = []
    if measured.mean_error is not None and measured.mean_drop is not None:
        found.append(_overall(measured))
        found += _extremes(measured.worst())
    own = [curve for curve in measured.curves if not curve.common]
    enough = f"{100 * FALLEN:.0f}{wording.NARROW_SPACE}% of its clean accuracy"
    kept = [_limit(curve) for curve in own if curve.falls_at != 1]
    if kept:
        found.append(f"It keeps at least {enough} under {wording.listing(kept)}.")
    lost = [f"{_in_text(curve)} ({_level(curve, curve.cells[0].level)})" for curve in own if curve.falls_at == 1]
    if lost:
        found.append(f"Less than {enough} is left under the mildest {wording.listing(lost)} that was tried.")
    found.append(_honesty(measured))
    return [text for text in found if text]


def _overall(measured: Robustness) -> str:
    assert measured.mean_error is not None
    assert measured.mean_drop is not None
    drop = measured.mean_drop
    corrupted = wording.percent(1 - measured.mean_error.value)
    same = (
        f"On clean images it is right {wording.percent(measured.clean.value)} of the time, on the same images spoilt "
        f"by the usual corruptions {corrupted}"
    )
    if drop.low <= 0:
        return f"{same}: with {wording.plural(measured.images, 'image')}, no loss can be told from chance."
    return f"{same}: it loses {points(drop.value)} points ({_range(drop)})."


def _extremes(curves: Sequence[Curve]) -> list[str]:
    """What hurts most and least."""
    if len(curves) < 2:
        return []
    hurt = [curve for curve in curves if curve.drop.low > 0]
    if not hurt:
        return ["No single corruption costs it more than chance could."]
    worst, best = hurt[:3], curves[-1]
    named = wording.listing([f"{_in_text(curve)} ({wording.percent(curve.accuracy, 0)} right)" for curve in worst])
    return [
        f"It suffers most from {named}. It bears {_in_text(best)} best ({wording.percent(best.accuracy, 0)} right)."
    ]


def _in_text(curve: Curve) -> str:
    """A title in the middle of a sentence: capitals stay where they are names."""
    first = curve.title.split()[0]
    return curve.title if first in ("Gaussian", "JPEG") else curve.title[0].lower() + curve.title[1:]


def _limit(curve: Curve) -> str:
    """How far a corruption with a unit may go: `JPEG quality down to 30`."""
    toward = "down to" if curve.cells[0].level > curve.cells[-1].level else "up to"
    last = curve.cells[-1] if curve.falls_at is None else curve.cells[curve.falls_at - 2]
    further = " (the most that was tried)" if curve.falls_at is None else ""
    return f"{_in_text(curve)} {toward} {_level(curve, last.level)}{further}"


def _honesty(measured: Robustness) -> str:
    if measured.confidence is None or measured.mean_error is None:
        return ""
    claimed, right = measured.confidence, 1 - measured.mean_error.value
    says = f"On spoilt images it claims {wording.percent(claimed)} on average and is right {wording.percent(right)}"
    if claimed - right > _HONEST_WITHIN:
        return f"{says}: do not trust its confidence on images like these; it is overconfident."
    if right - claimed > _HONEST_WITHIN:
        return f"{says}: it is better than it says."
    return f"{says}: its confidence falls with its accuracy, and can be trusted."


def _level(curve: Curve, level: float) -> str:
    """A level as people read it."""
    if curve.unit.startswith("of "):
        return f"{100 * level:.3g}{wording.NARROW_SPACE}%"
    return f"{level:.3g}°" if curve.unit == "degrees" else f"{level:.3g}"


def _unit(curve: Curve) -> str:
    """What stands below the curve: the unit of its levels."""
    return f"share {curve.unit}" if curve.unit.startswith("of ") else curve.unit


def _across(labels: Sequence[str], places: Sequence[str]) -> Across:
    return Across(positions=range(len(labels)), labels=labels, places=places)


def _own_across(curve: Curve) -> Across:
    levels = [_level(curve, cell.level) for cell in curve.cells]
    return _across(["clean", *levels], ["clean images", *(f"{curve.title.lower()} {level}" for level in levels)])


def _figure(curve: Curve, measured: Robustness, across: Across) -> dict[str, Any]:
    """A chart with the example below it."""
    missing = [None] * (len(across.positions) - 1 - len(curve.cells))
    right = [measured.clean.value, *(cell.accuracy.value for cell in curve.cells), *missing]
    claimed = [measured.clean_confidence, *(cell.confidence for cell in curve.cells), *missing]
    lines = [Line("right", right), Line("claims", claimed, "c-muted")]
    chart: Curves | None = draw_curves(curve.title, lines, across, style="percent", limits=(0, 1))
    return {"chart": chart, "example": measured.examples.get(curve.name, ""), "title": curve.title,
            "enlarged": measured.side <= 48}  # fmt: skip


def points(share: float) -> str:
    """0.2835 as `28.4`, in points; a rounded zero has no sign."""
    text = f"{100 * share:.1f}"
    return text.removeprefix("-") if float(text) == 0 else text.replace("-", "\N{MINUS SIGN}")


def _range(drop: Estimate) -> str:
    return f"{points(drop.low)} to {points(drop.high)}"


def _row(curve: Curve, clean: float) -> dict[str, Any]:
    """One line of the table."""
    return {
        "title": curve.title,
        "cells": [
            {
                "accuracy": cell.accuracy,
                "says": f"{wording.percent(cell.accuracy.value)} right ({wording.percent_range(cell.accuracy)}), "
                f"{points(cell.drop.value)} points lost ({_range(cell.drop)})",
                "strength": _STRONGEST * min(1.0, max(0.0, cell.drop.value) / clean) if clean > 0 else 0.0,
            }
            for cell in curve.cells
        ],
        "mean": curve.accuracy,
        "drop": points(curve.drop.value),
        "range": _range(curve.drop),
        "calibration_error": curve.calibration_error,
        "falls": "never" if curve.falls_at is None else str(curve.falls_at),
    }
