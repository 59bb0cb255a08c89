"""The section about what a shallow classifier goes by: families of features, and parts of the image."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from eyebright.report import wording
from eyebright.report.content import ReportContent
from eyebright.report.gallery import Gallery
from eyebright.report.section import Section

_FAMILIES = {
    "colour": ("Colour", "histograms of hue, saturation and brightness"),
    "hog": ("Shape", "histograms of oriented gradients (HOG)"),
    "lbp": ("Texture", "local binary patterns (LBP)"),
}
_ROWS, _COLUMNS = ("top", "upper middle", "lower middle", "bottom"), ("left", "middle left", "middle right", "right")
_FULLEST = 0.5
"""How strongly the most important cell is filled: the text stays legible on it, in light and dark."""
_SURE_ABOVE = 2.0
"""Standard deviations over repeats by which a loss must differ from none to be spoken of."""


def importance_section(content: ReportContent, gallery: Gallery) -> Section | None:
    """The section; None for a run whose classifier is not shallow.

    Args:
        content: `content.importance` is what `eyebright.models.shallow.importance.shallow_importance` gives.
        gallery: not used.
    """
    found = content.importance
    if not found or not found.get("families"):
        return None
    context = {
        "finding": finding(found),
        "accuracy": found["accuracy"],
        "images": found["images"],
        "repeats": found["repeats"],
        "families": _family_rows(found["families"]),
        "weighed": any("weight" in entry for entry in found["families"].values()),
        "cells": _cell_rows(found["cells"]),
        "noise": _signed(_SURE_ABOVE * _usual_spread(found["cells"])),
    }
    return Section("importance", "What it goes by", "importance.html", context)


def finding(found: Mapping[str, Any]) -> str:
    """Which family counts most, and by how much, in a sentence or two."""
    accuracy, families = float(found["accuracy"]), found["families"]
    order = sorted(families, key=lambda name: -families[name]["accuracy_lost"]["value"])
    if len(order) == 1:
        return (
            f"It knows {_title(order[0]).lower()} only: {_FAMILIES[order[0]][1]}."
            if order[0] in _FAMILIES
            else f"It knows {order[0]} only."
        )
    sure = [name for name in order if _is_sure(families[name]["accuracy_lost"])]
    if not sure:
        return (
            "No family of features is needed by itself: with any one of them shuffled among the images, the others "
            "tell as much."
        )
    first = sure[0]
    text = (
        f"It goes by {_title(first).lower()} most: where it is shuffled among the images, accuracy falls from "
        f"{wording.percent(accuracy)} to {wording.percent(accuracy - families[first]['accuracy_lost']['value'])}."
    )
    idle = [_title(name).lower() for name in order if name not in sure]
    if idle:
        text += f" Without {wording.listing(idle)} it would do about as well."
    return text


def _is_sure(lost: Mapping[str, float]) -> bool:
    return lost["value"] > 0 and lost["value"] > _SURE_ABOVE * lost["spread"]


def _title(name: str) -> str:
    return _FAMILIES[name][0] if name in _FAMILIES else name


def _family_rows(families: Mapping[str, Mapping[str, Any]]) -> list[dict[str, Any]]:
    largest = max([entry["accuracy_lost"]["value"] for entry in families.values()] + [1e-9])
    rows = [
        {
            "title": _title(name),
            "meaning": _FAMILIES.get(name, ("", ""))[1],
            "features": entry["features"],
            "lost": entry["accuracy_lost"]["value"],
            "points": _points(entry["accuracy_lost"]),
            "width": 100 * max(0.0, entry["accuracy_lost"]["value"]) / largest,
            "weight": entry.get("weight"),
        }
        for name, entry in families.items()
    ]
    return sorted(rows, key=lambda row: -float(row["lost"]))


def _points(lost: Mapping[str, float]) -> str:
    return f"{_signed(lost['value'])} ± {100 * lost['spread']:.1f}"


def _signed(share: float) -> str:
    """A share in points, without a sign before zero."""
    text = f"{100 * share:.1f}"
    return text.lstrip("-") if float(text) == 0 else text.replace("-", "−")


def _usual_spread(cells: Sequence[Sequence[Mapping[str, Any]]]) -> float:
    return statistics.median(float(entry["accuracy_lost"]["spread"]) for row in cells for entry in row)


def _cell_rows(cells: Sequence[Sequence[Mapping[str, Any]]]) -> list[list[dict[str, Any]]]:
    """For each cell its number in points, how strongly it is filled, and the words of its tip."""
    values = [[float(entry["accuracy_lost"]["value"]) for entry in row] for row in cells]
    largest = max(max(row) for row in values)
    filled = [[max(0.0, value) / largest if largest > 0 else 0.0 for value in row] for row in values]
    return [
        [
            {
                "text": _signed(values[row][column]),
                "strength": round(_FULLEST * filled[row][column], 3),
                "words": f"{_ROWS[row]}, {_COLUMNS[column]}: {_points(cells[row][column]['accuracy_lost'])} points",
            }
            for column in range(len(_COLUMNS))
        ]
        for row in range(len(_ROWS))
    ]
