"""Two-sample tests, against SciPy and by their level."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.stats
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import pairwise

from eyebright.data.audit.two_sample import (
    PERMUTATIONS,
    compare_categories,
    compare_numbers,
    holm,
    mean_discrepancy,
    principal_components,
    told_apart,
)


def test_numbers_are_compared_as_by_scipy() -> None:
    random = np.random.default_rng(0)
    one, other = random.normal(size=80), random.normal(0.4, 1.2, size=50)
    found, expected = compare_numbers(one, other), scipy.stats.ks_2samp(one, other)
    assert found.statistic == pytest.approx(expected.statistic)
    assert found.p_value == pytest.approx(expected.pvalue, abs=0.02)


def test_categories_are_compared_as_by_scipy() -> None:
    one, other = ["a"] * 30 + ["b"] * 50 + ["c"] * 20, ["a"] * 45 + ["b"] * 25 + ["c"] * 30
    found = compare_categories(one, other)
    expected = scipy.stats.chi2_contingency([[30, 50, 20], [45, 25, 30]], correction=False)
    assert found.p_value == pytest.approx(expected.pvalue)
    assert found.statistic == pytest.approx(0.25)  # 25 of 100 would have to move


def test_many_rare_categories_raise_no_alarm() -> None:
    random = np.random.default_rng(0)
    p_values = []
    for _ in range(100):
        one, other = random.zipf(1.6, 300), random.zipf(1.6, 60)
        p_values.append(compare_categories(list(one), list(other)).p_value)
    assert np.mean(np.array(p_values) < 0.05) <= 0.12


def test_one_category_alone_is_no_difference() -> None:
    assert compare_categories(["a"] * 5, ["a"] * 9) == (0.0, 1.0)


@given(st.lists(st.floats(0, 1), min_size=1, max_size=12))
def test_corrected_p_values_are_those_of_holm(p_values: list[float]) -> None:
    order = sorted(range(len(p_values)), key=lambda index: p_values[index])
    expected, highest = [0.0] * len(p_values), 0.0
    for rank, index in enumerate(order):
        highest = max(highest, min(1.0, p_values[index] * (len(p_values) - rank)))
        expected[index] = highest
    assert holm(p_values) == pytest.approx(expected)


def test_components_keep_the_distances() -> None:
    points = np.random.default_rng(0).normal(size=(50, 30)).astype(np.float32)
    expected = pairwise.euclidean_distances(points.astype(np.float64))
    assert np.allclose(pairwise.euclidean_distances(principal_components(points)), expected, atol=1e-4)


def test_the_discrepancy_is_the_difference_of_mean_kernels() -> None:
    random = np.random.default_rng(0)
    points, second = random.normal(size=(60, 3)), np.arange(60) >= 25
    width = np.median(pairwise.euclidean_distances(points, squared=True)[np.triu_indices(60, 1)])
    kernel = pairwise.rbf_kernel(points, gamma=1 / width)
    squared = (
        kernel[~second][:, ~second].mean() + kernel[second][:, second].mean() - 2 * kernel[~second][:, second].mean()
    )
    found = mean_discrepancy(points, second, np.zeros(60, dtype=np.int64), seed=0)
    assert found.statistic == pytest.approx((squared / 2) ** 0.5, rel=1e-3)


def test_the_discrepancy_has_the_level_that_it_claims_and_finds_a_shift() -> None:
    random = np.random.default_rng(0)
    strata = np.repeat(np.arange(4), 20)
    p_values = []
    for seed in range(100):
        points = random.normal(size=(80, 5)) + strata[:, None]
        second = np.tile([False, True], 40)
        p_values.append(mean_discrepancy(points, second, strata, seed=seed).p_value)
    # 100 draws of a uniform p-value: 5 expected below 0.05, more than 12 in one of 1,000 cases.
    assert sum(value < 0.05 for value in p_values) <= 12
    assert scipy.stats.kstest(p_values, "uniform").pvalue > 0.001
    shifted = points + 1.5 * second[:, None]
    assert mean_discrepancy(shifted, second, strata, seed=0).p_value == 1 / (PERMUTATIONS + 1)


def test_other_shares_of_the_strata_alone_are_no_difference() -> None:
    random = np.random.default_rng(0)
    strata = np.repeat([0, 1], 60)
    second = np.concatenate([np.arange(60) < 10, np.arange(60) < 50])  # a sixth of one stratum, five of the other
    points = random.normal(size=(120, 4)) + 6 * strata[:, None]
    assert mean_discrepancy(points, second, strata, seed=0).p_value > 0.01
    assert mean_discrepancy(points, second, np.zeros(120, dtype=np.int64), seed=0).p_value < 0.01


def test_samples_are_told_apart_only_where_they_differ_and_never_by_their_copies() -> None:
    random = np.random.default_rng(0)
    points, second = random.normal(size=(300, 20)), np.arange(300) % 2 == 0
    area, scores = told_apart(points + 0.6 * second[:, None], second, np.arange(300), seed=0)
    assert area > 0.85
    assert scores[second].mean() > scores[~second].mean()
    # Thirty images ten times over: a learner that saw the copies would know them by heart.
    copied = np.repeat(random.normal(size=(30, 20)), 10, axis=0)
    of_copies = np.repeat(np.arange(30) % 2 == 0, 10)
    alone, _ = told_apart(copied, of_copies, np.repeat(np.arange(30), 10), seed=0)
    assert alone < 0.75
