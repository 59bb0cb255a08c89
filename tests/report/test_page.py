"""The whole page: complete, self-contained, accessible, and calm about anything odd in the data."""

from __future__ import annotations

import base64
import dataclasses
import io
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
from parsed_page import Page
from PIL import Image
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression

import eyebright.report as templates
from eyebright.errors import DataError
from eyebright.evaluation import evaluate, fit_temperature, make_predictions
from eyebright.report import DataFacts, ReportContent, Section, write_report
from eyebright.report.drawings import drawings_of
from eyebright.report.gallery import Gallery, chosen_samples, most_confident_mistakes
from eyebright.report.page import render, sections


def digits_content(**changes: Any) -> ReportContent:
    """A report on real digits, classified by logistic regression on every fourth pixel."""
    digits = load_digits()
    features = digits.data[:, ::4]
    split = np.array([("train", "train", "val", "test")[index % 4] for index in range(len(features))])
    model = LogisticRegression(max_iter=2000, C=0.01).fit(features[split == "train"], digits.target[split == "train"])
    logits = model.decision_function(features)
    kept = np.flatnonzero(split != "train")
    names = [str(digit) for digit in range(10)]
    ids = [f"{row:032x}" for row in kept]
    temperature = fit_temperature(logits[split == "val"], digits.target[split == "val"])
    predictions = make_predictions(
        ids, [f"digits#{row}" for row in kept], [names[digits.target[row]] for row in kept], split[kept].tolist(),
        logits[kept], temperature, names,
    )  # fmt: skip
    counts = {
        name: {digit: int(((split == name) & (digits.target == int(digit))).sum()) for digit in names}
        for name in ("train", "val", "test")
    }
    train = np.flatnonzero(split == "train")
    content = ReportContent(
        run_name="digits-1",
        data="digits",
        classes=names,
        predictions=predictions,
        thumbnails=lambda id_: Image.fromarray((digits.images[int(id_, 16)] * 255 / 16).astype(np.uint8)),
        test=evaluate(predictions.select("test")),
        validation=evaluate(predictions.select("val")),
        created="today",
        summary=["The probe was kept."],
        notes=["3 images leak."],
        plan=["features once", "probe"],
        class_counts=counts,
        facts=DataFacts(formats={"array": 1797}, widths=(8, 8, 8), heights=(8, 8, 8), total_bytes=115_008),
        samples={digit: [f"{row:032x}" for row in train if digits.target[row] == int(digit)][:8] for digit in names},
        history=[
            {"stage": "probe", "epoch": 1, "train_loss": None, "val_loss": 0.5, "val_accuracy": 0.9},
            *({"stage": "all", "epoch": e, "train_loss": 1 / e, "val_loss": 1.1 / e, "val_accuracy": 0.9 + e / 100,
               "learning_rate": 0.001 / e} for e in range(1, 6)),
        ],
        timings={"pack": 1.2, "probe": 3.4},
        budget_seconds=60,
        wall_seconds=4.6,
        preprocess="grey, squash to 8x8",
        ledger=[
            {"source": f"bad/{index}.png", "status": "truncated", "reason": "ends early"} for index in range(25)
        ] + [{"source": "Thumbs.db", "status": "stray", "reason": "not an image"}],
        config={"train": {"epochs": 5}, "split": [0.7, 0.15, 0.15]},
        environment={"python": "3.11"},
    )  # fmt: skip
    return dataclasses.replace(content, **changes)


@pytest.fixture(scope="module")
def content() -> ReportContent:
    return digits_content()


def page_of(content: ReportContent) -> Page:
    gallery = Gallery(content.thumbnails)
    return Page(render(content, gallery, sections(content, gallery)))


