"""AUROC and average precision against scikit-learn and direct computation, and the honesty of their intervals."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import softmax
from sklearn import metrics as reference

from eyebright.evaluation.newcombe import auroc_limits
from eyebright.evaluation.ranking import _Ties, rank


def _images(classes: int, count: int, seed: int, margin: float = 1.0) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(seed)
    truth = generator.integers(0, classes, count)
    logits = generator.normal(size=(count, classes))
    logits[np.arange(count), truth] += margin
    return softmax(logits, axis=1), truth


@settings(max_examples=50, deadline=None)
@given(classes=st.integers(2, 8), count=st.integers(1, 120), seed=st.integers(0, 2**31), ties=st.booleans())
def test_values_equal_scikit_learn(classes: int, count: int, seed: int, ties: bool) -> None:
    probabilities, truth = _images(classes, count, seed)
    if ties:
        probabilities = np.round(probabilities, 1)
    found = rank(probabilities, truth)
    known = [index for index in range(classes) if 0 < (truth == index).sum() < count]
    aurocs = [reference.roc_auc_score(truth == index, probabilities[:, index]) for index in known]
    precisions = [reference.average_precision_score(truth == index, probabilities[:, index]) for index in known]
    for row, index in enumerate(known):
        auroc, precision = found.class_auroc[index], found.class_average_precision[index]
        assert auroc is not None
        assert precision is not None
        assert auroc.value == pytest.approx(aurocs[row], abs=1e-9)
        assert precision.value == pytest.approx(precisions[row], abs=1e-9)
        for estimate in (auroc, precision):
            assert 0 <= estimate.low <= estimate.value + 1e-12
            assert estimate.value - 1e-12 <= estimate.high <= 1
    for index in set(range(classes)) - set(known):
        assert found.class_auroc[index] is None
        assert found.class_average_precision[index] is None
    if not known:
        assert found.auroc is None
        assert found.average_precision is None
        return
    assert found.auroc is not None
    assert found.average_precision is not None
    assert found.average_precision.value == pytest.approx(np.mean(precisions), abs=1e-9)
    assert found.auroc.value == pytest.approx(np.mean(aurocs), abs=0.05 if classes == 2 and ties else 1e-9)


def test_the_mean_equals_scikit_learns_one_versus_rest() -> None:
    probabilities, truth = _images(6, 300, 0)
    found = rank(probabilities, truth)
    assert found.auroc is not None
    assert found.auroc.value == pytest.approx(
        reference.roc_auc_score(truth, probabilities, multi_class="ovr", average="macro"), abs=1e-9
    )


@pytest.mark.parametrize("ties", [False, True])
def test_an_influence_is_what_leaving_the_image_out_takes_away(ties: bool) -> None:
    probabilities, truth = _images(2, 40, 5)
    scores, positive = probabilities[:, 1], truth == 1
    if ties:
        scores = np.round(scores, 1)
    for measure, score in (
        (_Ties.auroc, reference.roc_auc_score), (_Ties.average_precision, reference.average_precision_score)
    ):  # fmt: skip
        value, influence = measure(_Ties(scores, positive))
        for image in range(40):
            rest = np.arange(40) != image
            without = score(positive[rest], scores[rest])
            assert (40 - 1) * (value - without) == pytest.approx(influence[image], abs=1e-9)


def test_a_perfect_ranking_of_few_images_is_not_claimed_to_be_certain() -> None:
    truth = np.arange(20) % 4
    found = rank(np.eye(4)[truth] * 0.9 + 0.025, truth)
    estimates = [found.auroc, found.average_precision, *found.class_auroc, *found.class_average_precision]
    for estimate in estimates:
        assert estimate is not None
        assert estimate.value == estimate.high == 1
        assert 0.3 < estimate.low < 0.95


def test_auroc_limits_of_the_model_are_newcombes() -> None:
    # Without a measured variance the limits solve |area - value| = 1.96 standard errors of Newcombe's method 5.
    low, high = auroc_limits(0.8, None, 30, 50)
    for area in (low, high):
        others = (30 + 50) / 2 - 1
        variance = area * (1 - area) / 1500 * (1 + others * (1 - area) / (2 - area) + others * area / (1 + area))
        assert abs(area - 0.8) == pytest.approx(1.959964 * np.sqrt(variance), rel=1e-5)
    assert auroc_limits(1.0, 0.0, 30, 50)[1] == 1
    assert auroc_limits(1.0, 0.0, 30, 50)[0] < 0.97
    assert auroc_limits(0.0, 0.0, 3, 5)[0] == 0
    assert auroc_limits(0.0, 0.0, 3, 5)[1] > 0.3


def test_a_small_measured_variance_narrows_the_limits() -> None:
    wide, narrow = auroc_limits(0.9, None, 200, 800), auroc_limits(0.9, 0.004**2, 200, 800)
    assert narrow[0] > wide[0]
    assert narrow[1] < wide[1]


def test_intervals_of_the_means_cover_the_truth() -> None:
    truth = rank(*_images(4, 60_000, 9))
    caught = {"auroc": 0, "average_precision": 0}
    for seed in range(400):
        found = rank(*_images(4, 100, 1000 + seed))
        for name in caught:
            estimate, true = getattr(found, name), getattr(truth, name).value
            caught[name] += estimate.low <= true <= estimate.high
    for name, count in caught.items():
        assert 0.92 <= count / 400 <= 0.985, (name, count)


def test_the_order_of_images_and_a_rising_change_of_scores_do_not_matter() -> None:
    probabilities, truth = _images(3, 80, 2)
    order = np.random.default_rng(0).permutation(80)
    found, other = rank(probabilities, truth), rank(np.square(probabilities[order]), truth[order])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for one, two in zip(found.class_auroc, other.class_auroc, strict=True):
            assert one is not None
            assert two is not None
            assert (one.value, one.low, one.high) == pytest.approx((two.value, two.low, two.high))
