"""The section about parts of the images: true to the numbers, readable as text, and silent without slices."""

from __future__ import annotations

import dataclasses
import re
from typing import Any

import numpy as np
import pytest
from jinja2 import Environment, PackageLoader, StrictUndefined
from PIL import Image

from eyebright.errors import DataError
from eyebright.evaluation import evaluate, make_predictions
from eyebright.evaluation.slice_search import search_slices
from eyebright.evaluation.slices import SliceColumn, accuracy_of_parts, make_column, number_column
from eyebright.report import ReportContent, wording
from eyebright.report.gallery import Gallery
from eyebright.report.section import Section
from eyebright.report.slices import ILLUSTRATED, axis_start, draw_parts, slices_section

CLASSES = ("ant", "bee")


def columns_and_content(bad: float = 0.5, images: int = 600) -> tuple[list[SliceColumn], ReportContent]:
    """Predictions that are worse on dark images by `bad`."""
    random = np.random.default_rng(1)
    labels = random.integers(0, 2, images)
    light = random.random(images)
    wrong = (random.random(images) < 0.1) | ((light < 0.2) & (random.random(images) < bad))
    said = np.where(wrong, 1 - labels, labels)
    ids = [f"{number:032x}" for number in range(images)]
    predictions = make_predictions(
        ids, [f"{number}.jpg" for number in range(images)], [CLASSES[label] for label in labels], ["test"] * images,
        np.eye(2)[said] * 3, 1.0, CLASSES,
    )  # fmt: skip
    columns = [number_column("brightness", light), make_column("<camera>", ["a & b", "<c>"] * (images // 2))]
    kept = [column for column in columns if column is not None]
    content = ReportContent(
        run_name="r", data="d", classes=CLASSES, predictions=predictions, test=evaluate(predictions),
        thumbnails=lambda id_: Image.new("RGB", (60, 60), (int(id_, 16) % 256, 0, 0)),
        slices={
            column.name: {part: one.as_dict() for part, one in accuracy_of_parts(predictions, column).items()}
            for column in kept
        },
        worst_slices=[one.as_dict() for one in search_slices(predictions, kept)],
    )  # fmt: skip
    return kept, content


@pytest.fixture(scope="module")
def content() -> ReportContent:
    return columns_and_content()[1]


def text_of(section: Section | None) -> str:
    assert section is not None
    environment = Environment(loader=PackageLoader("eyebright.report"), autoescape=True, undefined=StrictUndefined)
    for name in ("percent", "percent_range", "count", "plural"):
        environment.filters[name] = getattr(wording, name)
    return environment.get_template(section.template).render(**section.context)


def words(html: str) -> str:
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", html))


def test_the_worst_slice_is_told_in_words_with_its_mistakes(content: ReportContent) -> None:
    worst: Any = content.worst_slices[0]
    html = text_of(slices_section(content, Gallery(content.thumbnails)))
    told = words(html)
    assert "on images with brightness under 0.2: " in told
    assert "Brightness under 0.2" in told
    assert f"of {worst['images']} images are right" in told
    assert f"{100 * worst['expected']:.1f}" in told
    assert html.count('class="is-wrong"') == len(worst["mistakes"]) == 8
    assert html.count('src="data:image/') == 8
    assert "finds anything at all in at most one of twenty cases" in told


def test_every_column_has_a_chart_that_can_be_read_without_seeing_it(content: ReportContent) -> None:
    html = text_of(slices_section(content, Gallery(content.thumbnails)))
    assert html.count('<svg class="chart') == 2
    for part, found in content.slices["brightness"].items():
        share = f"{100 * found['accuracy']['value']:.1f}"
        assert re.search(rf"<title>{re.escape(part)}: {share}.% of {found['images']} images are right", html)
    assert 'aria-label="Accuracy by &lt;camera&gt;"' in html
    assert "<title>a &amp; b: " in html
    assert "<c>" not in html


def test_nothing_found_is_said_and_no_slices_are_no_section() -> None:
    _, calm = columns_and_content(bad=0.0)
    assert calm.worst_slices == []
    section = slices_section(calm, Gallery(calm.thumbnails))
    assert "No part of the test images stands out" in text_of(section)
    assert slices_section(dataclasses.replace(calm, slices={}), Gallery(calm.thumbnails)) is None
    one_part = {"camera": {"a": next(iter(calm.slices["brightness"].values()))}}
    assert slices_section(dataclasses.replace(calm, slices=one_part), Gallery(calm.thumbnails)) is None


def test_a_run_without_a_search_is_not_said_to_have_had_one() -> None:
    _, calm = columns_and_content(bad=0.0)
    plain = {"dataset": {name: dict(part) for name, part in calm.slices["<camera>"].items()}}
    for part in plain["dataset"].values():
        del part["expected"]
    told = text_of(slices_section(dataclasses.replace(calm, slices=plain), Gallery(calm.thumbnails)))
    assert "stands out" not in told
    assert "Data set" in told


def test_many_slices_are_illustrated_first_and_listed_after(content: ReportContent) -> None:
    many = dataclasses.replace(content, worst_slices=[content.worst_slices[0]] * (ILLUSTRATED + 2))
    html = text_of(slices_section(many, Gallery(many.thumbnails)))
    assert html.count('class="bad-slice"') == ILLUSTRATED
    assert "2 more parts" in words(html)
    assert "There are 4 more such parts." in words(html)


def test_images_that_are_gone_leave_their_place(content: ReportContent) -> None:
    def gone(id_: str) -> Image.Image:
        raise DataError("it is gone")

    html = text_of(slices_section(content, Gallery(gone)))
    assert html.count("no longer there") == 8


def test_the_axis_is_the_same_for_all_and_begins_below_every_useful_interval() -> None:
    def part(low: float, images: int) -> dict[str, Any]:
        return {"images": images, "accuracy": {"value": 0.9, "low": low, "high": 0.95, "method": "Wilson"}}

    assert axis_start({"a": {"x": part(0.83, 100)}, "b": {"y": part(0.67, 100), "z": part(0.1, 3)}}) == 0.6
    assert axis_start({"a": {"x": part(0.97, 100)}}) == 0.8
    assert axis_start({}) == 0.0
    chart = str(draw_parts("a", {"x": part(0.1, 3), "y": part(0.7, 50)}, low=0.6, overall=0.9))
    places = [float(value) for value in re.findall(r'<rect class="soft-accent" x="([\d.]+)"', chart)]
    assert places[0] == 114.0  # cut off at the start of the axis
    assert places[1] == pytest.approx(114 + (222 - 114) * 0.25, abs=0.1)
