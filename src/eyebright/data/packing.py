"""A pack while it is made: threads decode image after image, and whoever needs some of them waits for those alone.

Images are taken one by one in the order of the rows, whichever thread is free; the block is only the unit in which they
reach the disk. The first batch therefore waits for its own images, decoded by all threads together. A row can be read
as soon as it is decoded: from the block in memory, later from the file.

    <key>.partial/   plan.json, ids.txt, pixels.bin, done.bin (one byte a block), failures/<block>.json

The byte of a block is set after its pixels reached the disk, so no half-written block counts as done, and a build that
was killed is taken up again, in the order that it had.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import shutil
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from eyebright.atomic import explained, write_json, write_text
from eyebright.data.sources.base import Source
from eyebright.data.store import Pixels, Reading, Rows
from eyebright.decode import UndecodableImage
from eyebright.errors import DataError, StorageError
from eyebright.identity import content_id
from eyebright.preprocess import Preprocess
from eyebright.progress import Progress, Task

PACK_VERSION = 1

_BLOCK_BYTES = 8 * 2**20
_MAX_BLOCK_IMAGES = 4096
_MIN_BLOCKS = 8  # so that a small set that is killed has not to begin again


class ImagesLost(DataError):  # noqa: N818  (an outcome of the build, in most places no error of the run)
    """Images that are needed could not be decoded, found out while they were waited for."""


class PackingStopped(DataError):  # noqa: N818
    """The build was ended while somebody waited for its images."""


def pack_shape(count: int, preprocess: Preprocess) -> tuple[int, int, int, int]:
    """Shape of the pixels of so many images: (N, side, side, C)."""
    return (count, preprocess.resize_to, preprocess.resize_to, preprocess.channels)


def sync_folder(folder: Path) -> None:
    """Bring the names in a folder to the disk."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def clear_build_files(folder: Path) -> None:
    """Remove what only a build needs; done after the renaming, so that a kill before it loses no work."""
    shutil.rmtree(folder / "failures", ignore_errors=True)
    for name in ("plan.json", "done.bin"):
        (folder / name).unlink(missing_ok=True)


@dataclasses.dataclass
class _Block:
    """A block that is being filled: its images, how many are still to come, and those that could not be decoded."""

    images: Pixels
    missing: int
    failures: dict[str, tuple[str, str, bool]] = dataclasses.field(default_factory=dict)


