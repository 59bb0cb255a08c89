"""Sets, selection and outlier scores as they are applied, and the record that holds them all."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.spatial.distance import cdist
from scipy.special import logsumexp

from eyebright.decisions import (
    Calibration,
    Decisions,
    Energy,
    FeatureDistance,
    Outliers,
    PredictionSets,
    Selection,
    softmax,
)
from eyebright.decisions.record import sibling_classes

LOGITS = arrays(np.float64, st.tuples(st.integers(1, 8), st.integers(2, 7)), elements=st.floats(-20, 20, width=32))
FORMS = st.sampled_from([("aps", 0.0, 0), ("raps", 0.05, 1), ("raps", 0.3, 2)])


def _sets(form: tuple[str, float, int], threshold: float) -> PredictionSets:
    method, penalty, free_ranks = form
    return PredictionSets(
        method=method,  # type: ignore[arg-type]
        coverage=0.9,
        threshold=threshold,
        penalty=penalty,
        free_ranks=free_ranks,
    )


@settings(max_examples=60, deadline=None)
@given(LOGITS, FORMS, st.floats(0, 1.5), st.floats(0, 1.5))
def test_sets_hold_the_top_class_and_grow_with_the_threshold(
    logits: np.ndarray, form: tuple[str, float, int], one: float, other: float
) -> None:
    probabilities = softmax(logits)
    small, large = (_sets(form, threshold).sets(probabilities) for threshold in sorted((one, other)))
    assert small[np.arange(len(logits)), probabilities.argmax(axis=1)].all()
    assert (small <= large).all()
    assert _sets(form, math.inf).sets(probabilities).all()


@settings(max_examples=60, deadline=None)
@given(LOGITS, FORMS, st.floats(0, 1.5))
def test_a_set_leaves_out_no_class_that_is_more_probable_than_one_inside(
    logits: np.ndarray, form: tuple[str, float, int], threshold: float
) -> None:
    probabilities = softmax(logits)
    for row, inside in zip(probabilities, _sets(form, threshold).sets(probabilities), strict=True):
        assert row[~inside].max(initial=0.0) <= row[inside].min()


def test_a_score_is_what_is_more_probable_and_the_penalty_of_the_rank() -> None:
    probabilities = np.array([[0.2, 0.5, 0.3]])
    np.testing.assert_allclose(_sets(("aps", 0.0, 0), 1.0).scores(probabilities), [[0.8, 0.0, 0.5]])
    np.testing.assert_allclose(_sets(("raps", 0.1, 1), 1.0).scores(probabilities), [[1.0, 0.0, 0.6]])


def test_sets_do_not_hang_on_the_last_digits() -> None:
    probabilities = softmax(np.random.default_rng(0).normal(size=(300, 10)))
    form = _sets(("aps", 0.0, 0), 0.0)
    for threshold in form.scores(probabilities)[:, 3]:
        sets = _sets(("aps", 0.0, 0), float(threshold))
        own = probabilities.astype(np.float32)
        assert sets.sets(own)[np.isclose(form.scores(probabilities), threshold, rtol=0, atol=1e-9)].all()


def test_an_answer_needs_the_confidence_of_its_class() -> None:
    probabilities = np.array([[0.7, 0.3], [0.6, 0.4], [0.2, 0.8]])
    assert Selection(error_rate=0.1, threshold=0.65).sure(probabilities).tolist() == [True, False, True]
    assert Selection(error_rate=0.1, threshold=None).sure(probabilities).tolist() == [False, False, False]
    own = Selection(error_rate=0.1, threshold=0.5, class_thresholds=(0.6, None))
    assert own.sure(probabilities).tolist() == [True, True, False]


def test_energy_is_the_free_energy() -> None:
    logits = np.random.default_rng(0).normal(size=(30, 5)) * 200
    np.testing.assert_allclose(Energy(threshold=0.0).scores(logits), -logsumexp(logits, axis=1))
    np.testing.assert_allclose(
        Energy(threshold=0.0, temperature=3.0).scores(logits), -3 * logsumexp(logits / 3, axis=1)
    )


def test_the_distance_is_that_of_mahalanobis() -> None:
    generator = np.random.default_rng(0)
    root = generator.normal(size=(6, 6))
    covariance = root @ root.T + np.eye(6)
    basis = np.linalg.inv(np.linalg.cholesky(covariance)).T
    centre, means = generator.normal(size=6), generator.normal(size=(3, 6))
    distance = FeatureDistance(
        threshold=0.0,
        centre=centre.astype(np.float32),
        basis=basis.astype(np.float32),
        class_means=(means @ basis).astype(np.float32),
    )
    features = generator.normal(size=(50, 6)) * 10
    unit = features / np.linalg.norm(features, axis=1, keepdims=True)
    expected = cdist(unit - centre, means, "mahalanobis", VI=np.linalg.inv(covariance)).min(axis=1)
    np.testing.assert_allclose(distance.scores(features), expected, rtol=1e-4)
    np.testing.assert_allclose(distance.scores(features * 7), expected, rtol=1e-4)
    assert np.isfinite(distance.scores(np.zeros((2, 6)))).all()


def _decisions(threshold: float = 1.0) -> Decisions:
    distance = FeatureDistance(
        threshold=threshold,
        centre=np.zeros(3, dtype=np.float32),
        basis=np.eye(3, 2, dtype=np.float32),
        class_means=np.zeros((4, 2), dtype=np.float32),
    )
    return Decisions(
        calibration=Calibration(temperature=1.5),
        sets=_sets(("raps", 0.01, 1), threshold),
        selection=Selection(
            error_rate=0.05, threshold=0.8, class_thresholds=(0.7, None, 0.8, 0.9), superclass_threshold=0.9
        ),
        outliers=Outliers(false_alarms=0.05, used="distance", energy=Energy(threshold=threshold), distance=distance),
    )


@pytest.mark.parametrize("threshold", [0.5, math.inf])
def test_decisions_come_back_from_json_and_arrays(threshold: float) -> None:
    decisions = _decisions(threshold)
    text = json.dumps(decisions.as_dict(), allow_nan=False)
    back = Decisions.from_dict(json.loads(text), decisions.arrays())
    assert back.as_dict() == decisions.as_dict()
    assert back.outliers is not None
    assert back.outliers.threshold == threshold
    assert back.sets == decisions.sets
    generator = np.random.default_rng(0)
    logits, features = generator.normal(size=(20, 4)), generator.normal(size=(20, 3))
    one, other = (each.decide(softmax(logits), logits, features) for each in (decisions, back))
    np.testing.assert_array_equal(one.sets, other.sets)
    np.testing.assert_array_equal(one.outlier, other.outlier)
    assert Decisions.from_dict(json.loads(json.dumps(Decisions().as_dict())), {}) == Decisions()


def test_without_features_nothing_is_flagged_by_distance() -> None:
    logits = np.random.default_rng(0).normal(size=(5, 4))
    decided = _decisions().decide(softmax(logits), logits)
    assert decided.outlier is None
    assert list(decided.outlier_scores) == ["energy"]


def test_a_superclass_is_sure_when_its_classes_together_are() -> None:
    siblings = sibling_classes(["cat", "dog", "car", "bus"], {"cat": "a", "dog": "a", "car": "v", "bus": "v"})
    assert siblings is not None
    probabilities = np.array([[0.5, 0.45, 0.03, 0.02], [0.4, 0.1, 0.3, 0.2]])
    decided = _decisions().decide(probabilities, np.log(probabilities), siblings=siblings)
    assert decided.sure_of_superclass is not None
    assert decided.sure_of_superclass.tolist() == [True, False]
    assert sibling_classes(["cat"], {}) is None


def test_parts_of_another_number_of_classes_are_refused() -> None:
    _decisions().check(4)
    with pytest.raises(ValueError, match="4"):
        _decisions().check(5)
    with pytest.raises(ValueError, match="score in use"):
        Outliers(false_alarms=0.05, used="distance", energy=Energy(threshold=0.0))
    with pytest.raises(ValueError, match="shapes"):
        FeatureDistance(threshold=0.0, centre=np.zeros(2), basis=np.zeros((3, 1)), class_means=np.zeros((2, 1)))
