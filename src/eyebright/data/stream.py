"""Images that are decoded anew in every epoch, in about the order of their files: for sets larger than memory and disk.

One thread reads encoded images ahead, in the order of the files or shards within a window; threads decode what is
needed next. At most two windows of encoded images are in memory, and a fixed number of bytes, whatever the set
holds.

Every image was read before training began, so one that cannot be read or decoded now has changed: that ends the
training with an error that names it. No empty image is ever trained on, and none is left out silently.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from eyebright.data.codes import as_codes
from eyebright.data.manifest import Manifest
from eyebright.data.probing import available_cores
from eyebright.data.sampling import SHORTEST_RUN
from eyebright.data.sources import Source
from eyebright.data.sources.sequential import Content, pieces_of, read_in_order
from eyebright.data.store import Pixels, Reading, Rows
from eyebright.decode import UndecodableImage
from eyebright.errors import DataError
from eyebright.identity import content_id
from eyebright.preprocess import Preprocess

MOST_BYTES = 1 << 30
"""Encoded images that are in memory at a time, at most; a single larger image aside."""
LARGEST_PIECE = 16
"""A piece of a file that is read as a whole counts as several where it has more than this part of a window's images:
else too few places are mixed."""
_FIRST_GROUP = 64  # images that are read before an epoch begins; each later group is twice as large
_PART_IMAGES = 8  # a thread decodes at least so many


class StreamStore:
    """The images of a manifest, read and decoded when they are needed.

    Args:
        manifest: whose used rows are wanted, each id once, in its order, which should be that of the files.
        source: what the manifest was scanned from.
        preprocess: the geometry; images are uint8 (resize_to, resize_to, channels).
        window: images that an epoch may mix, see `sampling.Window`.
        workers: threads that decode; the cores that this process may use when None.
        most_bytes: of encoded images in memory, at most; the order of an epoch does not depend on it.

    Raises:
        DataError: there is no image.
    """

    def __init__(
        self,
        manifest: Manifest,
        source: Source,
        preprocess: Preprocess,
        *,
        window: int,
        workers: int | None = None,
        most_bytes: int = MOST_BYTES,
    ) -> None:
        used = manifest.ok.select(["id", "source", "bytes"])
        if not used.num_rows:
            raise DataError(f"{manifest.spec} has no usable image", remedy="look at the ledger for the reasons")
        codes, self._ids = as_codes(used["id"])
        first = pa.array(np.unique(codes, return_index=True)[1])
        # Columns of Arrow: a hundred bytes an image, where Python's strings take several hundred.
        self._names = used["source"].take(first).combine_chunks()
        self._bytes = np.asarray(used["bytes"].take(first)).astype(np.int64)
        self._source = source
        self._preprocess = preprocess
        self._window = window
        self._most_bytes = most_bytes
        self._workers = workers or available_cores()
        pieces = pieces_of(source, (name.as_py() for name in self._names))
        most = max(SHORTEST_RUN, window // LARGEST_PIECE)
        self._blocks = None if pieces is None else _cut(pieces, most)
        self.passes = 1 if pieces is None else -(-int(np.unique(pieces, return_counts=True)[1].max()) // most)
        """How often the largest piece of a file is read in an epoch."""

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """(N, side, side, C)."""
        side = self._preprocess.resize_to
        return len(self._ids), side, side, self._preprocess.channels

    @property
    def window(self) -> int | None:
        """How many images an epoch mixes."""
        return self._window

    @property
    def blocks(self) -> Rows | None:
        """The piece of a file that each row is read with, int64 (N,); None where each is read by itself."""
        return self._blocks

    def rows(self, ids: Sequence[str]) -> Rows:
        """Row numbers of these ids, int64 (len(ids),).

        Raises:
            DataError: an id is not among the images.
        """
        found = pc.index_in(pa.array(ids, pa.string()), value_set=self._ids)
        if found.null_count:
            missing = ids[np.flatnonzero(np.asarray(found.is_null()))[0]]
            raise DataError(f"the image {missing} is not among the images of the stream")
        return np.asarray(found).astype(np.int64)

    def take(self, rows: Rows) -> Pixels:
        """These images, read and decoded now: uint8 (b, side, side, C).

        Raises:
            DataError: an image is not what it was.
        """
        unique, back = np.unique(rows, return_inverse=True)
        contents = dict(zip(unique.tolist(), self.contents(unique), strict=True))
        with self.decoders() as pool:
            return self.decoded(unique, [contents[row] for row in unique.tolist()], pool)[back]

    def reading(self, parts: Sequence[Rows]) -> Reading:
        """Begin to read the parts of an epoch."""
        return _Stream(self, parts)

    def contents(self, rows: Rows) -> Iterator[Content | UndecodableImage]:
        """The encoded images of ascending rows, or what was wrong with them, as they are read."""
        return read_in_order(self._source, self._names.take(pa.array(rows)).to_pylist())

    def decoded(self, rows: Rows, contents: Sequence[Content | UndecodableImage], pool: ThreadPoolExecutor) -> Pixels:
        """The pixels of encoded images, uint8 (b, side, side, C).

        Raises:
            DataError: one cannot be read or decoded, or has other bytes than when it was listed.
        """
        pixels = np.empty((len(rows), *self.shape[1:]), dtype=np.uint8)
        ids = self._ids.take(pa.array(rows)).to_pylist()

        def decode(first: int) -> None:
            for place in range(first, min(first + _PART_IMAGES, len(rows))):
                try:
                    pixels[place] = self._pixels(contents[place], ids[place])
                except UndecodableImage as error:
                    raise self._changed(int(rows[place]), error) from error

        list(pool.map(decode, range(0, len(rows), _PART_IMAGES)))
        return pixels

    def groups(self, parts: Sequence[Rows]) -> list[tuple[int, int]]:
        """The parts (first, one after the last) that are read together: a window of images and half of `most_bytes`.

        The first groups are small, so that an epoch begins at once; not where a few images cost the reading of many.
        """
        groups: list[tuple[int, int]] = []
        first, images, content = 0, 0, 0
        most = self._window if self._blocks is not None else min(_FIRST_GROUP, self._window)
        for number, rows in enumerate(parts):
            size = int(self._bytes[rows].sum())
            if number > first and (images + len(rows) > most or content + size > self._most_bytes // 2):
                groups.append((first, number))
                first, images, content, most = number, 0, 0, min(2 * most, self._window)
            images, content = images + len(rows), content + size
        if len(parts):
            groups.append((first, len(parts)))
        return groups

    def decoders(self) -> ThreadPoolExecutor:
        """Threads that decode."""
        return ThreadPoolExecutor(self._workers, thread_name_prefix="eyebright-decode")

    def _pixels(self, content: Content | UndecodableImage, image: str) -> npt.NDArray[np.uint8]:
        if isinstance(content, UndecodableImage):
            raise content
        if content_id(content) != image:
            raise UndecodableImage("unreadable", "its bytes are not those that were listed")
        return self._preprocess.margin_pixels(content)

    def _changed(self, row: int, error: UndecodableImage) -> DataError:
        return DataError(
            f"the image {self._names[row].as_py()} cannot be used any more: {error.problem}",
            expected="every image as it was when training began",
            remedy="put the image back and go on with `eyebright resume`; or train anew, which looks at all images "
            "first and leaves out those that are broken (with data.audit=short, as it is left alone)",
        )


class _Stream:
    """One epoch that is being read."""

    def __init__(self, store: StreamStore, parts: Sequence[Rows]) -> None:
        self._store = store
        self._parts = parts
        self._groups = store.groups(parts)
        self._group_of = np.repeat(np.arange(len(self._groups)), [stop - first for first, stop in self._groups])
        # By group: encoded images by row, and how many parts were not taken yet.
        self._contents: dict[int, dict[int, Content | UndecodableImage]] = {}
        self._left = [stop - first for first, stop in self._groups]
        self._changed = threading.Condition()
        self._closed = False
        self._error: BaseException | None = None
        self._pool = store.decoders()
        self._thread = threading.Thread(target=self._read, name="eyebright-stream", daemon=True)
        self._thread.start()

    def take(self, number: int) -> Pixels:
        """The images of part `number`, decoded.

        Raises:
            DataError: an image is not what it was.
        """
        group, rows = int(self._group_of[number]), self._parts[number]
        with self._changed:
            self._changed.wait_for(lambda: group in self._contents or self._error is not None or self._closed)
            if group not in self._contents:
                raise self._error or RuntimeError("the stream was closed")
            held = self._contents[group]
            contents = [held[row] for row in rows.tolist()]
            self._left[group] -= 1
            if self._left[group] == 0:
                del self._contents[group]
                self._changed.notify_all()
        return self._store.decoded(rows, contents, self._pool)

    def close(self) -> None:
        """End the threads and let go of what was read."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        self._thread.join()
        self._pool.shutdown(wait=True, cancel_futures=True)
        self._contents.clear()

    def _read(self) -> None:
        try:
            for number, (first, stop) in enumerate(self._groups):
                self._wait_for_room(number)
                rows = np.unique(np.concatenate(self._parts[first:stop]))
                contents: dict[int, Content | UndecodableImage] = {}
                for row, content in zip(rows.tolist(), self._store.contents(rows), strict=True):
                    contents[row] = content
                    if self._closed:
                        return
                with self._changed:
                    self._contents[number] = contents
                    self._changed.notify_all()
                del contents
        except BaseException as error:  # the thread that takes the images is to raise it
            with self._changed:
                self._error = error
                self._changed.notify_all()

    def _wait_for_room(self, group: int) -> None:
        """One group is taken, and the next one read, at a time."""
        with self._changed:
            self._changed.wait_for(lambda: self._closed or group < 2 or self._left[group - 2] == 0)


def _cut(pieces: npt.NDArray[np.int64], most: int) -> Rows:
    """Numbers of the pieces, those of more than `most` rows cut into several: int64 (N,), ascending."""
    places = np.arange(len(pieces))
    begins = np.concatenate([[True], pieces[1:] != pieces[:-1]])
    within = places - np.maximum.accumulate(np.where(begins, places, 0))
    return np.cumsum(begins | (within % most == 0)) - 1
