"""Brightness, contrast, saturation and hue: against torchvision and the standard library."""

from __future__ import annotations

import colorsys
import itertools
from collections.abc import Callable

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from torchvision.transforms.v2 import functional as reference

from eyebright.config import AugmentConfig
from eyebright.data.augment import augment, draw, step_generator
from eyebright.data.augment.colour import adjust_brightness_, adjust_contrast_, adjust_hue, adjust_saturation_

FACTORS = (0.0, 0.3, 0.9, 1.0, 1.25, 1.99)
ADJUSTMENTS = {
    "brightness": (adjust_brightness_, reference.adjust_brightness, FACTORS),
    "contrast": (adjust_contrast_, reference.adjust_contrast, FACTORS),
    "saturation": (adjust_saturation_, reference.adjust_saturation, FACTORS),
    "hue": (adjust_hue, reference.adjust_hue, (-0.5, -0.21, 0.0, 0.04, 0.3, 0.5)),
}
Adjust = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]


@pytest.mark.parametrize("name", ADJUSTMENTS)
def test_each_image_gets_its_factor_as_in_torchvision(photos: torch.Tensor, name: str) -> None:
    ours: Adjust
    ours, theirs, factors = ADJUSTMENTS[name]
    drawn = torch.tensor(factors).repeat(2)
    result = ours(photos.clone(), drawn)
    for image, factor, changed in zip(photos, drawn.tolist(), result, strict=True):
        assert torch.allclose(changed, theirs(image, factor), atol=1e-5)


@pytest.mark.parametrize("name", ["brightness", "contrast"])
def test_grey_images_too(photos: torch.Tensor, name: str) -> None:
    ours, theirs, factors = ADJUSTMENTS[name]
    grey = photos[:6, :1]
    result = ours(grey.clone(), torch.tensor(factors))
    for image, factor, changed in zip(grey, factors, result, strict=True):
        assert torch.allclose(changed, theirs(image, factor), atol=1e-5)


@given(turn=st.floats(-0.5, 0.5), level=st.integers(2, 5))
@settings(max_examples=25, deadline=None)
def test_hue_turns_as_in_the_standard_library(turn: float, level: int) -> None:
    """All colours whose channels are multiples of 1/level, black, white and greys among them."""
    colours = torch.tensor(list(itertools.product(range(level + 1), repeat=3))) / level
    result = adjust_hue(colours.T[None, :, :, None].contiguous(), torch.tensor([turn]))[0, :, :, 0].T
    for colour, ours in zip(colours.tolist(), result.tolist(), strict=True):
        hue, saturation, value = colorsys.rgb_to_hsv(*colour)
        theirs = colorsys.hsv_to_rgb((hue + turn) % 1, saturation, value)
        assert ours == pytest.approx(theirs, abs=2e-5)


def test_the_order_is_brightness_contrast_saturation_hue(photos: torch.Tensor, nothing: AugmentConfig) -> None:
    changed = nothing.model_copy(update={"brightness": 0.5, "contrast": 0.5, "saturation": 0.5, "hue": 0.2})
    draws = draw(changed, len(photos), side=48, size=48, generator=step_generator(0, 0))
    result = augment(photos, draws, size=48, settings=changed)
    for row, image in enumerate(photos):
        expected = image
        for name in ("brightness", "contrast", "saturation", "hue"):
            expected = ADJUSTMENTS[name][1](expected, float(getattr(draws, name)[row]))
        assert torch.allclose(result[row], expected, atol=1e-4)


def test_grey_images_have_no_saturation_and_no_hue(photos: torch.Tensor, nothing: AugmentConfig) -> None:
    changed = nothing.model_copy(update={"saturation": 1.0, "hue": 0.5})
    grey = photos[:, :1]
    draws = draw(changed, len(grey), side=48, size=48, generator=step_generator(0, 0))
    assert torch.equal(augment(grey, draws, size=48, settings=changed), grey)


def test_factors_are_uniform_up_to_their_limits(nothing: AugmentConfig) -> None:
    strengths = {"brightness": 0.4, "contrast": 0.3, "saturation": 1.0, "hue": 0.1}
    changed = nothing.model_copy(update=strengths)
    draws = draw(changed, 4000, side=48, size=48, generator=step_generator(0, 0))
    drawn = {name: getattr(draws, name).double() for name in strengths}
    for name, strength in strengths.items():
        middle = 0 if name == "hue" else 1
        assert stats.kstest(drawn[name], stats.uniform(middle - strength, 2 * strength).cdf).pvalue > 0.01
    for one, other in itertools.combinations(drawn.values(), 2):
        assert abs(float(torch.corrcoef(torch.stack([one, other]))[0, 1])) < 0.08, "drawn apart"


def test_what_is_given_stays_as_it_is(photos: torch.Tensor, nothing: AugmentConfig) -> None:
    changed = nothing.model_copy(
        update={
            "brightness": 0.5,
            "contrast": 0.5,
            "saturation": 0.5,
            "hue": 0.2,
            "policy": "randaugment",
            "erasing": 1.0,
        }
    )
    given_ = photos.clone()
    draws = draw(changed, len(photos), side=48, size=48, generator=step_generator(0, 0))
    result = augment(given_, draws, size=48, settings=changed)
    assert torch.equal(given_, photos)
    assert not torch.equal(result, photos)
