"""Every random choice that augmentation makes for a batch, apart from what is done with it.

The choices of a whole batch are drawn on the CPU from one generator, so several devices can each take the rows of
their own images and get exactly the pixels that one device would have got.
"""

from __future__ import annotations

import dataclasses

import torch

from eyebright.config import AugmentConfig
from eyebright.data.augment.erasing import draw_boxes
from eyebright.data.augment.geometry import draw_maps, mirrors
from eyebright.data.augment.policies import draw_operations


def step_generator(seed: int, step: int, stream: int = 0) -> torch.Generator:
    """The random numbers of one step; `stream` (0 to 7) separates independent uses."""
    generator = torch.Generator()
    generator.manual_seed((seed * 1_000_003 + step) * 8 + stream)
    return generator


@dataclasses.dataclass(frozen=True, kw_only=True)
class Draws:
    """What was drawn for each image of a batch, all on the CPU.

    Attributes:
        flip, vertical_flip: bool (B,), mirror left and right, top and bottom.
        maps: float32 (B, 2, 3), from a place in the result to the place in the image that it shows, both from -1 to 1
            across the whole side; all geometry in one, the flips included.
        brightness, contrast, saturation: float32 (B,), factors; 1 changes nothing.
        hue: float32 (B,), turns of the colour circle.
        operations: int64 (B, K), positions in `policies.OPERATIONS`, applied from the first to the last.
        magnitudes: float32 (B, K), how strong, in the unit of the operation.
        erased: int64 (B, 4), columns from and to and rows from and to (the ends excluded) of what is blackened; four
            zeros where nothing is.
    """

    flip: torch.Tensor
    vertical_flip: torch.Tensor
    maps: torch.Tensor
    brightness: torch.Tensor
    contrast: torch.Tensor
    saturation: torch.Tensor
    hue: torch.Tensor
    operations: torch.Tensor
    magnitudes: torch.Tensor
    erased: torch.Tensor

    def __len__(self) -> int:
        return len(self.flip)

    def take(self, rows: torch.Tensor | slice) -> Draws:
        """The choices for some of the images: `rows` is a slice, or positions, or a bool for each image."""
        return Draws(**{field.name: getattr(self, field.name)[rows] for field in dataclasses.fields(self)})


def draw(settings: AugmentConfig, count: int, *, side: int, size: int, generator: torch.Generator) -> Draws:
    """Draw for a batch what `augment` then does.

    Args:
        settings: how strong.
        count: images in the whole batch.
        side: side of the images in pixels, before augmentation.
        size: side of the result in pixels.
        generator: on the CPU; see `step_generator`. The draws of one part do not depend on the strength of another.

    Raises:
        UsageError: `erasing_side` leaves nothing of an image of `size` pixels.
    """
    assert count >= 0
    assert min(side, size) >= 1
    flip, vertical_flip, brightness, contrast, saturation, hue = torch.rand(6, count, generator=generator)
    flips = (flip < 0.5) & mirrors(settings), (vertical_flip < 0.5) & settings.vertical_flip
    maps = draw_maps(settings, *flips, size=size, generator=generator)
    operations, magnitudes = draw_operations(settings, count, size=size, generator=generator)
    return Draws(
        flip=flips[0],
        vertical_flip=flips[1],
        maps=maps,
        brightness=1 + settings.brightness * (2 * brightness - 1),
        contrast=1 + settings.contrast * (2 * contrast - 1),
        saturation=1 + settings.saturation * (2 * saturation - 1),
        hue=settings.hue * (2 * hue - 1),
        operations=operations,
        magnitudes=magnitudes,
        erased=draw_boxes(settings, count, size=size, generator=generator),
    )
