"""Batches from a pack: gathered ahead by a thread, moved once, normalised on the device that trains.

The order of an epoch is a function of seed and epoch alone, so a run that is resumed in the middle of an epoch sees
exactly the images that it would have seen.
"""

from __future__ import annotations

import contextlib
import dataclasses
import queue
import threading
from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
import torch

from eyebright.preprocess import Preprocess


@dataclasses.dataclass(frozen=True)
class Batch:
    """Images and what they are.

    Attributes:
        images: float32 (B, C, H, W), normalised, channels-last in memory, on the device.
        targets: int64 (B,), class indices, on the device.
        weights: float32 (B,), how much each image counts in the loss, on the device.
    """

    images: torch.Tensor
    targets: torch.Tensor
    weights: torch.Tensor


class PixelSet:
    """The images of one split inside a pack, with their targets.

    Args:
        pixels: uint8 (N, side, side, C), usually a memory map of all splits.
        rows: int64 (M,), which rows of `pixels` belong here.
        targets: int64 (M,), class indices.
        weights: float32 (M,), or None for one each.
        preprocess: the normalisation, and the crop for evaluation.
        device: where batches go.
    """

    def __init__(
        self,
        pixels: npt.NDArray[np.uint8],
        rows: npt.NDArray[np.int64],
        targets: npt.NDArray[np.int64],
        *,
        preprocess: Preprocess,
        device: torch.device,
        weights: npt.NDArray[np.float32] | None = None,
    ) -> None:
        assert len(rows) == len(targets)
        self.pixels = pixels
        self.rows = rows
        self.targets = targets
        self.weights = np.ones(len(rows), dtype=np.float32) if weights is None else weights.astype(np.float32)
        self.preprocess = preprocess
        self.device = device
        scale, shift = preprocess.scale_and_shift()
        self._scale = torch.from_numpy(scale).to(device).view(1, -1, 1, 1)
        self._shift = torch.from_numpy(shift).to(device).view(1, -1, 1, 1)

    def __len__(self) -> int:
        return len(self.rows)

    def shuffled(self, batch_size: int, *, seed: int, epoch: int, first: int = 0) -> Iterator[Batch]:
        """One epoch in random order with the margin around the centre crop, from batch number `first` on.

        The incomplete last batch is left out when there is a whole one, so that every step weighs the same.
        """
        order = np.random.default_rng([seed, epoch]).permutation(len(self.rows))
        steps = max(1, len(order) // batch_size)
        parts = [np.sort(order[step * batch_size : (step + 1) * batch_size]) for step in range(first, steps)]
        yield from self._batches(parts, centre=False)

    def in_order(self, batch_size: int) -> Iterator[Batch]:
        """Every image once, in order, as evaluation sees it."""
        indices = np.arange(len(self.rows))
        yield from self._batches([indices[i : i + batch_size] for i in range(0, len(indices), batch_size)], centre=True)

    def steps_per_epoch(self, batch_size: int) -> int:
        """Number of batches that `shuffled` gives."""
        return max(1, len(self.rows) // batch_size)

    def _gather(self, indices: npt.NDArray[np.int64], centre: bool) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        pixels = self.pixels[self.rows[indices]]  # (B, side, side, C)
        if centre:
            pixels = np.ascontiguousarray(self.preprocess.centre(pixels))
        arrays = (pixels, self.targets[indices], self.weights[indices])
        tensors = tuple(torch.from_numpy(np.asarray(array)) for array in arrays)
        if self.device.type == "cuda":
            tensors = tuple(tensor.pin_memory() for tensor in tensors)
        return tensors  # type: ignore[return-value]

    def _batches(self, parts: list[npt.NDArray[np.int64]], *, centre: bool) -> Iterator[Batch]:
        ready: queue.Queue[tuple[torch.Tensor, torch.Tensor, torch.Tensor] | BaseException | None] = queue.Queue(2)
        stopped = threading.Event()

        def hand_over(item: tuple[torch.Tensor, torch.Tensor, torch.Tensor] | BaseException | None) -> None:
            # Never waits for good: whoever took the batches may have left, and waits for this thread.
            handed = False
            while not handed and not stopped.is_set():
                with contextlib.suppress(queue.Full):
                    ready.put(item, timeout=0.1)
                    handed = True

        def gather_ahead() -> None:
            try:
                for part in parts:
                    hand_over(self._gather(part, centre))
                    if stopped.is_set():
                        return
                hand_over(None)
            except BaseException as error:
                hand_over(error)

        thread = threading.Thread(target=gather_ahead, name="eyebright-gather", daemon=True)
        thread.start()
        try:
            while (item := ready.get()) is not None:
                if isinstance(item, BaseException):
                    raise item
                yield self._batch(*item)
        finally:
            stopped.set()
            thread.join()

    def _batch(self, pixels: torch.Tensor, targets: torch.Tensor, weights: torch.Tensor) -> Batch:
        pixels = pixels.to(self.device, non_blocking=True)
        # A permuted view of (B, H, W, C) is channels-last (B, C, H, W) without a copy.
        images = pixels.permute(0, 3, 1, 2).float().mul_(self._scale).add_(self._shift)
        images = images.contiguous(memory_format=torch.channels_last)
        return Batch(images, targets.to(self.device, non_blocking=True), weights.to(self.device, non_blocking=True))
