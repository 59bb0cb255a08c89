"""Curves show every value inside their frame, and move under the hands of a reader in a real browser."""

from __future__ import annotations

import json
import math
import re
import shutil
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from test_page import digits_content

from eyebright.report import write_report
from eyebright.report.curves import HEIGHT, MARGIN, SIDE, WIDTH, Across, Line, bands_of, draw_curves, labels_below

SVG = "{http://www.w3.org/2000/svg}"
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
ARGUMENTS = (
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync",
)  # fmt: skip


def epochs(count: int, stages: list[str] | None = None) -> Across:
    labels = [str(index + 1) for index in range(count)]
    return Across(
        positions=range(count), labels=labels, places=[f"epoch {label}" for label in labels],
        bands=bands_of(stages or ["all"] * count),
    )  # fmt: skip


def points_of(svg: ElementTree.Element, style: str) -> list[tuple[float, float]]:
    drawn = "".join(p.get("d", "") for p in svg.iter("path") if p.get("class") == style)
    return [tuple(map(float, part.split())) for part in drawn.replace("L", "M").split("M") if part]  # type: ignore[misc]


@given(
    st.lists(st.one_of(st.none(), st.floats(0, 10), st.just(math.nan)), min_size=1, max_size=40),
    st.data(),
)
def test_every_value_is_drawn_inside_the_square(values: list[float | None], data: st.DataObject) -> None:
    known = [value for value in values if value is not None and not math.isnan(value)]
    stages = [data.draw(st.sampled_from("ab")) for _ in values]
    marked = data.draw(st.one_of(st.none(), st.integers(0, len(values) - 1)))
    target = data.draw(st.one_of(st.none(), st.floats(0, 10)))
    chart = draw_curves(
        "Loss <b>", [Line("loss", values)], epochs(len(values), stages), style="number", marked=marked, target=target
    )
    if not known:
        assert chart is None
        return
    assert chart is not None
    svg = ElementTree.fromstring(chart.svg)
    points = points_of(svg, "line c-accent")
    assert len(points) == len(known)
    for x, y in points:
        assert 0 <= x <= SIDE
        assert -0.01 <= y <= SIDE + 0.01
    low, high = json.loads(chart.data)["y"]
    for (_, y), value in zip(points, known, strict=True):
        assert low + (1 - y / SIDE) * (high - low) == pytest.approx(value, abs=1e-4 * (high - low))
    assert svg.get("aria-label") == "Loss <b>"
    for text in svg.iter("text"):
        assert 0 <= float(text.get("x", "nan")) <= WIDTH
        assert 0 <= float(text.get("y", "nan")) <= HEIGHT


def test_lines_are_not_joined_across_stages_or_gaps_and_lone_values_have_dots() -> None:
    values = [1.0, 0.9, 0.8, 0.7, None, 0.5, 0.4]
    chart = draw_curves("Loss", [Line("loss", values)], epochs(7, ["a"] + ["b"] * 6), style="number")
    assert chart is not None
    paths = [p for p in ElementTree.fromstring(chart.svg).iter("path") if p.get("class") == "line c-accent"]
    assert [len(part.split("L")) for part in paths[0].get("d", "").split("M")[1:]] == [1, 3, 2]
    assert len(points_of(ElementTree.fromstring(chart.svg.replace("h0", "")), "point c-accent")) == 1


def test_bands_are_runs_of_a_name() -> None:
    assert bands_of(["a", "a", "b", "a"]) == [("a", 0, 1), ("b", 2, 2), ("a", 3, 3)]
    assert bands_of(["a", "a"]) == bands_of([]) == []


@given(st.integers(1, 500))
def test_labels_below_are_few_and_true(count: int) -> None:
    below = labels_below(epochs(count))
    assert 1 <= len(below) <= 8
    assert all(int(label) == position + 1 for position, label in below)


