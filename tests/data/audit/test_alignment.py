"""Alignment on real photos: what was done to a copy is found, and other photos are told apart."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageEnhance, ImageOps

from eyebright.data.audit.alignment import Placement, align, detail


@pytest.fixture(scope="module")
def photos(flowers_sample: Path) -> list[Image.Image]:
    files = [path for name in ("daisy", "tulip") for path in sorted((flowers_sample / name).iterdir())[:12]]
    return [Image.open(path).convert("L") for path in files]


def _align(pictures: list[Image.Image], pairs: list[tuple[int, int]]) -> list[Placement]:
    details = np.stack([detail(picture) for picture in pictures])
    return align(details, np.array(pairs), lambda index: pictures[index])


def _with_copies(photos: list[Image.Image], change: object) -> list[Placement]:
    copies = [change(photo) for photo in photos]  # type: ignore[operator]
    return _align([*photos, *copies], [(row, row + len(photos)) for row in range(len(photos))])


def _recompressed(photo: Image.Image) -> Image.Image:
    buffer = io.BytesIO()
    photo.save(buffer, "JPEG", quality=30)
    return Image.open(buffer).convert("L")


@pytest.mark.parametrize(
    "change",
    [
        _recompressed,
        lambda photo: photo.resize((70, 70)),
        lambda photo: photo.resize((300, 260)),
        lambda photo: ImageEnhance.Brightness(photo).enhance(0.6),
    ],
    ids=["recompressed", "smaller", "larger", "darker"],
)
def test_copies_of_the_whole_picture_correlate(photos: list[Image.Image], change: object) -> None:
    placements = _with_copies(photos, change)
    assert min(placement.correlation for placement in placements) > 0.9
    assert min(placement.share for placement in placements) > 0.9
    assert not any(placement.mirrored for placement in placements)


def test_a_crop_is_found_where_it_was_cut(photos: list[Image.Image]) -> None:
    box = (0.12, 0.05, 0.82, 0.75)
    placements = _with_copies(
        photos, lambda photo: photo.crop(tuple(round(128 * edge) for edge in box)).resize((128, 128))
    )
    for placement in placements:
        assert placement.correlation > 0.85
        assert not placement.swapped
        left, top, width, height = placement.window
        assert (left, top, left + width, top + height) == pytest.approx(box, abs=0.03)


def test_the_larger_of_two_is_found_whichever_comes_first(photos: list[Image.Image]) -> None:
    cut = photos[0].crop((10, 10, 110, 110))
    forth, back = _align([photos[0], cut], [(0, 1), (1, 0)])
    assert (forth.swapped, back.swapped) == (False, True)
    assert forth.correlation == pytest.approx(back.correlation, abs=1e-3)


def test_a_mirrored_copy_is_recognised_as_mirrored(photos: list[Image.Image]) -> None:
    placements = _with_copies(photos, ImageOps.mirror)
    assert all(placement.mirrored and placement.correlation > 0.95 for placement in placements)


def test_other_photos_of_the_same_kinds_do_not_correlate(photos: list[Image.Image]) -> None:
    pairs = [(one, other) for one in range(len(photos)) for other in range(one)]
    placements = _align(photos, pairs)
    near = [pair for pair, placement in zip(pairs, placements, strict=True) if placement.correlation > 0.75]
    assert not near


def test_flat_pictures_match_nothing() -> None:
    flat = [Image.new("L", (64, 64), value) for value in (0, 128, 255)]
    assert max(placement.correlation for placement in _align(flat, [(0, 1), (1, 2), (0, 0)])) < 0.1
