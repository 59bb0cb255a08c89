"""Augmentation: what it does to pixels, against PIL and plain arithmetic."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from eyebright.config import AugmentConfig
from eyebright.data.augment import augment, mixup, step_generator

NOTHING = AugmentConfig(flip=False, min_area=1.0, aspect=0.0, brightness=0.0, mixup=0.0)


def images(count: int = 64, side: int = 24) -> torch.Tensor:
    return torch.rand(count, 3, side, side, generator=torch.Generator().manual_seed(0))


def test_turned_off_it_changes_nothing() -> None:
    given = images()
    assert torch.allclose(augment(given, 24, NOTHING, step_generator(0, 0)), given, atol=1e-5)


def test_mirroring_is_exact_and_hits_half_of_the_images() -> None:
    given = images(400)
    result = augment(given, 24, NOTHING.model_copy(update={"flip": True}), step_generator(0, 0))
    kept = [torch.allclose(one, other, atol=1e-4) for one, other in zip(given, result, strict=True)]
    mirrored = [torch.allclose(one.flip(-1), other, atol=1e-4) for one, other in zip(given, result, strict=True)]
    assert all(one != other for one, other in zip(kept, mirrored, strict=True))
    assert 150 < sum(mirrored) < 250  # five standard deviations of a fair coin


def test_crops_cover_the_areas_that_were_asked_for() -> None:
    """On a ramp, the range that a crop sees is its width."""
    ramp = torch.linspace(0, 1, 64).expand(500, 3, 64, 64)
    settings = NOTHING.model_copy(update={"min_area": 0.25})
    result = augment(ramp, 64, settings, step_generator(1, 2))
    widths = (result.amax((1, 2, 3)) - result.amin((1, 2, 3))).numpy()
    assert 0.48 < widths.min() < 0.6
    assert 0.9 < widths.max() <= 1.0
    # The area is uniform in [0.25, 1], so the mean side is the mean of its square root.
    assert widths.mean() == pytest.approx(7 / 9, abs=0.03)
    centres = (result.amax((1, 2, 3)) + result.amin((1, 2, 3))).numpy() / 2
    assert centres.mean() == pytest.approx(0.5, abs=0.03)


def test_brightness_keeps_to_its_limits() -> None:
    ones = torch.ones(500, 1, 4, 4)
    result = augment(ones, 4, NOTHING.model_copy(update={"brightness": 0.2}), step_generator(0, 0))
    assert result.min() >= 0.6
    assert result.max() <= 1.4
    assert result.std() > 0.1


def test_same_step_same_images_other_step_other_images() -> None:
    settings = AugmentConfig(flip=True)
    one, same, other = (augment(images(), 16, settings, step_generator(3, step)) for step in (5, 5, 6))
    assert torch.equal(one, same)
    assert not torch.equal(one, other)


def test_result_is_smaller_than_the_margin_and_channels_last() -> None:
    result = augment(images(side=30), 24, AugmentConfig(), step_generator(0, 0))
    assert result.shape == (64, 3, 24, 24)
    assert result.is_contiguous(memory_format=torch.channels_last)


def test_mixup_mixes_images_and_targets_by_the_same_share() -> None:
    given, targets = images(16), torch.eye(16)
    mixed, soft = mixup(given, targets, 0.4, step_generator(0, 3))
    share = float(soft.diagonal().min())
    assert 0 < share < 1
    assert torch.allclose(soft.sum(1), torch.ones(16))
    for row in range(16):
        expected = sum(weight * given[column] for column, weight in enumerate(soft[row]))
        assert torch.allclose(mixed[row], expected, atol=1e-5)


def test_mixup_shares_follow_the_beta_distribution() -> None:
    shares = np.array(
        [
            float(mixup(torch.zeros(2, 1, 1, 1), torch.eye(2), 0.5, step_generator(0, step))[1][0, 0])
            for step in range(800)
        ]
    )
    moved = shares[shares < 1]  # half of the draws pair an image with itself
    assert moved.mean() == pytest.approx(0.5, abs=0.06)
    assert moved.var() == pytest.approx(0.125, abs=0.02)  # of Beta(0.5, 0.5)


def test_no_mixup_returns_the_same() -> None:
    given, targets = images(4), torch.eye(4)
    assert mixup(given, targets, 0.0, step_generator(0, 0)) == (given, targets)
