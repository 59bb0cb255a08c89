"""The section about parts of the images: accuracy by property, origin and column, and the worst parts in pictures."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from markupsafe import Markup, escape

from eyebright.evaluation.estimate import Estimate
from eyebright.evaluation.image_properties import PROPERTIES
from eyebright.report import wording
from eyebright.report.charts import svg, text_at
from eyebright.report.content import ReportContent
from eyebright.report.gallery import Gallery
from eyebright.report.section import Section

ILLUSTRATED = 3
"""Slices that are shown with pictures; the others are a line each."""
_TITLES = {"dataset": "data set", "folder": "top folder", "format": "file format"}
_TITLES |= {one.name: one.title for one in PROPERTIES}
_UNITS = {one.name: one.unit for one in PROPERTIES if one.unit}
_MEANINGS = {
    "shortest_side": "before the image is scaled for the network",
    "brightness": "0 is black, 1 white",
    "contrast": "standard deviation of the brightness",
    "sharpness": "strength of edges, for the contrast",
    "saturation": "0 is grey",
}
_WIDTH, _ROW, _TOP = 330, 24, 26
_NAME_END, _LEFT, _RIGHT, _VALUE_END = 106, 114, 222, 276
_LONGEST_NAME = 18
_LEAST_FOR_AXIS = 20  # images of a part whose interval must fit on the axis


def slices_section(content: ReportContent, gallery: Gallery) -> Section | None:
    """The section; None when the content has no slices."""
    worst = list(content.worst_slices)
    columns = {name: parts for name, parts in content.slices.items() if len(parts) > 1}
    if not columns and not worst:
        return None
    split = wording.SPLIT_NAMES[content.scored_split]
    accuracy = None if content.metrics is None else content.metrics.accuracy.value
    low = axis_start(columns)
    context = {
        "finding": finding(worst, columns, split),
        "searched": bool(worst) or any(name in columns for name in _UNITS | _MEANINGS),
        "compared": int(worst[0]["compared"]) if worst else None,
        "shown": [_illustrated(row, content, gallery) for row in worst[:ILLUSTRATED]],
        "others": [_described(row) for row in worst[ILLUSTRATED:]],
        "charts": [
            {
                "title": _title(name),
                "meaning": _MEANINGS.get(name, ""),
                "chart": draw_parts(name, parts, low=low, overall=accuracy),
            }
            for name, parts in columns.items()
        ],
        "accuracy": accuracy,
        "split": split,
    }
    return Section("slices", "Where it does better and worse", "slices.html", context)


def finding(worst: Sequence[Mapping[str, Any]], columns: Mapping[str, Any], split: str) -> str:
    """What the slices say, in a sentence or two."""
    if worst:
        first = worst[0]
        more = f" There are {len(worst) - 1} more such parts." if len(worst) > 2 else ""
        more = " There is one more such part." if len(worst) == 2 else more
        return (
            f"It makes more mistakes than the class alone explains on images with {words_of(first)}: "
            f"{wording.percent(first['accuracy']['value'])} of {wording.plural(int(first['images']), 'image')} are "
            f"right, where the same classes have {wording.percent(first['expected'])} in all.{more}"
        )
    if any(name in columns for name in _UNITS | _MEANINGS):
        return (
            f"No part of the {split} images stands out: where it does better or worse, the classes that the part "
            "holds and chance explain it."
        )
    return f"The same classifier on parts of the {split} images."


def words_of(row: Mapping[str, Any]) -> str:
    """The conditions of a slice as a phrase."""
    return wording.listing([str(text) for text in row["conditions"]])


def axis_start(columns: Mapping[str, Mapping[str, Mapping[str, Any]]]) -> float:
    """Where the axes of all charts begin: the same round share for all, below every interval that tells something."""
    lows = [
        part["accuracy"]["low"]
        for parts in columns.values()
        for part in parts.values()
        if part["images"] >= _LEAST_FOR_AXIS
    ]
    lowest = min(lows, default=0.0)
    return max(0.0, min(0.8, math.floor(lowest * 10) / 10))


def draw_parts(name: str, parts: Mapping[str, Mapping[str, Any]], *, low: float, overall: float | None) -> Markup:
    """Accuracy of each part as a dot with its interval, and as a small line what its classes have on all images.

    Args:
        name: of the column.
        parts: as in `metrics.json`.
        low: where the axis begins; it ends at 1.
        overall: accuracy on all images, a dashed line.
    """
    floor = _TOP + _ROW * len(parts)

    def x_of(share: float) -> float:
        return _LEFT + (_RIGHT - _LEFT) * (min(1.0, max(low, share)) - low) / (1 - low)

    body = []
    for tick in (low, 1.0):
        body.append(f'<path class="grid" d="M{x_of(tick):.1f} {_TOP - 4}V{floor}"/>')
        body.append(text_at(x_of(tick), 12, f"{100 * tick:.0f}" + (" %" if tick == 1 else "")))
    if overall is not None:
        at = x_of(overall)
        body.append(f'<path class="grid dashed" d="M{at:.1f} {_TOP - 4}V{floor}"/>')
        if low + 0.13 * (1 - low) < overall < 1 - 0.15 * (1 - low):
            body.append(text_at(at, 12, "all"))
    body.append(text_at(_WIDTH, 12, "images", "end"))
    for row, (part, found) in enumerate(parts.items()):
        accuracy, images = Estimate(**found["accuracy"]), int(found["images"])
        y = _TOP + _ROW * (row + 0.5)
        shown = _part_name(name, part)
        short = shown if len(shown) <= _LONGEST_NAME else f"{shown[: _LONGEST_NAME - 1]}…"
        expected = found.get("expected")
        detail = f"{shown}: {wording.percent(accuracy.value)} of {wording.plural(images, 'image')} are right"
        detail += f" ({wording.percent_range(accuracy)})"
        if expected is not None:
            detail += f"; the same classes have {wording.percent(expected)} in all"
        body.append(text_at(_NAME_END, y + 4, short, "end", ' class="part"'))
        band = f'x="{x_of(accuracy.low):.1f}" y="{y - 5:.1f}" height="10" rx="5"'
        width = max(2.0, x_of(accuracy.high) - x_of(accuracy.low))
        body.append(f'<rect class="soft-accent" {band} width="{width:.1f}"/>')
        if expected is not None:
            body.append(f'<path class="expected" d="M{x_of(expected):.1f} {y - 8:.1f}v16"/>')
        body.append(f'<circle class="dot c-accent" cx="{x_of(accuracy.value):.1f}" cy="{y:.1f}" r="5"/>')
        body.append(text_at(_VALUE_END, y + 4, wording.percent(accuracy.value), "end", ' class="part"'))
        body.append(text_at(_WIDTH, y + 4, wording.count(images), "end"))
        # The whole row says what it is, not the dot alone.
        area = f'x="0" y="{y - _ROW / 2:.1f}" width="{_WIDTH}" height="{_ROW}"'
        body.append(f'<rect class="row" {area}><title>{escape(detail)}</title></rect>')
    return svg(_WIDTH, floor + 2, f"Accuracy by {_title(name)}", body)


def _title(name: str) -> str:
    unit = f", {_UNITS[name]}" if name in _UNITS else ""
    return f"{_TITLES.get(name, name)}{unit}"


def _part_name(column: str, part: str) -> str:
    """The name of a part without the unit, which the title has."""
    if column == "split":
        return wording.SPLIT_NAMES.get(part, part)
    unit = _UNITS.get(column)
    return part.replace(f" {unit}", "") if unit else part


def _illustrated(row: Mapping[str, Any], content: ReportContent, gallery: Gallery) -> dict[str, Any]:
    scored = content.scored()
    row_of = {image: number for number, image in enumerate(scored.column("id"))}
    places = [row_of[image] for image in row["mistakes"] if image in row_of]
    pictures = gallery.pictures(scored.rows(np.array(places, dtype=np.int64))) if places else []
    return {**_described(row), "pictures": pictures}


def _described(row: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "words": words_of(row),
        "images": int(row["images"]),
        "accuracy": Estimate(**row["accuracy"]),
        "expected": float(row["expected"]),
        "p_value": f"{float(row['p_value']):.2g}",
    }
