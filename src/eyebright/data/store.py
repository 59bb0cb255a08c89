"""Where decoded images come from: an array that is there, or anything else that can give rows of one. No torch.

Training reads an epoch as a sequence of parts that is known when the epoch begins, so a store that must fetch or decode
can work ahead; one that cannot reach every row equally soon says how far apart rows may be mixed (`window`).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Protocol

import numpy as np
import numpy.typing as npt

Pixels = npt.NDArray[np.uint8]
Rows = npt.NDArray[np.int64]


class Reading(Protocol):
    """A sequence of parts that is being read: each is taken once, in about this order, by one of several threads."""

    def take(self, number: int) -> Pixels:
        """The images of part `number`: uint8 (b, side, side, C), in the order of its rows."""
        ...

    def close(self) -> None:
        """No more parts will be taken."""
        ...


class PixelStore(Protocol):
    """Images that were decoded and resized, or will be, by row."""

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """(N, side, side, C)."""
        ...

    @property
    def window(self) -> int | None:
        """How many rows that follow each other an epoch may mix; None for all."""
        ...

    def take(self, rows: Rows) -> Pixels:
        """The images of these rows, whatever they are: uint8 (b, side, side, C)."""
        ...

    def reading(self, parts: Sequence[Rows]) -> Reading:
        """Begin to read parts, each the rows of a batch, in this order."""
        ...


@dataclasses.dataclass(frozen=True)
class ArrayStore:
    """Images in an array or a memory map: uint8 (N, side, side, C)."""

    pixels: Pixels
    window: int | None = None

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """(N, side, side, C)."""
        count, height, width, channels = self.pixels.shape
        return count, height, width, channels

    def take(self, rows: Rows) -> Pixels:
        """A copy of these rows."""
        return self.pixels[rows]

    def reading(self, parts: Sequence[Rows]) -> Reading:
        """Nothing has to be begun: every part is there."""
        return TakingRows(self, parts)


@dataclasses.dataclass(frozen=True)
class TakingRows:
    """A reading of a store that needs no work ahead."""

    store: PixelStore
    parts: Sequence[Rows]

    def take(self, number: int) -> Pixels:
        """The images of part `number`."""
        return self.store.take(self.parts[number])

    def close(self) -> None:
        """Nothing was begun."""


@dataclasses.dataclass(frozen=True)
class MirroredStore:
    """The images of another store, left and right exchanged."""

    store: PixelStore

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """As in the other store."""
        return self.store.shape

    @property
    def window(self) -> int | None:
        """As in the other store."""
        return self.store.window

    def take(self, rows: Rows) -> Pixels:
        """Mirrored images."""
        return self.store.take(rows)[:, :, ::-1]

    def reading(self, parts: Sequence[Rows]) -> Reading:
        """Mirrored parts."""
        return _Mirrored(self.store.reading(parts))


@dataclasses.dataclass(frozen=True)
class _Mirrored:
    reading: Reading

    def take(self, number: int) -> Pixels:
        return self.reading.take(number)[:, :, ::-1]

    def close(self) -> None:
        self.reading.close()
