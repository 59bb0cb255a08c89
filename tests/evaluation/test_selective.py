"""When to answer: bounds against scipy, the search against brute force, its promise by simulation."""

from __future__ import annotations

import itertools
import json

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scipy.stats import binomtest

from eyebright.evaluation.selective import (
    CURVE_POINTS,
    DELTA,
    area_under_risk_coverage,
    error_bound,
    fit_selection,
    least_confidence,
    least_images,
    measure_selection,
    risk_coverage,
    what_could_be_promised,
)

TIED = st.lists(st.tuples(st.sampled_from([0.3, 0.5, 0.8, 0.9, 1.0]), st.booleans()), min_size=1, max_size=7)


@given(st.integers(1, 400), st.floats(0, 1), st.sampled_from([0.01, 0.05, 0.2]))
def test_the_bound_is_that_of_clopper_and_pearson(images: int, share: float, delta: float) -> None:
    errors = round(share * images)
    exact = binomtest(errors, images, alternative="less").proportion_ci(1 - delta, method="exact")
    assert error_bound(errors, images, delta) == pytest.approx(exact.high, abs=1e-9)


@given(st.integers(1, 2000), st.sampled_from([0.01, 0.05, 0.2, 0.5]))
def test_the_fewest_images_are_the_fewest(images: int, rate: float) -> None:
    least, delta = least_images(rate, images), DELTA / images.bit_length()
    assert error_bound(0, least, delta) <= rate + 1e-9
    assert least == 1 or error_bound(0, least - 1, delta) > rate


@settings(max_examples=80, deadline=None)
@given(TIED)
def test_the_area_is_the_mean_over_all_orders_of_equals(rows: list[tuple[float, bool]]) -> None:
    confidence, correct = np.array([row[0] for row in rows]), np.array([row[1] for row in rows])
    assume(len(rows) < 7)
    areas = []
    for order in itertools.permutations(range(len(rows))):
        ranked = confidence[list(order)]
        if (np.diff(ranked) <= 0).all():
            wrong = ~correct[list(order)]
            areas.append(np.mean(np.cumsum(wrong) / np.arange(1, len(rows) + 1)))
    assert area_under_risk_coverage(confidence, correct) == pytest.approx(np.mean(areas))


@given(TIED)
def test_the_curve_is_counted(rows: list[tuple[float, bool]]) -> None:
    confidence, correct = np.array([row[0] for row in rows]), np.array([row[1] for row in rows])
    thresholds, answered, risk = risk_coverage(confidence, correct)
    assert sorted(thresholds, reverse=True) == list(thresholds)
    for threshold, share, error in zip(thresholds, answered, risk, strict=True):
        kept = confidence >= threshold
        assert share == pytest.approx(kept.mean())
        assert error == pytest.approx((~correct[kept]).mean())


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**31), st.integers(1, 400), st.sampled_from([0.02, 0.05, 0.2]), st.booleans())
def test_the_found_threshold_keeps_to_the_rate(seed: int, count: int, rate: float, tied: bool) -> None:
    """What the search accepts is one of the confidences, and brute force over all of them agrees that it may be."""
    generator = np.random.default_rng(seed)
    confidence = generator.random(count)
    correct = generator.random(count) < 0.5 + confidence / 2
    if tied:
        confidence = np.round(confidence, 1)
    allowed = []
    steps = max(1, (count - least_images(rate, count) + 1).bit_length())
    for threshold in np.unique(confidence):
        kept = confidence >= threshold
        if kept.sum() >= least_images(rate, count):
            bound = error_bound(int((~correct[kept]).sum()), int(kept.sum()), DELTA / steps)
            allowed += [threshold] if bound <= rate else []
    found = least_confidence(confidence, correct, rate)
    assert found is None or found in allowed
    if len(allowed) == len(np.unique(confidence)) and not tied:
        assert found == confidence.min()


def test_without_an_error_everything_is_answered_as_soon_as_there_are_enough_images() -> None:
    enough = next(count for count in itertools.count(1) if count >= least_images(0.05, count))
    right = np.ones(enough, dtype=bool)
    confidence = np.linspace(0.5, 1, enough)
    assert least_confidence(confidence, right, 0.05) == 0.5
    assert least_confidence(confidence[1:], right[1:], 0.05) is None
    assert least_confidence(np.zeros(0), np.zeros(0, dtype=bool), 0.05) is None


