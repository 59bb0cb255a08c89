"""What moves or hides pixels: elastic distortion, rotation, occlusion."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import torch
import torch.nn.functional as F

from eyebright.robustness.pixels import identity_grid, pixels_of, planes_of, sample

_CELLS = 14  # random displacements along a side; between them the distortion is smooth
_GREY = 128


def elastic_transform(
    pixels: torch.Tensor, levels: Sequence[Sequence[float]], generator: torch.Generator
) -> Iterator[torch.Tensor]:
    """Stretch the image like rubber (Simard et al., Best Practices for Convolutional Neural Networks, 2003).

    Level: the standard deviation of the displacement along each axis in pixels.
    """
    side = pixels.shape[0]
    planes = planes_of(pixels)
    grid = identity_grid(side, pixels.device)
    coarse = torch.randn((1, 2, _CELLS + 3, _CELLS + 3), generator=generator)
    field = F.interpolate(coarse, (side, side), mode="bicubic", align_corners=True)
    field = (field / field.std()).permute(0, 2, 3, 1).to(pixels.device)
    for (deviation,) in levels:
        yield pixels_of(sample(planes, grid + field * (2 * deviation / side)))


def rotation(
    pixels: torch.Tensor, levels: Sequence[Sequence[float]], generator: torch.Generator
) -> Iterator[torch.Tensor]:
    """Turn about the centre, to a side that is drawn; the corners show the mirrored image. Level: degrees."""
    planes = planes_of(pixels)
    direction = 1 if float(torch.rand((), generator=generator)) < 0.5 else -1
    grid = identity_grid(pixels.shape[0], pixels.device)
    for (degrees,) in levels:
        angle = math.radians(direction * degrees)
        x, y = grid.unbind(-1)
        turned = torch.stack(
            [x * math.cos(angle) - y * math.sin(angle), x * math.sin(angle) + y * math.cos(angle)], dim=-1
        )
        yield pixels_of(sample(planes, turned))


def occlusion(
    pixels: torch.Tensor, levels: Sequence[Sequence[float]], generator: torch.Generator
) -> Iterator[torch.Tensor]:
    """Hide a square behind grey, at a place that is drawn; a larger square covers a smaller one.

    Level: the share of the area.
    """
    side = pixels.shape[0]
    across, down = torch.rand(2, generator=generator).tolist()
    for (share,) in levels:
        hidden = min(side, max(1, round(side * math.sqrt(share))))
        left, top = (int((side - hidden) * place + 0.5) for place in (across, down))
        result = pixels.clone()
        result[top : top + hidden, left : left + hidden] = _GREY
        yield result
