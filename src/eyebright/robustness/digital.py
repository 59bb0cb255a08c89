"""What files and screens do to images: fewer pixels, JPEG. Pillow does the work, as it would in daily life."""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence

import numpy as np
import torch
from PIL import Image


def pixelate(
    pixels: torch.Tensor, levels: Sequence[Sequence[float]], generator: torch.Generator
) -> Iterator[torch.Tensor]:
    """Show the image by fewer, larger squares. Level: the share of the side's pixels that is kept."""
    yield from _resized(pixels, levels, Image.Resampling.BOX, Image.Resampling.BOX)


def resolution(
    pixels: torch.Tensor, levels: Sequence[Sequence[float]], generator: torch.Generator
) -> Iterator[torch.Tensor]:
    """Make the image smaller and enlarge it again, smoothly. Level: the share of the side's pixels that is kept."""
    yield from _resized(pixels, levels, Image.Resampling.BICUBIC, Image.Resampling.BICUBIC)


def jpeg(pixels: torch.Tensor, levels: Sequence[Sequence[float]], generator: torch.Generator) -> Iterator[torch.Tensor]:
    """Compress as JPEG, colour at half the resolution. Level: libjpeg's quality, 1 to 100."""
    picture = _picture(pixels)
    for (quality,) in levels:
        with io.BytesIO() as file:
            picture.save(file, "JPEG", quality=int(quality))
            with Image.open(file) as decoded:
                yield _pixels(decoded, pixels)


def _resized(
    pixels: torch.Tensor, levels: Sequence[Sequence[float]], down: Image.Resampling, up: Image.Resampling
) -> Iterator[torch.Tensor]:
    picture, side = _picture(pixels), pixels.shape[0]
    for (kept,) in levels:
        small = max(1, round(side * kept))
        yield _pixels(picture.resize((small, small), down).resize((side, side), up), pixels)


def _picture(pixels: torch.Tensor) -> Image.Image:
    array = pixels.cpu().numpy()
    return Image.fromarray(array[..., 0] if array.shape[-1] == 1 else array)


def _pixels(picture: Image.Image, like: torch.Tensor) -> torch.Tensor:
    return torch.from_numpy(np.array(picture, dtype=np.uint8)).reshape(like.shape).to(like.device)
