"""The verdict: what is said is supported by the intervals, the weightiest comes first, and every command exists."""

from __future__ import annotations

import dataclasses
import re
import shlex
from importlib import import_module
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from test_page import digits_content

from eyebright.cli.main import VERBS
from eyebright.data.audit.findings import Finding
from eyebright.evaluation import evaluate, make_predictions
from eyebright.evaluation.estimate import Estimate
from eyebright.evaluation.intervals import wilson
from eyebright.evaluation.metrics import Metrics
from eyebright.evaluation.overfitting import diagnose
from eyebright.evaluation.predictions import Predictions
from eyebright.report import ReportContent
from eyebright.report.circumstances import about_decisions, about_findings, about_leaks, about_parts, about_robustness
from eyebright.report.remarks import (
    Remark,
    about_chance,
    about_classes,
    about_confidence,
    about_confusions,
    about_fit,
    about_size,
    about_superclasses,
)
from eyebright.report.verdict import next_steps, summary, verdict_of

NAMES = ["ant", "bee", "cat", "dog", "elk", "fox", "gnu", "hen", "ibis", "jay"]


def predictions_of(
    confusion: list[list[int]], *, certainty: float = 5.0, above: dict[str, str] | None = None
) -> Predictions:
    """A table with this confusion matrix, whose probabilities are equally certain everywhere."""
    counts = np.array(confusion)
    names = NAMES[: len(counts)]
    true, guess = (np.repeat(side.ravel(), counts.ravel()) for side in np.indices(counts.shape))
    ids = [str(number) for number in range(len(true))]
    labels = [names[place] for place in true]
    logits = np.eye(len(names))[guess] * certainty
    return make_predictions(ids, ids, labels, ["test"] * len(ids), logits, 1.0, names, above)


def metrics_of(confusion: list[list[int]]) -> Metrics:
    return evaluate(predictions_of(confusion))


def bare(confusion: np.ndarray[Any, Any]) -> Any:
    """What remarks ask of metrics, without the bootstrap that makes those slow."""
    counts = np.asarray(confusion)

    def estimate(hits: float, trials: float) -> Estimate:
        return Estimate(hits / max(trials, 1), *(float(limit) for limit in wilson(hits, trials)), "Wilson")

    rows = [
        SimpleNamespace(name=NAMES[place], support=int(row.sum()), recall=estimate(row[place], row.sum()))
        for place, row in enumerate(counts)
    ]
    return SimpleNamespace(
        per_class=rows, classes=tuple(NAMES[: len(counts)]), images=int(counts.sum()), confusion=counts.tolist(),
        accuracy=estimate(np.trace(counts), counts.sum()),
    )  # fmt: skip


def sides(remarks: list[Remark]) -> list[str]:
    return [remark.side for remark in remarks]


def text_of(remarks: list[Remark]) -> str:
    return " ".join(remark.text for remark in remarks).replace("\u202f", " ")


def test_a_classifier_is_said_to_have_learnt_only_where_its_interval_is_above_the_largest_class() -> None:
    assert sides(about_chance(metrics_of([[40, 10], [10, 40]]))) == ["good"]
    assert "at least 21 points more than always answering “ant” (50.0 %)" in text_of(
        about_chance(metrics_of([[40, 10], [10, 40]]))
    )
    unclear = about_chance(metrics_of([[27, 23], [23, 27]]))
    assert sides(unclear) == ["weak"]
    assert "not shown to be better" in text_of(unclear)
    assert "is worse than" in text_of(about_chance(metrics_of([[10, 80], [9, 1]])))


def test_classes_are_told_apart_only_where_they_surely_differ() -> None:
    assert text_of(about_classes(metrics_of([[18, 2], [3, 17]]))).startswith("No class is clearly worse")
    found = text_of(about_classes(metrics_of([[60, 40, 0], [2, 198, 0], [0, 3, 197]])))
    assert "clearly worse at ant than at the others: of ant it finds 60 % (50.2 to 69.1 %)" in found
    absent = text_of(about_classes(metrics_of([[20, 0], [0, 0]])))
    assert "Nothing is known of bee" in absent


