"""From logits to probabilities: rows that sum to one, predictions that stay, records that come back."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from eyebright.decisions import Calibration, softmax

LOGITS = arrays(np.float64, st.tuples(st.integers(1, 8), st.just(3)), elements=st.floats(-50, 50, width=32))
RISING = ((0.0, 0.05), (0.3, 0.2), (0.9, 0.95))
CALIBRATIONS = [
    Calibration(method="none"),
    Calibration(temperature=2.5),
    Calibration(method="vector", temperature=1.5, scale=(1.0, 0.5, 2.0), bias=(0.0, -1.0, 1.0)),
    Calibration(method="isotonic", knots=(RISING, ((0.1, 0.1), (0.2, 0.9)), ((0.0, 0.01), (1.0, 0.01)))),
]


@pytest.mark.parametrize("calibration", CALIBRATIONS, ids=lambda one: one.method)
@settings(max_examples=40, deadline=None)
@given(LOGITS)
def test_rows_are_probabilities(calibration: Calibration, logits: np.ndarray) -> None:
    probabilities = calibration.probabilities(logits)
    assert (probabilities >= 0).all()
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, atol=1e-12)


@settings(max_examples=60, deadline=None)
@given(LOGITS, st.floats(0.05, 20))
def test_a_temperature_changes_no_prediction(logits: np.ndarray, temperature: float) -> None:
    probabilities = Calibration(temperature=temperature).probabilities(logits)
    rows, best = np.arange(len(logits)), logits.argmax(axis=1)
    # Logits that differ by less than float64 can tell may end as equals; the former best is still as probable as any.
    assert (probabilities[rows, best] >= probabilities.max(axis=1) - 1e-12).all()


def test_the_softmax_is_that_of_torch() -> None:
    logits = np.random.default_rng(0).normal(size=(20, 7)) * 30
    expected = torch.softmax(torch.from_numpy(logits) / 1.7, dim=1).numpy()
    np.testing.assert_allclose(softmax(logits, 1.7), expected, atol=1e-12)


def test_the_vector_method_is_an_affine_map_of_the_logits() -> None:
    logits = np.random.default_rng(1).normal(size=(9, 3))
    expected = softmax(logits / 1.5 * np.array([1.0, 0.5, 2.0]) + np.array([0.0, -1.0, 1.0]))
    np.testing.assert_allclose(CALIBRATIONS[2].probabilities(logits), expected, atol=1e-12)


def test_a_line_goes_on_at_its_ends() -> None:
    calibration = Calibration(method="isotonic", knots=(((0.2, 0.1), (0.8, 0.6)), ((0.2, 0.3), (0.8, 0.3))))
    first = calibration.probabilities([[9.0, -9.0], [-9.0, 9.0]])
    np.testing.assert_allclose(first[:, 0] / first[:, 1], [0.6 / 0.3, 0.1 / 0.3], rtol=1e-6)


@pytest.mark.parametrize("calibration", CALIBRATIONS, ids=lambda one: one.method)
def test_a_record_comes_back_from_json(calibration: Calibration) -> None:
    assert Calibration.from_dict(json.loads(json.dumps(calibration.as_dict(), allow_nan=False))) == calibration


@pytest.mark.parametrize(
    "wrong",
    [
        {"method": "platt"},
        {"temperature": 0.0},
        {"temperature": float("inf")},
        {"method": "vector"},
        {"method": "vector", "scale": (1.0,), "bias": ()},
        {"method": "vector", "scale": (float("nan"),), "bias": (0.0,)},
        {"scale": (1.0,), "bias": (0.0,)},
        {"method": "isotonic"},
        {"method": "isotonic", "knots": (((0.0, 0.1),),)},
        {"method": "isotonic", "knots": (((0.5, 0.1), (0.5, 0.2)),)},
        {"method": "isotonic", "knots": (((0.0, 0.3), (1.0, 0.2)),)},
        {"method": "isotonic", "knots": (((0.0, 0.0), (1.0, 0.2)),)},
    ],
)
def test_nonsense_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"."):
        Calibration(**wrong)
