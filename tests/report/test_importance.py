"""The section about what a shallow classifier goes by."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from jinja2 import Environment, PackageLoader, StrictUndefined
from test_page import digits_content

from eyebright.report import wording
from eyebright.report.importance import finding, importance_section


def entry(lost: float, spread: float = 0.01, **more: Any) -> dict[str, Any]:
    return {
        "features": 10, "accuracy_lost": {"value": lost, "spread": spread},
        "loss_gained": {"value": lost, "spread": spread}, **more,
    }  # fmt: skip


IMPORTANCE: dict[str, Any] = {
    "images": 400, "repeats": 5, "accuracy": 0.65, "loss": 0.9, "head": "linear",
    "families": {"colour": entry(0.3, weight=0.6), "hog": entry(-0.005, weight=0.1), "lbp": entry(0.1, weight=0.3)},
    "cells": [[entry(0.01 * (4 * row + column)) for column in range(4)] for row in range(4)],
}  # fmt: skip


def rendered(importance: dict[str, Any]) -> str:
    section = importance_section(digits_content(importance=importance), gallery=None)  # type: ignore[arg-type]
    assert section is not None
    environment = Environment(
        loader=PackageLoader("eyebright.report"), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
    environment.filters |= {"percent": wording.percent, "count": wording.count}
    return environment.get_template(section.template).render(**section.context)


def test_families_stand_with_their_figures_the_most_important_first() -> None:
    page = rendered(IMPORTANCE)
    assert page.index("Colour") < page.index("Texture") < page.index("Shape")
    assert "<b>30.0 ± 1.0</b>" in page
    assert wording.percent(0.6) in page
    assert 'style="width:100.0%"' in page
    assert 'style="width:0.0%"' in page  # less than nothing is lost: no bar
    assert page.count('class="d"') == 16
    assert 'title="bottom, right: 15.0 ± 1.0 points">15.0</td>' in page


def test_figures_below_nothing_have_a_minus_and_zero_has_none() -> None:
    nearly = copy.deepcopy(IMPORTANCE)
    nearly["cells"][0][0] = entry(-0.0001, 0.002)
    nearly["cells"][0][1] = entry(-0.007, 0.002)
    page = rendered(nearly)
    assert ">0.0</td>" in page
    assert ">−0.7</td>" in page
    assert "-0.0" not in page
    assert "Up to about 2.0 points may be chance" in page


def test_heads_without_coefficients_have_no_column_for_them() -> None:
    plain = copy.deepcopy(IMPORTANCE)
    for family in plain["families"].values():
        del family["weight"]
    assert "Share of the weights" in rendered(IMPORTANCE)
    assert "Share of the weights" not in rendered(plain)


@pytest.mark.parametrize(
    ("lost", "words"),
    [
        ((0.3, 0.1, 0.0), "It goes by colour most: where it is shuffled among the images, accuracy falls from "),
        ((0.3, 0.1, 0.0), "Without texture it would do about as well."),
        ((0.001, 0.0, 0.0), "No family of features is needed by itself"),
    ],
)
def test_the_finding_speaks_of_losses_beyond_their_spread(lost: tuple[float, ...], words: str) -> None:
    families = dict(zip(("colour", "hog", "lbp"), map(entry, lost), strict=True))
    assert words in finding({**IMPORTANCE, "families": families})


def test_one_family_alone_is_named() -> None:
    assert finding({**IMPORTANCE, "families": {"hog": entry(0.4)}}).startswith("It knows shape only")


def test_a_classifier_that_goes_by_nothing_has_its_section_too() -> None:
    nothing = copy.deepcopy(IMPORTANCE)
    for found in (*nothing["families"].values(), *(cell for row in nothing["cells"] for cell in row)):
        found["accuracy_lost"] = {"value": 0.0, "spread": 0.0}
    assert "--s:0.0" in rendered(nothing)


def test_other_runs_have_no_section() -> None:
    assert importance_section(digits_content(), gallery=None) is None  # type: ignore[arg-type]
