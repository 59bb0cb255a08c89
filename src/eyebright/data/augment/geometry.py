"""Where each pixel of the result comes from: one affine map an image, resampled once.

The order, seen from the image: crop, mirror, shear, scale and zoom, rotate, shift. What lies outside the crop but
inside the image is shown where a rotation or shift reaches it; only beyond the image does the fill begin.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F

from eyebright.config import AugmentConfig
from eyebright.data.moving import moved

_PADDING = {"reflect": "reflection", "edge": "border", "black": "zeros"}
_REDUCE_FROM = 1.5  # times too many pixels, from which on they are averaged before sampling


def leaves_image(settings: AugmentConfig) -> bool:
    """Whether the result can show places beyond the image, so that the fill matters."""
    return max(settings.rotation, settings.shift, settings.scale, settings.zoom, settings.shear) > 0


def mirrors(settings: AugmentConfig) -> bool:
    """Whether left and right are exchanged by chance; images that are mirrored by turns come so (see `turns`)."""
    return bool(settings.flip) and settings.flip_schedule == "random"


def resamples(settings: AugmentConfig) -> bool:
    """Whether anything but mirroring moves pixels."""
    return settings.min_area < 1 or leaves_image(settings)


def draw_maps(
    settings: AugmentConfig, flip: torch.Tensor, vertical_flip: torch.Tensor, *, size: int, generator: torch.Generator
) -> torch.Tensor:
    """The affine map of each image: float32 (B, 2, 3), from the result to the image, both from -1 to 1.

    A crop keeps a share of the area that is uniform in [min_area, 1], with a ratio of width to height whose logarithm
    is uniform in [-aspect, aspect] as far as the crop then fits: one of nearly the whole image is nearly square. It
    lies anywhere. The rest has the meaning of torchvision's `affine`, about the centre of the crop.

    Args:
        settings: how strong.
        flip, vertical_flip: bool (B,), what was drawn.
        size: side of the result in pixels, in which whole pixels are counted.
        generator: on the CPU.
    """
    uniform = torch.rand(11, len(flip), generator=generator).double()
    area, aspect = uniform[:2]
    at_x, at_y, angle, x_shift, y_shift, scale, x_zoom, y_zoom, shear = 2 * uniform[2:] - 1
    side = (settings.min_area + (1 - settings.min_area) * area).sqrt()
    stretch = (settings.aspect * (aspect - 0.5)).exp().clamp(min=side, max=1 / side)
    width, height = side * stretch, side / stretch
    cosine, sine = (settings.rotation * angle).deg2rad().cos(), (settings.rotation * angle).deg2rad().sin()
    x_scale = (1 + settings.scale * scale) * (1 + settings.zoom * x_zoom)
    y_scale = (1 + settings.scale * scale) * (1 + settings.zoom * y_zoom)
    tangent = (settings.shear * shear).deg2rad().tan()
    # The inverse, from the result back: shift, rotation, sizes, shear.
    y_matrix = torch.stack([-sine, cosine]) / y_scale
    x_matrix = torch.stack([cosine, sine]) / x_scale + tangent * y_matrix
    matrix = torch.stack([x_matrix, y_matrix])  # (to, from, B)
    shift = 2 * settings.shift * torch.stack([x_shift, y_shift])
    if settings.whole_pixels:
        most = round(settings.shift * size)
        pixels = ((torch.stack([x_shift, y_shift]) + 1) / 2 * (2 * most + 1)).floor() - most  # each equally likely
        shift = 2 * pixels / size
    offset = -(matrix * shift).sum(1)
    mirror = 1 - 2 * torch.stack([flip, vertical_flip]).double()
    window, centre = torch.stack([width, height]), torch.stack([at_x * (1 - width), at_y * (1 - height)])
    window = window * mirror
    maps = torch.cat([window[:, None] * matrix, (window * offset + centre)[:, None]], dim=1)
    return maps.permute(2, 0, 1).float().contiguous()


def warp(
    images: torch.Tensor,
    maps: torch.Tensor,
    flip: torch.Tensor,
    vertical_flip: torch.Tensor,
    *,
    size: int,
    settings: AugmentConfig,
) -> torch.Tensor:
    """Everything that moves pixels. Returns `images` itself where nothing does.

    Args:
        images: float32 (B, C, S, S) in [0, 1].
        maps, flip, vertical_flip: see `Draws`.
        size: side of the result in pixels.
        settings: what was drawn, and the fill.

    Returns:
        float32 (B, C, size, size) in [0, 1].
    """
    if not resamples(settings):
        images = resize(images, size)
        images = _mirror(images, flip, -1) if mirrors(settings) else images
        return _mirror(images, vertical_flip, -2) if settings.vertical_flip else images
    # Bilinear sampling looks at four pixels, so far too many of them would alias. The images are made smaller first,
    # but never so small that the smallest crop would have fewer pixels than the result.
    smallest = math.sqrt(settings.min_area) * math.exp(-settings.aspect / 2)
    enough = math.ceil(size * (1 + settings.scale) * (1 + settings.zoom) / smallest)
    if images.shape[-1] >= _REDUCE_FROM * enough:
        images = resize(images, enough)
    # A crop reaches half a pixel beyond the outermost centres; only an image that is left behind has a fill.
    padding = _PADDING[settings.fill] if leaves_image(settings) else "border"
    return sample(images, maps, size=size, mode="bilinear", padding=padding).clamp_(0, 1)


def sample(images: torch.Tensor, maps: torch.Tensor, *, size: int, mode: str, padding: str) -> torch.Tensor:
    """Sample each image by its own map: float32 (B, C, size, size).

    The grid is made by products and sums alone, each rounded on its own: `affine_grid` multiplies matrices, which is
    slower and rounds otherwise in a batch of another size.
    """
    maps = moved(maps, images.device)
    centres = (torch.arange(size, device=images.device) * 2 + 1) / size - 1
    columns = maps[:, :, 0, None] * centres  # (B, 2, size)
    rows = maps[:, :, 1, None] * centres + maps[:, :, 2, None]
    grid = columns.transpose(1, 2)[:, None] + rows.transpose(1, 2)[:, :, None]  # (B, size, size, 2)
    # Sampling is slower, by more than this copy, where the channels of a pixel lie together.
    return F.grid_sample(images.contiguous(), grid, mode=mode, padding_mode=padding, align_corners=False)


def resize(images: torch.Tensor, size: int) -> torch.Tensor:
    """Bilinear with antialiasing; the same images when they have that size already."""
    if images.shape[-1] == size:
        return images
    return F.interpolate(images, (size, size), mode="bilinear", antialias=True, align_corners=False).clamp_(0, 1)


def _mirror(images: torch.Tensor, chosen: torch.Tensor, dimension: int) -> torch.Tensor:
    rows = moved(chosen.nonzero()[:, 0], images.device)
    mirrored = images.clone()
    mirrored[rows] = images[rows].flip(dimension)
    return mirrored
