"""Geometry: against scipy, torchvision and PIL, and within its limits."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from scipy import ndimage, stats
from torchvision.transforms.v2 import InterpolationMode
from torchvision.transforms.v2 import functional as reference

from eyebright.config import AugmentConfig
from eyebright.data.augment import Draws, augment, draw, step_generator

EVERYTHING = {"min_area": 0.4, "aspect": 0.5, "rotation": 40.0, "shift": 0.2, "scale": 0.3, "zoom": 0.2, "shear": 20.0}


def change(base: AugmentConfig, **values: Any) -> AugmentConfig:
    return AugmentConfig(**(base.model_dump() | values))


def draws_for(
    changed: AugmentConfig, images: torch.Tensor | int, size: int = 48, side: int = 48, step: int = 0
) -> Draws:
    count = images if isinstance(images, int) else len(images)
    return draw(changed, count, side=side, size=size, generator=step_generator(0, step))


def square(maps: torch.Tensor) -> torch.Tensor:
    """Maps (B, 2, 3) as matrices (B, 3, 3)."""
    last = torch.tensor([0.0, 0.0, 1.0]).expand(len(maps), 1, 3)
    return torch.cat([maps, last], dim=1).double()


def by_scipy(image: torch.Tensor, map_: torch.Tensor, size: int, mode: str) -> torch.Tensor:
    """One channel sampled bilinearly where the map says; array indices are rows first."""
    side = image.shape[-1]
    (xx, xy, x), (yx, yy, y) = map_.double().tolist()
    # From pixel numbers of the result to -1..1, by the map, and back to pixel numbers of the image.
    matrix = np.array([[yy, yx], [xy, xx]]) * side / size
    start = (1 - size) / size
    offset = [((value + start * total) + 1) * side / 2 - 0.5 for value, total in ((y, yx + yy), (x, xx + xy))]
    result = ndimage.affine_transform(
        image.double().numpy(), matrix, offset, output_shape=(size, size), order=1, mode=mode, prefilter=False
    )
    return torch.from_numpy(result).float()


@pytest.mark.parametrize(("fill", "mode"), [("reflect", "reflect"), ("edge", "nearest"), ("black", "grid-constant")])
@pytest.mark.parametrize("size", [40, 48, 64])
def test_pixels_are_those_of_scipy(
    photos: torch.Tensor, nothing: AugmentConfig, fill: str, mode: str, size: int
) -> None:
    changed = change(nothing, fill=fill, flip=True, vertical_flip=True, **EVERYTHING)
    draws = draws_for(changed, photos, size)
    result = augment(photos, draws, size=size, settings=changed)
    for image, map_, ours in zip(photos, draws.maps, result, strict=True):
        for channel in range(3):
            assert torch.allclose(ours[channel], by_scipy(image[channel], map_, size, mode), atol=2e-4)


def test_rotation_scale_shear_and_shift_mean_what_torchvision_means(
    photos: torch.Tensor, nothing: AugmentConfig
) -> None:
    """The map, taken apart into torchvision's parameters, gives torchvision's pixels and keeps to the limits."""
    changed = change(nothing, rotation=40.0, scale=0.3, shear=20.0, shift=0.2, fill="black")
    draws = draws_for(changed, photos)
    result = augment(photos, draws, size=48, settings=changed)
    for image, backward, ours in zip(photos, square(draws.maps), result, strict=True):
        forward = torch.linalg.inv(backward)
        scale = math.sqrt(float(torch.linalg.det(forward)))
        angle = math.degrees(math.atan2(forward[1, 0], forward[0, 0]))
        rotated_column = torch.linalg.inv(rotation(angle)) @ forward[:2, 1]
        shear = math.degrees(math.atan2(-float(rotated_column[0]), float(rotated_column[1])))
        shift = (forward[:2, 2] / 2).tolist()
        assert abs(angle) <= 40
        assert abs(scale - 1) <= 0.3
        assert abs(shear) <= 20
        assert max(map(abs, shift)) <= 0.2
        theirs = reference.affine(
            image, angle, [share * 48 for share in shift], scale, [shear, 0.0], InterpolationMode.BILINEAR
        )
        assert torch.allclose(ours, theirs, atol=1e-3)


def rotation(degrees: float) -> torch.Tensor:
    cosine, sine = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    return torch.tensor([[cosine, -sine], [sine, cosine]], dtype=torch.float64)


def test_parts_are_composed_crop_mirror_and_then_the_rest(nothing: AugmentConfig) -> None:
    """The numbers drawn for one part do not depend on the strength of another, so the maps can be multiplied."""
    crop = {"min_area": 0.4, "aspect": 0.5}
    rest = {name: value for name, value in EVERYTHING.items() if name not in crop}
    flips = {"flip": True, "vertical_flip": True}
    cropped, mirrored, moved, all_of_it = (
        square(draws_for(change(nothing, **values), 200).maps) for values in (crop, flips, rest, EVERYTHING | flips)
    )
    assert torch.allclose(cropped @ mirrored @ moved, all_of_it, atol=1e-5)


@given(min_area=st.floats(0.05, 1), aspect=st.floats(0, 0.99), zoom=st.floats(0, 0.99), step=st.integers(0, 10_000))
@settings(max_examples=60, deadline=None)
def test_crops_and_sizes_keep_to_their_limits(min_area: float, aspect: float, zoom: float, step: int) -> None:
    off = AugmentConfig(flip=False, min_area=min_area, aspect=aspect)
    maps = draws_for(off, 64, step=step).maps
    width, height = maps[:, 0, 0], maps[:, 1, 1]
    assert (maps[:, 0, 1] == 0).all()
    assert (maps[:, 1, 0] == 0).all()
    assert (width * height >= min_area - 1e-5).all()
    assert ((width / height).log().abs() <= aspect + 1e-5).all()
    for length, centre in ((width, maps[:, 0, 2]), (height, maps[:, 1, 2])):
        assert (length + centre.abs() <= 1 + 1e-5).all(), "a crop lies wholly inside"
    zoomed = draws_for(AugmentConfig(min_area=1.0, zoom=zoom), 64, step=step).maps
    for factor in (1 / zoomed[:, 0, 0], 1 / zoomed[:, 1, 1]):
        assert ((factor - 1).abs() <= zoom + 1e-4).all()


def test_areas_and_places_of_crops_are_uniform(nothing: AugmentConfig) -> None:
    maps = draws_for(change(nothing, min_area=0.25), 4000).maps.double()
    side = maps[:, 0, 0]
    assert stats.kstest(side**2, stats.uniform(0.25, 0.75).cdf).pvalue > 0.01
    place = (maps[:, 0, 2] / (1 - side) + 1) / 2
    assert stats.kstest(place, stats.uniform.cdf).pvalue > 0.01
    angles = draws_for(change(nothing, rotation=30.0), 4000).maps
    degrees = torch.atan2(angles[:, 1, 0], angles[:, 0, 0]).rad2deg()
    assert stats.kstest(degrees, stats.uniform(-30, 60).cdf).pvalue > 0.01


@pytest.mark.parametrize("both", [False, True])
def test_mirroring_alone_moves_pixels_and_changes_none(many: torch.Tensor, nothing: AugmentConfig, both: bool) -> None:
    changed = change(nothing, flip=True, vertical_flip=both)
    result = augment(many, draws_for(changed, many), size=48, settings=changed)
    mirrored = [many, many.flip(-1), *((many.flip(-2), many.flip(-2, -1)) if both else ())]
    same = torch.stack([(result == one).flatten(1).all(1) for one in mirrored])
    assert (same.sum(0) == 1).all()
    # Five standard deviations around equal shares.
    expected = len(many) / len(mirrored)
    deviation = math.sqrt(expected * (1 - 1 / len(mirrored)))
    assert ((same.sum(1) - expected).abs() < 5 * deviation).all()


def test_with_everything_off_the_same_bits_come_back(photos: torch.Tensor, nothing: AugmentConfig) -> None:
    given_ = photos.contiguous(memory_format=torch.channels_last)
    assert augment(given_, draws_for(nothing, given_), size=48, settings=nothing) is given_
    planes = augment(photos, draws_for(nothing, photos), size=48, settings=nothing)
    assert torch.equal(planes, photos)
    assert planes.is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("size", [16, 31, 96])
def test_another_size_alone_is_an_antialiased_resize(
    levels: torch.Tensor, photos: torch.Tensor, nothing: AugmentConfig, size: int
) -> None:
    result = augment(photos, draws_for(nothing, photos, size), size=size, settings=nothing)
    for image, ours in zip(levels, result, strict=True):
        theirs = Image.fromarray(image.permute(1, 2, 0).numpy()).resize((size, size), Image.Resampling.BILINEAR)
        difference = ours.permute(1, 2, 0).numpy() * 255 - np.asarray(theirs, dtype=np.float32)
        assert np.abs(difference).max() <= 1.01  # PIL rounds to 8 bits, twice


def test_far_too_many_pixels_are_averaged_before_they_are_sampled(nothing: AugmentConfig) -> None:
    """A checkerboard of single pixels is grey from afar; sampling four pixels in many would show black and white."""
    board = (torch.arange(256)[:, None] + torch.arange(256)).remainder(2).float().expand(8, 1, 256, 256)
    changed = change(nothing, rotation=10.0)
    result = augment(board, draws_for(changed, 8, 32, 256), size=32, settings=changed)
    assert (result[:, :, 4:-4, 4:-4] - 0.5).abs().max() < 0.02


def test_the_smallest_crop_keeps_its_pixels(photos: torch.Tensor, nothing: AugmentConfig) -> None:
    """Where crops can be small, a large image is not reduced beforehand."""
    changed = change(nothing, min_area=0.2)
    draws = draws_for(changed, photos, 16)
    result = augment(photos, draws, size=16, settings=changed)
    for image, map_, ours in zip(photos, draws.maps, result, strict=True):
        assert torch.allclose(ours[0], by_scipy(image[0], map_, 16, "nearest"), atol=2e-4)


def test_crops_without_a_fill_have_no_dark_border(nothing: AugmentConfig) -> None:
    changed = change(nothing, min_area=0.5, fill="black")
    white = torch.ones(50, 1, 24, 24)
    assert augment(white, draws_for(changed, 50, 32, 24), size=32, settings=changed).min() > 0.999


def test_the_fill_is_seen_only_beyond_the_image(nothing: AugmentConfig) -> None:
    """A crop of the middle that is turned shows what lies around it, not the fill."""
    changed = change(nothing, min_area=0.05, rotation=30.0, fill="black")
    draws = draws_for(changed, 400)
    corners = torch.tensor([[-1.0, -1, 1], [1, -1, 1], [-1, 1, 1], [1, 1, 1]]).T
    inside = ((draws.maps @ corners).abs() <= 0.9).all(1).all(1)
    result = augment(torch.ones(400, 1, 48, 48), draws, size=48, settings=changed)
    assert inside.sum() > 20
    assert result[inside].min() > 0.999
    assert result[~inside].min() < 0.5
