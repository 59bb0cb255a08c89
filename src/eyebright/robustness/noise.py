"""Noise on single pixels: Gaussian, photon counting, dead and hot pixels. Each channel of a pixel has its own."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence

import numpy as np
import torch
from scipy.stats import poisson

from eyebright.robustness.pixels import WHITE

_QUANTILES = 2**12  # how finely the distribution of a photon count is cut into equally likely parts


def gaussian_noise(
    pixels: torch.Tensor, levels: Sequence[Sequence[float]], generator: torch.Generator
) -> Iterator[torch.Tensor]:
    """Add normal noise. Level: its standard deviation, 1 for white."""
    clean = pixels.float()
    noise = torch.randn(pixels.shape, generator=generator).to(pixels.device)
    for (deviation,) in levels:
        yield (noise * (deviation * WHITE)).add_(clean).round_().clamp_(0, WHITE).byte()


def shot_noise(
    pixels: torch.Tensor, levels: Sequence[Sequence[float]], generator: torch.Generator
) -> Iterator[torch.Tensor]:
    """Count photons: a Poisson number whose mean is the brightness times the level. Level: photons of white.

    One table gives the answer for each brightness and each of 4,096 equally likely parts of the distribution.
    """
    part = torch.randint(0, _QUANTILES, pixels.shape, generator=generator, dtype=torch.int32).to(pixels.device)
    index = (pixels.int() * _QUANTILES).add_(part).reshape(-1)
    for (photons,) in levels:
        table = torch.from_numpy(_photon_table(photons)).to(pixels.device)
        yield table.index_select(0, index).reshape(pixels.shape)


@functools.lru_cache(maxsize=32)
def _photon_table(photons: float) -> np.ndarray[tuple[int], np.dtype[np.uint8]]:
    """What a count makes of each brightness and part: uint8 (256 * parts,)."""
    means = np.arange(256) / WHITE * photons
    most = int(poisson.ppf(1 - 1e-9, photons)) + 2
    counts = np.arange(most)
    reached = np.asarray(poisson.cdf(counts, means[:, None]))  # (256, most)
    # The middle of a part stands for it.
    shares = (np.arange(_QUANTILES) + 0.5) / _QUANTILES
    found = np.stack([np.searchsorted(row, shares) for row in reached])
    return (found / photons * WHITE).round().clip(0, WHITE).astype(np.uint8).reshape(-1)


def impulse_noise(
    pixels: torch.Tensor, levels: Sequence[Sequence[float]], generator: torch.Generator
) -> Iterator[torch.Tensor]:
    """Set values to black or white, as many to each (salt and pepper). Level: the share of the values."""
    drawn = torch.rand(pixels.shape, generator=generator).to(pixels.device)
    for (share,) in levels:
        yield pixels.masked_fill(drawn < share / 2, 0).masked_fill_(drawn >= 1 - share / 2, int(WHITE))
