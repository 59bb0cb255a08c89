"""The report in a real browser: every figure is there and answers to mouse and keyboard, on every screen.

The browser is the system's Chromium or Chrome, driven by Playwright; nothing is downloaded.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageOps

from eyebright.evaluation import evaluate, make_predictions
from eyebright.report import ReportContent, write_report

sync_api = pytest.importorskip("playwright.sync_api", reason="Playwright is not installed")
expect = sync_api.expect

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
ARGUMENTS = (
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync",
)  # fmt: skip
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium or Chrome on this machine")
CLASSES = ["daisy", "rose", "tulip"]


FAULTS = """() => {
  const all = (what) => [...document.querySelectorAll(what)], faults = [];
  const blame = (what, fits) => {
    for (const each of all(what)) if (!fits(each)) faults.push(each.outerHTML.slice(0, 99));
  };
  blame("button, a", (each) => (each.getAttribute("aria-label") || each.textContent).trim());
  blame("img", (each) => each.alt);
  blame("select, input", (each) => each.labels.length);
  blame("svg:not(svg svg)", (each) => each.closest("[aria-hidden]") || each.getAttribute("aria-label"));
  blame("th", (each) => each.scope || !each.textContent.trim());
  blame("a[href^='#']", (each) => document.getElementById(each.hash.slice(1)));
  blame("[id]", (each) => document.querySelectorAll("#" + CSS.escape(each.id)).length === 1);
  let level = 0;
  for (const each of all("h1, h2, h3, h4")) {
    if (Number(each.tagName[1]) > level + 1) faults.push(`h${level}, then ${each.outerHTML}`);
    level = Number(each.tagName[1]);
  }
  if (all("h1").length !== 1 || document.documentElement.lang !== "en") faults.push("h1 or lang");
  return faults;
}"""
"""What is not as it must be for readers who do not see or do not use a mouse."""

FAINT = """() => {
  const canvas = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
  const rgba = (colour) => {
    canvas.clearRect(0, 0, 1, 1);
    canvas.fillStyle = colour;
    canvas.fillRect(0, 0, 1, 1);
    return [...canvas.getImageData(0, 0, 1, 1).data];
  };
  const linear = (part) => part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4;
  const light = (colour) => {
    const [red, green, blue] = rgba(colour).map((part) => linear(part / 255));
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue;
  };
  const ground = (each) => {
    if (!each) return getComputedStyle(document.body).backgroundColor;
    const colour = getComputedStyle(each).backgroundColor;
    return rgba(colour)[3] > 250 ? colour : ground(each.parentElement);
  };
  return [...document.querySelectorAll("main *, nav *")].filter((each) => {
    const own = [...each.childNodes].some((node) => node.nodeType === 3 && node.textContent.trim());
    if (!own || each.closest("svg.matrix-drawing, :disabled, script, style") || !each.checkVisibility()) return false;
    const style = getComputedStyle(each), colour = each instanceof SVGElement ? style.fill : style.color;
    const [one, two] = [light(colour), light(ground(each))].sort((a, b) => b - a);
    return (one + 0.05) / (two + 0.05) < 4.5;
  }).map((each) => each.outerHTML.slice(0, 99));
}"""
"""Text whose contrast with its ground is below 4.5; that of the matrix is checked by its colours elsewhere."""


def flowers_content(root: Path) -> ReportContent:
    """Real photos of three kinds of flowers with predictions that are wrong for a third of the tulips."""
    random = np.random.default_rng(0)
    photos = [(name, path) for name in CLASSES for path in sorted((root / name).iterdir())]
    paths = {f"{number:032x}": path for number, (_, path) in enumerate(photos)}
    truth = np.array([CLASSES.index(name) for name, _ in photos])
    guess = np.where(random.random(len(truth)) < 0.15, random.integers(0, 3, len(truth)), truth)
    guess[(truth == 2) & (np.arange(len(truth)) % 3 == 0)] = 1
    logits = np.eye(3)[guess] * random.uniform(1, 6, (len(truth), 1)) + random.normal(0, 0.2, (len(truth), 3))
    splits = ["val" if number % 4 == 0 else "test" for number in range(len(truth))]
    table = make_predictions(
        list(paths), [f"{path.parent.name}/{path.name}" for path in paths.values()], [CLASSES[i] for i in truth],
        splits, logits, 1.2, CLASSES,
    )  # fmt: skip

    def picture(id_: str) -> Image.Image:
        with Image.open(paths[id_]) as opened:
            return opened.convert("RGB")

    def overlays(ids: Sequence[str]) -> dict[str, Image.Image]:
        return {id_: ImageOps.solarize(picture(id_)) for id_ in ids}

    history = [
        {"stage": stage, "epoch": e, "train_loss": 1.1 / e, "val_loss": 1.2 / e, "val_accuracy": 0.5 + e / 40,
         "train_accuracy": 0.5 + e / 30, "learning_rate": 1e-3 / e, "new_best": True}
        for stage in ("head", "all") for e in range(1, 7)
    ]  # fmt: skip
    counts = {split: dict.fromkeys(CLASSES, number) for split, number in (("train", 200), ("val", 10), ("test", 30))}
    return ReportContent(
        run_name="flowers", data="photos of flowers", classes=CLASSES, predictions=table, thumbnails=picture,
        test=evaluate(table.select("test")), validation=evaluate(table.select("val")), created="today",
        plan=["a head, then all layers"], summary=["the last weights were kept"], notes=["3 images were left out"],
        class_counts=counts,
        samples={name: [id_ for id_, path in paths.items() if path.parent.name == name][:8] for name in CLASSES},
        history=history, timings={"decode": 2.0, "train": 61.0, "score": 4.0}, budget_seconds=90, wall_seconds=67.0,
        overlays=overlays, explanation={"method": "Grad-CAM", "layer": "blocks.6"},
        cost={"parameters": 4_000_000, "weights_bytes": 16_000_000, "latency_ms": {"p50": 8.0, "p99": 12.0}},
        provenance={"Seed": "0", "Licence of the weights": "Apache-2.0"}, preprocess="RGB, 128 x 128",
        config={"stop": {"target_accuracy": 0.7}, "seed": 0},
        environment={"command": ["eyebright", "train", "flowers"]},
    )  # fmt: skip


def hundred_content(root: Path) -> ReportContent:
    """A hundred classes, 3,000 images, of which a few real photos stand for all."""
    random = np.random.default_rng(1)
    names = [f"class {number:02d}" for number in range(100)]
    truth = np.arange(3000) % 100
    guess = np.where(random.random(3000) < 0.4, (truth + random.integers(1, 4, 3000)) % 100, truth)
    logits = np.eye(100)[guess] * random.uniform(4, 9, (3000, 1))
    ids = [f"{number:032x}" for number in range(3000)]
    table = make_predictions(ids, ids, [names[place] for place in truth], ["test"] * 3000, logits, 1.0, names)
    photos = [Image.open(path).convert("RGB") for path in sorted((root / "rose").iterdir())[:10]]
    return ReportContent(
        run_name="hundred", data="a hundred classes", classes=names, predictions=table, test=evaluate(table),
        thumbnails=lambda id_: photos[int(id_, 16) % 10], class_counts={"test": dict.fromkeys(names, 30)},
    )  # fmt: skip


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with sync_api.sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        yield running
        running.close()


@pytest.fixture(scope="module")
def flowers(flowers_sample: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_report(tmp_path_factory.mktemp("report"), flowers_content(flowers_sample))


@pytest.fixture(scope="module")
def hundred(flowers_sample: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_report(tmp_path_factory.mktemp("report"), hundred_content(flowers_sample))


class Reader:
    """A person who has opened a report; what goes wrong meanwhile is kept."""

    def __init__(self, browser: Any, path: Path, **options: Any) -> None:
        self.wrong: list[str] = []
        self.context = browser.new_context(**{"viewport": {"width": 1280, "height": 900}, **options})
        self.page = self.context.new_page()
        self.page.set_default_timeout(10_000)
        self.page.on("pageerror", lambda error: self.wrong.append(str(error)))
        self.page.on("console", lambda said: self.wrong.append(said.text))
        self.page.on(
            "request", lambda asked: self.wrong.append(asked.url) if asked.url[:5] not in ("file:", "data:") else 0
        )
        self.page.goto(path.as_uri())
        self.matrix = self.page.locator("svg.matrix-drawing")
        self.readout = self.page.locator("[data-readout]")
        self.cell = self.page.locator("[data-cell]")

    def note(self, request: Any) -> None:
        """Nothing may be asked of anyone."""
        if request.url[:5] not in ("file:", "data:"):
            self.wrong.append(request.url)

    def close(self) -> None:
        self.context.close()
        assert self.wrong == []

    def rows(self) -> list[str]:
        """Names beside the rows of the matrix."""
        titles = self.matrix.locator("text[text-anchor=end] title")
        return [str(text) for text in titles.all_text_contents()]

    def point_at(self, row: int, column: int, size: int) -> tuple[float, float]:
        """The middle of a cell on the screen."""
        self.matrix.scroll_into_view_if_needed()
        box = self.matrix.locator("rect.sheet").bounding_box()
        return box["x"] + box["width"] * (column + 0.5) / size, box["y"] + box["height"] * (row + 0.5) / size


@pytest.fixture(scope="module")
def reader(browser: Any, flowers: Path) -> Iterator[Reader]:
    person = Reader(browser, flowers)
    yield person
    person.close()


@pytest.fixture
def fresh(reader: Reader) -> Reader:
    """The same reader with the page opened anew."""
    reader.page.reload()
    return reader


def test_every_figure_is_drawn_and_has_a_name(reader: Reader) -> None:
    figures = reader.page.locator("svg.chart, [data-marks]")
    assert figures.count() >= 7
    for figure in figures.all():
        figure.scroll_into_view_if_needed()
        box = figure.bounding_box()
        assert box["width"] > 60
        assert box["height"] > 8
        assert figure.evaluate("element => element.children.length > 1")
        assert figure.get_attribute("aria-label")
        assert figure.get_attribute("tabindex") == "0"
    for section in reader.page.locator("main > section").all():
        assert section.bounding_box()["height"] > 50


def test_every_image_decodes(reader: Reader) -> None:
    sizes = reader.page.evaluate(
        "Promise.all([...document.images].map(async (image) => {"
        " image.loading = 'eager'; await image.decode(); return image.naturalWidth; }))"
    )
    assert len(sizes) > 45
    assert min(sizes) > 50


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [360, 768, 1440])
def test_nothing_is_wider_than_the_screen(browser: Any, flowers: Path, hundred: Path, width: int, scheme: str) -> None:
    for path in (flowers, hundred) if scheme == "light" else (flowers,):
        person = Reader(browser, path, viewport={"width": width, "height": 800}, color_scheme=scheme)
        person.page.locator("svg.matrix-drawing").click(position={"x": 120, "y": 120})
        for fold in person.page.locator("summary").all():
            fold.click()
        assert person.page.evaluate("document.documentElement.scrollWidth") == width
        beyond = person.page.evaluate(
            "[...document.querySelectorAll('main *')].filter((each) => !each.closest('.box, nav, .shared, table, svg')"
            " && each.getBoundingClientRect().right > innerWidth + 1).map((each) => each.outerHTML.slice(0, 120))"
        )
        assert beyond == []
        ground = person.page.evaluate("getComputedStyle(document.body).backgroundColor")
        assert (sum(map(int, re.findall(r"\d+", ground)[:3])) < 200) == (scheme == "dark")
        person.close()


def test_a_cell_is_read_and_its_images_are_seen_by_mouse(fresh: Reader) -> None:
    x, y = fresh.point_at(2, 1, 3)
    fresh.page.mouse.move(x, y)
    expect(fresh.readout).to_contain_text(re.compile(r"\d+ images of tulip taken for rose: \d+ % of the true class"))
    number = int(re.search(r"\d+", fresh.readout.inner_text()).group())  # type: ignore[union-attr]
    fresh.page.mouse.click(x, y)
    expect(fresh.cell.locator("h3")).to_have_text("tulip, taken for rose")
    pictures = fresh.cell.locator("li")
    assert pictures.count() == number
    sure = [float(item.get_attribute("data-sure")) for item in pictures.all()]
    assert sure == sorted(sure, reverse=True)
    assert all("labelled tulip" in item.inner_text() for item in pictures.all())
    first = pictures.first
    expect(first.locator("img.plain")).to_be_visible()
    fresh.cell.get_by_role("button", name="Show what it looked at").click()
    expect(first.locator("img.laid")).to_be_visible()
    expect(first.locator("img.plain")).to_be_hidden()
    assert fresh.page.locator("[data-overlays][aria-pressed=true]").count() == 2
    fresh.cell.get_by_role("button", name="Close").click()
    expect(fresh.cell).to_be_hidden()


def test_the_matrix_answers_to_the_keyboard(fresh: Reader) -> None:
    fresh.page.locator("select[data-share]").focus()
    fresh.page.keyboard.press("Tab")
    expect(fresh.matrix).to_be_focused()
    expect(fresh.readout).to_contain_text("of daisy named right")
    fresh.page.keyboard.press("ArrowDown")
    expect(fresh.readout).to_contain_text("of rose taken for daisy")
    fresh.page.keyboard.press("ArrowRight")
    expect(fresh.readout).to_contain_text("of rose named right")
    fresh.page.keyboard.press("Enter")
    expect(fresh.cell.locator("h3")).to_be_focused()
    assert fresh.cell.locator("li").count() > 3
    fresh.cell.get_by_role("button", name="Close").press("Enter")
    expect(fresh.matrix).to_be_focused()


def test_the_matrix_is_sorted_and_normalised(fresh: Reader) -> None:
    assert fresh.rows() == CLASSES
    numbers = fresh.matrix.locator("text.number")
    before = numbers.all_text_contents()
    fresh.page.locator("select[data-order]").select_option("recall")
    assert fresh.rows()[0] == "tulip"
    assert sorted(numbers.all_text_contents()) == sorted(before)
    fresh.page.locator("select[data-share]").select_option("row")
    shares = [float(text) for text in numbers.all_text_contents()]
    assert sum(shares) == pytest.approx(300, abs=4)
    fresh.page.locator("select[data-share]").select_option("column")
    assert sum(float(text) for text in numbers.all_text_contents()) == pytest.approx(300, abs=4)
    for order in ("size", "together", "name"):
        fresh.page.locator("select[data-order]").select_option(order)
        assert sorted(fresh.rows()) == CLASSES


def test_a_hundred_classes_are_zoomed_into_until_their_names_show(browser: Any, hundred: Path) -> None:
    person = Reader(browser, hundred)
    assert person.rows() == []
    x, y = person.point_at(40, 40, 100)
    person.page.mouse.move(x, y)
    expect(person.readout).to_contain_text("named right")
    person.page.mouse.down()
    person.page.mouse.move(x + 60, y + 60, steps=4)
    person.page.mouse.up()
    few = person.rows()
    assert 5 <= len(few) <= 20
    expect(person.page.locator("[data-zoom=all]")).to_be_enabled()
    person.page.get_by_role("button", name="Closer").click()
    assert len(person.rows()) < len(few)
    person.page.keyboard.press("Shift+Tab")
    person.matrix.focus()
    for _ in range(12):
        person.page.keyboard.press("ArrowDown")  # the view goes with the cell
    assert set(person.rows()) != set(few)
    person.page.keyboard.press("Escape")
    assert person.rows() == []
    x, y = person.point_at(10, 10, 100)
    person.page.mouse.click(x, y)
    expect(person.cell.locator("li").first).to_be_visible()
    expect(person.cell).to_contain_text("in this page, the most confident first")
    person.close()


def test_a_finger_finds_the_nearest_cell_that_has_images(browser: Any, hundred: Path) -> None:
    person = Reader(browser, hundred, has_touch=True, viewport={"width": 360, "height": 800})
    x, y = person.point_at(50, 53, 100)  # three cells of two pixels beside the diagonal
    person.page.touchscreen.tap(x, y + 4)
    expect(person.cell.locator("p").first).to_have_text(re.compile(r"^[1-9]\d* images? of"))
    person.close()


def test_the_gallery_is_filtered(fresh: Reader) -> None:
    gallery = fresh.page.locator("[data-gallery]")
    items = gallery.locator("ul.pictures > li")
    said = gallery.locator("[data-shown]")
    everything = int(re.search(r"of (\d+) mistakes", said.inner_text()).group(1))  # type: ignore[union-attr]
    assert items.count() == min(24, everything)
    assert gallery.locator("li.is-right").count() == 0
    gallery.locator("select[data-kind]").select_option("right")
    assert gallery.locator("li.is-wrong").count() == 0
    before = items.count()
    gallery.get_by_role("button", name="Show more").click()
    assert items.count() > before
    gallery.locator("select[data-class]").select_option(label="daisy")
    assert set(gallery.locator("li").evaluate_all("all => all.map((each) => each.dataset.true)")) == {"0"}
    gallery.locator("select[data-first]").select_option("unsure")
    sure = [float(item.get_attribute("data-sure")) for item in items.all()]
    assert sure == sorted(sure)
    fresh.page.locator("#classes th a", has_text="tulip").click()
    expect(said).to_contain_text("with tulip")
    gallery.locator("select[data-class]").select_option("")
    gallery.locator("select[data-kind]").select_option("drawn")
    assert items.count() == 24
    assert gallery.locator("li.is-right").count() > 5


def test_tables_are_sorted_and_text_is_copied(fresh: Reader) -> None:
    heading = fresh.page.locator("#classes th", has_text="Recall")
    names = fresh.page.locator("#classes tbody th")
    heading.get_by_role("button").click()
    assert heading.get_attribute("aria-sort") == "ascending"
    assert names.first.inner_text() == "tulip"
    heading.get_by_role("button").press("Enter")
    assert names.last.inner_text() == "tulip"
    button = fresh.page.locator(".steps-next button.copy").first
    button.click()
    expect(button).to_have_text(re.compile("Copied|Press Ctrl"))


def test_marks_are_read_by_pointing_and_by_keyboard(fresh: Reader) -> None:
    bubble = fresh.page.locator(".bubble")
    chart = fresh.page.locator("#confidence svg.chart")
    chart.scroll_into_view_if_needed()
    dots = chart.locator("circle")
    dots.first.hover()
    expect(bubble).to_have_text(re.compile(r"\d+ images claim"))
    fresh.page.mouse.move(2, 2)
    expect(bubble).to_be_hidden()
    chart.focus()
    for key in ("ArrowRight", "ArrowRight", "End"):
        fresh.page.keyboard.press(key)
        expect(bubble).to_be_visible()
    fresh.page.keyboard.press("Escape")
    expect(bubble).to_be_hidden()
    bars = fresh.page.locator("#data [data-marks]")
    bars.focus()
    fresh.page.keyboard.press("ArrowRight")
    expect(bubble).to_have_text(re.compile(r"200 training, 10 validation, 30 test"))


def test_the_contents_follow_the_reader_and_the_keyboard(browser: Any, flowers: Path) -> None:
    for width in (360, 1280):
        person = Reader(browser, flowers, viewport={"width": width, "height": 800}, reduced_motion="reduce")
        person.page.keyboard.press("Tab")
        expect(person.page.get_by_role("link", name="Skip to the content")).to_be_focused()
        person.page.keyboard.press("Enter")
        expect(person.page.locator("main")).to_be_focused()
        link = person.page.locator("nav a", has_text="Scores")
        link.press("Enter")
        expect(link).to_have_attribute("aria-current", "location")
        heading = person.page.locator("#scores-title").bounding_box()
        assert 0 <= heading["y"] < 200
        assert person.page.locator("nav").bounding_box()["y"] == 0  # it stays in sight
        person.close()


def test_the_page_is_built_for_every_reader(reader: Reader) -> None:
    """What can be checked by hand of what a checker for accessibility looks at."""
    assert reader.page.evaluate(FAULTS) == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_on_the_page_has_contrast(browser: Any, flowers: Path, scheme: str) -> None:
    person = Reader(browser, flowers, color_scheme=scheme)
    person.page.locator("svg.matrix-drawing").click(position={"x": 120, "y": 120})
    assert person.page.evaluate(FAINT) == []
    person.close()


def test_without_scripts_everything_is_still_there(browser: Any, flowers: Path) -> None:
    person = Reader(browser, flowers, java_script_enabled=False)
    assert person.page.locator("table.matrix td").count() >= 9
    assert person.page.locator("[data-gallery] li").count() > 60
    assert not person.page.get_by_text("Point at a cell").is_visible()
    assert not person.page.locator("[data-tools]").first.is_visible()
    person.close()


def test_on_paper_there_are_no_controls(browser: Any, flowers: Path) -> None:
    person = Reader(browser, flowers, color_scheme="dark")
    person.page.emulate_media(media="print")
    assert person.page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    assert not person.page.locator("nav").is_visible()
    assert not person.page.locator("button").first.is_visible()
    person.close()
