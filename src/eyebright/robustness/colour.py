"""Brightness and contrast."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch

from eyebright.robustness.pixels import WHITE


def brightness(
    pixels: torch.Tensor, levels: Sequence[Sequence[float]], generator: torch.Generator
) -> Iterator[torch.Tensor]:
    """Make brighter and keep hue and saturation: V of HSV rises. Level: by how much, 1 for white."""
    colours = pixels.float()
    value = colours.amax(dim=-1, keepdim=True)
    for (added,) in levels:
        brighter = (value + added * WHITE).clamp_max(WHITE)
        # Black has no hue: it becomes grey.
        result = torch.where(value > 0, colours * (brighter / value.clamp_min(1)), brighter)
        yield result.round_().clamp_(0, WHITE).byte()


def contrast(
    pixels: torch.Tensor, levels: Sequence[Sequence[float]], generator: torch.Generator
) -> Iterator[torch.Tensor]:
    """Draw every channel towards its mean over the image. Level: the share of the distance that is left."""
    values = pixels.float()
    # Whole numbers are summed exactly, in any order.
    mean = (pixels.sum((0, 1), dtype=torch.int64).double() / (pixels.shape[0] * pixels.shape[1])).float()
    for (left,) in levels:
        yield ((values - mean) * left).add_(mean).round_().clamp_(0, WHITE).byte()
