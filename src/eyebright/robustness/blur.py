"""Blur: out of focus, through frosted glass, by movement, by zooming."""

from __future__ import annotations

import functools
import math
from collections.abc import Iterator, Sequence

import torch

from eyebright.robustness.pixels import convolve_each, gaussian_kernel, identity_grid, pixels_of, planes_of, sample

_STEEPEST_DEGREES = 45.0
_ZOOM_STEP = 0.025


def defocus_blur(
    pixels: torch.Tensor, levels: Sequence[Sequence[float]], generator: torch.Generator
) -> Iterator[torch.Tensor]:
    """A point becomes an evenly lit disc. Level: its radius in pixels."""
    kernels = [disc_kernel(radius) for (radius,) in levels]
    for blurred in convolve_each(planes_of(pixels), kernels):
        yield pixels_of(blurred)


@functools.lru_cache(maxsize=64)
def disc_kernel(radius: float) -> torch.Tensor:
    """float32 (K, K) of sum 1: how much of each pixel a disc covers, each pixel seen as 15 x 15 points."""
    reach, fine = math.ceil(radius + 0.5), 15
    number = (2 * reach + 1) * fine
    places = (torch.arange(number, dtype=torch.float64) - number // 2) / fine
    inside = (places[:, None] ** 2 + places**2 <= radius**2).double()
    kernel = inside.reshape(2 * reach + 1, fine, 2 * reach + 1, fine).sum((1, 3))
    return (kernel / kernel.sum()).float()


def motion_blur(
    pixels: torch.Tensor, levels: Sequence[Sequence[float]], generator: torch.Generator
) -> Iterator[torch.Tensor]:
    """A point becomes an evenly lit line, at most 45 degrees from the horizontal. Level: its length in pixels."""
    angle = _STEEPEST_DEGREES * (2 * float(torch.rand((), generator=generator)) - 1)
    kernels = [line_kernel(length, angle) for (length,) in levels]
    for blurred in convolve_each(planes_of(pixels), kernels):
        yield pixels_of(blurred)


def line_kernel(length: float, degrees: float) -> torch.Tensor:
    """float32 (K, K) of sum 1: a line through the middle, its points shared among the four pixels around each."""
    reach = math.ceil(length / 2) + 1
    points = max(2, math.ceil(8 * length))
    along = ((torch.arange(points, dtype=torch.float64) + 0.5) / points - 0.5) * length
    x = along * math.cos(math.radians(degrees)) + reach
    y = along * math.sin(math.radians(degrees)) + reach
    kernel = torch.zeros((2 * reach + 1) ** 2, dtype=torch.float64)
    left, top = x.floor(), y.floor()
    for dx, dy in ((0, 0), (0, 1), (1, 0), (1, 1)):
        weight = (1 - (x - left - dx).abs()) * (1 - (y - top - dy).abs())
        kernel.index_add_(0, ((top + dy) * (2 * reach + 1) + left + dx).long(), weight)
    return (kernel / kernel.sum()).float().reshape(2 * reach + 1, 2 * reach + 1)


def glass_blur(
    pixels: torch.Tensor, levels: Sequence[Sequence[float]], generator: torch.Generator
) -> Iterator[torch.Tensor]:
    """Every pixel is taken from somewhere near, between two light Gaussian blurs.

    Level: the standard deviation of the blurs and how far away a pixel may come from along each axis, both in pixels.
    """
    side = pixels.shape[0]
    grid = identity_grid(side, pixels.device)
    jump = (torch.rand(grid.shape, generator=generator) * 2 - 1).to(pixels.device)
    kernels = [gaussian_kernel(deviation) for deviation, _ in levels]
    blurs = convolve_each(planes_of(pixels), kernels)
    for (_, reach), kernel, blurred in zip(levels, kernels, blurs, strict=True):
        shuffled = sample(blurred, grid + jump * (2 * reach / side))
        yield pixels_of(next(convolve_each(shuffled, [kernel])))


def zoom_blur(
    pixels: torch.Tensor, levels: Sequence[Sequence[float]], generator: torch.Generator
) -> Iterator[torch.Tensor]:
    """The mean of the image and of enlargements of it, in steps of 2.5 %. Level: the largest enlargement."""
    planes = planes_of(pixels)
    grid = identity_grid(pixels.shape[0], pixels.device)
    total, steps = planes.clone(), 0
    for (largest,) in levels:
        while (steps + 0.5) * _ZOOM_STEP < largest - 1:  # the sum so far is also the beginning of the next level's
            steps += 1
            total += sample(planes, grid / (1 + steps * _ZOOM_STEP))
        yield pixels_of(total / (steps + 1))
