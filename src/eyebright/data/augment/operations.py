"""The operations of the policies, each on a group of images that all have a magnitude of their own.

They do what torchvision does on images of 8 bits, but do not round to 8 bits in between.
"""

from __future__ import annotations

import torch

from eyebright.data.augment.colour import adjust_brightness_, adjust_contrast_, adjust_saturation_
from eyebright.data.augment.geometry import sample
from eyebright.data.augment.policies import OPERATIONS
from eyebright.data.moving import moved

_WHITE = 255  # the level of white, where an operation counts levels


def apply_operations_(images: torch.Tensor, operations: torch.Tensor, magnitudes: torch.Tensor) -> torch.Tensor:
    """Apply to each image its own operations, the first of them first, in place.

    Args:
        images: float32 (B, C, S, S) in [0, 1].
        operations, magnitudes: int64 and float32 (B, K), on the CPU; see `policies.draw_operations`.
    """
    for drawn, strengths in zip(operations.T, magnitudes.T, strict=True):
        for number in drawn.unique().tolist():
            if OPERATIONS[number] == "identity":
                continue
            rows = (drawn == number).nonzero()[:, 0]
            places = moved(rows, images.device)
            images[places] = operate(OPERATIONS[number], images[places], strengths[rows])
    return images


def operate(name: str, images: torch.Tensor, magnitudes: torch.Tensor) -> torch.Tensor:
    """One operation on float32 (B, C, S, S) in [0, 1] with magnitudes (B,) on the CPU; may change `images`."""
    match name:
        case "identity":
            return images
        case "brightness":
            return adjust_brightness_(images, 1 + magnitudes)
        case "colour":
            return adjust_saturation_(images, 1 + magnitudes)
        case "contrast":
            return adjust_contrast_(images, 1 + magnitudes)
        case "sharpness":
            return adjust_sharpness_(images, 1 + magnitudes)
        case "posterize":
            return _posterize_(images, magnitudes)
        case "solarize":
            return _solarize(images, magnitudes)
        case "autocontrast" | "equalize":
            return _spread(name, images)
    maps = operation_maps(name, magnitudes, images.shape[-1])
    return sample(images, maps, size=images.shape[-1], mode="nearest", padding="zeros")


def operation_maps(name: str, magnitudes: torch.Tensor, size: int) -> torch.Tensor:
    """The affine map, float32 (B, 2, 3), of a geometric operation; see `geometry.draw_maps`."""
    magnitudes = magnitudes.double()
    maps = torch.eye(2, 3, dtype=torch.float64).repeat(len(magnitudes), 1, 1)
    match name:
        case "shear_x":  # about the corner at the upper left
            maps[:, 0, 1] = maps[:, 0, 2] = magnitudes
        case "shear_y":
            maps[:, 1, 0] = maps[:, 1, 2] = magnitudes
        case "translate_x":  # by whole pixels
            maps[:, 0, 2] = -2 * magnitudes.trunc() / size
        case "translate_y":
            maps[:, 1, 2] = -2 * magnitudes.trunc() / size
        case _:
            assert name == "rotate", name
            angles = magnitudes.deg2rad()
            maps[:, 0, 0] = maps[:, 1, 1] = angles.cos()
            maps[:, 1, 0] = angles.sin()
            maps[:, 0, 1] = -angles.sin()
    return maps.float()


def adjust_sharpness_(images: torch.Tensor, factors: torch.Tensor) -> torch.Tensor:
    """Move away from, or towards, a blurred image (weights 1 around 5, of 13); the outermost pixels stay."""
    if images.shape[-1] <= 2:
        return images
    across = images[..., :-2] + images[..., 1:-1]
    across += images[..., 2:]
    blurred = across[:, :, :-2] + across[:, :, 1:-1]
    blurred += across[:, :, 2:]
    inner = images[:, :, 1:-1, 1:-1]
    blurred.add_(inner * 4).mul_(1 / 13)
    factors = moved(factors, images.device).view(-1, 1, 1, 1)
    inner.mul_(factors).add_(blurred.mul_(1 - factors)).clamp_(0, 1)
    return images


def _posterize_(images: torch.Tensor, bits: torch.Tensor) -> torch.Tensor:
    """Keep the highest bits of each level and set the others to zero."""
    steps = moved(2 ** (8 - bits.round()), images.device).view(-1, 1, 1, 1)
    return images.mul_(_WHITE).round_().div_(steps).floor_().mul_(steps).mul_(1 / _WHITE)


def _solarize(images: torch.Tensor, thresholds: torch.Tensor) -> torch.Tensor:
    """Invert the levels from a threshold on, which is a share of white."""
    levels = (thresholds.double() * _WHITE).float().ceil()  # the first that is inverted
    limits = moved((levels - 0.5) / _WHITE, images.device).view(-1, 1, 1, 1)  # half way between two levels
    return torch.where(images >= limits, 1 - images, images)


def _spread(name: str, images: torch.Tensor) -> torch.Tensor:
    """Autocontrast and equalize, which need no magnitude: torchvision does whole batches."""
    from torchvision.transforms.v2 import functional

    if name == "autocontrast":
        stretched: torch.Tensor = functional.autocontrast(images)
        return stretched
    levels: torch.Tensor = functional.equalize((images * _WHITE).round_().to(torch.uint8))
    return levels.float().mul_(1 / _WHITE)