def test_a_higher_rate_answers_no_less() -> None:
    generator = np.random.default_rng(0)
    confidence = generator.random(2000)
    correct = generator.random(2000) < confidence
    found = [least_confidence(confidence, correct, rate) for rate in (0.05, 0.1, 0.2, 0.3)]
    known = [value for value in found if value is not None]
    assert len(known) >= 3
    assert known == sorted(known, reverse=True)


def test_the_promise_is_broken_less_often_than_delta() -> None:
    """The true error above a threshold t is known here: the mean of 1 - c over c in [t, 1] is (1 - t) / 2."""
    broken = 0
    for seed in range(300):
        generator = np.random.default_rng(seed)
        confidence = generator.random(500)
        threshold = least_confidence(confidence, generator.random(500) < confidence, 0.1)
        broken += threshold is not None and (1 - threshold) / 2 > 0.1
    assert broken / 300 <= DELTA


def _two_level(count: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Four classes in two superclasses that are easy to tell, while their classes are hard to."""
    generator = np.random.default_rng(0)
    labels = generator.integers(0, 4, size=count)
    sure = generator.random(count) < 0.4
    logits = np.zeros((count, 4))
    logits[np.arange(count), labels] = np.where(sure, 6.0, generator.normal(size=count))
    logits += 5 * (np.arange(4) // 2 == labels[:, None] // 2)
    probabilities = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    siblings = np.arange(4)[:, None] // 2 == np.arange(4)[None] // 2
    return probabilities, labels, siblings


def test_where_the_class_is_unsure_the_superclass_answers() -> None:
    probabilities, labels, siblings = _two_level(3000)
    first, second = slice(0, 1500), slice(1500, None)
    selection = fit_selection(probabilities[first], labels[first], error_rate=0.05, siblings=siblings)
    assert selection.superclass_threshold is not None
    found = measure_selection(selection, probabilities=probabilities[second], labels=labels[second], siblings=siblings)
    json.dumps(found, allow_nan=False)
    shares = [found[name]["count"] for name in ("answered", "superclass_answered", "abstained")]
    assert sum(shares) == 1500
    assert found["superclass_answered"]["value"] > 0.3
    assert found["superclass_error"]["value"] <= 0.05
    assert found["error"]["value"] <= 0.05


def test_classes_have_their_own_thresholds_where_they_have_images() -> None:
    """Class 0 is easy, class 1 hopeless, class 2 hardly ever predicted."""
    generator = np.random.default_rng(0)
    best = generator.choice(3, p=[0.5, 0.48, 0.02], size=1000)
    confidence = generator.uniform(0.5, 1, size=1000)
    probabilities = np.repeat((1 - confidence)[:, None] / 2, 3, axis=1)
    probabilities[np.arange(1000), best] = confidence
    labels = np.where((best == 1) & (generator.random(1000) < 0.5), 0, best)
    own = fit_selection(probabilities, labels, error_rate=0.05, per_class=True)
    assert own.threshold is None
    assert own.class_thresholds == (pytest.approx(0.5, abs=0.01), None, None)
    mild = fit_selection(probabilities, labels, error_rate=0.35, per_class=True)
    assert mild.threshold == pytest.approx(0.5, abs=0.01)
    few = (best == 2) & (np.cumsum(best == 2) > 3)  # three are too few to show anything
    one = fit_selection(probabilities[~few], labels[~few], error_rate=0.35, per_class=True)
    assert one.class_thresholds[2] == one.threshold
    found = measure_selection(own, probabilities=probabilities, labels=labels)
    assert [row["threshold"] for row in found["per_class"]] == list(own.class_thresholds)
    assert found["per_class"][1]["answered"]["count"] == 0
    assert found["per_class"][1]["error"]["value"] is None


def test_what_is_measured_is_plain_and_thin() -> None:
    generator = np.random.default_rng(0)
    probabilities = generator.dirichlet(np.ones(5), size=3000)
    labels = probabilities.argmax(axis=1)
    labels[::9] = (labels[::9] + 1) % 5
    found = measure_selection(
        fit_selection(probabilities, labels, error_rate=0.2), probabilities=probabilities, labels=labels
    )
    json.dumps(found, allow_nan=False)
    assert len(found["curve"]["answered"]) == CURVE_POINTS
    assert found["curve"]["answered"][-1] == 1
    assert found["curve"]["error"][-1] == pytest.approx(found["error_of_all"]["value"])
    assert found["aurc"]["low"] <= found["aurc"]["value"] <= found["aurc"]["high"]
    assert found["aurc_perfect"] < found["aurc"]["value"]
    offers = what_could_be_promised(probabilities, labels)
    assert offers[0]["threshold"] is None
    assert offers[-1]["answered"]["value"] == 1
