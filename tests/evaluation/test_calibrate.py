"""Temperature and reliability: known answers, limits, invariances."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import log_softmax, softmax

from eyebright.errors import DataError
from eyebright.evaluation.calibrate import (
    TEMPERATURE_LIMITS,
    equal_mass_bins,
    expected_calibration_error,
    fit_temperature,
    reliability,
)


def _drawn(temperature: float, count: int = 6000) -> tuple[np.ndarray, np.ndarray]:
    """Logits whose labels were drawn from the softmax at the given temperature."""
    generator = np.random.default_rng(7)
    logits = generator.normal(size=(count, 4)) * 3
    shares = softmax(logits / temperature, axis=1)
    return logits, (shares.cumsum(axis=1) < generator.random((count, 1))).sum(axis=1).clip(max=3)


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.5])
def test_the_temperature_that_made_the_labels_is_found(temperature: float) -> None:
    assert fit_temperature(*_drawn(temperature)) == pytest.approx(temperature, rel=0.06)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**31), st.integers(2, 60))
def test_no_temperature_on_a_grid_is_more_likely(seed: int, count: int) -> None:
    generator = np.random.default_rng(seed)
    logits, labels = generator.normal(size=(count, 3)) * 3, generator.integers(0, 3, size=count)
    found = fit_temperature(logits, labels)
    assert TEMPERATURE_LIMITS[0] - 1e-9 <= found <= TEMPERATURE_LIMITS[1] + 1e-9

    def loss(temperature: float) -> float:
        return float(-log_softmax(logits / temperature, axis=1)[np.arange(count), labels].mean())

    if (logits.argmax(axis=1) != labels).any():
        assert loss(found) <= min(loss(t) for t in np.geomspace(*TEMPERATURE_LIMITS, 200)) + 1e-6


@pytest.mark.parametrize("repeats", [1, 10, 200])
@pytest.mark.parametrize("margin", [0.5, 2.0, 8.0])
def test_without_an_error_the_confidence_ends_at_the_rule_of_succession(repeats: int, margin: float) -> None:
    """Equally sure, all right: N right answers leave a doubt of 1 / (N + 2), however sure the network is itself."""
    logits, labels = np.tile(np.eye(3) * margin, (repeats, 1)), np.tile(np.arange(3), repeats)
    confidence = softmax(logits / fit_temperature(logits, labels), axis=1).max(axis=1)
    assert confidence == pytest.approx(1 - 1 / (3 * repeats + 2), abs=1e-4)


def test_nothing_to_fit_is_refused() -> None:
    with pytest.raises(DataError, match="at least one validation image"):
        fit_temperature(np.zeros((0, 3)), np.zeros(0))
    with pytest.raises(DataError, match="finite"):
        fit_temperature([[np.nan, 1.0]], [0])


@given(st.lists(st.sampled_from([0.3, 0.5, 0.5001, 0.9, 1.0]), min_size=1, max_size=60), st.integers(1, 20))
def test_bins_are_ordered_gapless_and_keep_equal_confidences_together(values: list[float], bins: int) -> None:
    confidence = np.array(values)
    index = equal_mass_bins(confidence, bins)
    assert set(index) == set(range(index.max() + 1))
    assert index.max() < bins
    order = np.argsort(confidence, kind="stable")
    assert (np.diff(index[order]) >= 0).all()
    for value in set(values):
        assert len(set(index[confidence == value])) == 1


def test_bins_of_distinct_confidences_have_about_equal_counts() -> None:
    counts = np.bincount(equal_mass_bins(np.random.default_rng(0).random(1000), 15))
    assert len(counts) == 15
    assert counts.max() - counts.min() <= 1


def test_reliability_agrees_with_the_calibration_error() -> None:
    logits, labels = _drawn(2.0)
    probabilities = softmax(logits, axis=1)
    rows = reliability(probabilities, labels, bins=15)
    total = sum(row.count for row in rows)
    assert total == len(labels)
    error = sum(row.count * abs(row.accuracy - row.confidence) for row in rows) / total
    correct = probabilities.argmax(axis=1) == labels
    assert error == pytest.approx(expected_calibration_error(probabilities.max(axis=1), correct), abs=1e-12)
    assert all(row.low <= row.accuracy <= row.high for row in rows)
