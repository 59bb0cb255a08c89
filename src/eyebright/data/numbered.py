"""Images of a pack under numbers that do not depend on the order in which the pack holds them.

A pack may lie in the cache since a training with another seed, or be filled in the order that the first epoch needs.
What training draws by the number of an image (Albumentations, mirroring by turns) must not change with that. No torch.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Mapping, Sequence

import numpy as np

from eyebright.data.pack import Packed
from eyebright.data.store import Pixels, PixelStore, Reading, Rows
from eyebright.errors import DataError


@dataclasses.dataclass(frozen=True)
class RenumberedStore:
    """Another store whose row `places[n]` is row n here.

    Attributes:
        store: any store that can reach its rows in any order.
        places: int64 (N,).
    """

    store: PixelStore
    places: Rows

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """(N, side, side, C)."""
        _, side, _, channels = self.store.shape
        return len(self.places), side, side, channels

    @property
    def window(self) -> int | None:
        """As in the other store."""
        return self.store.window

    def take(self, rows: Rows) -> Pixels:
        """The images of these rows."""
        return self.store.take(self.places[rows])

    def reading(self, parts: Sequence[Rows]) -> Reading:
        """The other store's reading of the same images."""
        return self.store.reading([self.places[rows] for rows in parts])


class Numbered:
    """Images by id, numbered from 0 in the order of `ids`.

    Args:
        packed: holds these ids, and perhaps others.
        ids: each image once.
    """

    def __init__(self, packed: Packed, ids: Sequence[str]) -> None:
        self._packed = packed
        self._ids = ids
        self._places = packed.rows(ids)

    @functools.cached_property
    def store(self) -> PixelStore:
        """The images, in the order of the ids."""
        store = self._packed.store
        in_order = len(self._places) == store.shape[0] and bool(np.all(self._places == np.arange(len(self._places))))
        return store if in_order else RenumberedStore(store, self._places)

    @property
    def failures(self) -> Mapping[str, tuple[str, str]]:
        """(status, reason) by id of the images that could not be decoded, as far as that is known."""
        return self._packed.failures

    def rows(self, ids: Sequence[str]) -> Rows:
        """Row numbers of these ids, int64 (len(ids),).

        Raises:
            DataError: an id is not among the images.
        """
        try:
            return np.fromiter((self._row_of_id[image] for image in ids), dtype=np.int64, count=len(ids))
        except KeyError as error:
            raise DataError(f"the image {error} is not among those that were packed") from error

    @functools.cached_property
    def _row_of_id(self) -> dict[str, int]:
        return {image: row for row, image in enumerate(self._ids)}