def test_a_logarithmic_axis_is_labelled_at_powers_of_ten() -> None:
    positions = [-6.5 + 0.05 * index for index in range(140)]
    across = Across(positions=positions, labels=["?"] * 140, places=["?"] * 140, logarithmic=True)
    assert labels_below(across)[:4] == [(-6, "1e-6"), (-5, "1e-5"), (-4, "1e-4"), (-3, "1e-3")]


def test_the_legend_tells_the_values_of_the_marked_place() -> None:
    lines = [Line("validation", [0.5, 0.8123, 0.7]), Line("training", [0.6, None, 1.0], "c-muted")]
    at_best = draw_curves("Accuracy", lines, epochs(3), style="percent", marked=1, marked_name="best", target=0.85)
    assert at_best is not None
    assert [(name, value.replace("\u202f", " ")) for name, _, value in at_best.legend] == [
        ("validation", "81.2 %"),
        ("training", "–"),
    ]
    assert at_best.rest == "best: epoch 2"
    assert "target 85.0" in at_best.svg
    at_last = draw_curves("Accuracy", lines, epochs(3), style="percent")
    assert at_last is not None
    assert (at_last.rest, at_last.legend[1][2].replace("\u202f", " ")) == ("epoch 3", "100.0 %")


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    sync_api = pytest.importorskip("playwright.sync_api", reason="Playwright is not installed")
    if CHROMIUM is None:
        pytest.skip("there is no Chromium or Chrome on this machine")
    with sync_api.sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        yield running
        running.close()


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    history = [
        {"stage": "all", "epoch": e, "train_loss": 2 / e, "val_loss": 1 + abs(e - 8) / 10, "val_accuracy": e / 100,
         "train_accuracy": e / 50, "learning_rate": 1e-3 / e, "new_best": e <= 8}
        for e in range(1, 21)
    ]  # fmt: skip
    return write_report(tmp_path_factory.mktemp("report"), digits_content(history=history))


class Reader:
    """A person who looks at the section about training."""

    def __init__(self, browser: Any, path: Path, **options: Any) -> None:
        self.wrong: list[str] = []
        self.context = browser.new_context(**{"viewport": {"width": 1280, "height": 900}, **options})
        self.page = self.context.new_page()
        self.page.on("pageerror", lambda error: self.wrong.append(str(error)))
        self.page.on("request", lambda asked: self.wrong.append(asked.url) if asked.url[:4] != "file" else None)
        self.page.goto(path.as_uri())
        self.page.locator("#training").scroll_into_view_if_needed()
        self.chart = self.page.locator("svg.curve").nth(1)

    def place(self) -> list[str]:
        return self.page.locator("[data-place]").all_text_contents()

    def values(self) -> list[str]:
        return [text.replace("\u202f", " ") for text in self.page.locator("[data-value]").all_text_contents()]

    def labels(self) -> list[str]:
        """What stands below the second chart."""
        found = self.chart.locator(".axes text[text-anchor=middle]").all_text_contents()
        return [str(text) for text in found]

    def x_of(self, epoch: int) -> float:
        box = self.chart.bounding_box()
        inside = ((epoch - 1) / 19 * SIDE + MARGIN) / (SIDE + 2 * MARGIN)
        return float(box["x"] + box["width"] * (44 + (WIDTH - 50) * inside) / WIDTH)

    def y(self) -> float:
        box = self.chart.bounding_box()
        return float(box["y"] + box["height"] / 2)


@pytest.fixture
def reader(browser: Any, report: Path) -> Iterator[Reader]:
    person = Reader(browser, report)
    yield person
    person.context.close()
    assert person.wrong == []


def test_pointing_at_an_epoch_reads_it_in_all_charts(reader: Reader) -> None:
    assert reader.place() == ["best: epoch 8"] * 3
    assert reader.values() == ["8.0 %", "16.0 %", "1.000", "0.250", "1.25e-4"]
    reader.page.mouse.move(reader.x_of(5), reader.y())
    assert reader.place() == ["epoch 5"] * 3
    assert reader.values() == ["5.0 %", "10.0 %", "1.300", "0.400", "2e-4"]
    reader.page.mouse.move(5, 5)
    assert reader.place() == ["best: epoch 8"] * 3