def test_the_page_and_every_figure_are_written(content: ReportContent, tmp_path: Path) -> None:
    path = write_report(tmp_path, content)
    assert path == tmp_path / "report.html"
    assert path.stat().st_size < 1_500_000
    names = {file.stem for file in (tmp_path / "figures").iterdir()}
    assert names == {
        "class_counts", "class_scores", "confusion_matrix", "curves", "examples", "mistakes", "reliability", "samples",
        "stages",
        "confidence-accuracy-against-confidence", "training-accuracy", "training-loss", "training-learning-rate",
    }  # fmt: skip
    for file in (tmp_path / "figures").glob("*.png"):
        with Image.open(file) as picture:
            picture.load()
            assert picture.width > 300
    write_report(tmp_path, content)
    assert {file.name for file in tmp_path.iterdir()} == {"report.html", "figures"}


def test_drawings_of_the_page_are_files_that_need_nothing_else(content: ReportContent, tmp_path: Path) -> None:
    write_report(tmp_path, content)
    drawings = sorted((tmp_path / "figures").glob("*.svg"))
    assert len(drawings) == 4
    for file in drawings:
        text = file.read_text(encoding="utf-8")
        root = ElementTree.fromstring(text)
        assert root.tag == "{http://www.w3.org/2000/svg}svg"
        assert float(root.attrib["width"]) > 300
        assert "var(" not in text
        assert "#5a48c2" in text
        assert root.findall(".//{http://www.w3.org/2000/svg}path")


def test_charts_with_one_name_get_files_of_their_own() -> None:
    chart = '<svg class="chart" viewBox="0 0 9 9" aria-label="A &amp; B"><svg class="plot"><path d="M0 0"/></svg></svg>'
    found = drawings_of(f'<section id="one">{chart}{chart}</section><section id="two">{chart}</section>')
    assert list(found) == ["one-a-b", "one-a-b-2", "two-a-b"]
    assert all(ElementTree.fromstring(document) is not None for document in found.values())


