"""The smallest difference that a test set can show: power by simulation, and what must hold of it."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import binom

from eyebright.evaluation.detectable import (
    detectable_difference,
    detectable_difference_apart,
    paired_power,
    presumed_disagreement,
)
from eyebright.evaluation.metrics import evaluate
from eyebright.evaluation.paired import images_to_tell_apart, mcnemar
from eyebright.evaluation.predictions import make_predictions


@pytest.mark.parametrize(("images", "disagreement"), [(80, 0.3), (300, 0.1), (1000, 0.2), (1000, 0.001)])
def test_mcnemars_test_finds_the_difference_in_four_of_five_attempts(images: int, disagreement: float) -> None:
    difference = detectable_difference(images, disagreement)
    assert difference is not None
    share = max(disagreement, difference)
    generator = np.random.default_rng(0)
    found, attempts = 0, 4000
    for _ in range(attempts):
        which = generator.choice(3, size=images, p=[1 - share, (share + difference) / 2, (share - difference) / 2])
        found += mcnemar(which != 2, which != 1) <= 0.05
    assert 0.78 <= found / attempts <= 0.82


def test_power_without_a_difference_is_the_false_alarm_rate() -> None:
    for images, disagreement in ((50, 0.3), (200, 0.1), (1000, 0.25)):
        assert 0.02 < paired_power(images, 0.0, disagreement) < 0.055


def test_the_power_sums_over_all_outcomes() -> None:
    # Few enough images to try every pair of counts with the test itself.
    images, difference, share, power = 24, 0.3, 0.5, 0.0
    for apart in range(images + 1):
        for better in range(apart + 1):
            first = np.array([True] * better + [False] * (images - better))
            second = np.array([False] * better + [True] * (apart - better) + [False] * (images - apart))
            if mcnemar(first, second) <= 0.05:
                power += binom.pmf(apart, images, share) * binom.pmf(better, apart, 0.5 + difference / share / 2)
    assert paired_power(images, difference, share) == pytest.approx(power, abs=1e-6)


def test_it_agrees_with_the_sample_size_of_the_literature() -> None:
    for images, disagreement in ((500, 0.2), (2000, 0.1), (10_000, 0.3)):
        difference = detectable_difference(images, disagreement)
        assert difference is not None
        assert images_to_tell_apart(difference, disagreement) == pytest.approx(images, rel=0.08)


def test_two_proportions_find_the_difference_in_four_of_five_attempts() -> None:
    images, errors = 600, 90
    difference = detectable_difference_apart(images, errors)
    assert difference is not None
    accuracy = 1 - (errors + 1) / (images + 2)
    generator = np.random.default_rng(0)
    one, other = generator.binomial(images, [[accuracy], [accuracy - difference]], size=(2, 20_000)) / images
    middle = (one + other) / 2
    found = np.abs(one - other) > 1.96 * np.sqrt(2 * middle * (1 - middle) / images)
    assert 0.78 <= found.mean() <= 0.82


def test_more_images_show_smaller_differences_and_a_paired_test_more_than_two_test_sets() -> None:
    found = [detectable_difference(images, presumed_disagreement(images // 10, images)) for images in (60, 240, 960)]
    assert found[0] is not None
    assert found[1] is not None
    assert found[2] is not None
    assert found[0] > found[1] > found[2]
    apart = detectable_difference_apart(960, 96)
    assert apart is not None
    assert apart > found[2]


def test_too_few_images_show_no_difference() -> None:
    assert detectable_difference(0, 0.5) is None
    assert detectable_difference(4, 0.5) is None
    assert detectable_difference_apart(1, 0) is None


def test_the_presumed_disagreement_is_bounded_by_the_errors() -> None:
    assert presumed_disagreement(10, 98) == pytest.approx(0.11)
    assert presumed_disagreement(0, 98) == pytest.approx(0.01)
    assert presumed_disagreement(89, 98) == pytest.approx(2 * 0.9 * 0.1)


def test_metrics_state_it() -> None:
    truth = np.arange(200) % 4
    said = np.where(np.arange(200) < 30, (truth + 1) % 4, truth)
    ids = [str(number) for number in range(200)]
    names = [f"class {number}" for number in range(4)]
    labels = [names[index] for index in truth]
    metrics = evaluate(make_predictions(ids, ids, labels, ["test"] * 200, np.eye(4)[said], 1.0, names))
    assert metrics.detectable_difference == detectable_difference(200, presumed_disagreement(30, 200))
    assert metrics.detectable_difference_apart == detectable_difference_apart(200, 30)
    assert metrics.as_dict()["detectable_difference"] == metrics.detectable_difference
