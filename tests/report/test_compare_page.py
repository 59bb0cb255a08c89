"""The page of several classifiers: whole, honest about ties, and calm about odd names and many models."""

from __future__ import annotations

import math
import re
import shutil
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from parsed_page import Page
from PIL import Image

from eyebright.errors import DataError
from eyebright.evaluation.across import across_data_sets
from eyebright.evaluation.compare import compare_predictions
from eyebright.evaluation.estimate import Estimate
from eyebright.evaluation.predictions import make_predictions
from eyebright.report.compare_content import CompareContent, Group, ModelFacts
from eyebright.report.compare_page import compare_page, short
from eyebright.report.compare_words import p_value, points, verdict
from eyebright.report.scatter import Spot, frontier, log_ticks, scatter

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)


def group(shares: dict[str, float], *, images: int = 400, classes: int = 3, prefix: str = "", **changes: Any) -> Group:
    """Classifiers that are right for about these shares of images, independently of each other."""
    random = np.random.default_rng(0)
    names = [f"class {number}" for number in range(classes)]
    truth = random.integers(0, classes, images)
    tables = {}
    for name, share in shares.items():
        guess = np.where(random.random(images) < share, truth, (truth + 1) % classes)
        ids = [f"{prefix}{row:08x}" for row in range(images)]
        labels = [names[place] for place in truth]
        logits = 3 * np.eye(classes)[guess] + random.normal(0, 0.1, (images, classes))
        tables[name] = make_predictions(ids, ids, labels, ["test"] * images, logits, 1.0, names)
    facts = {
        name: ModelFacts(
            name=name, path=f"runs/{name}", recipe="scratch", architecture="smallnet", parameters=10_000 * 3**place,
            parameters_counted=place == 0, weights_bytes=40_000 * 3**place, latency_ms=0.4 * 2**place,
            training_seconds=60.0 * 5**place, report=f"../{name}/report.html",
        )
        for place, name in enumerate(shares)
    }  # fmt: skip
    return Group(data_set="photos", contest=compare_predictions(tables), facts=facts, **changes)


def page_of(*groups: Group, **changes: Any) -> tuple[str, Page]:
    text = compare_page(CompareContent(title="Comparison on photos", groups=groups, **changes))
    return text, Page(text)


def test_the_page_is_whole_and_fetches_nothing() -> None:
    text, page = page_of(group({"a": 0.9, "b": 0.7, "c": 0.69}))
    ids = [attributes["id"] for _, attributes in page.tags if "id" in attributes]
    assert len(ids) == len(set(ids))
    for tag, attributes in page.tags:
        if tag == "a" and str(attributes.get("href")).startswith("#"):
            assert str(attributes["href"])[1:] in ids
        assert not str(attributes.get("src", "")).startswith(("http", "//"))
        if attributes.get("role") in ("img", "region", "group"):
            assert attributes.get("aria-label")
    assert {"ranking", "pairs", "costs", "classes", "alone", "models", "method"} <= set(ids)
    assert "a is better than every other classifier on these 400 images" in page.text
    assert "b and c cannot be told apart from each other." in page.text
    assert 'href="../a/report.html"' in text
    assert "10 k *" in page.text or "10 k*" in page.text


def test_ties_with_the_best_are_said_and_what_it_would_take() -> None:
    contest = group({"a": 0.81, "b": 0.8, "c": 0.3}).contest
    first, second, *rest = verdict(contest)
    assert "cannot be told apart from it" in first
    assert f"c is worse than {contest.best}" in second
    assert re.search(r"one point between the best two would take about [\d,]+ images", " ".join(rest))


def test_one_alone_is_no_winner() -> None:
    _, page = page_of(group({"a": 0.8}))
    assert "stands alone" in page.text
    assert "Each against each" not in page.text


def test_names_are_shown_as_they_are_and_never_run() -> None:
    odd = '<script>alert("x")</script>'
    text, page = page_of(group({odd: 0.9, "b & c": 0.6}))
    assert "<script>alert" not in text
    assert odd in page.text
    assert "b & c" in page.text


def test_groups_stand_apart_and_those_without_a_rival_are_not_ranked() -> None:
    groups = [group({"a": 0.9, "b": 0.6}), group({"c": 0.8}, prefix="x")]
    unfinished = [("half", "it is running", "continue it with `eyebright resume half`")]
    _, page = page_of(*groups, unfinished=unfinished)
    assert "Without a rival" in page.text
    assert "a is better than b on these 400 images" in page.text
    assert "Not ranked" in page.text
    assert ("code", {}) in page.tags


def test_data_sets_stand_side_by_side_with_ranks() -> None:
    groups = [group({"a": 0.9, "b": 0.6}), group({"a": 0.8, "b": 0.5}, prefix="x")]
    own = {"a": "deep", "b": "flat"}
    across = across_data_sets([("photos", groups[0].contest, own), ("drawings", groups[1].contest, own)])
    _, page = page_of(*groups, across=across)
    assert "Across data sets" in page.text
    assert "deep 1.00" in page.text
    assert "flat 2.00" in page.text


def test_many_models_and_classes_are_cut_with_a_word() -> None:
    _, page = page_of(group({f"m{place}": 0.5 + 0.03 * place for place in range(14)}, images=1500, classes=40))
    assert "The best 10 are shown; 4 more" in page.text
    assert "The 30 of 40 classes on which the classifiers differ most" in page.text


