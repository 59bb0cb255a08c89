"""Temperature, other calibrations, their comparison, reliability: known answers, references, limits, invariances."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import log_softmax, softmax
from sklearn.isotonic import IsotonicRegression
from sklearn.metrics import brier_score_loss, log_loss

from eyebright.decisions import Calibration
from eyebright.decisions.calibration import METHODS, Method
from eyebright.errors import DataError
from eyebright.evaluation.calibrate import (
    MOST_KNOTS,
    TEMPERATURE_LIMITS,
    equal_mass_bins,
    expected_calibration_error,
    fit_calibration,
    fit_temperature,
    image_losses,
    reliability,
)
from eyebright.evaluation.calibration_choice import LEAST_IMAGES, choose_calibration, compare_calibrations


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


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(("classes", "count"), [(2, 1), (2, 40), (5, 3), (100, 20), (10, 400)])
def test_every_method_fits_whatever_there_is(method: Method, classes: int, count: int) -> None:
    generator = np.random.default_rng(classes)
    logits, labels = generator.normal(size=(count, classes)) * 5, generator.integers(0, classes, size=count)
    fitted = fit_calibration(logits, labels, method)
    assert Calibration.from_dict(json.loads(json.dumps(fitted.as_dict(), allow_nan=False))) == fitted
    probabilities = fitted.probabilities(generator.normal(size=(50, classes)) * 30)
    assert (probabilities > 0).all() if method == "isotonic" else np.isfinite(probabilities).all()
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, atol=1e-12)


@pytest.mark.parametrize("method", METHODS)
def test_every_method_fits_perfect_and_constant_logits(method: Method) -> None:
    labels = np.tile(np.arange(3), 30)
    for logits in (np.eye(3)[labels] * 40, np.zeros((90, 3))):
        probabilities = fit_calibration(logits, labels, method).probabilities(logits)
        assert np.isfinite(probabilities).all()
        np.testing.assert_allclose(probabilities.sum(axis=1), 1, atol=1e-12)


def test_the_vector_method_finds_what_made_the_labels() -> None:
    generator = np.random.default_rng(5)
    logits = generator.normal(size=(20_000, 3)) * 2
    scale, bias = np.array([1.0, 0.4, 1.6]), np.array([0.8, 0.0, -0.8])
    shares = softmax(logits * scale + bias, axis=1)
    labels = (shares.cumsum(axis=1) < generator.random((len(logits), 1))).sum(axis=1).clip(max=2)
    fitted = fit_calibration(logits, labels, "vector")
    np.testing.assert_allclose(np.array(fitted.scale) / fitted.temperature, scale, atol=0.08)
    # A shift of all biases changes nothing.
    np.testing.assert_allclose(np.array(fitted.bias) - np.mean(fitted.bias), bias, atol=0.08)


def test_the_vector_method_fits_its_images_no_worse_than_the_temperature() -> None:
    logits, labels = _drawn(2.0, count=500)
    losses = [
        log_loss(labels, fit_calibration(logits, labels, method).probabilities(logits), labels=range(4))
        for method in ("temperature", "vector")
    ]
    assert losses[1] <= losses[0] + 1e-6


def test_isotonic_lines_are_those_of_scikit_learn() -> None:
    logits, labels = _drawn(2.0, count=600)
    fitted = fit_calibration(logits, labels, "isotonic")
    shares = softmax(logits / fitted.temperature, axis=1)
    floor = 1 / (len(labels) + 2)
    for index, line in enumerate(fitted.knots):
        assert 2 <= len(line) <= MOST_KNOTS
        x, y = np.array(line).T
        assert (np.diff(x) >= 1e-3 - 1e-9).all()
        assert y[0] >= floor - 1e-12
        assert y[-1] <= 1 - floor + 1e-12
        reference = IsotonicRegression(y_min=floor, y_max=1 - floor, out_of_bounds="clip")
        steps = reference.fit(shares[:, index], labels == index).predict(shares[:, index])
        for height in np.unique(steps)[4:-4]:  # at the ends narrow steps are taken together
            middle = shares[steps == height, index].mean()
            assert np.interp(middle, x, y) == pytest.approx(height, abs=0.02)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**31), st.integers(1, 400), st.sampled_from([0.1, 1.0, 6.0, 40.0]))
def test_isotonic_lines_rise_whatever_the_images(seed: int, count: int, spread: float) -> None:
    generator = np.random.default_rng(seed)
    logits, labels = generator.normal(size=(count, 3)) * spread, generator.integers(0, 3, size=count)
    for line in fit_calibration(logits, labels, "isotonic").knots:
        assert 2 <= len(line) <= MOST_KNOTS
        assert (np.diff(np.array(line)[:, 0]) >= 1e-3 - 1e-9).all()


def test_a_class_without_an_image_keeps_its_softmax() -> None:
    generator = np.random.default_rng(0)
    logits, labels = generator.normal(size=(60, 4)), generator.integers(0, 3, size=60)
    assert fit_calibration(logits, labels, "isotonic").knots[3] == ((0.0, 1 / 62), (1.0, 1 - 1 / 62))
    vector = fit_calibration(logits, labels, "vector")
    assert np.isfinite([*vector.scale, *vector.bias]).all()


def test_losses_of_images_are_those_of_scikit_learn() -> None:
    logits, labels = _drawn(2.0, count=300)
    probabilities = softmax(logits, axis=1)
    losses, briers = image_losses(probabilities, labels)
    assert losses.mean() == pytest.approx(log_loss(labels, probabilities, labels=range(4)), abs=1e-9)
    assert briers.mean() == pytest.approx(np.square(probabilities - np.eye(4)[labels]).sum(axis=1).mean())
    two, halves = probabilities[:, :2] / probabilities[:, :2].sum(axis=1, keepdims=True), labels % 2
    assert image_losses(two, halves)[1].mean() == pytest.approx(brier_score_loss(halves, two[:, 1]), abs=1e-9)


def test_the_comparison_scores_images_that_were_not_fitted() -> None:
    """Labels by chance: what was fitted to them cannot help on others, and the temperature is as good as any."""
    generator = np.random.default_rng(3)
    logits, labels = generator.normal(size=(400, 6)) * 3, generator.integers(0, 6, size=400)
    compared = compare_calibrations(logits, labels)
    assert list(compared) == list(METHODS)
    assert compared["temperature"].log_loss == pytest.approx(np.log(6), abs=0.05)
    assert compared["isotonic"].log_loss > np.log(6) - 0.02
    assert compared["none"].difference > 5 * compared["none"].difference_error
    assert compared["temperature"].difference == compared["temperature"].difference_error == 0
    assert compared == compare_calibrations(logits, labels)
    assert choose_calibration(compared)[0] == "temperature"


def test_the_temperature_gives_way_only_beyond_chance() -> None:
    generator = np.random.default_rng(5)
    logits = generator.normal(size=(3000, 3)) * 2
    shares = softmax(logits + np.array([2.0, 0.0, -2.0]), axis=1)
    labels = (shares.cumsum(axis=1) < generator.random((len(logits), 1))).sum(axis=1).clip(max=2)
    method, reason = choose_calibration(compare_calibrations(logits, labels))
    assert method == "vector"
    assert "standard errors" in reason
    few, reason = choose_calibration(compare_calibrations(logits[: LEAST_IMAGES - 1], labels[: LEAST_IMAGES - 1]))
    assert few == "temperature"
    assert "too few" in reason


def test_a_comparison_with_hardly_an_image_for_each_class_goes_through() -> None:
    generator = np.random.default_rng(0)
    compared = compare_calibrations(generator.normal(size=(60, 100)), generator.integers(0, 100, size=60))
    assert all(np.isfinite(scores.log_loss) for scores in compared.values())