class Build:
    """One build of a pack in its partial folder, and the images as they become known.

    It is a `PixelStore`. `run` does the work; `take` may be called meanwhile, and afterwards, from any thread.

    Args:
        partial: the folder; whoever makes this holds the lock of the pack.
        where: name in the source by id, of every image.
        source: what they are read from.
        preprocess: its `margin_pixels` gives the square that is stored.
        first: ids in the order in which they are needed, the others follow. When one of them cannot be decoded, every
            later `take` raises `ImagesLost`.
        progress: told when a former build is taken up.

    Attributes:
        folder: the partial folder.
        ids: in row order.
        failures: (status, reason, whether the file may be back later) by id, of the images known so far.

    Raises:
        StorageError: the disk has no room for the images, or cannot be written.
    """

    window: int | None = None

    def __init__(
        self,
        partial: Path,
        where: Mapping[str, str],
        source: Source,
        preprocess: Preprocess,
        *,
        first: Sequence[str] = (),
        progress: Progress,
    ) -> None:
        self.folder = partial
        self._where = where
        self._source = source
        self._preprocess = preprocess
        self._image_bytes = int(np.prod(pack_shape(1, preprocess)))
        self._needed = frozenset(first)
        self.ids: list[str] = []
        self.failures: dict[str, tuple[str, str, bool]] = {}
        self._block_images = 1
        if not self._resume():
            self._start(first)
        done = (partial / "done.bin").read_bytes().ljust(self.blocks, b"\0")[: self.blocks]
        self._missing = [block for block in range(self.blocks) if done[block] != 1]
        if len(self._missing) < self.blocks:
            progress.note(
                f"resuming the packing: {self.blocks - len(self._missing)} of {self.blocks} parts are there already"
            )
        self._check_space()
        # One condition guards all that follows; it is signalled when a row comes that somebody waits for.
        self._changed = threading.Condition()
        self._known = np.ones(len(self.ids), dtype=np.bool_)
        for block in self._missing:
            self._known[self._rows(block)] = False
        for block in set(range(self.blocks)) - set(self._missing):
            self.failures.update(self._ledger(block))
        self._open: dict[int, _Block] = {}
        self._awaited: Counter[int] = Counter()
        self._lost = not self._needed.isdisjoint(self.failures)
        self._error: BaseException | None = None
        self._stopped = False
        self._pixels_file = os.open(partial / "pixels.bin", os.O_RDWR | os.O_CREAT)
        try:
            # Whole from the beginning, with holes, so that it can be mapped.
            os.ftruncate(self._pixels_file, len(self.ids) * self._image_bytes)
            self._marks_file = os.open(partial / "done.bin", os.O_RDWR)
        except BaseException:
            os.close(self._pixels_file)
            raise
        self._map: Pixels = np.memmap(partial / "pixels.bin", dtype=np.uint8, mode="r", shape=self.shape)

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """(N, side, side, C)."""
        return pack_shape(len(self.ids), self._preprocess)

    @property
    def blocks(self) -> int:
        """Number of blocks."""
        return -(-len(self.ids) // self._block_images)

    @property
    def there(self) -> int:
        """How many images are known."""
        return int(np.count_nonzero(self._known))

    def take(self, rows: Rows) -> Pixels:
        """A copy of these rows, once they are all decoded.

        Raises:
            ImagesLost: an image that is needed could not be decoded.
            PackingStopped: the build was stopped before the rows came.
            StorageError: the build failed.
        """
        return self._take(rows, _never)

    def _take(self, rows: Rows, unwanted: Callable[[], bool]) -> Pixels:
        with self._changed:
            self._wait_for(rows, unwanted)
            numbers = np.unique(rows // self._block_images) if self._open else ()
            held = {int(block): self._open[block].images for block in numbers if block in self._open}
        # Rows that are known never change, so they are copied without holding anybody up.
        found: Pixels = self._map[rows]
        for block, images in held.items():
            inside = np.flatnonzero(rows // self._block_images == block)
            found[inside] = images[rows[inside] - block * self._block_images]
        return found

    def reading(self, parts: Sequence[Rows]) -> Reading:
        """Nothing is begun that is not under way: the order of the rows was chosen before."""
        return _Awaiting(self, parts)

    def run(self, workers: int, task: Task) -> bool:
        """Decode all that is missing and write `pack.json`; the partial folder is then ready to be renamed.

        Returns whether that was done; False after `stop`.

        Raises:
            StorageError: the disk is full, or cannot be written.
        """
        rows = iter(np.flatnonzero(~self._known).tolist())
        threads = [
            threading.Thread(target=self._work, args=(rows, task), name=f"pack_{number}", daemon=True)
            for number in range(max(1, workers))
        ]
        try:
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            if self._error is not None:
                raise self._error
            if self._stopped:
                return False
            os.fsync(self._pixels_file)
            self._finish()
            return True
        finally:
            os.close(self._pixels_file)
            os.close(self._marks_file)

    def stop(self) -> None:
        """End the work within an image; what is done stays for the next build. Whoever waits for images is told."""
        with self._changed:
            self._stopped = True
            self._changed.notify_all()

    def wake(self) -> None:
        """Let all who wait look again whether they still have to."""
        with self._changed:
            self._changed.notify_all()

    def _wait_for(self, rows: Rows, unwanted: Callable[[], bool]) -> None:
        while True:
            if self._error is not None:
                raise self._error
            if self._lost:
                raise ImagesLost("images that are needed could not be decoded")
            missing = rows[~self._known[rows]]
            if not len(missing):
                return
            if self._stopped or unwanted():
                raise PackingStopped("the decoding of the images was stopped")
            last = int(missing.max())
            self._awaited[last] += 1
            try:
                self._changed.wait()
            finally:
                self._awaited -= Counter((last,))

    def _work(self, rows: Iterator[int], task: Task) -> None:
        """One thread: Pillow frees the interpreter while it decodes and resizes."""
        try:
            with explained(self.folder):
                while self._next(rows, task):
                    pass
        except BaseException as error:
            with self._changed:
                self._error = self._error or error
                self._changed.notify_all()

    def _next(self, rows: Iterator[int], task: Task) -> bool:
        """Decode one image, and write its block when it was the last of it; False when there is none left."""
        with self._changed:
            row = None if self._stopped or self._error is not None else next(rows, None)
            if row is None:
                return False
            number, place = divmod(row, self._block_images)
            if number not in self._open:
                images = len(self._block(number))
                # Zeros, which is what the rows of failed images hold.
                pixels = np.zeros(pack_shape(images, self._preprocess), dtype=np.uint8)
                self._open[number] = _Block(images=pixels, missing=images)
            block = self._open[number]
        image = self.ids[row]
        failure = self._decode_into(block.images[place], image)
        with self._changed:
            self._known[row] = True
            block.missing -= 1
            if failure is not None:
                block.failures[image] = self.failures[image] = failure
                self._lost = self._lost or image in self._needed
            if row in self._awaited or self._lost:
                self._changed.notify_all()
            task.advance()
            whole = block.missing == 0
        if whole:
            self._write(number, block)
            with self._changed:
                del self._open[number]
        return True

    def _write(self, number: int, block: _Block) -> None:
        # `pwrite` reports a full disk as an error; writing to a memory map would kill the process.
        _write_all(self._pixels_file, block.images, number * self._block_images * self._image_bytes)
        _data_to_disk(self._pixels_file)
        ledger = self.folder / "failures" / f"{number}.json"
        if block.failures:
            write_json(ledger, block.failures)
        else:
            ledger.unlink(missing_ok=True)  # of a former build that was killed before it set the mark
        os.pwrite(self._marks_file, b"\1", number)

    def _decode_into(self, row: npt.NDArray[np.uint8], image: str) -> tuple[str, str, bool] | None:
        """Fill one row; the failure (status, reason, whether the file may be back later), or None."""
        try:
            content = self._source.read(self._where[image])
        except UndecodableImage as error:
            return error.status, error.problem, True
        if content_id(content) != image:
            return "unreadable", "the file changed after it was listed", True
        try:
            row[:] = self._preprocess.margin_pixels(content)
        except UndecodableImage as error:
            return error.status, error.problem, False
        return None

    def _plan(self, count: int, block_images: int) -> dict[str, Any]:
        return {
            "version": PACK_VERSION,
            "shape": list(pack_shape(count, self._preprocess)),
            "block_images": block_images,
        }

    def _resume(self) -> bool:
        """Take up the plan of a former build; False when there is none that fits."""
        try:
            plan = json.loads((self.folder / "plan.json").read_text(encoding="utf-8"))
            ids = (self.folder / "ids.txt").read_text(encoding="ascii").split()
            block_images = plan["block_images"]
            if plan != self._plan(len(ids), block_images) or set(ids) != set(self._where):
                return False
            if not (self.folder / "done.bin").is_file() or not (self.folder / "failures").is_dir():
                return False
        except (OSError, ValueError, KeyError, TypeError):
            return False
        self.ids, self._block_images = ids, block_images
        return True

    def _start(self, first: Sequence[str]) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)
        (self.folder / "failures").mkdir(parents=True)
        self.ids = list(dict.fromkeys([*(image for image in first if image in self._where), *self._where]))
        by_size = max(1, min(_BLOCK_BYTES // self._image_bytes, _MAX_BLOCK_IMAGES))
        self._block_images = min(by_size, -(-len(self.ids) // _MIN_BLOCKS))
        write_text(self.folder / "ids.txt", "\n".join(self.ids) + "\n")
        (self.folder / "done.bin").write_bytes(b"")
        # Last, because its presence says that the rest is there.
        write_json(self.folder / "plan.json", self._plan(len(self.ids), self._block_images))

    def _rows(self, block: int) -> slice:
        return slice(block * self._block_images, (block + 1) * self._block_images)

    def _block(self, block: int) -> list[str]:
        return self.ids[self._rows(block)]

    def _ledger(self, block: int) -> dict[str, tuple[str, str, bool]]:
        """The failures of a block that is done."""
        path = self.folder / "failures" / f"{block}.json"
        with contextlib.suppress(FileNotFoundError):
            return {image: tuple(entry) for image, entry in json.loads(path.read_text(encoding="utf-8")).items()}
        return {}

    def _check_space(self) -> None:
        need = sum(len(self._block(block)) for block in self._missing) * self._image_bytes
        free = shutil.disk_usage(self.folder).free
        if need > free:
            raise StorageError(
                f"the packed images need {need / 2**20:,.1f} MiB and {self.folder.parent} has {free / 2**20:,.1f}",
                expected="free space for every image at the working size",
                remedy="set EYEBRIGHT_CACHE to a folder on a larger disk, free some space, or pack nothing "
                "(--set data.stream=true)",
            )

    def _finish(self) -> None:
        failures = {image: (status, reason) for image, (status, reason, _) in self.failures.items()}
        transient = any(may_return for _, _, may_return in self.failures.values())
        facts = {**self._plan(len(self.ids), self._block_images), "transient": transient, "failures": failures}
        write_json(self.folder / "pack.json", {**facts, "preprocess": self._preprocess.as_dict()})
        sync_folder(self.folder)


@dataclasses.dataclass
class _Awaiting:
    """A reading of a build: each part is waited for."""

    build: Build
    parts: Sequence[Rows]
    closed: bool = False

    def take(self, number: int) -> Pixels:
        return self.build._take(self.parts[number], lambda: self.closed)

    def close(self) -> None:
        """Who still waits for a part is let go; the build goes on."""
        self.closed = True
        self.build.wake()


def _never() -> bool:
    return False


def _write_all(descriptor: int, array: npt.NDArray[np.uint8], offset: int) -> None:
    remaining = memoryview(array.reshape(-1).data)
    while remaining:
        written = os.pwrite(descriptor, remaining, offset)
        remaining, offset = remaining[written:], offset + written


def _data_to_disk(descriptor: int) -> None:
    if hasattr(os, "fdatasync"):
        os.fdatasync(descriptor)
    else:
        os.fsync(descriptor)
