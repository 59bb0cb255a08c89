"""Random erasing and coarse dropout: what is blackened, how often, and how large."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from torchvision.transforms import v2

from eyebright.config import AugmentConfig
from eyebright.data.augment import augment, draw, step_generator
from eyebright.data.augment.erasing import draw_boxes, inside
from eyebright.errors import UsageError


def boxes(count: int, size: int, step: int = 0, **values: object) -> torch.Tensor:
    drawn = draw_boxes(AugmentConfig(**values), count, size=size, generator=step_generator(0, step))  # type: ignore[arg-type]
    assert drawn.dtype == torch.int64
    return drawn


def test_what_the_box_holds_is_black_and_the_rest_is_untouched(photos: torch.Tensor, nothing: AugmentConfig) -> None:
    changed = nothing.model_copy(update={"erasing": 0.7})
    bright = photos * 0.9 + 0.1
    draws = draw(changed, len(bright), side=48, size=48, generator=step_generator(0, 0))
    result = augment(bright, draws, size=48, settings=changed)
    for image, (left, right, top, bottom), ours in zip(bright, draws.erased.tolist(), result, strict=True):
        expected = image.clone()
        expected[:, top:bottom, left:right] = 0
        assert torch.equal(ours, expected)
    assert 0 < ((result == 0).flatten(1).any(1)).sum() < len(bright)


@given(
    size=st.integers(8, 64), low=st.floats(0.01, 0.5), more=st.floats(0, 0.4), probability=st.floats(0, 1),
    step=st.integers(0, 1000),
)  # fmt: skip
@settings(max_examples=60, deadline=None)
def test_rectangles_keep_to_their_limits(size: int, low: float, more: float, probability: float, step: int) -> None:
    left, right, top, bottom = boxes(100, size, step, erasing=probability, erasing_area=(low, low + more)).T
    for first, last in ((left, right), (top, bottom)):
        assert (first >= 0).all()
        assert (last <= size).all()
        assert (last - first < size).all()
    width, height = right - left, bottom - top
    erased = (width > 0) & (height > 0)
    # Half a pixel of rounding on either side.
    assert (((width + 0.5) * (height + 0.5))[erased] >= low * size**2 - 1e-3).all()
    assert (((width - 0.5) * (height - 0.5))[erased] <= (low + more) * size**2 + 1e-3).all()
    assert (((height - 0.5) / (width + 0.5))[erased] <= 1 / 0.3 + 1e-3).all()
    assert (((height + 0.5) / (width - 0.5))[erased] >= 0.3 - 1e-3).all()


def test_rectangles_have_the_measures_of_torchvision() -> None:
    count, size = 1500, 40
    theirs = v2.RandomErasing(p=1.0, scale=(0.02, 0.33), ratio=(0.3, 1 / 0.3), value=0)
    torch.manual_seed(0)
    blank = torch.ones(1, size, size)
    holes = torch.stack([theirs(blank)[0] == 0 for _ in range(count)])
    heights, widths = holes.any(2).sum(1), holes.any(1).sum(1)
    left, right, top, bottom = boxes(count, size, erasing=1.0).T
    for ours, reference in ((bottom - top, heights), (right - left, widths), (left, holes.any(1).byte().argmax(1)),
                            (top, holes.any(2).byte().argmax(1))):  # fmt: skip
        assert stats.ks_2samp(ours, reference).pvalue > 0.01


def test_it_happens_with_the_given_probability() -> None:
    drawn = boxes(5000, 32, erasing=0.3)
    share = float((drawn[:, 1] > drawn[:, 0]).float().mean())
    assert share == pytest.approx(0.3, abs=5 * math.sqrt(0.21 / 5000))
    assert (drawn[drawn[:, 1] == drawn[:, 0]] == 0).all()


def test_a_square_of_so_many_pixels_lies_wholly_inside_and_anywhere() -> None:
    """As coarse dropout of Albumentations does."""
    left, right, top, bottom = boxes(4000, 32, erasing=1.0, erasing_side=16).T
    assert (right - left == 16).all()
    assert (bottom - top == 16).all()
    for first in (left, top):
        assert stats.chisquare(first.bincount(minlength=17)).pvalue > 0.01
        assert int(first.max()) == 16


@pytest.mark.parametrize("side", [32, 40])
def test_a_square_that_leaves_nothing_is_refused(side: int) -> None:
    with pytest.raises(UsageError, match=f"erasing_side={side} erases the whole image of 32 px"):
        boxes(4, 32, erasing=0.1, erasing_side=side)


def test_the_mask_for_other_devices_is_the_same() -> None:
    drawn = boxes(50, 20, erasing=0.8)
    mask = inside(drawn, 20)
    for (left, right, top, bottom), ours in zip(drawn.tolist(), mask, strict=True):
        expected = torch.zeros(1, 20, 20, dtype=torch.bool)
        expected[:, top:bottom, left:right] = True
        assert torch.equal(ours, expected)