def test_equal_classes_are_seldom_said_to_differ() -> None:
    random = np.random.default_rng(0)
    wrong = 0
    for _ in range(400):
        hits = random.binomial(60, 0.8, size=10)
        confusion = np.diag(hits)
        confusion[:, 0] += np.where(np.arange(10) == 0, 0, 60 - hits)
        confusion[0, 1] += 60 - hits[0]
        wrong += "clearly" in re.sub("No class is clearly", "", text_of(about_classes(bare(confusion))))
    assert wrong / 400 < 0.05


def test_a_confusion_is_told_only_where_mistakes_gather() -> None:
    found = text_of(about_confusions(metrics_of([[50, 0, 0, 0], [30, 68, 1, 1], [1, 1, 48, 0], [0, 1, 1, 48]])))
    assert "It takes bee for ant: 30 of 100 (21.9 to 39.6 %)" in found
    assert about_confusions(metrics_of([[40, 5, 5], [5, 40, 5], [5, 5, 40]])) == []
    assert about_confusions(metrics_of([[40, 10], [1, 49]])) == []


def test_mistakes_that_fall_anywhere_are_seldom_called_a_confusion() -> None:
    random = np.random.default_rng(1)
    wrong = 0
    for _ in range(400):
        rows = []
        for place in range(6):
            shares = np.full(6, 0.3 / 5)
            shares[place] = 0.7
            rows.append(random.multinomial(50, shares))
        wrong += bool(about_confusions(bare(np.array(rows))))
    assert wrong / 400 < 0.05


@pytest.mark.parametrize(
    ("certainty", "expected"), [(0.5, "claims too little"), (12.0, "claims too much"), (12.0, "less than it says")]
)
def test_confidence_is_held_against_what_came_true(certainty: float, expected: str) -> None:
    table = predictions_of([[70, 30], [30, 70]], certainty=certainty)
    assert expected in text_of(about_confidence(table, evaluate(table)))


def test_confidence_that_came_true_is_a_strength() -> None:
    random = np.random.default_rng(0)
    logits = random.normal(size=(800, 3)) * 2
    shares = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    labels = [NAMES[random.choice(3, p=row)] for row in shares]
    ids = [str(number) for number in range(800)]
    table = make_predictions(ids, ids, labels, ["test"] * 800, logits, 1.0, NAMES[:3])
    remarks = about_confidence(table, evaluate(table))
    assert sides(remarks) == ["good"]
    assert "Where it claims more than 90 %" in text_of(remarks)


def test_mistakes_within_a_superclass_are_a_strength() -> None:
    above = {"ant": "insect", "bee": "insect", "cat": "mammal", "dog": "mammal"}
    near = [[60, 38, 1, 1], [40, 58, 1, 1], [1, 1, 50, 48], [1, 1, 48, 50]]
    far = [[60, 0, 20, 20], [0, 60, 20, 20], [20, 20, 60, 0], [20, 20, 0, 60]]
    assert "often nearly right" in text_of(about_superclasses(evaluate(predictions_of(near, above=above))))
    assert about_superclasses(evaluate(predictions_of(far, above=above))) == []
    assert about_superclasses(metrics_of(near)) == []


def test_few_images_are_told_with_how_many_would_do() -> None:
    few = about_size(metrics_of([[15, 5], [5, 15]]), 0.21)
    assert "the accuracy is known to 13 points either way" in text_of(few)
    assert "differ by 21 points" in text_of(few)
    assert "with about 1,100 the accuracy would be known to 2.5 points" in few[0].steps[0].text
    assert about_size(metrics_of([[950, 50], [50, 950]]), 0.02) == []


def test_leaks_weigh_as_much_as_they_change() -> None:
    def part(images: int, value: float, low: float, high: float) -> dict[str, Any]:
        return {"images": images, "accuracy": {"value": value, "low": low, "high": high, "method": "Wilson"}}

    grave = about_leaks({"leaked": part(100, 1.0, 0.96, 1.0), "clean": part(300, 0.7, 0.65, 0.75)})[0]
    slight = about_leaks({"leaked": part(3, 1.0, 0.4, 1.0), "clean": part(300, 0.7, 0.65, 0.75)})[0]
    assert grave.weight > slight.weight
    assert "without them the accuracy is 70.0 % (65.0 to 75.0 %)" in text_of([slight])
    assert "says nothing of new images" in text_of(about_leaks({"leaked": part(100, 1.0, 0.96, 1.0)}))
    assert about_leaks({}) == []


