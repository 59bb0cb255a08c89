"""Numbers and findings as text."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from eyebright.evaluation import evaluate, make_predictions
from eyebright.evaluation.metrics import Metrics
from eyebright.report import wording


def _metrics(confusion: list[list[int]]) -> Metrics:
    names = ["ant", "bee", "cat"][: len(confusion)]
    pairs = [(t, p) for t, row in enumerate(confusion) for p, number in enumerate(row) for _ in range(number)]
    ids = [str(index) for index in range(len(pairs))]
    logits = np.eye(len(names))[[predicted for _, predicted in pairs]]
    return evaluate(
        make_predictions(ids, ids, [names[true] for true, _ in pairs], ["test"] * len(ids), logits, 1.0, names)
    )


@given(st.floats(0, 1))
def test_only_all_is_a_hundred_percent_and_only_nothing_is_zero(share: float) -> None:
    number = float(wording.percent(share).split("\u202f")[0])
    assert abs(number - 100 * share) <= 0.1 + 1e-9
    assert (number == 100) == (share == 1)
    assert (number == 0) == (share == 0)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.42, "0.4 s"), (9.96, "10 s"), (59.6, "1 min"), (277, "4 min 37 s"), (7500, "2 h 05 min"), (3600, "1 h")],
)
def test_durations(seconds: float, text: str) -> None:
    assert wording.duration(seconds) == text


@pytest.mark.parametrize(("number", "text"), [(0, "0 B"), (999, "999 B"), (15_820_331, "15.8 MB"), (10**13, "10 TB")])
def test_sizes(number: int, text: str) -> None:
    assert wording.size(number) == text


@pytest.mark.parametrize(("value", "text"), [(0, "0"), (0.25, "0.25"), (0.001, "1e-3"), (7.5e-4, "7.5e-4")])
def test_small_numbers(value: float, text: str) -> None:
    assert wording.small_number(value) == text


def test_confused_pairs_are_the_largest_cells_off_the_diagonal() -> None:
    pairs = wording.confused_pairs(_metrics([[5, 3, 0], [1, 9, 0], [4, 0, 4]]))
    assert [(p["true"], p["predicted"], p["count"]) for p in pairs] == [
        ("cat", "ant", 4),
        ("ant", "bee", 3),
        ("bee", "ant", 1),
    ]
    assert pairs[0]["share"].value == 0.5


@pytest.mark.parametrize(
    ("confusion", "part"),
    [
        ([[5, 0], [0, 5]], "no mistake"),
        ([[8, 2], [0, 5]], "take ant for bee: 2 images, 20\u202f% of all ant images"),
        ([[5, 1, 1], [1, 5, 0], [0, 0, 5]], "No pair of classes stands out: none is confused more than 1 time"),
    ],
)
def test_confusion_finding(confusion: list[list[int]], part: str) -> None:
    assert part in wording.confusion_finding(_metrics(confusion))


@pytest.mark.parametrize(
    ("history", "text"),
    [
        ([], "No validation accuracy was recorded."),
        ([{"stage": "probe", "val_accuracy": 0.9}], "Validation accuracy was best: 90.0 %."),
        (
            [{"stage": "all", "epoch": e + 1, "val_accuracy": a} for e, a in enumerate([0.5, 0.8, 0.7])],
            "Validation accuracy was best at epoch 2: 80.0 %.",
        ),
        (
            [{"stage": "probe", "val_accuracy": 0.9}, {"stage": "all", "epoch": 1, "val_accuracy": 0.8}],
            "Validation accuracy was best in stage probe: 90.0 %.",
        ),
        (
            [{"stage": "head", "epoch": 3, "val_accuracy": 0.9}, {"stage": "all", "epoch": 1, "val_accuracy": None}],
            "Validation accuracy was best in stage head at epoch 3: 90.0 %.",
        ),
    ],
)
def test_curves_finding(history: list[dict[str, Any]], text: str) -> None:
    assert wording.curves_finding(history).replace("\u202f", " ") == text


def test_data_finding_says_how_uneven_the_classes_are() -> None:
    uneven = wording.data_finding({"train": {"a": 30, "b": 10}, "test": {"a": 2}})
    assert uneven == (
        "42 images in 2 classes: 40 training and 2 test. The largest class, a (32), is 3.2 times the smallest, b (10)."
    )
    assert "Every class has 7 images" in wording.data_finding({"train": {"a": 7, "b": 7}})
