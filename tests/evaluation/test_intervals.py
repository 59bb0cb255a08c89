"""Intervals: against scipy, against direct resampling, and by their properties."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from scipy.stats import binomtest

from eyebright.evaluation.intervals import (
    effective_wilson,
    logit_limits,
    mean_limits,
    mean_of_proportions,
    percentile_limits,
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


@given(st.integers(1, 500).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_the_mean_of_one_proportion_has_wilsons_limits(counts: tuple[int, int]) -> None:
    low, high = wilson(*counts)
    assert mean_of_proportions([counts[0]], [counts[1]]) == pytest.approx((float(low), float(high)), abs=1e-6)


@given(st.lists(st.integers(1, 60).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))), min_size=1))
def test_limits_of_a_mean_of_proportions_hold_it(counts: list[tuple[int, int]]) -> None:
    right, total = np.array(counts).T
    low, high = mean_of_proportions(right, total)
    assert 0 <= low <= (right / total).mean() + 1e-9
    assert (right / total).mean() - 1e-9 <= high <= 1
    # Seen from the other side, wrong ones instead of right ones, they are the same.
    assert mean_of_proportions(total - right, total) == pytest.approx((1 - high, 1 - low), abs=1e-9)


@pytest.mark.parametrize(
    ("shares", "trials"), [([0.95, 0.95], [180, 20]), ([0.9] * 40, [8] * 40), ([0.99, 0.6, 0.8], [60, 30, 15])]
)
def test_limits_of_a_mean_of_proportions_cover_it(shares: list[float], trials: list[int]) -> None:
    right = np.random.default_rng(0).binomial(trials, shares, size=(1000, len(trials)))
    limits = [mean_of_proportions(row, trials) for row in right]
    assert 0.93 <= np.mean([low <= np.mean(shares) <= high for low, high in limits]) <= 0.975


def test_a_share_as_variable_as_a_proportion_gets_the_interval_of_a_proportion() -> None:
    low, high = wilson(45, 60)
    assert effective_wilson(0.75, 0.75 * 0.25 / 60, 0.75) == pytest.approx((float(low), float(high)))
    # The same on another range: kappa and severities are shares that were moved and stretched.
    moved = effective_wilson(0.5, 4 * 0.75 * 0.25 / 60, 0.5, low=-1, high=1)
    assert moved == pytest.approx((2 * float(low) - 1, 2 * float(high) - 1))


def test_a_perfect_share_has_room_below_when_the_variance_was_measured_beside_it() -> None:
    low, high = effective_wilson(1.0, 0.99 * 0.01 / 50, 1.0, pivot=0.99)
    reference = binomtest(50, 50).proportion_ci(method="wilson")
    assert (low, high) == pytest.approx((reference.low, 1.0))


@example(2**-24, 0.0, 0.06)  # whose lower limit was rounded to less than zero
@given(st.floats(0, 1), st.floats(0, 1), st.floats(1e-8, 0.2))
def test_limits_hold_the_value_and_stay_in_range(centre: float, value: float, variance: float) -> None:
    for low, high in (effective_wilson(centre, variance, value), logit_limits(centre, variance, value)):
        assert 0 <= low <= value <= high <= 1


def test_logit_limits_are_wide_on_the_side_of_one_half_and_agree_with_the_normal_for_small_errors() -> None:
    low, high = logit_limits(0.95, 0.02**2, 0.95)
    assert 0.95 - low > high - 0.95 > 0
    assert logit_limits(0.6, 0.001**2, 0.6) == pytest.approx((0.6 - 0.00196, 0.6 + 0.00196), abs=1e-5)


def test_mean_limits_cover_the_mean_of_skewed_values_where_the_normal_does_not() -> None:
    generator = np.random.default_rng(0)
    mean, caught, normally = np.exp(0.5), 0, 0
    for _ in range(2000):
        values = generator.lognormal(size=60)
        low, high = mean_limits(values, lowest=0, highest=1000)
        caught += low <= mean <= high
        normally += abs(values.mean() - mean) <= 1.96 * values.std(ddof=1) / np.sqrt(60)
    assert normally / 2000 < 0.9 < 0.91 < caught / 2000 < 0.97


def test_mean_limits_of_symmetric_values_are_normal_and_of_equal_ones_do_not_vanish() -> None:
    values = np.array([0.4, 0.6] * 200)
    half = 1.95996 * values.std(ddof=1) / 20
    assert mean_limits(values, lowest=0, highest=1) == pytest.approx((0.5 - half, 0.5 + half), abs=1e-5)
    low, high = mean_limits(np.zeros(50), lowest=0, highest=10)
    assert (low, high) == pytest.approx((0, 10 * float(wilson(0, 50)[1])))
    assert mean_limits(np.array([2.0]), lowest=0, highest=10)[1] > 9


@given(st.lists(st.floats(0, 5), min_size=1, max_size=40))
def test_mean_limits_hold_the_mean_and_stay_in_range(values: list[float]) -> None:
    low, high = mean_limits(np.array(values), lowest=0, highest=5)
    assert 0 <= low <= np.mean(values) + 1e-12
    assert np.mean(values) - 1e-12 <= high <= 5


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
