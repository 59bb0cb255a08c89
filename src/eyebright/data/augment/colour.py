"""Brightness, contrast, saturation and hue, each image by a factor of its own.

The factors mean what they mean in torchvision's ColorJitter, and each step is clamped to [0, 1] as there; the order is
fixed: brightness, contrast, saturation, hue. All functions but `adjust_hue` change the tensor that they are given.
No operation adds and multiplies in one rounding, so an image has the same bits in a batch of any size.
"""

from __future__ import annotations

import torch

from eyebright.config import AugmentConfig
from eyebright.data.moving import moved

_LUMA = (0.2989, 0.587, 0.114)  # of red, green and blue in grey, as torchvision has it
_SMALLEST_SPAN = 1e-20  # of grey pixels, whose hue plays no part
_HUE_OFFSETS = (5, 3, 1)  # sixths of the circle for red, green and blue


def recolours(settings: AugmentConfig, channels: int) -> bool:
    """Whether colours change; grey images have no saturation and no hue."""
    return max(settings.brightness, settings.contrast) > 0 or (
        channels == 3 and max(settings.saturation, settings.hue) > 0
    )


def recolour_(
    images: torch.Tensor,
    *,
    brightness: torch.Tensor,
    contrast: torch.Tensor,
    saturation: torch.Tensor,
    hue: torch.Tensor,
    settings: AugmentConfig,
) -> torch.Tensor:
    """Apply what the settings turn on, in place where that is possible.

    Args:
        images: float32 (B, C, H, W) in [0, 1].
        brightness, contrast, saturation, hue: float32 (B,); see `Draws`.
        settings: which of them are on.
    """
    if settings.brightness > 0:
        adjust_brightness_(images, brightness)
    if settings.contrast > 0:
        adjust_contrast_(images, contrast)
    if images.shape[1] == 3 and settings.saturation > 0:
        adjust_saturation_(images, saturation)
    if images.shape[1] == 3 and settings.hue > 0:
        images = adjust_hue(images, hue)
    return images


def adjust_brightness_(images: torch.Tensor, factors: torch.Tensor) -> torch.Tensor:
    """Multiply: (B, C, H, W) by (B,)."""
    return images.mul_(_each(factors, images)).clamp_(max=1)


def adjust_contrast_(images: torch.Tensor, factors: torch.Tensor) -> torch.Tensor:
    """Move away from, or towards, the mean grey of each image."""
    factors = _each(factors, images)
    mean = mean_grey(images)
    return images.mul_(factors).add_((1 - factors) * mean).clamp_(0, 1)


def adjust_saturation_(images: torch.Tensor, factors: torch.Tensor) -> torch.Tensor:
    """Move away from, or towards, the grey of each pixel; grey images stay."""
    if images.shape[1] == 1:
        return images
    factors = _each(factors, images)
    share = (1 - factors)[:, 0]
    red, green, blue = images.unbind(1)
    grey = (red * _LUMA[0]).add_(green * _LUMA[1]).add_(blue * _LUMA[2]).mul_(share)
    return images.mul_(factors).add_(grey[:, None]).clamp_(0, 1)


def adjust_hue(images: torch.Tensor, turns: torch.Tensor) -> torch.Tensor:
    """Turn the hue and leave saturation and value (of HSV) alone: (B, 3, H, W) by (B,)."""
    red, green, blue = images.unbind(1)
    high = torch.maximum(red, green).maximum(blue)
    low = torch.minimum(red, green).minimum(blue)
    span = high - low
    inverse = span.clamp(min=_SMALLEST_SPAN).reciprocal_()
    # The hue in sixths of the circle, by the channel that is lowest. Weights of 0 and 1 choose without branches, which
    # is several times faster than `where` on a CPU, and are exact.
    without_red = (blue - green).mul_(inverse).add_(3)
    without_green = (red - blue).mul_(inverse).add_(5)
    without_blue = (green - red).mul_(inverse).add_(1)
    hue = without_red.lerp_(without_green, (red - low).sign_())
    hue = without_blue.lerp_(hue, (blue - low).sign_())
    hue.add_(6 * moved(turns, images.device).view(-1, 1, 1))
    result = torch.empty_like(images)
    for channel, offset in enumerate(_HUE_OFFSETS):
        # Each channel falls from the highest to the lowest value and back, each at its own third of the circle.
        place = (hue + offset).mul_(1 / 6)
        place.sub_(place.floor()).mul_(6)
        depth = place.sub_(2).abs_().neg_().add_(2).clamp_(0, 1).mul_(span)
        torch.sub(high, depth, out=result[:, channel])
    return result.clamp_(0, 1)


def mean_grey(images: torch.Tensor) -> torch.Tensor:
    """Mean grey of each image: float32 (B, 1, 1, 1).

    Sums are in double precision, so that their order, which depends on the batch, does not show after rounding.
    """
    exact = torch.float32 if images.device.type == "mps" else torch.float64  # MPS has no double precision
    means = images.sum((2, 3), dtype=exact) / (images.shape[2] * images.shape[3])
    if images.shape[1] == 3:
        means = means[:, :1] * _LUMA[0] + means[:, 1:2] * _LUMA[1] + means[:, 2:] * _LUMA[2]
    return means.float()[:, :, None, None]


def _each(factors: torch.Tensor, images: torch.Tensor) -> torch.Tensor:
    return moved(factors, images.device).view(-1, 1, 1, 1)