def test_a_page_with_over_a_hundred_pictures_that_do_not_compress_is_below_eight_megabytes(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    ids, names = [f"{number:04d}" for number in range(1000)], [f"class {number}" for number in range(20)]
    truth = random.integers(0, 20, 1000)
    guess = np.where(random.random(1000) < 0.4, random.integers(0, 20, 1000), truth)
    predictions = make_predictions(
        ids, ids, [names[i] for i in truth], ["test"] * 1000, np.eye(20)[guess] * 9, 1.0, names
    )

    def noise(id_: str) -> Image.Image:
        return Image.fromarray(random.integers(0, 256, (200, 200, 3), dtype=np.uint8))

    content = ReportContent(
        run_name="noise", data="noise", classes=names, predictions=predictions, test=evaluate(predictions),
        thumbnails=noise, overlays=lambda chosen: {id_: noise(id_) for id_ in chosen},
        samples=dict.fromkeys(names, ids[:8]), class_counts={"test": dict.fromkeys(names, 50)},
    )  # fmt: skip
    path = write_report(tmp_path, content)
    page = Page(path.read_text(encoding="utf-8"))
    assert sum(tag == "img" for tag, _ in page.tags) > 200
    assert 2_000_000 < path.stat().st_size < 8_000_000


def test_every_picture_is_in_the_page_once(content: ReportContent) -> None:
    without_samples = dataclasses.replace(content, samples={})
    uris = [str(attributes["src"]) for tag, attributes in page_of(without_samples).tags if tag == "img"]
    assert len(uris) > 60
    assert len(uris) == len(set(uris))


def test_nothing_is_fetched_from_elsewhere(content: ReportContent) -> None:
    page = page_of(content)
    for tag, attributes in page.tags:
        assert tag not in ("link", "iframe", "object")
        assert tag != "script" or not attributes
        assert (attributes.get("src") or "data:").startswith("data:")
        assert (attributes.get("href") or "#").startswith("#")
    gallery = Gallery(content.thumbnails)
    assert "url(" not in render(content, gallery, sections(content, gallery))
    for asking in ("fetch", "import", "XMLHttpRequest", "eval(", "Function("):
        assert asking not in " ".join(page.scripts)


def test_the_numbers_of_the_metrics_are_on_the_page(content: ReportContent) -> None:
    text = page_of(content).text.replace("\u202f", " ")
    assert content.test is not None
    for estimate in (content.test.accuracy, content.test.macro_f1, content.test.per_class[3].recall):
        assert f"{100 * estimate.value:.1f} %" in text
        assert f"{100 * estimate.low:.1f}" in text
    assert f"{content.test.log_loss.value:.3f}" in text
    for part in ("4.6 s of 1 min", "3 images leak.", "The probe was kept.", "8 × 8 pixels", "and 5 more", "Thumbs.db",
                 "train.epochs", "grey, squash to 8x8", "26 left out"):  # fmt: skip
        assert part in text, part


def test_headings_anchors_and_pictures_are_accessible(content: ReportContent) -> None:
    tags = page_of(content).tags
    ids = {attributes["id"] for _, attributes in tags if "id" in attributes}
    links = [str(attributes["href"])[1:] for tag, attributes in tags if tag == "a"]
    assert links
    assert set(links) <= ids
    assert sum(tag == "h1" for tag, _ in tags) == 1
    titles = {attributes["id"] for tag, attributes in tags if tag == "h2" and "id" in attributes}
    assert titles == {f"{attributes['id']}-title" for tag, attributes in tags if tag == "section"}
    assert all(attributes.get("alt") for tag, attributes in tags if tag == "img")
    assert all(
        attributes.get("aria-label") or attributes.get("aria-hidden") for tag, attributes in tags if tag == "svg"
    )


def test_thumbnails_decode_to_the_images(content: ReportContent) -> None:
    uris = [str(attributes["src"]) for tag, attributes in page_of(content).tags if tag == "img"]
    assert len(uris) > 40
    with Image.open(io.BytesIO(base64.b64decode(uris[0].split(",")[1]))) as picture:
        assert picture.size == (8, 8)
        expected = content.thumbnails(content.samples["0"][0])
        np.testing.assert_array_equal(np.asarray(picture), np.asarray(expected))


def test_names_and_paths_are_escaped(content: ReportContent) -> None:
    nasty = "<script>alert('x')</script>&"
    names = [nasty, *content.classes[1:]]
    scored = content.predictions
    renamed = make_predictions(
        [str(i) for i in range(len(scored))],
        [nasty] * len(scored),
        [names[i] for i in scored.labels_index()],
        scored.column("split"),
        scored.logits(),
        1.0,
        names,
    )
    page = page_of(
        dataclasses.replace(
            content,
            run_name=nasty,
            classes=names,
            predictions=renamed,
            test=evaluate(renamed.select("test")),
            validation=None,
            class_counts={"test": dict.fromkeys(names, 3)},
            samples={},
            thumbnails=lambda id_: Image.new("RGB", (200, 100)),
            history=[{**line, "stage": nasty} for line in content.history],
            ledger=[{"source": nasty, "status": nasty, "reason": nasty}],
            config={nasty: nasty},
        )
    )
    folder = Path(templates.__file__).parent / "templates"
    ours = ["curves.js", "page.js", "pictures.js", "confusion.js"]
    scripts = "".join((folder / name).read_text(encoding="utf-8") for name in ours)
    assert re.sub(r"\s", "", "".join(page.scripts)) == re.sub(r"\s", "", scripts)
    assert nasty in page.text


def _gone(id_: str) -> Image.Image:
    raise DataError(f"{id_} is gone")


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (lambda c: {"thumbnails": _gone}, "no longer there"),
        (lambda c: {"test": None}, "They also served to choose the classifier"),
        (lambda c: {"history": [], "plan": [], "summary": [], "timings": {}}, "Scores"),
        (lambda c: {"history": [{"stage": "probe", "val_accuracy": 0.9}]}, "Training"),
        (lambda c: {"history": [{"stage": "probe", "val_accuracy": None}]}, "No validation accuracy"),
        (lambda c: {"ledger": []}, "None: all 1,797 images found were used."),
        (lambda c: {"wall_seconds": 75.0}, "15 s over the budget"),
        (lambda c: {"test": None, "validation": None}, "Images left out"),
        (lambda c: {"class_counts": {}, "config": {}, "environment": {}, "preprocess": ""}, "Scores"),
    ],
)
def test_what_is_missing_is_left_out_or_said(
    content: ReportContent, change: Callable[[ReportContent], dict[str, Any]], expected: str, tmp_path: Path
) -> None:
    changed = dataclasses.replace(content, **change(content))
    assert expected in page_of(changed).text
    write_report(tmp_path, changed)


