"""Deletion and insertion against a computation step by step, and what a good map must score."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from eyebright.explain.faithfulness import (
    CENTRE,
    RANDOM,
    centre_maps,
    compare_methods,
    deletion_and_insertion,
    random_maps,
)

SIDE = 28


def predict(pixels: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
    """Class 1 is as probable as the top left quarter is bright."""
    share = pixels[:, : SIDE // 2, : SIDE // 2].astype(np.float32).mean(axis=(1, 2, 3)) / 255
    return np.stack([1 - share, share], axis=1)


def bright_corner(count: int) -> npt.NDArray[np.uint8]:
    """Dark images with a bright top left quarter, each a little different."""
    pixels = np.random.default_rng(0).integers(0, 20, (count, SIDE, SIDE, 3), dtype=np.uint8)
    pixels[:, : SIDE // 2, : SIDE // 2] += 200
    return pixels


def corner_heat(count: int) -> npt.NDArray[np.float32]:
    rows, columns = np.mgrid[:SIDE, :SIDE]
    return np.repeat(1.0 - np.maximum(rows, columns)[None] / SIDE, count, axis=0).astype(np.float32)


def test_areas_are_those_of_deleting_and_inserting_cell_by_cell() -> None:
    pixels = bright_corner(2)
    heat = np.random.default_rng(1).permutation(SIDE * SIDE).reshape(1, SIDE, SIDE).repeat(2, axis=0).astype(np.float32)
    steps = 7
    deletion, _ = deletion_and_insertion(predict, pixels, heat, np.array([1, 0]), steps=steps)
    for place, index in enumerate((1, 0)):
        left, curve = pixels[place].copy(), []
        order = np.argsort(-heat[place].ravel())
        mean = pixels[place].reshape(-1, 3).mean(axis=0).round().astype(np.uint8)
        for step in range(steps + 1):
            for pixel in order[: round(step * SIDE * SIDE / steps)]:
                left.reshape(-1, 3)[pixel] = mean
            curve.append(float(predict(left[None])[0, index]))
        assert deletion[place] == pytest.approx(np.trapezoid(curve) / steps, abs=1e-6)


def test_insertion_begins_blurred_and_ends_with_the_image() -> None:
    seen: list[npt.NDArray[np.uint8]] = []

    def watching(pixels: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        seen.append(pixels)
        return predict(pixels)

    pixels = bright_corner(1)
    deletion_and_insertion(watching, pixels, corner_heat(1), np.array([1]), steps=4)
    frames = np.concatenate(seen)  # five of deletion, five of insertion
    np.testing.assert_array_equal(frames[0], pixels[0])
    np.testing.assert_array_equal(frames[9], pixels[0])
    assert np.ptp(frames[4].reshape(-1, 3), axis=0).max() == 0
    assert 0 < np.ptp(frames[5].astype(int)) < np.ptp(pixels[0].astype(int))
    changed = (frames[6] != frames[5]).any(axis=2)
    assert changed[:10, :10].all()
    assert not changed[16:, 16:].any()


def test_a_map_of_the_truth_beats_chance_and_the_reverse_loses() -> None:
    pixels, classes = bright_corner(6), np.ones(6, dtype=np.int64)
    good = np.subtract(*deletion_and_insertion(predict, pixels, corner_heat(6), classes)[::-1])
    chance = np.subtract(*deletion_and_insertion(predict, pixels, random_maps((6, SIDE, SIDE)), classes)[::-1])
    bad = np.subtract(*deletion_and_insertion(predict, pixels, 1 - corner_heat(6), classes)[::-1])
    assert (good > chance + 0.1).all()
    assert (chance > bad + 0.1).all()


def test_equally_hot_places_come_in_no_order() -> None:
    flat = np.zeros((1, SIDE, SIDE), dtype=np.float32)
    pixels, classes = bright_corner(1), np.ones(1, dtype=np.int64)
    flat_scores = deletion_and_insertion(predict, pixels, flat, classes)
    chance = deletion_and_insertion(predict, pixels, random_maps((1, SIDE, SIDE), seed=5), classes)
    np.testing.assert_allclose(flat_scores, chance, atol=0.03)


def test_large_images_are_compared_by_cells() -> None:
    heat = np.random.default_rng(0).random((1, 112, 112)).astype(np.float32)
    coarse = heat.reshape(1, 28, 4, 28, 4).mean(axis=(2, 4)).repeat(4, axis=1).repeat(4, axis=2)
    pixels = bright_corner(1).repeat(4, axis=1).repeat(4, axis=2)
    first = deletion_and_insertion(predict, pixels, heat, np.array([1]))
    np.testing.assert_array_equal(first, deletion_and_insertion(predict, pixels, coarse, np.array([1])))


def test_methods_are_compared_with_intervals_most_faithful_first() -> None:
    pixels, classes = bright_corner(12), np.ones(12, dtype=np.int64)

    def reversed_heat(images: npt.NDArray[Any], _: npt.NDArray[np.int64]) -> npt.NDArray[np.float32]:
        return 1 - corner_heat(len(images))

    rows = compare_methods(
        predict, pixels, classes, {"reversed": reversed_heat, "right": lambda images, _: corner_heat(len(images))}
    )
    assert [row.method for row in rows] == ["right", "reversed", RANDOM, CENTRE]
    for row in rows:
        assert row.images == 12
        assert row.deletion.low <= row.deletion.value <= row.deletion.high
        assert row.difference.low <= row.difference.value <= row.difference.high
        assert row.difference.value == pytest.approx(row.insertion.value - row.deletion.value)
    assert rows[0].seconds_per_image is not None
    assert rows[2].seconds_per_image is None


def test_the_spot_in_the_centre_is_in_the_centre() -> None:
    spot = centre_maps((2, 10, 20))
    assert spot.shape == (2, 10, 20)
    np.testing.assert_allclose(spot[0], spot[0, ::-1, ::-1])
    assert spot[0].argmax() // 20 in (4, 5)
    assert spot[0].max() > 0.95