def test_dragging_zooms_all_charts_and_a_double_click_shows_everything(reader: Reader) -> None:
    everything = (reader.labels(), reader.page.locator(".plot").first.get_attribute("viewBox"))
    reader.page.mouse.move(reader.x_of(10) - 3, reader.y())
    reader.page.mouse.down()
    reader.page.mouse.move(reader.x_of(14), reader.y(), steps=5)
    reader.page.mouse.move(reader.x_of(15) + 3, reader.y(), steps=5)
    reader.page.mouse.up()
    assert reader.labels() == [str(epoch) for epoch in range(10, 16)]
    levels = [float(text) for text in reader.chart.locator(".axes text[text-anchor=end]").all_text_contents()]
    assert levels[0] <= 2 / 15
    assert levels[-1] >= 1 + 7 / 10
    # What is drawn stands where the axis says.
    line = reader.page.evaluate(
        """() => { const svg = document.querySelectorAll("svg.curve")[1];
            const box = svg.querySelector(".line.c-accent").getBoundingClientRect(), plot = svg.getBoundingClientRect();
            const texts = [...svg.querySelectorAll(".axes text[text-anchor=middle]")].map((text) => {
                const at = text.getBoundingClientRect(); return at.x + at.width / 2; });
            return [texts, box.x, box.width, plot.x]; }"""
    )
    centres, start, width, _ = line
    per_epoch = (centres[-1] - centres[0]) / 5
    assert width == pytest.approx(19 * per_epoch, rel=0.01)
    assert start == pytest.approx(centres[0] - 9 * per_epoch, abs=2)
    reader.chart.dblclick()
    assert (reader.labels(), reader.page.locator(".plot").first.get_attribute("viewBox")) == everything


def test_a_click_does_not_zoom(reader: Reader) -> None:
    before = reader.labels()
    reader.page.mouse.click(reader.x_of(5), reader.y())
    assert reader.labels() == before


def test_keys_and_buttons_do_the_same(reader: Reader) -> None:
    reader.chart.focus()
    reader.page.keyboard.press("ArrowRight")
    reader.page.keyboard.press("ArrowRight")
    assert reader.place() == ["epoch 10"] * 3
    everything = reader.labels()
    reader.page.keyboard.press("+")
    zoomed = reader.labels()
    assert zoomed != everything
    assert "10" in zoomed
    reader.page.get_by_role("button", name="Zoom in").click()
    assert len(reader.labels()) < len(zoomed) or reader.labels() != zoomed
    for _ in range(8):
        reader.page.get_by_role("button", name="Zoom in").click()
    assert len(reader.labels()) >= 1
    reader.page.get_by_role("button", name="Show everything").click()
    assert reader.labels() == everything
    assert reader.page.get_by_role("button", name="Zoom out").is_disabled()


def test_a_finger_reads_and_does_not_zoom(browser: Any, report: Path) -> None:
    person = Reader(browser, report, has_touch=True, viewport={"width": 390, "height": 800})
    before = person.labels()
    person.chart.scroll_into_view_if_needed()
    person.page.touchscreen.tap(person.x_of(12), person.y())
    assert person.place() == ["epoch 12"] * 3
    assert person.labels() == before
    assert person.page.evaluate("document.documentElement.scrollWidth") == 390
    person.context.close()
    assert person.wrong == []


def test_without_scripts_the_charts_stand_and_nothing_promises_more(browser: Any, report: Path) -> None:
    person = Reader(browser, report, java_script_enabled=False)
    assert person.place() == ["best: epoch 8"] * 3
    assert person.chart.is_visible()
    assert not person.page.locator("[data-controls]").is_visible()
    assert re.search(r"Point at a chart", person.page.locator("#training").inner_text()) is None
    person.context.close()
