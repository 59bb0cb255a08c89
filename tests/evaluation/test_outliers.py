"""Outlier scores: the distance against scikit-learn and scipy, ranks by brute force, whatever the features are like."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.distance import cdist
from sklearn.covariance import LedoitWolf
from sklearn.metrics import roc_auc_score

from eyebright.evaluation.outliers import (
    MOST_DIRECTIONS,
    area_under_roc,
    fit_distance,
    fit_outliers,
    histogram,
    measure_detection,
    measure_false_alarms,
    threshold_at,
)


def _features(count: int, width: int, classes: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(seed)
    centres = np.random.default_rng(99).normal(size=(classes, width)) * 2
    labels = generator.integers(0, classes, size=count)
    return np.maximum(centres[labels] + generator.normal(size=(count, width)), 0) + 0.01, labels


@pytest.mark.parametrize(("count", "width"), [(300, 20), (40, 60)])
def test_the_distance_is_mahalanobis_with_the_covariance_of_ledoit_and_wolf(count: int, width: int) -> None:
    features, labels = _features(count, width, 3)
    unit = features / np.linalg.norm(features, axis=1, keepdims=True)
    means = np.stack([unit[labels == index].mean(axis=0) for index in range(3)])
    residuals = unit - means[labels]
    covariance = LedoitWolf(assume_centered=True).fit(residuals).covariance_
    fitted = fit_distance(features, labels, 3, most_directions=width)
    new, _ = _features(100, width, 3, seed=1)
    new_unit = new / np.linalg.norm(new, axis=1, keepdims=True)
    if count > width:
        expected = cdist(new_unit, means, "mahalanobis", VI=np.linalg.inv(covariance)).min(axis=1)
    else:
        # Fewer images than features: the same distance within the directions that the images span.
        values, vectors = np.linalg.eigh(covariance)
        spanned = np.linalg.svd(residuals)[1]
        number = int((spanned > 1e-8).sum())
        whitened = vectors[:, -number:] / np.sqrt(values[-number:])
        fitted = fit_distance(features, labels, 3, most_directions=number)
        expected = cdist(new_unit @ whitened, means @ whitened).min(axis=1)
    np.testing.assert_allclose(fitted.scores(new), expected, rtol=1e-3)


@pytest.mark.parametrize(
    ("count", "width", "classes"), [(1, 8, 3), (5, 1280, 2), (30, 16, 100), (200, 1, 4), (400, 300, 7)]
)
def test_few_images_and_many_features_do(count: int, width: int, classes: int) -> None:
    features, labels = _features(count, width, classes)
    fitted = fit_distance(features, labels, classes)
    assert fitted.class_means.shape[0] == classes
    assert fitted.basis.shape[1] <= min(MOST_DIRECTIONS, count, width)
    assert np.isfinite(fitted.scores(np.concatenate([features, features * 0, -features]))).all()


@pytest.mark.parametrize("value", [0.0, 1.0])
def test_constant_features_do(value: float) -> None:
    fitted = fit_distance(np.full((20, 4), value), np.arange(20) % 2, 2)
    own = fitted.scores(np.full((3, 4), value))
    np.testing.assert_allclose(own, 0, atol=1e-3)
    # Along the kept directions any change is far; along the features themselves it is no change of direction.
    assert fitted.scores(np.random.default_rng(0).normal(size=(5, 4))).max() > 100


def test_a_class_without_a_training_image_changes_no_distance() -> None:
    features, labels = _features(60, 10, 3)
    without, with_more = fit_distance(features, labels, 3), fit_distance(features, labels, 6)
    np.testing.assert_allclose(without.scores(features), with_more.scores(features), rtol=1e-5)


@given(st.lists(st.floats(-5, 5), min_size=0, max_size=80), st.sampled_from([0.01, 0.05, 0.2, 0.5]))
def test_so_many_of_the_images_themselves_are_above_the_threshold(scores: list[float], rate: float) -> None:
    threshold = threshold_at(np.array(scores), rate)
    above = sum(score > threshold for score in scores)
    assert above <= rate * (len(scores) + 1)
    if math.isinf(threshold):
        assert rate * (len(scores) + 1) < 1 + 1e-9
    else:
        # The next lower score would flag too many of n + 1.
        assert sum(score >= threshold for score in scores) + 1 > rate * (len(scores) + 1) - 1e-9


def test_new_images_are_flagged_at_the_rate() -> None:
    rates = []
    for seed in range(200):
        scores = np.random.default_rng(seed).normal(size=300)
        rates.append((scores[100:] > threshold_at(scores[:100], 0.1)).mean())
    assert np.mean(rates) == pytest.approx(0.1, abs=0.015)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(-4, 4), min_size=1, max_size=30), st.lists(st.integers(-4, 4), min_size=1, max_size=30))
def test_the_area_is_that_of_scikit_learn(own: list[int], others: list[int]) -> None:
    found = area_under_roc(np.array(own, dtype=float), np.array(others, dtype=float))
    expected = roc_auc_score([0] * len(own) + [1] * len(others), own + others)
    assert found.value == pytest.approx(expected, abs=1e-12)
    assert 0 <= found.low <= found.value <= found.high <= 1


def test_the_interval_of_the_area_holds_the_truth() -> None:
    """Two normal distributions a distance of one apart: the area is Phi(1 / sqrt 2) = 0.7602."""
    held = 0
    for seed in range(400):
        generator = np.random.default_rng(seed)
        found = area_under_roc(generator.normal(size=60), generator.normal(size=40) + 1)
        held += found.low <= 0.76025 <= found.high
    assert 0.92 <= held / 400 <= 0.985


def test_fitted_and_measured_from_end_to_end() -> None:
    train, train_labels = _features(500, 30, 4)
    val, val_labels = _features(300, 30, 4, seed=1)
    test, test_labels = _features(300, 30, 4, seed=2)
    logits = {name: np.eye(4)[labels] * 5 for name, labels in (("val", val_labels), ("test", test_labels))}
    generator = np.random.default_rng(0)
    logits = {name: values + generator.normal(size=values.shape) for name, values in logits.items()}
    fitted = fit_outliers(
        used="distance", false_alarms=0.05, val_logits=logits["val"], val_features=val,
        train_features=train, train_labels=train_labels,
    )  # fmt: skip
    assert fitted.used == "distance"
    found = measure_false_alarms(
        fitted, logits=logits["test"], features=test, correct=logits["test"].argmax(axis=1) == test_labels
    )
    json.dumps(found, allow_nan=False)
    for score in found["scores"].values():
        assert score["false_alarms"]["value"] == pytest.approx(0.05, abs=0.04)
        assert sum(score["histogram"]["own"]) == 300
    strange = np.abs(generator.normal(size=(200, 30)))
    others = fitted.scores(generator.normal(size=(200, 4)), strange)
    detection = measure_detection(fitted, fitted.scores(logits["test"], test), others)
    json.dumps(detection, allow_nan=False)
    assert detection["distance"]["auroc"]["value"] > 0.95
    assert detection["distance"]["detected"]["value"] > 0.8
    assert detection["distance"]["detected_at_rate"]["value"] > 0.8
    assert sum(detection["energy"]["histogram"]["others"]) == 200


def test_without_features_there_is_the_energy() -> None:
    fitted = fit_outliers(
        used="distance", false_alarms=0.05, val_logits=np.eye(3), val_features=None,
        train_features=None, train_labels=None,
    )  # fmt: skip
    assert (fitted.used, fitted.distance) == ("energy", None)
    assert math.isinf(fitted.threshold)  # three images cannot show a rate of 5 %
    found = measure_false_alarms(fitted, logits=np.eye(3), features=None, correct=np.ones(3, dtype=bool))
    assert found["scores"]["energy"]["threshold"] is None
    assert found["scores"]["energy"]["false_alarms"]["count"] == 0


def test_groups_share_the_bins_of_a_histogram() -> None:
    found = histogram({"own": np.array([0.0, 1.0]), "others": np.array([10.0, 10.0, 5.0])})
    assert found["edges"][0] == pytest.approx(0, abs=0.1)
    assert found["edges"][-1] == 10
    assert (sum(found["own"]), sum(found["others"])) == (2, 3)
    assert histogram({})["edges"] == []
    far = histogram({"own": np.append(np.linspace(0, 1, 999), 1e6)})
    assert far["edges"][-1] < 1.1
    assert sum(far["own"]) == 1000
    assert sum(histogram({"own": np.ones(5)})["own"]) == 5