def test_pictures_are_shown_where_they_are_there() -> None:
    def picture(image: str) -> Image.Image:
        return Image.new("RGB", (64, 48), (int(image[-2:], 16), 90, 40))

    def gone(image: str) -> Image.Image:
        raise DataError(f"the image {image} is not here")

    text, page = page_of(group({"a": 0.9, "b": 0.7}, thumbnails=picture))
    images = [attributes for tag, attributes in page.tags if tag == "img"]
    assert images
    assert all(str(one["src"]).startswith("data:image/jpeg") and one["alt"] for one in images)
    assert len(text) < 8_000_000
    _, without = page_of(group({"a": 0.9, "b": 0.7}, thumbnails=gone))
    assert "no longer at their place" in without.text
    assert not [tag for tag, _ in without.tags if tag == "img"]


@pytest.mark.parametrize(
    ("value", "shown"), [(0.021, "+2.1"), (-0.0004, "0.0"), (-0.5, "\N{MINUS SIGN}50.0"), (0.0, "0.0")]
)
def test_differences_are_points_with_a_sign(value: float, shown: str) -> None:
    assert points(value) == shown


@pytest.mark.parametrize(
    ("value", "shown"), [(0.0, "p < 0.001"), (0.0123, "p = 0.012"), (0.99999, "p = 1"), (1.0, "p = 1")]
)
def test_p_values_are_never_rounded_to_certainty(value: float, shown: str) -> None:
    assert p_value(value) == shown


@pytest.mark.parametrize(
    ("value", "shown"), [(999, "999"), (999.6, "1 k"), (1_568_582, "1.57 M"), (999_999, "1 M"), (25e9, "25 G")]
)
def test_large_numbers_get_a_unit(value: float, shown: str) -> None:
    assert short(value) == shown


@given(st.floats(1e-3, 1e12), st.floats(1.0, 1e6), st.booleans())
def test_ticks_of_a_logarithmic_axis_rise_and_are_few(low: float, ratio: float, seconds: bool) -> None:
    ticks = log_ticks(low, low * ratio, seconds=seconds)
    assert 2 <= len(ticks) <= 6
    assert all(one < other for one, other in pairwise(ticks))
    # Either inside, or the nearest round numbers around a narrow range.
    assert all(low / 10.001 <= tick <= low * ratio * 10.001 for tick in ticks)


SPOTS = st.lists(st.tuples(st.floats(1, 1e6), st.floats(0, 1)), min_size=1, max_size=8)


@given(SPOTS)
def test_the_frontier_is_what_no_cheaper_one_equals(drawn: list[tuple[float, float]]) -> None:
    spots = [
        Spot(name=str(place), cost=cost, accuracy=Estimate(share, share, share, ""), bright=False)
        for place, (cost, share) in enumerate(drawn)
    ]
    values = [(spot.cost, spot.accuracy.value) for spot in frontier(spots)]
    expected = {
        (cost, share)
        for cost, share in drawn
        if not any((c < cost and s >= share) or (c == cost and s > share) for c, s in drawn)
    }
    assert set(values) == expected
    assert values == sorted(values)


@given(SPOTS, st.sampled_from([12, 60]))
def test_a_scatter_stays_in_its_frame_whatever_is_drawn(drawn: list[tuple[float, float]], length: int) -> None:
    spots = [
        Spot(
            name=f"{'x' * length}{place}", cost=cost,
            accuracy=Estimate(share, max(0, share - 0.1), min(1, share + 0.1), ""), bright=place == 0,
        )
        for place, (cost, share) in enumerate(drawn)
    ]  # fmt: skip
    svg = str(scatter("accuracy against size", spots, lambda value: f"{value:.3g}"))
    Page(svg)
    for x, y in re.findall(r'<circle class="dot[^"]*" cx="([-\d.e+nai]+)" cy="([-\d.e+nai]+)"', svg):
        assert 40 <= float(x) <= 400
        assert 0 <= float(y) <= 270
        assert math.isfinite(float(x) + float(y))


@pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium or Chrome on this machine")
@pytest.mark.parametrize("width", [360, 768, 1440])
def test_the_page_fits_every_screen_and_runs_without_a_complaint(width: int, tmp_path: Path) -> None:
    sync_api = pytest.importorskip("playwright.sync_api", reason="Playwright is not installed")
    long = "a-run-with-a-name-that-was-made-by-a-script-and-has-no-end-2026-11-23"
    text, _ = page_of(group({long: 0.9, "b": 0.7, "c": 0.69}), group({"d": 0.8, long: 0.7}, prefix="x"))
    single, _ = page_of(group({long: 0.9, "b": 0.7, "c": 0.69}))
    complaints: list[str] = []
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=("--no-sandbox", "--disable-gpu"))
        for name, content in (("many", text), ("one", single)):
            path = tmp_path / f"{name}.html"
            path.write_text(content, encoding="utf-8")
            page = browser.new_page(viewport={"width": width, "height": 900})
            page.on("pageerror", lambda error: complaints.append(str(error)))
            page.on("console", lambda said: complaints.append(said.text))
            page.goto(path.as_uri())
            page.evaluate("document.querySelectorAll('details').forEach((one) => { one.open = true; })")
            assert page.evaluate("document.documentElement.scrollWidth") <= width
            assert page.locator("svg.scatter").count() >= 3
            spot = page.locator("svg.scatter .spot").first
            spot.focus()
            page.wait_for_function("getComputedStyle(document.activeElement.querySelector('.words')).opacity === '1'")
        browser.close()
    assert complaints == []
