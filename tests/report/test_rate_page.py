"""The page and the picture of the learning-rate finder."""

from __future__ import annotations

import io
import json
import math
from typing import Any

import numpy as np
import pytest
from PIL import Image
from test_page import Page

from eyebright.report.rate_page import rate_figure_png, rate_page


def curve(steps: int = 100, **changes: Any) -> dict[str, Any]:
    """A loss that falls around 1e-3 and explodes above 0.3."""
    rates = np.geomspace(1e-6, 3, steps)
    x = np.log10(rates)
    smoothed = 2.3 - 1.6 / (1 + np.exp(-(x + 3) * 2.4)) + np.exp((x + 0.5) * 6)
    losses = smoothed + 0.05 * np.random.default_rng(0).normal(size=steps)
    values = {"rates": rates.tolist(), "losses": losses.tolist(), "smoothed": smoothed.tolist(), "suggestion": 1e-3}
    return values | changes


def chart_of(page: Page) -> tuple[dict[str, Any], dict[str, Any]]:
    across = next(attributes["data-across"] for _, attributes in page.tags if "data-across" in attributes)
    data = next(attributes["data-curves"] for _, attributes in page.tags if "data-curves" in attributes)
    return json.loads(str(across)), json.loads(str(data))


def test_the_page_shows_the_suggestion_and_the_words() -> None:
    reason = "the loss falls fastest here: `--set optim.learning_rate=1e-3`"
    page = Page(rate_page(title="flowers & <b>", reason=reason, notes=["Nothing was changed"], **curve()))
    for part in ("flowers & <b>", "1e-3", "100 steps", "The loss falls fastest here:", "Nothing was changed."):
        assert part in page.text
    assert not any(tag in ("link", "iframe") or attributes.get("src") for tag, attributes in page.tags)
    ids = {attributes["id"] for _, attributes in page.tags if "id" in attributes}
    assert {str(attributes["href"])[1:] for tag, attributes in page.tags if tag == "a"} <= ids


def test_the_curve_runs_over_the_logarithm_of_the_rate_and_the_suggestion_is_marked() -> None:
    values = curve()
    across, data = chart_of(Page(rate_page(title="x", reason="why", **values)))
    np.testing.assert_allclose(across["x"], np.log10(values["rates"]))
    np.testing.assert_allclose(data["lines"][0]["values"], values["smoothed"], rtol=1e-5)
    assert values["rates"][data["rest"]] == pytest.approx(1e-3, rel=0.1)


def test_arrays_are_as_good_as_lists() -> None:
    values = curve()
    arrays = {name: np.array(value) if isinstance(value, list) else value for name, value in values.items()}
    assert rate_page(title="x", reason="why", **arrays) == rate_page(title="x", reason="why", **values)
    assert rate_figure_png(**arrays) == rate_figure_png(**values)


def test_an_explosion_does_not_flatten_what_matters() -> None:
    values = curve()
    assert max(values["smoothed"]) > 100
    _, data = chart_of(Page(rate_page(title="x", reason="why", **values)))
    assert data["y"][1] < 4


@pytest.mark.parametrize(
    "changes",
    [
        {"suggestion": None},
        {"losses": [math.nan] * 100, "smoothed": [math.nan] * 100, "suggestion": None},
        {"losses": [1.0] * 100, "smoothed": [1.0] * 100, "suggestion": None},
        {"losses": [0.0] * 100, "smoothed": [0.0] * 100, "suggestion": None},
    ],
)
def test_odd_curves_have_a_page_and_a_picture(changes: dict[str, Any]) -> None:
    values = curve(**changes)
    text = Page(rate_page(title="x", reason="no rate can be recommended", **values)).text
    assert "No rate can be recommended." in text
    with Image.open(io.BytesIO(rate_figure_png(**values))) as picture:
        picture.load()


def test_the_picture_has_a_line_at_the_suggestion() -> None:
    with_line, without = (
        np.asarray(Image.open(io.BytesIO(rate_figure_png(**curve(suggestion=suggestion)))).convert("L"))
        for suggestion in (1e-3, None)
    )
    assert with_line.shape == without.shape
    columns = np.flatnonzero((with_line[60:-60] != without[60:-60]).mean(axis=0) > 0.4)
    assert 1 <= len(columns) <= 4  # dashed, so not every pixel of the column
