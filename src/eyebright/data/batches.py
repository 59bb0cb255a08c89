"""Batches from a pack: gathered ahead by threads, moved once to the device that computes.

The order of an epoch is a function of seed and epoch alone, so a run that is resumed in the middle of an epoch sees
exactly the images that it would have seen, whatever the number of threads.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Iterator
from typing import Literal

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F

from eyebright.config import DataConfig
from eyebright.cores import available_cores
from eyebright.data.moving import moved
from eyebright.data.resident import ResidentStore, stays, upload
from eyebright.data.sampling import epoch_order, window_of
from eyebright.data.store import ArrayStore, MirroredStore, Pixels, PixelStore, Reading
from eyebright.lookahead import looked_ahead
from eyebright.preprocess import Preprocess

Change = Callable[[Pixels, int, int], Pixels]
"""What happens to one image (S, S, C) before it joins a batch: called with the image, the epoch and its row."""
WAITING, COPYING = "waiting for images", "copy to the device"
"""What an epoch tells that it does."""
_MOST_THREADS = 4


def _nobody(what: str) -> None:
    """Wants to know nothing."""


@dataclasses.dataclass(frozen=True)
class Batch:
    """Images as evaluation sees them.

    Attributes:
        images: float32 (B, C, H, W), normalised, channels-last in memory, on the device.
        targets: int64 (B,), class indices, on the device.
    """

    images: torch.Tensor
    targets: torch.Tensor


@dataclasses.dataclass(frozen=True, kw_only=True)
class TrainingBatch:
    """Images to learn from, as they are in the pack, or the part of them that this process needs.

    Attributes:
        pixels: uint8 (b, C, S, S), channels-last in memory, on the device.
        rows: which images of the whole batch these are.
        targets: int64 (B,), class indices of the whole batch, on the device.
        weights: float32 (B,), how much each image of the whole batch counts, on the device.
    """

    pixels: torch.Tensor
    rows: slice
    targets: torch.Tensor
    weights: torch.Tensor


@dataclasses.dataclass(frozen=True, kw_only=True)
class Order:
    """Which images come in which order, and which of them this process takes.

    Attributes:
        seed: another seed gives another order.
        batch_size: images in a batch, over all processes.
        settings: `sampling` and `drop_last`.
        part: the rows of a batch of so many images that this process needs.
        change: what happens to each image on the way.
        workers: threads that gather; None for as many as the machine has cores, up to four.
        doing: told what an epoch does before each batch: `WAITING`, then `COPYING`.
    """

    seed: int
    batch_size: int
    settings: DataConfig
    part: Callable[[int], slice] = slice
    change: Change | None = None
    workers: int | None = None
    doing: Callable[[str], None] = _nobody


class PixelSet:
    """The images of one split inside a store, with their targets.

    Args:
        pixels: a store of all splits, or an array uint8 (N, side, side, C).
        rows: int64 (M,), which rows of the store belong here.
        targets: int64 (M,), class indices.
        weights: float32 (M,), or None for one each.
        preprocess: the normalisation, and the crop for evaluation.
        device: where batches go.
        resident: the same images where they stay on the device, in the order of `rows`.
    """

    def __init__(
        self,
        pixels: PixelStore | Pixels,
        rows: npt.NDArray[np.int64],
        targets: npt.NDArray[np.int64],
        *,
        preprocess: Preprocess,
        device: torch.device,
        weights: npt.NDArray[np.float32] | None = None,
        resident: ResidentStore | None = None,
    ) -> None:
        assert len(rows) == len(targets)
        self.store: PixelStore = ArrayStore(pixels) if isinstance(pixels, np.ndarray) else pixels
        self.rows = rows
        self.targets = targets
        self.weights = np.ones(len(rows), dtype=np.float32) if weights is None else weights.astype(np.float32)
        self.preprocess = preprocess
        self.device = device
        self.resident = resident
        scale, shift = preprocess.scale_and_shift()
        self._scale = torch.from_numpy(scale).to(device).view(1, -1, 1, 1)
        self._shift = torch.from_numpy(shift).to(device).view(1, -1, 1, 1)

    def __len__(self) -> int:
        return len(self.rows)

    def part(self, rows: slice | npt.NDArray[np.int64]) -> PixelSet:
        """Some of the images, in that order."""
        return PixelSet(
            self.store, self.rows[rows], self.targets[rows],
            preprocess=self.preprocess, device=self.device, weights=self.weights[rows],
            resident=self.resident.part(rows) if self.resident and isinstance(rows, slice) else None,
        )  # fmt: skip

    def staying(self, wanted: bool | Literal["auto"]) -> PixelSet:
        """The same images, kept on the device where that is wanted and they fit: every batch has the same bits.

        Raises:
            UsageError: it was asked for, and they do not fit.
        """
        _, side, _, channels = self.store.shape
        images_bytes = len(self.rows) * side * side * channels
        if self.resident or not stays(wanted, images_bytes=images_bytes, device=self.device):
            return self
        targets, weights = self._moved(self.targets), self._moved(self.weights)
        resident = ResidentStore(upload(self.store, self.rows, self.device), targets, weights)
        return PixelSet(
            self.store, self.rows, self.targets,
            preprocess=self.preprocess, device=self.device, weights=self.weights, resident=resident,
        )  # fmt: skip

    def class_totals(self, classes: int) -> npt.NDArray[np.float64]:
        """Summed weights of the images of each class: float64 (K,)."""
        return np.bincount(self.targets, weights=self.weights.astype(np.float64), minlength=classes).astype(np.float64)

    def steps_per_epoch(self, batch_size: int, *, drop_last: bool = True) -> int:
        """Number of batches that `shuffled` gives."""
        return steps_per_epoch(len(self.rows), batch_size, drop_last=drop_last)

    def mirrored(self) -> PixelSet:
        """The same images with left and right exchanged."""
        return PixelSet(
            MirroredStore(self.store), self.rows, self.targets,
            preprocess=self.preprocess, device=self.device, weights=self.weights,
        )  # fmt: skip

    def shuffled(self, order: Order, *, epoch: int, first: int = 0) -> Iterator[TrainingBatch]:
        """One epoch in random order with the margin around the centre crop, from batch number `first` on."""
        size = order.batch_size
        sequence = epoch_order(
            self.targets, seed=order.seed, epoch=epoch, sampling=order.settings.sampling,
            window=window_of(self.store, self.rows),
        )  # fmt: skip
        steps = self.steps_per_epoch(size, drop_last=order.settings.drop_last)
        parts = [np.sort(sequence[step * size : (step + 1) * size]) for step in range(first, steps)]
        if self.resident is not None and order.change is None:
            yield from self._gathered_there(self.resident, order, parts)
            return
        needed = [self.rows[indices[order.part(len(indices))]] for indices in parts]

        def gather(reading: Reading, number: int) -> Pixels:
            pixels = reading.take(number)  # (b, side, side, C)
            if order.change is None:
                return pixels
            change, rows = order.change, needed[number]
            return np.stack([change(image, epoch, int(row)) for image, row in zip(pixels, rows, strict=True)])

        order.doing(WAITING)
        for pixels, indices in zip(self._gathered(gather, needed, order.workers), parts, strict=True):
            order.doing(COPYING)
            yield TrainingBatch(
                pixels=self._moved(pixels).permute(0, 3, 1, 2),
                rows=order.part(len(indices)),
                targets=self._moved(self.targets[indices]),
                weights=self._moved(self.weights[indices]),
            )
            order.doing(WAITING)

    def _gathered_there(
        self, resident: ResidentStore, order: Order, parts: list[npt.NDArray[np.int64]]
    ) -> Iterator[TrainingBatch]:
        """Batches of images that stay on the device; only their order is sent, that of an epoch at once."""
        order.doing(COPYING)
        sequence = self._moved(np.concatenate(parts) if parts else np.zeros(0, dtype=np.int64))
        for whole in torch.split(sequence, [len(indices) for indices in parts]):
            order.doing(COPYING)
            rows = order.part(len(whole))
            yield TrainingBatch(
                pixels=resident.take(whole[rows]).permute(0, 3, 1, 2),
                rows=rows,
                targets=resident.targets[whole],
                weights=resident.weights[whole],
            )

    def centres(self, batch_size: int) -> Iterator[Pixels]:
        """Every image once, in order, without its margin: uint8 (b, size, size, C), contiguous, on the CPU."""

        def gather(reading: Reading, number: int) -> Pixels:
            return np.ascontiguousarray(self.preprocess.centre(reading.take(number)))

        parts = [self.rows[first : first + batch_size] for first in range(0, len(self.rows), batch_size)]
        yield from self._gathered(gather, parts, 1)

    def in_order(self, batch_size: int, *, size: int | None = None) -> Iterator[Batch]:
        """Every image once, in order, as evaluation sees it; resized when another `size` in pixels is wanted."""
        first = 0
        for pixels in self._centres_there(batch_size):
            # A permuted view of (B, H, W, C) is channels-last (B, C, H, W) without a copy.
            images = pixels.permute(0, 3, 1, 2).float().mul_(self._scale).add_(self._shift)
            images = images.contiguous(memory_format=torch.channels_last)
            if size is not None and size != images.shape[-1]:
                images = resized(images, size)
            yield Batch(images, self._moved(self.targets[first : first + len(pixels)]))
            first += len(pixels)

    def _centres_there(self, batch_size: int) -> Iterator[torch.Tensor]:
        """As `centres`, on the device."""
        if self.resident is None:
            for pixels in self.centres(batch_size):
                yield self._moved(pixels)
            return
        margin = (self.resident.pixels.shape[1] - self.preprocess.size) // 2
        stop = margin + self.preprocess.size
        for part in torch.split(self.resident.pixels, batch_size):
            yield part[:, margin:stop, margin:stop]

    def _gathered(
        self, gather: Callable[[Reading, int], Pixels], parts: list[npt.NDArray[np.int64]], workers: int | None
    ) -> Iterator[Pixels]:
        """What `gather` makes of every part, in order, computed ahead."""
        threads = workers or min(_MOST_THREADS, available_cores())
        reading = self.store.reading(parts)
        gathered = looked_ahead(
            functools.partial(gather, reading), range(len(parts)), threads=threads, ahead=2 * threads + 1
        )
        try:
            for pixels in gathered:  # noqa: UP028  (`yield from` would wait for the threads before the reading ends)
                yield pixels
        finally:
            reading.close()
            gathered.close()

    def normalised(self, images: torch.Tensor) -> torch.Tensor:
        """Images on the scale from 0 to 1, float32 (B, C, H, W), as the network wants them."""
        return torch.addcmul(self._shift, images, 255 * self._scale).contiguous(memory_format=torch.channels_last)

    def _moved(self, array: npt.NDArray[np.generic]) -> torch.Tensor:
        return moved(torch.from_numpy(np.asarray(array)), self.device)


def steps_per_epoch(images: int, batch_size: int, *, drop_last: bool) -> int:
    """Number of batches in an epoch: at least one.

    A last batch of a single image is always left out, where there is another: batch norms cannot learn from it.
    """
    whole, rest = divmod(images, batch_size)
    return max(1, whole if drop_last or rest < 2 else whole + 1)


def resized(images: torch.Tensor, size: int) -> torch.Tensor:
    """Images (B, C, H, W) at another side in pixels, bilinear with antialiasing, channels-last in memory."""
    images = F.interpolate(images, size=(size, size), mode="bilinear", antialias=True, align_corners=False)
    return images.contiguous(memory_format=torch.channels_last)
