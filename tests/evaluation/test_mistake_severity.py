"""Severity of mistakes, against counting by hand."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binomtest

from eyebright.evaluation.hierarchy import hierarchy_scores, severities
from eyebright.evaluation.metrics import Metrics, evaluate
from eyebright.evaluation.predictions import Predictions, make_predictions

ABOVE = {"oak": "tree", "elm": "tree", "cat": "animal", "dog": "animal"}
NAMES = list(ABOVE)


def _predictions(labels: list[str | None], said: list[str], above: dict[str, str] | None = ABOVE) -> Predictions:
    ids = [str(number) for number in range(len(labels))]
    logits = np.eye(4)[[NAMES.index(name) for name in said]] * 3
    return make_predictions(ids, ids, labels, ["test"] * len(ids), logits, 1.0, NAMES, above)


def test_severity_is_the_height_of_the_lowest_common_ancestor() -> None:
    found = severities(_predictions(["oak", "oak", "oak", "cat"], ["oak", "elm", "dog", "dog"]))
    assert found is not None
    assert found.tolist() == [0, 1, 2, 1]


def test_one_level_of_classes_has_no_severities() -> None:
    plain = _predictions(["oak", "cat"], ["oak", "oak"], None)
    assert severities(plain) is None
    metrics = evaluate(plain)
    assert (metrics.mistake_severity, metrics.mean_severity, metrics.superclass_accuracy) == (None, None, None)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(st.sampled_from(NAMES), st.sampled_from(NAMES)), min_size=1, max_size=60))
def test_the_means_are_those_of_counting(pairs: list[tuple[str, str]]) -> None:
    labels, said = [true for true, _ in pairs], [name for _, name in pairs]
    metrics = evaluate(_predictions(list(labels), said))
    heights = [0 if one == other else 1 if ABOVE[one] == ABOVE[other] else 2 for one, other in pairs]
    mistakes = [height for height in heights if height]
    assert metrics.mean_severity is not None
    assert metrics.mean_severity.value == pytest.approx(np.mean(heights))
    assert 0 <= metrics.mean_severity.low <= np.mean(heights) <= metrics.mean_severity.high <= 2
    if not mistakes:
        assert metrics.mistake_severity is None
        return
    assert metrics.mistake_severity is not None
    assert metrics.mistake_severity.value == pytest.approx(np.mean(mistakes))
    interval = binomtest(mistakes.count(2), len(mistakes)).proportion_ci(method="wilson")
    low, high = metrics.mistake_severity.low, metrics.mistake_severity.high
    assert (low, high) == pytest.approx((1 + interval.low, 1 + interval.high))
    assert Metrics.from_dict(metrics.as_dict()) == metrics


def test_no_mistake_among_few_images_is_not_certainty() -> None:
    mean = hierarchy_scores(np.zeros(30, dtype=np.int64))["mean_severity"]
    assert (mean.value, mean.low) == (0, 0)
    assert 0.1 < mean.high < 0.4
    assert hierarchy_scores(np.full(30, 2))["mean_severity"].low < 1.9


def test_the_interval_of_the_mean_covers_it() -> None:
    generator, shares = np.random.default_rng(0), [0.8, 0.12, 0.08]
    caught = 0
    for _ in range(1000):
        found = hierarchy_scores(generator.choice(3, size=150, p=shares))["mean_severity"]
        caught += found.low <= 0.28 <= found.high
    assert 0.93 <= caught / 1000 <= 0.97
