"""Shifts by whole pixels move the image and blur nothing."""

from __future__ import annotations

from collections import Counter

import torch

from eyebright.config import AugmentConfig
from eyebright.data.augment import augment, draw, step_generator

SIDE, MOST = 16, 2
SETTINGS = AugmentConfig(
    flip=False, min_area=1.0, aspect=0.0, shift=MOST / SIDE, whole_pixels=True, brightness=0, contrast=0
)


def test_each_result_is_a_shifted_copy_and_every_shift_is_about_as_likely() -> None:
    count = 1500
    image = torch.rand(1, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(0))
    draws = draw(SETTINGS, count, side=SIDE, size=SIDE, generator=step_generator(0, 0))
    found = augment(image.expand(count, -1, -1, -1), draws, size=SIDE, settings=SETTINGS)
    shifts: Counter[tuple[int, int]] = Counter()
    inner = slice(MOST, SIDE - MOST)
    for result in found:
        same = [
            (down, right)
            for down in range(-MOST, MOST + 1)
            for right in range(-MOST, MOST + 1)
            if torch.allclose(result[:, inner, inner], image[0].roll((down, right), (1, 2))[:, inner, inner], atol=1e-4)
        ]
        assert len(same) == 1
        shifts[same[0]] += 1
    assert len(shifts) == 25
    assert min(shifts.values()) > 30  # 60 expected of each
    assert max(shifts.values()) < 100


def test_beyond_the_edge_the_image_is_reflected() -> None:
    image = torch.arange(SIDE, dtype=torch.float32).view(1, 1, 1, SIDE).expand(1, 1, SIDE, SIDE) / SIDE
    draws = draw(SETTINGS, 200, side=SIDE, size=SIDE, generator=step_generator(0, 1))
    found = augment(image.expand(200, -1, -1, -1), draws, size=SIDE, settings=SETTINGS) * SIDE
    for row in found[:, 0, 0]:
        moved = round(float(row[SIDE // 2] - SIDE // 2))
        places = torch.arange(SIDE) + moved
        reflected = torch.where(places < 0, -1 - places, torch.where(places >= SIDE, 2 * SIDE - 1 - places, places))
        torch.testing.assert_close(row, reflected.float(), atol=1e-3, rtol=0)
