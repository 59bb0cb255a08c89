"""What training does to a batch of images, as tensor operations on the device that trains.

All random numbers of a step come from a generator seeded by (seed, step), so that a resumed run repeats them.
"""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F

from eyebright.config import AugmentConfig


def step_generator(seed: int, step: int, stream: int = 0) -> torch.Generator:
    """The random numbers of one step; `stream` separates independent uses."""
    generator = torch.Generator()
    generator.manual_seed((seed * 1_000_003 + step) * 8 + stream)
    return generator


def _uniform(generator: torch.Generator, count: int, low: float, high: float) -> torch.Tensor:
    return torch.rand(count, generator=generator) * (high - low) + low


def augment(images: torch.Tensor, size: int, settings: AugmentConfig, generator: torch.Generator) -> torch.Tensor:
    """Random resized crop, mirror, brightness and contrast, one draw for each image.

    The crop covers a share of the area between `min_area` and 1 with a random aspect, placed anywhere, and is
    resampled bilinearly in one pass together with the mirror.

    Args:
        images: float (B, C, S, S), normalised, with S at least `size`.
        size: side of the result in pixels.
        settings: how strong.
        generator: on the CPU; see `step_generator`.

    Returns:
        float (B, C, size, size), channels-last in memory, on the device of `images`.
    """
    count, channels = images.shape[:2]
    side = _uniform(generator, count, settings.min_area, 1.0).sqrt()
    stretch = (_uniform(generator, count, -settings.aspect, settings.aspect) / 2).exp()
    width, height = (side * stretch).clamp(max=1.0), (side / stretch).clamp(max=1.0)
    centre_x = _uniform(generator, count, -1.0, 1.0) * (1 - width)
    centre_y = _uniform(generator, count, -1.0, 1.0) * (1 - height)
    mirror = (
        torch.where(torch.rand(count, generator=generator) < 0.5, -1.0, 1.0) if settings.flip else torch.ones(count)
    )
    transform = torch.zeros(count, 2, 3)
    transform[:, 0, 0], transform[:, 0, 2] = width * mirror, centre_x
    transform[:, 1, 1], transform[:, 1, 2] = height, centre_y
    grid = F.affine_grid(transform.to(images.device), [count, channels, size, size], align_corners=False)
    images = F.grid_sample(
        images, grid.to(images.dtype), mode="bilinear", padding_mode="reflection", align_corners=False
    )
    if settings.brightness > 0:
        strength = settings.brightness
        gain = _uniform(generator, count, 1 - strength, 1 + strength).view(-1, 1, 1, 1).to(images.device)
        offset = _uniform(generator, count, -strength, strength).view(-1, 1, 1, 1).to(images.device)
        images = images * gain + offset
    return images.contiguous(memory_format=torch.channels_last)


def mixup(
    images: torch.Tensor, targets: torch.Tensor, alpha: float, generator: torch.Generator
) -> tuple[torch.Tensor, torch.Tensor]:
    """Mix each image and its target with those of another image of the batch (Zhang et al. 2018, arXiv:1710.09412).

    Args:
        images: float (B, C, H, W).
        targets: float (B, K), one-hot or soft.
        alpha: both parameters of the beta distribution of the share; one share a batch. 0 mixes nothing.
        generator: on the CPU.

    Returns:
        Mixed images and targets, of the same shapes.
    """
    if alpha <= 0:
        return images, targets
    # torch has no beta distribution that takes a generator; NumPy draws the one number from a seed of ours.
    seed = int(torch.randint(0, 2**31 - 1, (1,), generator=generator))
    share = float(np.random.default_rng(seed).beta(alpha, alpha))
    partner = torch.randperm(len(images), generator=generator).to(images.device)
    mixed = images.lerp(images[partner], 1 - share)
    return mixed.contiguous(memory_format=torch.channels_last), targets.lerp(targets[partner], 1 - share)
