"""Prediction sets: ranks by brute force, coverage by simulation, what is measured against plain counting."""

from __future__ import annotations

import itertools
import json
import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import softmax
from scipy.stats import beta, betabinom

from eyebright.decisions import PredictionSets
from eyebright.decisions.sets import Method
from eyebright.evaluation.conformal import (
    conformal_rank,
    expected_coverage,
    fit_sets,
    measure_sets,
    share,
    threshold_images,
)


def _drawn(count: int, classes: int, seed: int = 0, sharpness: float = 2.0) -> tuple[np.ndarray, np.ndarray]:
    """Probabilities that claim too much, and labels."""
    generator = np.random.default_rng(seed)
    logits = generator.normal(size=(count, classes)) * sharpness
    shares = softmax(logits, axis=1)
    labels = (shares.cumsum(axis=1) < generator.random((count, 1))).sum(axis=1).clip(max=classes - 1)
    return softmax(logits * 1.5, axis=1), labels


@given(st.integers(0, 3000), st.integers(1, 99))
def test_the_rank_is_exact(count: int, percent: int) -> None:
    assert conformal_rank(count, percent / 100) == math.ceil(Fraction(percent, 100) * (count + 1))


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**31), st.integers(1, 60), st.floats(0.05, 0.99))
def test_the_threshold_is_the_score_of_that_rank(seed: int, count: int, coverage: float) -> None:
    probabilities, labels = _drawn(count, 5, seed)
    sets = fit_sets(probabilities, labels, method="aps", coverage=coverage)
    # By hand: the probability of all that is more probable than the label.
    own = sorted(
        sum(value for value in row if value > row[label])
        for row, label in zip(probabilities.tolist(), labels.tolist(), strict=True)
    )
    rank = conformal_rank(count, coverage)
    assert sets.threshold == pytest.approx(math.inf if rank > count else own[rank - 1], abs=1e-9)
    if rank > count:
        assert sets.sets(probabilities).all()


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**31), st.integers(20, 200), st.sampled_from(["aps", "raps"]))
def test_sets_grow_with_the_coverage(seed: int, count: int, method: Method) -> None:
    probabilities, labels = _drawn(count, 6, seed)
    fitted = [fit_sets(probabilities, labels, method=method, coverage=wanted) for wanted in (0.5, 0.8, 0.9, 0.95)]
    assert [one.threshold for one in fitted] == sorted(one.threshold for one in fitted)
    sets = [one.sets(probabilities) for one in fitted]
    assert all((small <= large).all() for small, large in itertools.pairwise(sets))


@pytest.mark.parametrize("method", ["aps", "raps"])
@pytest.mark.parametrize(("count", "classes", "coverage"), [(80, 4, 0.9), (900, 30, 0.9), (300, 10, 0.8)])
def test_the_promise_is_kept_on_average(method: Method, count: int, classes: int, coverage: float) -> None:
    held = []
    for seed in range(60):
        probabilities, labels = _drawn(count + 400, classes, seed)
        sets = fit_sets(probabilities[:count], labels[:count], method=method, coverage=coverage)
        held.append(sets.sets(probabilities[count:])[np.arange(400), labels[count:]].mean())
    # The mean of 60 draws is known to about 0.005.
    assert coverage - 0.015 < np.mean(held) < coverage + 0.04


def test_a_classifier_that_is_right_more_often_than_asked_gets_sets_of_one() -> None:
    probabilities, labels = _drawn(2000, 10, sharpness=12.0)
    assert (probabilities.argmax(axis=1) == labels).mean() > 0.9
    sets = fit_sets(probabilities, labels, method="aps", coverage=0.8)
    assert sets.threshold == 0
    assert (sets.sets(probabilities).sum(axis=1) == 1).all()


def test_penalty_and_free_ranks_are_chosen_on_images_that_the_threshold_does_not_see() -> None:
    probabilities, labels = _drawn(1000, 40)
    assert threshold_images(1000, "raps") == 800
    assert threshold_images(400, "raps") == 400
    assert threshold_images(1000, "aps") == 1000
    fitted = fit_sets(probabilities, labels, method="raps", coverage=0.9)
    order = np.random.default_rng(0).permutation(1000)[200:]
    own = fitted.scores(probabilities[order])[np.arange(800), labels[order]]
    assert fitted.threshold == np.sort(own)[conformal_rank(800, 0.9) - 1]


def test_the_spread_of_the_coverage_is_the_beta_binomial() -> None:
    low, high = expected_coverage(500, 0.9, 1_000_000)
    rank = math.ceil(501 * 0.9)
    assert (low, high) == pytest.approx(beta(rank, 501 - rank).ppf([0.025, 0.975]), abs=1e-3)
    few = betabinom(200, rank, 501 - rank).ppf([0.025, 0.975]) / 200
    assert expected_coverage(500, 0.9, 200) == pytest.approx(few)
    assert expected_coverage(5, 0.9, 100) == (0.0, 1.0)
    narrow, wide = expected_coverage(500, 0.9, 1000), expected_coverage(50, 0.9, 1000)
    assert wide[0] < narrow[0] < 0.9 < narrow[1] < wide[1]


def test_what_is_measured_is_counted() -> None:
    probabilities = np.array([[0.7, 0.2, 0.1], [0.4, 0.35, 0.25], [0.1, 0.15, 0.75], [0.34, 0.33, 0.33]])
    labels = np.array([0, 1, 0, 2])
    sets = PredictionSets(method="aps", coverage=0.9, threshold=0.5)
    found = measure_sets(sets, probabilities=probabilities, labels=labels)
    json.dumps(found, allow_nan=False)
    assert found["sizes"] == [[1, 2], [2, 2]]
    assert found["coverage"]["count"] == 2
    assert found["mean_size"] == found["median_size"] == 1.5
    assert found["singletons"]["value"] == 0.5
    assert found["singleton_accuracy"]["value"] == 0.5
    assert [part["images"] for part in found["per_class"]] == [2, 1, 1]
    assert [part["coverage"]["count"] for part in found["per_class"]] == [1, 1, 0]
    assert [(part["from"], part["images"]) for part in found["by_size"]] == [(1, 2), (2, 2)]


def test_a_share_of_nothing_has_no_value() -> None:
    assert share(0, 0)["value"] is None
    assert (share(0, 0)["low"], share(0, 0)["high"]) == (0.0, 1.0)