def finding(section: Any, severity: Any) -> Finding:
    return Finding(code="x", section=section, severity=severity, title=f"A fault of {section}", count=1, why="")


def test_what_the_audit_found_is_told_once() -> None:
    found = [finding("duplicates", "critical"), finding("labels", "critical"), finding("files", "warning")]
    assert "1 more of these" in text_of(about_findings(found, leaks=False)).replace("is 1", "1")
    assert "A fault of labels." in text_of(about_findings(found, leaks=True))
    assert about_findings(found[2:], leaks=False) == []
    assert about_findings(found[:1], leaks=True) == []


def test_a_part_of_the_images_is_told_where_it_is_surely_worse() -> None:
    def part(hits: int, images: int, expected: float | None = None) -> dict[str, Any]:
        low, high = wilson(hits, images)
        estimate = {"value": hits / images, "low": float(low), "high": float(high), "method": "Wilson"}
        return {"images": images, "accuracy": estimate, "expected": expected}

    accuracy = Estimate(0.8, 0.77, 0.83, "Wilson")
    slices = {"blur": {"sharp": part(270, 300, 0.8), "very blurred": part(50, 100, 0.8)}}
    found = text_of(about_parts([], slices, accuracy))
    assert "images with blur very blurred: 50.0 % of 100 images" in found
    assert "its classes alone would give 80.0 %" in found
    assert about_parts([], {"blur": {"sharp": part(78, 100, 0.8), "very blurred": part(74, 100, 0.8)}}, accuracy) == []
    # Harder classes alone are no reason.
    assert about_parts([], {"blur": {"a": part(270, 300, 0.9), "b": part(50, 100, 0.5)}}, accuracy) == []
    worst = [{"conditions": ["dark", "small"], **part(10, 40, 0.8), "p_value": 0.01}]
    assert "images with dark and small: 25.0 % of 40 images" in text_of(about_parts(worst, slices, accuracy))


def robustness(mean_drop: tuple[float, float, float], worst_drop: tuple[float, float, float]) -> dict[str, Any]:
    def estimate(values: tuple[float, float, float]) -> dict[str, Any]:
        return {"value": values[0], "low": values[1], "high": values[2], "method": "bootstrap"}

    curve = {
        "name": "fog", "title": "Fog", "family": "weather", "unit": "", "cells": [], "accuracy": 0.5,
        "drop": estimate(worst_drop), "confidence": 0.6, "calibration_error": 0.1, "falls_at": 2,
    }  # fmt: skip
    return {
        "version": 1, "images": 100, "choice": "all", "unreadable": 0, "side": 64, "channels": 3, "seed": 0,
        "seconds": 3.0, "clean": estimate((0.8, 0.7, 0.9)), "clean_confidence": 0.8, "clean_calibration_error": 0.02,
        "mean_error": estimate((0.3, 0.2, 0.4)), "mean_drop": estimate(mean_drop), "confidence": 0.7,
        "curves": [curve], "classes": [], "left_out": {}, "examples": {},
    }  # fmt: skip


def test_corruptions_are_told_where_they_surely_hurt_or_surely_do_not() -> None:
    hurt = about_robustness(robustness((0.2, 0.15, 0.25), (0.4, 0.3, 0.5)))
    assert sides(hurt) == ["weak"]
    assert "suffers from fog most: accuracy falls by 40.0 points (30.0 to 50.0)" in text_of(hurt)
    assert sides(about_robustness(robustness((0.01, 0.0, 0.02), (0.03, 0.01, 0.06)))) == ["good"]
    assert about_robustness(robustness((0.04, 0.01, 0.07), (0.06, 0.02, 0.10))) == []
    assert about_robustness({}) == []
    assert about_robustness({"version": 99}) == []