@pytest.mark.parametrize("classes", [2, 25, 120])
def test_few_and_many_classes(classes: int, tmp_path: Path) -> None:
    generator = np.random.default_rng(0)
    names = [f"class {index}" for index in range(classes)]
    labels = generator.integers(0, classes, 300)
    logits = generator.normal(size=(300, classes))
    logits[np.arange(300), labels] += 3
    ids = [str(index) for index in range(300)]
    predictions = make_predictions(ids, ids, [names[label] for label in labels], ["test"] * 300, logits, 1.0, names)
    content = ReportContent(
        run_name="many",
        data="many",
        classes=names,
        predictions=predictions,
        thumbnails=lambda id_: Image.new("RGB", (64, 64), (int(id_) % 255, 90, 90)),
        test=evaluate(predictions),
        class_counts={"test": {name: int((labels == index).sum()) for index, name in enumerate(names)}},
        samples=dict.fromkeys(names, ids[:3]),
    )
    path = write_report(tmp_path, content)
    page = Page(path.read_text(encoding="utf-8"))
    assert path.stat().st_size < 1_500_000
    assert any(attributes.get("class") == "matrix" for _, attributes in page.tags) == (classes <= 12)


def test_a_perfect_classifier_has_no_mistakes_to_show(tmp_path: Path) -> None:
    ids = [str(index) for index in range(20)]
    labels = ["a", "b"] * 10
    predictions = make_predictions(ids, ids, labels, ["test"] * 20, np.eye(2)[[0, 1] * 10] * 9, 1.0, ["a", "b"])
    content = ReportContent(
        run_name="perfect", data="x", classes=["a", "b"], predictions=predictions, test=evaluate(predictions),
        thumbnails=lambda id_: Image.new("L", (8, 8)),
    )  # fmt: skip
    assert "No image was misclassified." in Page(write_report(tmp_path, content).read_text(encoding="utf-8")).text
    assert not (tmp_path / "figures" / "mistakes.png").exists()


def test_later_parts_can_add_sections(content: ReportContent, tmp_path: Path) -> None:
    more = Section("again", "Examples again", "plan.html", {"summary": [], "plan": ["once more"]})
    page = Page(write_report(tmp_path, content, more_sections=[more]).read_text(encoding="utf-8"))
    assert "Examples again" in page.text


def test_mistakes_come_most_confident_first(content: ReportContent) -> None:
    mistakes = most_confident_mistakes(content.scored(), most=5)
    confidence = mistakes.probabilities().max(axis=1)
    assert len(mistakes) == 5
    assert (np.diff(confidence) <= 0).all()
    assert (mistakes.predicted_index() != mistakes.labels_index()).all()


@pytest.mark.parametrize(("classes", "shown", "each"), [(2, 2, 8), (10, 10, 4), (40, 40, 1), (1000, 48, 1)])
def test_samples_stay_light_whatever_the_number_of_classes(classes: int, shown: int, each: int) -> None:
    chosen = chosen_samples({f"c{index:04d}": [f"{index}-{n}" for n in range(10)] for index in range(classes)})
    assert len(chosen) == shown
    assert {len(ids) for ids in chosen.values()} == {each}
    if classes == 1000:
        assert max(chosen) > "c0950"


def test_leaks_change_what_the_headline_says(content: ReportContent) -> None:
    part = {"images": 3, "accuracy": {"value": 0.5, "low": 0.3, "high": 0.7, "method": "wilson"}}
    for leaks, said, unsaid in (
        ({"leaked": part, "clean": part}, "Without these it is", "the true share lies between"),
        ({"leaked": part}, "also in the training or validation images", "Without these it is"),
        ({}, "which the classifier never saw", "also in the training or validation images"),
    ):
        changed = dataclasses.replace(content, leaks=leaks)
        text = page_of(changed).text
        assert said in text
        assert unsaid not in text
