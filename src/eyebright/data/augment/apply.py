"""What training does to a batch of images, as tensor operations on the device that trains."""

from __future__ import annotations

import torch

from eyebright.config import AugmentConfig
from eyebright.data.augment.colour import recolour_, recolours
from eyebright.data.augment.draws import Draws
from eyebright.data.augment.erasing import erase_
from eyebright.data.augment.geometry import mirrors, resamples, resize, warp
from eyebright.data.augment.operations import apply_operations_


def augments(settings: AugmentConfig) -> bool:
    """Whether `augment` changes pixels other than by resizing.

    Not with an Albumentations pipeline, which has changed them before and stands in place of all the rest.
    """
    if settings.albumentations:
        return False
    return bool(
        mirrors(settings)
        or settings.vertical_flip
        or resamples(settings)
        or recolours(settings, channels=3)
        or settings.policy != "none"
        or settings.erasing > 0
    )


def _takes_channels_apart(settings: AugmentConfig, channels: int) -> bool:
    """Whether some of it is faster where each channel lies together in memory."""
    return channels == 3 and (max(settings.saturation, settings.hue) > 0 or settings.policy != "none")


def augment(images: torch.Tensor, draws: Draws, *, size: int, settings: AugmentConfig) -> torch.Tensor:
    """Do to each image what was drawn for it, and bring it to the size of the input.

    In this order: geometry (see `geometry`), brightness, contrast, saturation, hue, the operations of the policy,
    erasing. What the settings leave off costs nothing. With an Albumentations pipeline in the settings, images are only
    resized.

    Args:
        images: float32 (B, C, S, S) in [0, 1], C 1 or 3, on any device; they are left as they are.
        draws: for these images, drawn with the same settings.
        size: side of the result in pixels.
        settings: as in `draw`.

    Returns:
        float32 (B, C, size, size) in [0, 1], channels-last in memory, on the device of `images`. The tensor itself
        where there is nothing to do.
    """
    assert len(images) == len(draws), f"{len(images)} images, draws for {len(draws)}"
    assert images.shape[2] == images.shape[3], "images are square"
    if not augments(settings):
        return resize(images, size).contiguous(memory_format=torch.channels_last)
    result = warp(images, draws.maps, draws.flip, draws.vertical_flip, size=size, settings=settings)
    if result is images:
        result = images.clone()  # what follows writes in place
    if _takes_channels_apart(settings, images.shape[1]):
        result = result.contiguous()
    if recolours(settings, images.shape[1]):
        result = recolour_(
            result,
            brightness=draws.brightness,
            contrast=draws.contrast,
            saturation=draws.saturation,
            hue=draws.hue,
            settings=settings,
        )
    if settings.policy != "none":
        apply_operations_(result, draws.operations, draws.magnitudes)
    if settings.erasing > 0:
        erase_(result, draws.erased)
    return result.contiguous(memory_format=torch.channels_last)