def test_decisions_are_held_against_their_promises() -> None:
    def share(value: float, low: float, high: float) -> dict[str, Any]:
        return {"value": value, "low": low, "high": high}

    def measured(error: dict[str, Any], coverage: dict[str, Any]) -> dict[str, Any]:
        selection = {"error_rate": 0.05, "answered": share(0.7, 0.65, 0.75), "error": error}
        return {"test": {"selection": selection, "sets": {"promised": 0.9, "coverage": coverage}}}

    kept = about_decisions(measured(share(0.04, 0.02, 0.07), share(0.9, 0.87, 0.92)))
    assert sides(kept) == ["good"]
    assert "for 70 % of the images it does, and errs in 4.0 % (2.0 to 7.0 %)" in text_of(kept)
    assert sides(about_decisions(measured(share(0.1, 0.07, 0.14), share(0.8, 0.76, 0.84)))) == ["weak", "weak"]
    assert about_decisions({}) == []
    assert about_decisions({"test": {"selection": {"answered": share(0, 0, 0.1), "error": {"value": None}}}}) == []


def test_memorising_comes_with_what_to_try() -> None:
    history = [
        {"stage": "all", "epoch": e, "train_loss": 1.5 / e, "val_loss": 0.4 + 0.01 * (e - 7) ** 2, "val_accuracy": 0.7}
        for e in range(1, 21)
    ]
    remarks = about_fit(diagnose(history, train={"accuracy": 1.0, "loss": 0.0}, val={"accuracy": 0.6, "loss": 1.0}))
    assert sides(remarks) == ["weak"]
    assert "memorised" in text_of(remarks)
    assert remarks[0].steps
    assert about_fit(None) == []


@pytest.mark.parametrize(
    ("hits", "images", "expected"),
    [
        (75, 100, "It names about three of four images right."),
        (850, 1000, "It names 83 to 87 of 100 images right."),
        (100, 100, "It names every one of these images right; of all such images, at least 96 in 100."),
        (3, 1000, "It names 0 to 1 of 100 images right."),
    ],
)
def test_the_summary_is_a_fraction_that_the_interval_allows(hits: int, images: int, expected: str) -> None:
    low, high = (float(limit) for limit in wilson(hits, images))
    metrics: Any = SimpleNamespace(accuracy=Estimate(hits / images, low, high, "Wilson"))
    assert summary(metrics) == expected


@pytest.fixture(scope="module")
def content() -> ReportContent:
    return digits_content()


def test_the_weightiest_remarks_come_first_and_lead_to_sections(content: ReportContent) -> None:
    part = {"images": 200, "accuracy": {"value": 1.0, "low": 0.98, "high": 1.0, "method": "Wilson"}}
    clean = {"images": 200, "accuracy": {"value": 0.8, "low": 0.75, "high": 0.85, "method": "Wilson"}}
    leaky = dataclasses.replace(content, leaks={"leaked": part, "clean": clean})
    verdict = verdict_of(leaky)
    assert verdict is not None
    assert "training or validation images too" in verdict.weak[0].text
    assert [remark.weight for remark in verdict.weak] == sorted((r.weight for r in verdict.weak), reverse=True)
    assert verdict.steps[0].command.startswith("eyebright audit digits")
    assert verdict_of(dataclasses.replace(content, test=None, validation=None)) is None


def test_every_command_is_one_that_exists(content: ReportContent) -> None:
    part = {"images": 3, "accuracy": {"value": 0.5, "low": 0.3, "high": 0.7, "method": "Wilson"}}
    for changes in ({}, {"leaks": {"leaked": part}}, {"run_path": "my runs/it's"}):
        changed = dataclasses.replace(content, **changes)
        verdict = verdict_of(changed)
        assert verdict is not None
        steps = next_steps(changed, verdict.weak)
        commands = [step.command for step in steps if step.command]
        assert commands[-1].startswith("eyebright predict ")
        for command in commands:
            program, verb, *words = shlex.split(command)
            assert program == "eyebright"
            assert verb in VERBS
            known = import_module(f"eyebright.cli.{verb.replace('-', '_')}").command
            source = import_module(known.__module__).__file__ or ""
            with open(source, encoding="utf-8") as handle:
                code = handle.read().replace("_", "-")
            for option in (word for word in words if word.startswith("--")):
                assert re.search(rf"\b{option[2:]}\b", code), command
