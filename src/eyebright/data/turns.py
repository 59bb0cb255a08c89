"""Mirroring by turns: two epochs show both sides of every image (Jordan 2024, arXiv:2404.00498, "alternating flip").

Mirrored by chance, every fourth pair of epochs shows an image the same way twice and its other side not at all. Which
images begin mirrored is a function of the seed and of the image's row, and whether they are mirrored now one of that
and of the epoch: a resumed run goes on as it would have.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from typing import Literal

import numpy as np
import numpy.typing as npt

from eyebright.config import AugmentConfig
from eyebright.data.batches import Order, PixelSet, TrainingBatch
from eyebright.data.store import Pixels, PixelStore, Reading, Rows

_TURNS = 2  # the last word of a seed, keeps this stream apart from those of the order


def mirrored_rows(rows: int, *, seed: int, epoch: int) -> npt.NDArray[np.bool_]:
    """Which of so many rows are mirrored in an epoch (from 0): about one half, and in the next epoch the others."""
    first = np.random.default_rng([seed, 0, 0, _TURNS]).random(rows) < 0.5
    return first ^ bool(epoch % 2)


def by_turns(images: PixelSet, settings: AugmentConfig, *, seed: int) -> PixelSet:
    """The same images, mirrored by turns where the settings say so; else the set itself."""
    if not settings.flip or settings.flip_schedule != "alternating" or settings.albumentations:
        return images
    sides = []
    for epoch in (0, 1):
        store = PartlyMirroredStore(images.store, mirrored_rows(images.store.shape[0], seed=seed, epoch=epoch))
        sides.append(
            PixelSet(
                store, images.rows, images.targets,
                preprocess=images.preprocess, device=images.device, weights=images.weights,
            )
        )  # fmt: skip
    return ByTurns(*sides)


class ByTurns(PixelSet):
    """Two sets of the same images, of which training sees one in even epochs and the other in odd ones."""

    def __init__(self, even: PixelSet, odd: PixelSet) -> None:
        super().__init__(
            even.store, even.rows, even.targets,
            preprocess=even.preprocess, device=even.device, weights=even.weights, resident=even.resident,
        )  # fmt: skip
        self._sides = even, odd

    def shuffled(self, order: Order, *, epoch: int, first: int = 0) -> Iterator[TrainingBatch]:
        """One epoch of the set whose turn it is."""
        yield from self._sides[epoch % 2].shuffled(order, epoch=epoch, first=first)

    def staying(self, wanted: bool | Literal["auto"]) -> PixelSet:
        """Both sets on the device, where that is wanted and they fit; see `PixelSet.staying`."""
        even, odd = (side.staying(wanted) for side in self._sides)
        return ByTurns(even, odd)


@dataclasses.dataclass(frozen=True, eq=False)
class PartlyMirroredStore:
    """The images of another store, some with left and right exchanged.

    Attributes:
        store: the other one.
        mirrored: bool (N,), which rows.
    """

    store: PixelStore
    mirrored: npt.NDArray[np.bool_]

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """As in the other store."""
        return self.store.shape

    @property
    def window(self) -> int | None:
        """As in the other store."""
        return self.store.window

    def take(self, rows: Rows) -> Pixels:
        """Images of these rows, mirrored where their turn is."""
        return self.turned(self.store.take(rows), rows)

    def reading(self, parts: Sequence[Rows]) -> Reading:
        """The other store's reading, turned part by part."""
        return _PartlyMirrored(self, parts, self.store.reading(parts))

    def turned(self, pixels: Pixels, rows: Rows) -> Pixels:
        """A copy of these images, uint8 (b, side, side, C), with those of the mirrored rows mirrored."""
        chosen = self.mirrored[rows][:, None, None, None]
        return np.where(chosen, pixels[:, :, ::-1], pixels)


@dataclasses.dataclass(frozen=True, eq=False)
class _PartlyMirrored:
    store: PartlyMirroredStore
    parts: Sequence[Rows]
    reading: Reading

    def take(self, number: int) -> Pixels:
        return self.store.turned(self.reading.take(number), self.parts[number])

    def close(self) -> None:
        self.reading.close()
