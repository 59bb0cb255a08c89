"""Mixing pairs of images and their targets: MixUp and CutMix.

MixUp: Zhang et al. 2018, arXiv:1710.09412. CutMix: Yun et al. 2019, arXiv:1905.04899.
"""

from __future__ import annotations

import dataclasses
import math
from typing import Literal

import numpy as np
import torch

from eyebright.config import AugmentConfig


@dataclasses.dataclass(frozen=True, kw_only=True)
class Mixing:
    """How a batch is mixed.

    Attributes:
        kind: `mixup` adds the images in shares, `cutmix` pastes a rectangle of the partner.
        share: of the image itself in its target; the rest is the partner's. With `cutmix` the share of the area that
            is not pasted over.
        partner: int64 (B,), which image of the batch each one is mixed with; may be itself.
        box: columns from and to and rows from and to of what `cutmix` pastes, the same for all images.
    """

    kind: Literal["mixup", "cutmix"]
    share: float
    partner: torch.Tensor
    box: tuple[int, int, int, int] = (0, 0, 0, 0)

    def take(self, rows: torch.Tensor | slice) -> Mixing:
        """The same for some of the images; `partner` still counts in the whole batch."""
        return dataclasses.replace(self, partner=self.partner[rows])


def draw_mixing(settings: AugmentConfig, count: int, *, size: int, generator: torch.Generator) -> Mixing | None:
    """Draw one share, one rectangle and the partners for a batch; None when the settings mix nothing.

    Args:
        settings: `mixup` and `cutmix`, both parameters of the beta distribution of the share. With both above zero
            the batch is mixed by one of the two, each with probability one half.
        count: images in the whole batch.
        size: side of the images in pixels.
        generator: on the CPU.
    """
    mixup = settings.mixup or 0.0
    if mixup == 0 and settings.cutmix == 0:
        return None
    partner = torch.randperm(count, generator=generator)
    coin, at_x, at_y = torch.rand(3, generator=generator, dtype=torch.float64).tolist()
    # torch has no beta distribution that takes a generator; NumPy draws the one number from a seed of ours.
    seed = int(torch.randint(0, 2**31 - 1, (1,), generator=generator))
    pastes = settings.cutmix > 0 and (mixup == 0 or coin < 0.5)
    alpha = settings.cutmix if pastes else mixup
    share = float(np.random.default_rng(seed).beta(alpha, alpha))
    if not pastes:
        return Mixing(kind="mixup", share=share, partner=partner)
    half = int(size * math.sqrt(1 - share)) // 2
    x, y = int(at_x * size), int(at_y * size)
    left, right, top, bottom = max(x - half, 0), min(x + half, size), max(y - half, 0), min(y + half, size)
    share = 1 - (right - left) * (bottom - top) / size**2  # what the clipped rectangle really covers
    return Mixing(kind="cutmix", share=share, partner=partner, box=(left, right, top, bottom))


def mix(images: torch.Tensor, others: torch.Tensor, mixing: Mixing) -> torch.Tensor:
    """Mix images with those of their partners.

    Args:
        images: float (B, C, H, W).
        others: of the same shape; `images[mixing.partner]` where the whole batch is on one device.
        mixing: the draw.

    Returns:
        A new tensor (B, C, H, W), channels-last in memory.
    """
    if mixing.kind == "mixup":
        mixed = images.lerp(others, 1 - mixing.share)
    else:
        mixed = images.clone()
        left, right, top, bottom = mixing.box
        mixed[:, :, top:bottom, left:right] = others[:, :, top:bottom, left:right]
    return mixed.contiguous(memory_format=torch.channels_last)


def mix_targets(targets: torch.Tensor, others: torch.Tensor, mixing: Mixing) -> torch.Tensor:
    """Mix targets, float (B, K), with those of the partners by the share of each in the image."""
    return targets.lerp(others, 1 - mixing.share)
