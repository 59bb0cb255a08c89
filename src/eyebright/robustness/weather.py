"""Snow, frost and fog, painted by chance: no photograph of them is shipped."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import torch
import torch.nn.functional as F

from eyebright.robustness.blur import line_kernel
from eyebright.robustness.pixels import convolve_each, pixels_of, planes_of

_GREY_WEIGHTS = (0.299, 0.587, 0.114)
_ICE = (0.90, 0.95, 1.0)
_LARGEST_OCTAVES = (1, 2, 3)  # of three layers of needles: a quarter, an eighth and a sixteenth of the side


def fog(pixels: torch.Tensor, levels: Sequence[Sequence[float]], generator: torch.Generator) -> Iterator[torch.Tensor]:
    """Add a cloud and bring the brightest pixel back to where it was.

    Level: the weight of the cloud, and how much weaker its structure is at half the size.
    """
    planes = planes_of(pixels)
    brightest = float(planes.max())
    octaves = draw_octaves(pixels.shape[0], generator)
    for weight, decay in levels:
        added = cloud(octaves, pixels.shape[0], decay).to(pixels.device) * weight
        yield pixels_of((planes + added) * (brightest / (brightest + weight)))


def draw_octaves(side: int, generator: torch.Generator) -> list[torch.Tensor]:
    """The random numbers of a cloud: uniform in [-1, 1], grids of 3, 5, 9, ... points a side up to `side`."""
    number = max(1, math.ceil(math.log2(max(2, side - 1))))
    return [torch.rand((1, 1, 2**k + 1, 2**k + 1), generator=generator) * 2 - 1 for k in range(1, number + 1)]


def cloud(octaves: Sequence[torch.Tensor], side: int, decay: float) -> torch.Tensor:
    """A fractal landscape: float32 (1, 1, S, S), its lowest point 0 and its highest 1.

    Each grid is put between the points of the one before and added with 1 / `decay` of its height.
    """
    field, height = octaves[0], 1.0
    for octave in octaves[1:]:
        height /= decay
        finer = F.interpolate(field, octave.shape[-1], mode="bilinear", align_corners=True)
        field = finer + octave * height
    field = field[..., :side, :side]
    field = field - field.min()
    return field / field.max().clamp_min(1e-6)


def frost(
    pixels: torch.Tensor, levels: Sequence[Sequence[float]], generator: torch.Generator
) -> Iterator[torch.Tensor]:
    """Look through ice. Level: how opaque it is where it is thickest."""
    planes = planes_of(pixels)
    ice, thickness = _ice(pixels.shape[0], planes.shape[1], generator)
    change = (ice.to(pixels.device) - planes) * thickness.to(pixels.device)
    for (opacity,) in levels:
        yield pixels_of(change * opacity + planes)


def _ice(side: int, channels: int, generator: torch.Generator) -> tuple[torch.Tensor, torch.Tensor]:
    """Needles of ice on a hazy ground: its colour (1, C, S, S) and its thickness (1, 1, S, S), both in [0, 1]."""
    haze = cloud(draw_octaves(side, generator), side, 1.7)
    needles = torch.zeros_like(haze)
    for first in _LARGEST_OCTAVES:
        # A cloud cut along its middle height gives threads; without its largest forms they lie close together.
        field = cloud(draw_octaves(side, generator)[first:], side, 2.1)
        needles = torch.maximum(needles, _power((1 - (field - 0.5).abs() * 2).clamp_min(0), 10))
    centres = (torch.arange(side) * 2 + 1) / side - 1
    border = torch.maximum(centres.abs()[:, None], centres.abs())[None, None]  # frost grows from the border
    thickness = (0.45 + 0.3 * border * border + 0.8 * (haze - 0.5) + 0.5 * (needles - 0.3)).clamp(0.1, 1)
    tint = torch.tensor(_ICE if channels == 3 else (1.0,)).view(1, -1, 1, 1)
    return (0.6 + 0.4 * needles) * tint, thickness


def _power(values: torch.Tensor, exponent: int) -> torch.Tensor:
    """By products, which are rounded alike everywhere."""
    result = torch.ones_like(values)
    for _ in range(exponent):
        result = result * values
    return result


def snow(pixels: torch.Tensor, levels: Sequence[Sequence[float]], generator: torch.Generator) -> Iterator[torch.Tensor]:
    """Whiten the image and let flakes fall on it.

    Level: the height in standard deviations from which on a random field is a flake, the brightness of a flake, the
    size of a flake and the length of its fall in pixels, and the weight of the image that is not whitened.
    """
    side = pixels.shape[0]
    planes = planes_of(pixels)
    degrees = 90 + 45 * (2 * float(torch.rand((), generator=generator)) - 1)
    flake = max(1.0, levels[0][2])
    field = torch.randn((1, 1, *2 * (math.ceil(side / flake) + 1,)), generator=generator)
    field = F.interpolate(field, scale_factor=flake, mode="bilinear", align_corners=False)[..., :side, :side]
    grey = planes
    if planes.shape[1] == 3:
        grey = (planes * torch.tensor(_GREY_WEIGHTS, device=pixels.device).view(1, 3, 1, 1)).sum(1, keepdim=True)
    white = torch.maximum(planes, grey * 1.5 + 0.5)
    for height, brightness, _, length, kept in levels:
        flakes = ((field > height) * brightness + (field - height).clamp(0, 1) * 0.3).clamp(0, 1)
        layer = next(convolve_each(flakes, [line_kernel(length, degrees)])).to(pixels.device)
        # Seen upside down, the same flakes are others: two layers for one.
        yield pixels_of(planes * kept + white * (1 - kept) + layer + layer.flip((-2, -1)))
