"""All images of a set in the memory of the device that trains: a batch is gathered there by index.

An epoch then sends nothing but the order of its images. On a CPU the images are in its memory in any case, so that this
is of use there only for a store that would decode them again in every epoch.
"""

from __future__ import annotations

import dataclasses
from typing import Literal

import numpy as np
import torch

from eyebright.data.moving import moved
from eyebright.data.store import PixelStore, Rows
from eyebright.errors import UsageError

LARGEST_SHARE = 0.5
"""Of the free memory of a GPU: the rest is for the network, its activations and the optimiser."""
_CHUNK_BYTES = 64 * 1024**2


@dataclasses.dataclass(frozen=True)
class ResidentStore:
    """Images on a device, in the order of a set.

    Attributes:
        pixels: uint8 (M, side, side, C).
        targets: int64 (M,).
        weights: float32 (M,).
    """

    pixels: torch.Tensor
    targets: torch.Tensor
    weights: torch.Tensor

    def take(self, rows: torch.Tensor) -> torch.Tensor:
        """The images of these rows, int64 (b,) on the device: uint8 (b, side, side, C)."""
        return self.pixels.index_select(0, rows)

    def part(self, rows: slice) -> ResidentStore:
        """Images that follow each other; no copy is made."""
        return ResidentStore(self.pixels[rows], self.targets[rows], self.weights[rows])


def stays(wanted: bool | Literal["auto"], *, images_bytes: int, device: torch.device) -> bool:
    """Whether images of so many bytes are to be kept on a device: where that was asked for, or is of use and fits.

    Raises:
        UsageError: it was asked for, and they do not fit.
    """
    if wanted is False or (wanted == "auto" and device.type != "cuda"):
        return False
    if device.type != "cuda":
        return True
    free = torch.cuda.mem_get_info(device)[0]
    if images_bytes <= LARGEST_SHARE * free:
        return True
    if wanted == "auto":
        return False
    raise UsageError(
        f"the training images take {images_bytes / 1024**3:.1f} GiB, and the GPU has {free / 1024**3:.1f} GiB free",
        expected=f"at most {LARGEST_SHARE:.0%} of the free memory for images",
        remedy="leave compute.resident out, or lower --size",
    )


def upload(store: PixelStore, rows: Rows, device: torch.device) -> torch.Tensor:
    """These rows of a store on a device: uint8 (M, side, side, C). Read and sent in pieces, each once."""
    _, side, _, channels = store.shape
    pixels = torch.empty((len(rows), side, side, channels), dtype=torch.uint8, device=device)
    length = max(1, _CHUNK_BYTES // max(1, side * side * channels))
    firsts = range(0, len(rows), length)
    reading = store.reading([rows[first : first + length] for first in firsts])
    try:
        for number, first in enumerate(firsts):
            piece = torch.from_numpy(np.ascontiguousarray(reading.take(number)))
            pixels[first : first + len(piece)] = moved(piece, device)
    finally:
        reading.close()
    return pixels
