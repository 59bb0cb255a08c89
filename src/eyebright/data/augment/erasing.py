"""Random erasing (Zhong et al. 2017, arXiv:1708.04896) and coarse dropout: a part of the image becomes black.

Black is zero before normalisation, the fill of Albumentations' CoarseDropout, which recipes refer to. Zhong et al.
fill with noise, which teaches a network with batch norms about noise; it is left out.
"""

from __future__ import annotations

import math

import torch

from eyebright.config import AugmentConfig
from eyebright.data.moving import moved
from eyebright.errors import UsageError

_LARGEST_ASPECT = 1 / 0.3
_TRIES = 10


def draw_boxes(settings: AugmentConfig, count: int, *, size: int, generator: torch.Generator) -> torch.Tensor:
    """What to erase of each image: int64 (B, 4), columns from and to and rows from and to; zeros for nothing.

    A rectangle has a share of the area uniform in `erasing_area` and a ratio of height to width whose logarithm is
    uniform between those of 0.3 and 1/0.3; it lies wholly inside. One that does not fit is drawn again, up to 10
    times, and then left out, as in torchvision. With `erasing_side` it is a square, wholly inside.

    Args:
        settings: probability and measures.
        count: images in the batch.
        size: side of the images in pixels.
        generator: on the CPU.

    Raises:
        UsageError: the square would cover the whole image.
    """
    if settings.erasing == 0:
        return torch.zeros(count, 4, dtype=torch.int64)
    chosen, at_x, at_y = torch.rand(3, count, generator=generator)
    if settings.erasing_side is not None:
        if settings.erasing_side >= size:
            raise UsageError(
                f"augment.erasing_side={settings.erasing_side} erases the whole image of {size} px",
                expected=f"a side below {size} pixels",
                remedy="lower augment.erasing_side, or leave it out and set augment.erasing_area",
            )
        width = height = torch.full((count,), settings.erasing_side)
    else:
        area, aspect = torch.rand(2, count, _TRIES, generator=generator)
        low, high = settings.erasing_area
        pixels = (low + (high - low) * area) * size**2
        ratio = ((2 * aspect - 1) * math.log(_LARGEST_ASPECT)).exp()
        heights, widths = (pixels * ratio).sqrt().round().long(), (pixels / ratio).sqrt().round().long()
        fits = (heights < size) & (widths < size)
        first = fits.byte().argmax(1, keepdim=True)
        fitting = fits.any(1)
        height, width = (measures.gather(1, first)[:, 0] * fitting for measures in (heights, widths))
    left, top = (at_x * (size - width + 1)).long(), (at_y * (size - height + 1)).long()
    boxes = torch.stack([left, left + width, top, top + height], dim=1)
    boxes *= (chosen < settings.erasing)[:, None]
    return boxes


def erase_(images: torch.Tensor, boxes: torch.Tensor) -> torch.Tensor:
    """Blacken `boxes`, int64 (B, 4), in `images`, float32 (B, C, S, S), in place."""
    if images.device.type != "cpu":
        # One pass over everything is faster there than a small operation for each image.
        return images.masked_fill_(inside(moved(boxes, images.device), images.shape[-1]), 0)
    for image, (left, right, top, bottom) in zip(images, boxes.tolist(), strict=True):
        image[:, top:bottom, left:right] = 0
    return images


def inside(boxes: torch.Tensor, size: int) -> torch.Tensor:
    """Which pixels the boxes hold: bool (B, 1, size, size)."""
    places = torch.arange(size, device=boxes.device)
    left, right, top, bottom = boxes.T[:, :, None]
    columns, rows = (places >= left) & (places < right), (places >= top) & (places < bottom)
    mask: torch.Tensor = (rows[:, :, None] & columns[:, None, :])[:, None]
    return mask
