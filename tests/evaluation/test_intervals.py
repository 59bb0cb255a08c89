"""Intervals: against scipy, against direct resampling, and by their properties."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest

from eyebright.evaluation.intervals import (
    mean_of_proportions,
    percentile_limits,
    resampled_confusions,
    resampled_means,
    wilson,
)


@given(st.integers(1, 5000).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_wilson_equals_scipy(counts: tuple[int, int]) -> None:
    successes, trials = counts
    low, high = wilson(successes, trials)
    reference = binomtest(successes, trials).proportion_ci(method="wilson")
    assert (float(low), float(high)) == pytest.approx((reference.low, reference.high), abs=1e-12)
    assert 0 <= low <= successes / trials <= high <= 1


def test_wilson_of_no_trials_says_nothing() -> None:
    assert [float(limit) for limit in wilson(0, 0)] == [0.0, 1.0]


def test_wilson_covers_the_truth_about_as_often_as_it_says() -> None:
    successes = np.random.default_rng(0).binomial(80, 0.9, size=20_000)
    low, high = wilson(successes, np.full(20_000, 80))
    assert 0.93 < np.mean((low <= 0.9) & (high >= 0.9)) < 0.97


def test_mean_of_one_proportion_is_wilson() -> None:
    low, high = wilson([9], [10])
    assert mean_of_proportions(np.array([0.9]), low, high) == pytest.approx((float(low[0]), float(high[0])))


def test_resampled_confusion_keeps_supports_and_expected_counts() -> None:
    confusion = np.array([[40, 10, 0], [5, 20, 5], [0, 0, 0]])
    diagonals, columns = resampled_confusions(confusion, resamples=4000, seed=1)
    assert (columns.sum(axis=1) == confusion.sum()).all()
    np.testing.assert_allclose(diagonals.mean(axis=0), [40, 20, 0], atol=0.4)
    np.testing.assert_allclose(columns.mean(axis=0), confusion.sum(axis=0), atol=0.4)
    # Binomial variance of the first diagonal: 50 * 0.8 * 0.2 = 8.
    assert diagonals[:, 0].var() == pytest.approx(8, rel=0.1)


def test_resampled_means_equal_resampling_images_one_by_one() -> None:
    generator = np.random.default_rng(2)
    values, strata = generator.normal(size=(60, 2)), generator.integers(0, 3, size=60)
    values[strata == 2] += 10
    fast = resampled_means(values, strata, resamples=4000, seed=3)
    groups = [np.flatnonzero(strata == stratum) for stratum in range(3)]
    slow = np.array(
        [values[np.concatenate([generator.choice(g, len(g)) for g in groups])].mean(axis=0) for _ in range(4000)]
    )
    np.testing.assert_allclose(fast.mean(axis=0), slow.mean(axis=0), atol=0.02)
    np.testing.assert_allclose(fast.std(axis=0), slow.std(axis=0), rtol=0.1)


def test_resampling_in_chunks_gives_every_resample(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("eyebright.evaluation.intervals._CHUNK_CELLS", 70)
    means = resampled_means(np.ones((10, 1)), np.arange(10) % 2, resamples=25)
    assert means.shape == (25, 1)
    np.testing.assert_allclose(means, 1)


def test_percentile_limits_hold_the_value_and_can_be_centred() -> None:
    resampled = np.linspace(1.0, 2.0, 1001)
    assert percentile_limits(resampled, 1.5) == pytest.approx((1.025, 1.975))
    assert percentile_limits(resampled, 0.9) == pytest.approx((0.9, 1.975))
    assert percentile_limits(resampled, 0.9, centred=True) == pytest.approx((0.425, 1.375))
    assert percentile_limits(resampled, 0.9, centred=True, stretch=2) == pytest.approx((-0.05, 1.85))
