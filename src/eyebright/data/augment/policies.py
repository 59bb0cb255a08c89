"""Which operations a policy draws for an image, and how strong: RandAugment and TrivialAugment.

RandAugment: Cubuk et al. 2019, arXiv:1909.13719. TrivialAugment: Müller and Hutter 2021, arXiv:2103.10158. Lists,
magnitudes and signs are those of torchvision's `RandAugment` and `TrivialAugmentWide`.
"""

from __future__ import annotations

import math

import torch

from eyebright.config import AugmentConfig

OPERATIONS = (
    "identity", "shear_x", "shear_y", "translate_x", "translate_y", "rotate", "brightness", "colour", "contrast",
    "sharpness", "posterize", "solarize", "autocontrast", "equalize",
)  # fmt: skip
"""Both policies draw each of these with equal probability."""

_SIGNED = torch.tensor([1 <= number <= 9 for number in range(len(OPERATIONS))])  # either direction is as likely
_STEPS = 31


def magnitude_table(policy: str, size: int) -> torch.Tensor:
    """How strong each operation is at each step: float32 (14, 31), without signs, zero where nothing can be chosen.

    Shear counts in rows per column, translation in pixels, rotation in degrees; brightness, colour, contrast and
    sharpness are factors less one; posterize keeps so many bits; solarize inverts from that share of white on.

    Args:
        policy: `randaugment` or `trivialaugment`.
        size: side of the images in pixels.
    """
    wide = policy == "trivialaugment"
    shear, factor = (0.99, 0.99) if wide else (0.3, 0.9)
    shift = 32.0 if wide else 150.0 / 331.0 * size
    ranges = {
        "shear_x": (0.0, shear),
        "shear_y": (0.0, shear),
        "translate_x": (0.0, shift),
        "translate_y": (0.0, shift),
        "rotate": (0.0, 135.0 if wide else 30.0),
        "brightness": (0.0, factor),
        "colour": (0.0, factor),
        "contrast": (0.0, factor),
        "sharpness": (0.0, factor),
        "posterize": (8.0, 2.0 if wide else 4.0),
        "solarize": (1.0, 0.0),
    }
    table = torch.zeros(len(OPERATIONS), _STEPS)
    for name, (weakest, strongest) in ranges.items():
        table[OPERATIONS.index(name)] = torch.linspace(weakest, strongest, _STEPS)
    return table


def draw_operations(
    settings: AugmentConfig, count: int, *, size: int, generator: torch.Generator
) -> tuple[torch.Tensor, torch.Tensor]:
    """Operations, int64 (B, K), and their magnitudes, float32 (B, K); K is 0 without a policy.

    RandAugment draws `policy_operations` for each image, all at step `policy_magnitude` (between two steps in
    proportion); TrivialAugment one, at a step drawn uniformly.

    Args:
        settings: which policy.
        count: images in the batch.
        size: side of the images in pixels.
        generator: on the CPU.
    """
    if settings.policy == "none":
        return torch.zeros(count, 0, dtype=torch.int64), torch.zeros(count, 0)
    shape = (count, 1 if settings.policy == "trivialaugment" else settings.policy_operations)
    table = magnitude_table(settings.policy, size)
    operations = torch.randint(len(OPERATIONS), shape, generator=generator)
    negative = torch.rand(shape, generator=generator) <= 0.5
    if settings.policy == "trivialaugment":
        magnitudes = table[operations, torch.randint(_STEPS, shape, generator=generator)]
    else:
        below = math.floor(settings.policy_magnitude)
        above = min(below + 1, _STEPS - 1)
        magnitudes = table[:, below].lerp(table[:, above], settings.policy_magnitude - below)[operations]
    return operations, torch.where(negative & _SIGNED[operations], -magnitudes, magnitudes)
