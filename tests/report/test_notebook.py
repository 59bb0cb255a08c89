"""What a notebook shows: well-formed, without styles or scripts of its own, and something in every state."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import pytest
from parsed_page import Page

from eyebright.classifier import Prediction
from eyebright.report.notebook import predictions_html, run_html
from eyebright.run import Run


class Card(Page):
    """A card whose words stand as close together as on the screen."""

    @property
    def text(self) -> str:
        return re.sub(r"\s+", " ", "".join(self.words)).replace("\u202f", " ")


def test_a_finished_run_shows_its_numbers_and_what_to_do_next(
    trained_run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(trained_run.parent)
    card = Card(run_html(Run(trained_run)))
    test = json.loads((trained_run / "metrics.json").read_text())["test"]
    assert f"{100 * test['accuracy']['value']:.1f} %" in card.text
    assert f"of {test['images']} test images right" in card.text
    assert "95 % interval" in card.text
    assert f"eyebright predict {trained_run.name} photos/" in card.text
    links = [attributes["href"] for tag, attributes in card.tags if tag == "a"]
    assert links == [f"{trained_run.name}/report.html"]


def test_the_card_brings_no_styles_or_scripts_and_no_page_colours(trained_run: Path) -> None:
    text = run_html(Run(trained_run))
    assert not {tag for tag, _ in Card(text).tags} & {"style", "script", "link", "iframe"}
    assert "http" not in text
    grounds = re.findall(r"background(?:-color)?:([^;\"]+)", text)
    assert not {"#fff", "#ffffff", "white", "#000", "black"} & set(grounds)
    assert not re.search(r'style="[^"]*color:#(?:000|111|fff)', text)


def test_classes_that_are_surely_worse_are_named(trained_run: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(trained_run, run)
    metrics = json.loads((run / "metrics.json").read_text())
    row = metrics["test"]["per_class"][1]
    row["name"] = "<angle>"
    row["f1"] = {"value": 0.2, "low": 0.1, "high": 0.3, "method": "Wilson"}
    (run / "metrics.json").write_text(json.dumps(metrics))
    card = Card(run_html(Run(run)))
    assert "Classes that need care" in card.text
    assert "<angle>F1 20.0 %" in card.text


def test_leaked_images_are_left_out_of_the_number(trained_run: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(trained_run, run)
    metrics = json.loads((run / "metrics.json").read_text())
    accuracy = {"value": 0.625, "low": 0.5, "high": 0.75, "method": "Wilson"}
    metrics["leaks"] = {"clean": {"images": 16, "accuracy": accuracy}, "leaked": {"images": 3, "accuracy": accuracy}}
    (run / "metrics.json").write_text(json.dumps(metrics))
    card = Card(run_html(Run(run)))
    assert "62.5 % of 16 test images right (3 others left out: another split holds them too)" in card.text


@pytest.mark.parametrize("state", ["running", "interrupted", "failed"])
def test_an_unfinished_run_says_how_to_go_on(state: str, trained_run: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(trained_run, run)
    (run / "state.json").write_text(json.dumps({"state": state}))
    card = Card(run_html(Run(run)))
    assert f"it is {state}" in card.text
    assert "eyebright resume" in card.text


@pytest.mark.parametrize("broken", ["{", "[]", '{"test": 3}', '{"test": {"accuracy": {}}}'])
def test_a_damaged_or_absent_run_still_shows_something(broken: str, trained_run: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(trained_run, run)
    (run / "metrics.json").write_text(broken)
    assert "run" in Card(run_html(Run(run))).text
    assert "nowhere" in Card(run_html(Run(tmp_path / "nowhere"))).text


def test_predictions_show_picture_answer_and_likeliest_classes(flowers_sample: Path) -> None:
    photo = next((flowers_sample / "rose").iterdir())
    shares = {"rose": 0.7, "tulip": 0.2, "daisy": 0.1}
    one = Prediction(label="rose", probability=0.7, probabilities=shares, source=str(photo), outlier=True)
    gone = Prediction(label="<b>", probability=1.0, probabilities={"<b>": 1.0}, source="gone.jpg")
    card = Card(predictions_html([one, gone]))
    images = [attributes for tag, attributes in card.tags if tag == "img"]
    assert len(images) == 1
    assert str(images[0]["src"]).startswith("data:image/jpeg")
    assert "70.0 %" in card.text
    assert "unlike the images it learnt from" in card.text
    assert "<b>" in card.text
    assert Card(predictions_html(one)).text.count("rose") == 2
    assert "no predictions" in Card(predictions_html([])).text
    assert "and 6 more predictions" in Card(predictions_html([gone] * 30)).text
