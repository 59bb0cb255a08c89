"""What a learner tells out of fold, and how sure that is."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import balanced_accuracy_score, roc_auc_score

from eyebright.data.audit.out_of_fold import (
    FOLDS,
    area_under_curve,
    balanced_accuracy,
    group_folds,
    predict_out_of_fold,
)


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 30)), min_size=1, max_size=60), st.integers(0, 5))
def test_no_group_is_in_two_folds(rows: list[tuple[int, int]], seed: int) -> None:
    labels, groups = np.array(rows).T
    folds = group_folds(labels, groups, seed)
    assert all(len(set(folds[groups == group])) == 1 for group in set(groups))
    assert set(folds) <= set(range(FOLDS))


def test_classes_are_spread_evenly_over_the_folds() -> None:
    labels = np.repeat([0, 1, 2], [500, 100, 23])
    folds = group_folds(labels, np.arange(623), 0)
    for label in (0, 1, 2):
        counts = np.bincount(folds[labels == label], minlength=FOLDS)
        assert counts.max() - counts.min() <= 1


def test_a_number_that_carries_the_label_is_told_and_one_of_chance_is_not() -> None:
    random = np.random.default_rng(0)
    labels = random.integers(0, 3, 600)
    groups = np.arange(600)
    folds = group_folds(labels, groups, 0)
    for values, low, high in ((labels + random.normal(0, 0.1, 600), 0.97, 1.0), (random.normal(size=600), 0.25, 0.42)):
        found = predict_out_of_fold(values[:, None].astype(np.float32), labels, folds, 0)
        assert np.allclose(found.sum(axis=1), 1)
        assert low <= balanced_accuracy_score(labels, found.argmax(axis=1)) <= high


def test_copies_in_one_group_tell_nothing() -> None:
    random = np.random.default_rng(0)
    groups = np.repeat(np.arange(60), 10)  # sixty images, ten copies each, with a number of their own
    labels, values = random.integers(0, 2, 60)[groups], random.normal(size=60)[groups]
    found = predict_out_of_fold(values[:, None].astype(np.float32), labels, group_folds(labels, groups, 0), 0)
    assert area_under_curve(found[:, 1], labels == 1, groups).low < 0.6
    leaked = predict_out_of_fold(values[:, None].astype(np.float32), labels, np.arange(600) % FOLDS, 0)
    assert roc_auc_score(labels, leaked[:, 1]) > 0.95


def test_the_area_is_that_of_scikit_learn_with_ties() -> None:
    random = np.random.default_rng(0)
    positive = random.random(400) < 0.2
    scores = np.round(random.normal(positive * 0.8, 1), 1)
    found = area_under_curve(scores, positive, np.arange(400))
    assert found.value == pytest.approx(roc_auc_score(positive, scores))


def test_the_interval_covers_the_true_area() -> None:
    random = np.random.default_rng(0)
    truth, covered = 0.7602, 0  # of two normal distributions one standard deviation apart
    for _ in range(300):
        positive = np.arange(120) < 40
        found = area_under_curve(random.normal(positive * 1.0, 1), positive, np.arange(120))
        covered += found.low <= truth <= found.high
    assert 0.92 <= covered / 300 <= 0.985


def test_copies_do_not_narrow_the_interval() -> None:
    random = np.random.default_rng(0)
    positive = np.arange(120) < 40
    scores = random.normal(positive * 1.0, 1)
    alone = area_under_curve(scores, positive, np.arange(120))
    copied = area_under_curve(np.repeat(scores, 9), np.repeat(positive, 9), np.repeat(np.arange(120), 9))
    assert copied.value == pytest.approx(alone.value)
    assert copied.high - copied.low == pytest.approx(alone.high - alone.low, rel=0.02)


def test_a_perfect_area_of_few_images_is_not_certain() -> None:
    few = area_under_curve(np.arange(40.0), np.arange(40) >= 34, np.arange(40))
    many = area_under_curve(np.arange(4000.0), np.arange(4000) >= 3000, np.arange(4000))
    assert few.value == many.value == 1
    assert few.low < 0.95 < 0.995 < many.low


def test_more_tests_make_wider_intervals() -> None:
    scores, positive = np.random.default_rng(0).normal(size=100), np.arange(100) < 50
    one, many = (area_under_curve(scores, positive, np.arange(100), tests=tests) for tests in (1, 50))
    assert many.low < one.low < one.high < many.high


def test_balanced_accuracy_is_that_of_scikit_learn_and_its_interval_respects_groups() -> None:
    random = np.random.default_rng(0)
    labels = random.choice([2, 5, 7], 500, p=[0.7, 0.2, 0.1])
    predicted = np.where(random.random(500) < 0.6, labels, 2)
    found = balanced_accuracy(predicted, labels, np.arange(500), 0)
    assert found.value == pytest.approx(balanced_accuracy_score(labels, predicted))
    assert found.low < found.value < found.high
    copies = [np.repeat(values, 8) for values in (predicted, labels, np.arange(500))]
    copied = balanced_accuracy(*copies, seed=0)
    assert copied.high - copied.low == pytest.approx(found.high - found.low, rel=0.15)
