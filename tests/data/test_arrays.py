"""Images in memory: what counts as one, how rows become pixels, and how a validation part is taken off."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from PIL import Image

from eyebright.data.arrays import FlatImages, as_images, divide, identify, look_grey
from eyebright.errors import DataError

ROWS = st.lists(st.tuples(st.integers(0, 40), st.integers(0, 3)), min_size=1, max_size=80, unique=True)
"""Pairs of an image and a class; an image may have several classes."""


def _columns(rows: list[tuple[int, int]]) -> tuple[list[str], Any]:
    return [f"{image:032x}" for image, _ in rows], np.array([target for _, target in rows])


@given(rows=ROWS, share=st.floats(0.01, 0.99), seed=st.integers(0, 9))
def test_every_class_keeps_something_to_learn_from_and_equal_images_stay_together(
    rows: list[tuple[int, int]], share: float, seed: int
) -> None:
    ids, targets = _columns(rows)
    is_val = divide(ids, targets, share=share, seed=seed)
    assert set(targets[~is_val]) == set(targets)
    sides: dict[str, set[bool]] = {}
    for image, side in zip(ids, is_val.tolist(), strict=True):
        sides.setdefault(image, set()).add(side)
    assert all(len(side) == 1 for side in sides.values())


@given(counts=st.lists(st.integers(1, 60), min_size=2, max_size=4), share=st.floats(0.05, 0.5), seed=st.integers(0, 9))
def test_the_share_holds_in_every_class(counts: list[int], share: float, seed: int) -> None:
    targets = np.repeat(np.arange(len(counts)), counts)
    is_val = divide([f"{number:032x}" for number in range(len(targets))], targets, share=share, seed=seed)
    for target, count in enumerate(counts):
        taken = int(is_val[targets == target].sum())
        assert taken == min(count - 1, max(round(share * count), int(count >= 3)))


@given(table=arrays(np.float64, (5, 9), elements=st.floats(-1e308, 1e308)))
def test_a_table_is_mapped_from_its_range_to_bytes(table: Any) -> None:
    flat = FlatImages.seen_in(table, None)
    images = np.stack([np.asarray(image) for image in flat.images(table)])
    assert images.shape == (5, 3, 3)
    assert images.dtype == np.uint8
    order = np.argsort(table, axis=None)
    assert (np.diff(images.reshape(-1)[order].astype(int)) >= 0).all()
    if table.max() / 2 - table.min() / 2 > 0:
        assert (images.min(), images.max()) == (0, 255)


def test_values_outside_the_range_are_clipped() -> None:
    flat = FlatImages.seen_in(np.array([[0.0, 16.0, 8.0]]), None)
    assert flat.shape == (1, 3)
    (image,) = flat.images(np.array([[-5.0, 99.0, 4.0]]))
    np.testing.assert_array_equal(np.asarray(image), [[0, 255, 64]])


def test_only_tables_of_numbers_are_no_images() -> None:
    grey = np.zeros((2, 4, 4), dtype=np.uint8)
    for X in (grey, list(grey), ["a.png", "b.png"], np.array(["a.png", "b.png"]), (Path("a.png"),), [b"..."]):
        images = as_images(X)
        assert images is not None
        assert len(images) == len(X)
    assert all(as_images(X) is None for X in (np.zeros((2, 16)), [[0.0, 1.0]], [list(range(3))], [], np.zeros(3)))
    with pytest.raises(DataError, match="X is one image"):
        as_images(Image.new("L", (4, 4)))
    with pytest.raises(DataError, match="no image"):
        as_images(grey[:0])


def test_identity_is_that_of_the_content(tmp_path: Path) -> None:
    path = tmp_path / "image.png"
    Image.fromarray(np.arange(60, dtype=np.uint8).reshape(6, 10)).save(path)
    assert identify(path) == identify(str(path)) == identify(path.read_bytes())
    assert identify(path)[1] == 6
    pixels = np.asarray(Image.open(path).convert("RGB"))
    assert identify(Image.open(path)) == identify(pixels) == identify(pixels[..., 0]) == identify(pixels[..., :1] / 255)


def test_one_coloured_pixel_makes_images_coloured() -> None:
    grey = [np.full((4, 4, 3), value, dtype=np.uint8) for value in range(5)]
    assert look_grey(grey, range(5))
    grey[3][1, 1] = (200, 10, 10)
    assert not look_grey(grey, range(5))
