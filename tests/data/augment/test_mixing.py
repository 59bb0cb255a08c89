"""MixUp and CutMix: pixels and targets by the same share, drawn as the papers say."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import integrate, stats

from eyebright.config import AugmentConfig
from eyebright.data.augment import Mixing, draw_mixing, mix, mix_targets, step_generator


def drawn(step: int, count: int = 8, size: int = 32, mixup: float | None = 0.0, cutmix: float = 0.0) -> Mixing:
    mixing = draw_mixing(AugmentConfig(mixup=mixup, cutmix=cutmix), count, size=size, generator=step_generator(0, step))
    assert mixing is not None
    return mixing


def test_nothing_is_mixed_when_both_are_off_or_undecided() -> None:
    for mixup in (0.0, None):
        assert draw_mixing(AugmentConfig(mixup=mixup), 8, size=32, generator=step_generator(0, 0)) is None


@pytest.mark.parametrize("kind", ["mixup", "cutmix"])
def test_targets_are_mixed_as_the_pixels_are(photos: torch.Tensor, kind: str) -> None:
    """With images of one level each, the mean level of a mixed image is its target's."""
    flat = torch.arange(1.0, 13).view(12, 1, 1, 1).expand(12, 3, 32, 32)
    for step in range(20):
        mixing = drawn(step, 12, **{kind: 0.7})  # type: ignore[arg-type]
        assert mixing.kind == kind
        mixed = mix(flat, flat[mixing.partner], mixing)
        targets = mix_targets(torch.eye(12), torch.eye(12)[mixing.partner], mixing)
        assert torch.allclose(targets.sum(1), torch.ones(12))
        assert torch.allclose(mixed.mean((1, 2, 3)), targets @ torch.arange(1.0, 13), atol=1e-4)
        assert mixed.is_contiguous(memory_format=torch.channels_last)


def test_mixup_adds_two_photos_in_shares(photos: torch.Tensor) -> None:
    mixing = drawn(1, len(photos), 48, mixup=0.4)
    mixed = mix(photos, photos[mixing.partner], mixing)
    for row, other in enumerate(mixing.partner.tolist()):
        expected = mixing.share * photos[row] + (1 - mixing.share) * photos[other]
        assert torch.allclose(mixed[row], expected, atol=1e-6)


@given(step=st.integers(0, 10_000), size=st.integers(8, 64), alpha=st.floats(0.1, 5))
@settings(max_examples=80, deadline=None)
def test_cutmix_counts_the_pixels_that_it_pastes(step: int, size: int, alpha: float) -> None:
    """Also where the rectangle was cut off at the border (Yun et al. leave that to their code, which corrects it)."""
    mixing = drawn(step, 2, size, cutmix=alpha)
    left, right, top, bottom = mixing.box
    assert 0 <= left <= right <= size
    assert 0 <= top <= bottom <= size
    mixed = mix(torch.zeros(2, 1, size, size), torch.ones(2, 1, size, size), mixing)
    assert mixing.share == pytest.approx(1 - float(mixed.mean()), abs=1e-6)
    assert (mixed[:, :, top:bottom, left:right] == 1).all()


def test_mixup_shares_follow_the_beta_distribution() -> None:
    shares = [drawn(step, mixup=0.5).share for step in range(1500)]
    assert stats.kstest(shares, stats.beta(0.5, 0.5).cdf).pvalue > 0.01


def test_cutmix_rectangles_have_the_drawn_size_and_lie_anywhere() -> None:
    """A rectangle that is not cut off has sides of sqrt(1 - share) with the share from the beta distribution."""
    size = 1000
    mixings = [drawn(step, 2, size, cutmix=1.0) for step in range(1500)]
    whole = [m for m in mixings if min(m.box[0], m.box[2]) > 0 and max(m.box[1], m.box[3]) < size]
    assert all(m.box[1] - m.box[0] == m.box[3] - m.box[2] for m in whole)
    # Uniform centres: a rectangle of side r is not cut off with probability (1 - r)**2, and the area is uniform.
    expected, _ = integrate.quad(lambda area: (1 - math.sqrt(area)) ** 2, 0, 1)
    assert len(whole) / len(mixings) == pytest.approx(expected, abs=5 * math.sqrt(expected * (1 - expected) / 1500))


def test_with_both_each_batch_takes_one_of_them_as_often() -> None:
    kinds = [drawn(step, mixup=0.2, cutmix=1.0).kind for step in range(1000)]
    assert 420 < kinds.count("mixup") < 580
    assert [drawn(step, mixup=0.2, cutmix=1.0).kind for step in range(100)] == kinds[:100]


def test_partners_are_a_permutation_and_change_from_step_to_step() -> None:
    partners = [drawn(step, 16, mixup=0.2).partner for step in range(200)]
    assert all(sorted(partner.tolist()) == list(range(16)) for partner in partners)
    counts = np.bincount(torch.cat(partners).reshape(200, 16)[:, 0].numpy(), minlength=16)
    assert stats.chisquare(counts).pvalue > 0.001


@pytest.mark.parametrize("kind", ["mixup", "cutmix"])
def test_several_devices_mix_their_slices_as_one_would(photos: torch.Tensor, kind: str) -> None:
    mixing = drawn(3, len(photos), 48, **{kind: 1.0})  # type: ignore[arg-type]
    whole = mix(photos, photos[mixing.partner], mixing)
    targets = torch.eye(12)
    soft = mix_targets(targets, targets[mixing.partner], mixing)
    for rows in (slice(0, 5), slice(5, 6), slice(6, 12)):
        mine = mixing.take(rows)
        assert torch.equal(mix(photos[rows], photos[mine.partner], mine), whole[rows])
        assert torch.equal(mix_targets(targets[rows], targets[mine.partner], mine), soft[rows])
