"""Between the 8 bits of an image and the numbers that a corruption works with.

Every image goes through alone: float sums are rounded otherwise in a batch of another size, and what happens to an
image must not depend on its neighbours.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import torch
import torch.nn.functional as F

WHITE = 255.0


def planes_of(pixels: torch.Tensor) -> torch.Tensor:
    """uint8 (S, S, C) as float32 (1, C, S, S) in [0, 1]."""
    return pixels.permute(2, 0, 1)[None].float().div_(WHITE)


def pixels_of(planes: torch.Tensor) -> torch.Tensor:
    """float32 (1, C, S, S), 1 for white, as uint8 (S, S, C); what lies beyond is cut off. May change `planes`."""
    return planes[0].mul_(WHITE).round_().clamp_(0, WHITE).byte().permute(1, 2, 0).contiguous()


def convolve_each(planes: torch.Tensor, kernels: Sequence[torch.Tensor]) -> Iterator[torch.Tensor]:
    """Correlate each channel with one kernel after another, the image mirrored beyond its border.

    Args:
        planes: float32 (1, C, S, S).
        kernels: float32 (K, K) each, K odd and at most 2 S - 1, on the CPU.

    Yields:
        float32 (1, C, S, S) for each kernel.
    """
    side, margin = planes.shape[-1], max(kernel.shape[-1] // 2 for kernel in kernels)
    padded = F.pad(planes, (margin,) * 4, mode="reflect")
    period = _smooth_number(side + 2 * margin)
    spectrum = torch.fft.rfft2(padded, (period, period))
    for kernel in kernels:
        # A correlation is a product with the conjugate; what wraps around falls outside the part that is kept.
        weights = torch.fft.rfft2(kernel.to(planes.device), (period, period)).conj()
        filtered: torch.Tensor = torch.fft.irfft2(spectrum * weights, (period, period))
        first = margin - kernel.shape[-1] // 2
        yield filtered[..., first : first + side, first : first + side]


def _smooth_number(least: int) -> int:
    """The first number from `least` on with no prime factor above 5: a Fourier transform is fast there."""
    number = least
    while True:
        rest = number
        for factor in (2, 3, 5):
            while rest % factor == 0:
                rest //= factor
        if rest == 1:
            return number
        number += 1


def gaussian_kernel(sigma: float) -> torch.Tensor:
    """float32 (K, K) with the standard deviation `sigma` in pixels, cut off at four of them, of sum 1."""
    reach = math.ceil(4 * sigma)
    places = torch.arange(-reach, reach + 1, dtype=torch.float64)
    line = torch.exp(-0.5 * (places / sigma) ** 2)
    kernel = line[:, None] * line
    return (kernel / kernel.sum()).float()


def identity_grid(side: int, device: torch.device) -> torch.Tensor:
    """Where each pixel lies for `grid_sample`: float32 (1, S, S, 2), x then y, the image reaching from -1 to 1."""
    centres = (torch.arange(side, device=device) * 2 + 1) / side - 1
    return torch.stack(torch.meshgrid(centres, centres, indexing="xy"), dim=-1)[None]


def sample(planes: torch.Tensor, grid: torch.Tensor) -> torch.Tensor:
    """Bilinear samples at the places of a grid (1, S, S, 2), the image mirrored beyond its border."""
    return F.grid_sample(planes, grid, mode="bilinear", padding_mode="reflection", align_corners=False)
