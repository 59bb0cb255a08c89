"""The section about training: best epoch, target, stages, and overfitting with its figures and advice."""

from __future__ import annotations

import dataclasses
import io
import math
from typing import Any

import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from test_page import Page, digits_content, page_of

from eyebright.report import ReportContent, Section
from eyebright.report.figures import curves
from eyebright.report.page import render_page
from eyebright.report.training import best_epoch, epochs_in_order, training_section


def history(stage: str = "all", epochs: int = 20, lowest_at: int = 7) -> list[dict[str, Any]]:
    """A stage whose validation loss turns."""
    return [
        {"stage": stage, "epoch": e, "train_loss": 1.5 * math.exp(-e / 6), "train_accuracy": 1 - 0.6 * math.exp(-e / 5),
         "val_loss": 0.412 + 0.01 * (e - lowest_at) ** 2 * (1.5 if e < lowest_at else 0.1),
         "val_accuracy": 0.8 - 0.3 / min(e, lowest_at), "learning_rate": 1e-3, "new_best": e <= lowest_at,
         "images_per_second": 812.0}
        for e in range(1, epochs + 1)
    ]  # fmt: skip


CONFIG = {
    "epochs": 20,
    "stop": {"target_accuracy": 0.85, "keep": "val_loss", "patience": None},
    "augment": {"mixup": 0.2},
}


@pytest.fixture(scope="module")
def content() -> ReportContent:
    return digits_content(history=history(), config=CONFIG)


def text_of(page: Page) -> str:
    return page.text.replace("\u202f", " ")


def test_overfitting_is_told_with_its_figures_and_what_to_try(content: ReportContent) -> None:
    text = text_of(page_of(content))
    assert "It memorised training images: it overfits." in text
    assert (
        "Validation loss was lowest at epoch 7 (0.412) and rose to 0.581 by epoch 20 while training loss fell" in text
    )
    assert "The best weights are those of epoch 7" in text
    assert "augment.policy=trivialaugment" in text
    assert "augment.mixup=0.2" not in text.split("What to try")[1]


def test_figures_in_evaluation_mode_are_used_where_the_run_has_them(content: ReportContent) -> None:
    fit = {"train": {"accuracy": 0.999, "loss": 0.01, "images": 512}, "val": {"accuracy": 0.6, "loss": 0.9}}
    text = text_of(page_of(dataclasses.replace(content, fit=fit)))
    assert "The kept weights name 99.9 % of 512 training images right and 60.0 % of the validation images" in text
    assert "running mean on augmented images" not in text


def test_accuracy_has_both_splits_the_best_epoch_and_the_target(content: ReportContent) -> None:
    accuracy, loss, rate = training_section(content)["charts"]
    assert [name for name, _, _ in accuracy.legend] == ["validation", "training"]
    assert accuracy.rest == loss.rest == rate.rest == "best: epoch 7"
    assert 'class="target"' in accuracy.svg
    assert 'class="target"' not in loss.svg
    without = dataclasses.replace(content, config={"stop": {"target_accuracy": None}})
    assert 'class="target"' not in training_section(without)["charts"][0].svg


def test_the_best_epoch_is_the_recorded_one_else_that_of_the_lowest_loss() -> None:
    lines = history()
    assert best_epoch(lines) == 6
    for line in lines:
        line["new_best"] = line["epoch"] <= 12  # kept by another figure than the loss
    assert best_epoch(lines) == 11
    for line in lines:
        del line["new_best"]
    assert best_epoch(lines) == 6
    assert best_epoch([{"stage": "probe", "val_loss": 0.1, "val_accuracy": 0.9}]) is None
    two = [*history("head", 5), *history("all", 9, lowest_at=3)]
    assert best_epoch(two) == 5 + 2


def test_stages_have_their_own_ground_and_name(content: ReportContent) -> None:
    stages = [{"stage": "probe", "val_loss": 0.7, "val_accuracy": 0.6}, *history("head", 8), *history("all", 12)]
    section = training_section(dataclasses.replace(content, history=stages))
    svg = section["charts"][0].svg
    assert svg.count('class="band"') == 1
    assert ">head<" in svg
    assert ">all<" in svg
    assert section["charts"][0].rest == "best: all, epoch 7"
    assert section["columns"][:2] == ["stage", "epoch"]
    assert section["rows"][0][:2] == ["probe", ""]


def test_lines_of_a_resumed_run_are_drawn_in_order_and_once() -> None:
    lines = history()
    resumed = [*lines[:5], *lines[6:], {**lines[2], "val_loss": 9.0}, lines[5]]
    drawn = epochs_in_order(resumed)
    assert [line["epoch"] for line in drawn] == list(range(1, 21))
    assert drawn[2]["val_loss"] == 9.0


def test_a_probe_alone_is_not_diagnosed(content: ReportContent) -> None:
    lines = [{"stage": "probe", "val_loss": 0.7, "val_accuracy": 0.6, "strength": 0.01}]
    section = training_section(dataclasses.replace(content, history=lines))
    assert section["diagnosis"] is None
    assert section["rows"] == []
    assert [chart.title for chart in section["charts"]] == ["Accuracy", "Loss"]
    fit = {"train": {"accuracy": 0.99}, "val": {"accuracy": 0.6}}
    assert training_section(dataclasses.replace(content, history=lines, fit=fit))["diagnosis"].verdict == "clear"


def test_every_epoch_stands_in_the_table(content: ReportContent) -> None:
    section = training_section(content)
    assert section["columns"] == [
        "epoch", "training loss", "training accuracy", "validation loss", "validation accuracy", "learning rate",
        "images/s",
    ]  # fmt: skip
    assert len(section["rows"]) == 20
    assert section["rows"][6][3] == "0.4120"
    page = page_of(content)
    assert sum(attributes.get("class") == "best" for tag, attributes in page.tags if tag == "tr") == 1


@pytest.mark.parametrize("change", [
    {"history": history()[:1]},
    {"history": [{**line, "val_loss": None, "val_accuracy": None} for line in history()]},
    {"history": [{"stage": "all", "epoch": 1, "train_loss": float("nan"), "learning_rate": 0.0}]},
    {"config": {}},
    {"config": {"stop": None}},
])  # fmt: skip
def test_histories_with_gaps_make_a_section_and_a_figure(content: ReportContent, change: dict[str, Any]) -> None:
    changed = dataclasses.replace(content, **change)
    section = Section("training", "Training", "training.html", training_section(changed))
    assert (
        "Every epoch"
        in Page(render_page("report.html", [section], content=changed, headline=None, verdict=None, anchors=())).text
    )
    figure = curves(changed)
    FigureCanvasAgg(figure)
    figure.savefig(io.BytesIO())
