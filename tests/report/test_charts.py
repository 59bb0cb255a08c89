"""Charts are well-formed SVG that shows every value inside its frame."""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from eyebright.evaluation import reliability
from eyebright.report import charts

SVG = "{http://www.w3.org/2000/svg}"
finite = st.floats(-1e6, 1e6)


def _parsed(markup: str) -> ElementTree.Element:
    return ElementTree.fromstring(markup)


@given(finite, finite)
def test_round_ticks_span_the_values_in_equal_steps(one: float, two: float) -> None:
    low, high = min(one, two), max(one, two)
    ticks = charts.round_ticks(low, high)
    tolerance = 1e-6 * (ticks[1] - ticks[0]) + 1e-9 * max(abs(low), abs(high))
    assert ticks[0] <= low + tolerance
    assert ticks[-1] >= high - tolerance
    assert 2 <= len(ticks) <= 9
    np.testing.assert_allclose(np.diff(ticks), ticks[1] - ticks[0], rtol=1e-6)


def test_a_heat_map_draws_every_cell_that_is_not_empty() -> None:
    confusion = np.random.default_rng(0).poisson(0.3, size=(30, 30)) + np.eye(30, dtype=int) * 5
    for labels in (True, False):
        svg = _parsed(charts.heat_map(confusion.tolist(), [f"class & {i}" for i in range(30)], "C", labels=labels))
        cells = sum(path.get("d", "").count("M") for path in svg.iter("path"))
        assert cells == np.count_nonzero(confusion)
        assert (len(list(svg.iter("text"))) > 2) == labels


@pytest.mark.parametrize("classes", [2, 5])
def test_a_reliability_chart_has_a_dot_for_each_bin(classes: int) -> None:
    generator = np.random.default_rng(1)
    probabilities = generator.dirichlet(np.ones(classes), size=200)
    bins = reliability(probabilities, generator.integers(0, classes, 200))
    svg = _parsed(charts.reliability_chart(bins, probabilities.max(axis=1), "R"))
    assert len(list(svg.iter("circle"))) == len(bins)
