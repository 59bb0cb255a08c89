"""Heat must lie on the place of the original picture that it speaks of, whatever the preprocessing."""

from __future__ import annotations

import io

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageDraw

from eyebright.explain.overlay import coloured, overlay, placed
from eyebright.explain.panel import draw_panel, panel_size
from eyebright.preprocess import Preprocess

RULES = {
    "squash": Preprocess(size=64, resize="squash"),
    "pad": Preprocess(size=64, resize="pad"),
    "crop": Preprocess(size=64, resize="crop", resize_to=80),
}


@given(
    rule=st.sampled_from(sorted(RULES)),
    width=st.integers(90, 300),
    height=st.integers(90, 300),
    across=st.floats(0.1, 0.9),
    down=st.floats(0.1, 0.9),
    smaller=st.floats(0.4, 1),
)
def test_a_spot_seen_by_the_network_is_hot_where_it_is_in_the_picture(
    rule: str, width: int, height: int, across: float, down: float, smaller: float
) -> None:
    """The network's own input serves as heat: it shows where the spot went, and `placed` must bring it back."""
    preprocess = RULES[rule]
    x, y = across * width, down * height
    radius = 0.06 * min(width, height)
    picture = Image.new("RGB", (width, height))
    ImageDraw.Draw(picture).ellipse((x - radius, y - radius, x + radius, y + radius), fill=(255, 255, 255))
    heat = preprocess.pixels(picture)[..., 0].astype(np.float32) / 255
    if heat.max() < 0.9:
        return  # the crop has cut the spot away
    size = (max(1, round(width * smaller)), max(1, round(height * smaller)))
    laid = placed(heat, preprocess, size)
    assert laid.shape == (size[1], size[0])
    drawn = np.asarray(picture.resize(size).convert("L"), dtype=np.float32) / 255
    seen = ~np.isnan(laid)
    rows, columns = np.indices(laid.shape)
    centre = [np.average(axis, weights=np.where(seen, laid, 0)) for axis in (columns, rows)]
    wanted = [np.average(axis, weights=np.where(seen, drawn, 0)) for axis in (columns, rows)]
    assert centre == pytest.approx(wanted, abs=0.02 * max(size) + 0.5)


def test_what_a_centre_crop_cuts_away_is_not_a_number() -> None:
    laid = placed(np.ones((64, 64), dtype=np.float32), RULES["crop"], (200, 100))
    # 80 pixels for the shortest side: the crop of 64 is 80 % of 100 pixels, in the middle.
    seen = ~np.isnan(laid)
    assert (np.flatnonzero(seen.any(axis=1))[[0, -1]] == [10, 89]).all()
    assert (np.flatnonzero(seen.any(axis=0))[[0, -1]] == [60, 139]).all()
    np.testing.assert_allclose(laid[seen], 1, atol=1e-6)


@pytest.mark.parametrize("rule", ["squash", "pad"])
def test_all_of_the_picture_is_seen_without_a_crop(rule: str) -> None:
    laid = placed(np.ones((64, 64), dtype=np.float32), RULES[rule], (150, 70))
    np.testing.assert_allclose(laid, 1, atol=1e-6)


def test_hot_places_take_the_colour_and_what_was_not_seen_stays() -> None:
    picture = Image.fromarray(np.random.default_rng(0).integers(0, 256, (40, 60, 3), dtype=np.uint8))
    heat = np.full((40, 60), np.nan, dtype=np.float32)
    heat[5:35, 10:50] = 0
    heat[15:25, 20:40] = 1
    made, before = np.asarray(overlay(picture, heat)), np.asarray(picture)
    assert made.shape == before.shape
    outside = np.isnan(heat)
    np.testing.assert_array_equal(made[outside], before[outside])
    hottest = coloured(np.array([1.0]))[0]
    assert np.abs(made[15:25, 20:40] - hottest).mean() < np.abs(before[15:25, 20:40] - hottest).mean() / 2
    assert np.ptp(made[8:14, 12:48].astype(int), axis=2).mean() < np.ptp(before[8:14, 12:48].astype(int), axis=2).mean()


def test_an_overlay_takes_any_mode_and_a_single_pixel() -> None:
    for mode in ("L", "P", "RGBA", "CMYK"):
        assert overlay(Image.new(mode, (3, 2)), np.zeros((2, 3), dtype=np.float32)).mode == "RGB"
    assert overlay(Image.new("L", (1, 1)), np.ones((1, 1), dtype=np.float32)).size == (1, 1)


@pytest.mark.parametrize(("count", "tiles"), [(1, 3), (5, 6)])
def test_a_panel_shows_the_picture_and_each_map(count: int, tiles: int) -> None:
    size = panel_size(300, 200)
    assert size == (480, 320)
    picture = Image.new("RGB", size, (0, 90, 0))
    heats = {f"method {number}": np.zeros((320, 480), dtype=np.float32) for number in range(count)}
    made = Image.open(io.BytesIO(draw_panel(picture, heats, title="daisy 93.1%", note="one map")))
    assert made.format == "PNG"
    columns = min(3 if count == 1 else 4, tiles)
    assert made.width >= columns * 480
    assert made.height >= -(-tiles // columns) * 320
    assert made.convert("RGB").getpixel((24 + 240, 78 + 30 + 160)) == (0, 90, 0)
