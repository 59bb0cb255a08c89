"""Corrupting batches: each image by chance numbers of its own, so that neighbours and order do not matter."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence

import torch

from eyebright.errors import DataError, UsageError
from eyebright.robustness.catalog import SEVERITIES, corruption


def severities(pixels: torch.Tensor, ids: Sequence[str], name: str, *, seed: int = 0) -> Iterator[torch.Tensor]:
    """A batch at every severity, mildest first.

    What an image becomes depends on its pixels, its id, the name of the corruption and the seed. The severities of one
    corruption share their chance numbers: the same flakes fall more thickly, the same square grows.

    Args:
        pixels: uint8 (N, S, S, C), C is 1 or 3, on any device.
        ids: N content ids.
        name: of the corruption; see `catalog.CORRUPTIONS`.
        seed: another one draws other numbers.

    Yields:
        uint8 (N, S, S, C) on the same device, five times.

    Raises:
        UsageError: there is no such corruption.
        DataError: shapes or types do not fit.
    """
    chosen = corruption(name)
    _check(pixels, ids)
    levels = chosen.at(pixels.shape[1])
    running = [
        chosen.function(one, levels, _generator(seed, name, image)) for one, image in zip(pixels, ids, strict=True)
    ]
    for _ in levels:
        results = [next(one) for one in running]
        yield torch.stack(results) if results else pixels.clone()


def corrupt(pixels: torch.Tensor, ids: Sequence[str], name: str, severity: int, *, seed: int = 0) -> torch.Tensor:
    """A batch at one severity, 1 to 5: uint8 (N, S, S, C); see `severities`, which is cheaper for all five.

    Raises:
        UsageError: there is no such corruption or severity.
        DataError: shapes or types do not fit.
    """
    if severity not in range(1, SEVERITIES + 1):
        raise UsageError(f"severity {severity!r}", expected=f"1 to {SEVERITIES}")
    for number, result in enumerate(severities(pixels, ids, name, seed=seed), start=1):
        if number == severity:
            return result
    raise AssertionError("every corruption has all severities")


def _generator(seed: int, name: str, image: str) -> torch.Generator:
    digest = hashlib.blake2b(f"{seed}/{name}/{image}".encode(), digest_size=8).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest, "little") >> 1)


def _check(pixels: torch.Tensor, ids: Sequence[str]) -> None:
    shape = tuple(pixels.shape)
    square = len(shape) == 4 and shape[1] == shape[2] >= 2 and shape[3] in (1, 3)
    if pixels.dtype != torch.uint8 or not square or len(ids) != shape[0]:
        raise DataError(
            f"pixels are {pixels.dtype} {shape} with {len(ids)} ids",
            expected="uint8 (N, S, S, 1 or 3), at least 2 pixels a side, and one id for each image",
        )
