"""The pack: every image decoded once, at the working size, in one file of raw bytes that is mapped into memory.

A pack lives in the cache under a key made of the image ids and the geometry, so that runs on the same images share it.

    packs/<key>.lock       held by the process that builds; the kernel frees it when the process dies
    packs/<key>.partial/   plan.json, ids.txt, pixels.bin, done.bin (one byte a block), failures/<block>.json
    packs/<key>/           pack.json, ids.txt, pixels.bin; this name appears when everything is on the disk

A build that is killed is taken up again at its first missing block: the byte of a block is set after its pixels reached
the disk, so no half-written block counts as done.
"""

from __future__ import annotations

import contextlib
import fcntl
import functools
import hashlib
import json
import os
import shutil
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from pathlib import Path
from typing import IO, Any

import numpy as np
import numpy.typing as npt
import PIL

from eyebright.atomic import explained, write_json, write_text
from eyebright.data.cache import default_cache
from eyebright.data.manifest import Manifest
from eyebright.data.probing import available_cores
from eyebright.data.sources.base import Source
from eyebright.data.store import ArrayStore, PixelStore
from eyebright.decode import UndecodableImage
from eyebright.errors import DataError, StorageError
from eyebright.identity import content_id
from eyebright.preprocess import Preprocess
from eyebright.progress import Progress, Silent, Task

PACK_VERSION = 1

_BLOCK_BYTES = 8 * 2**20
_MAX_BLOCK_IMAGES = 4096
_MIN_BLOCKS = 8  # so that a small set keeps all cores busy to the end
_LOCK_POLL_SECONDS = 0.2


class Pack:
    """Decoded images by id.

    Attributes:
        folder: where it lies.
        pixels: read-only uint8 memory map (N, side, side, channels); rows of failed images are zero.
        ids: N ids in row order.
        failures: (status, reason) by id of the images that could not be decoded.
    """

    def __init__(
        self,
        folder: Path,
        pixels: npt.NDArray[np.uint8],
        ids: Sequence[str],
        failures: Mapping[str, tuple[str, str]],
    ) -> None:
        self.folder = folder
        self.pixels = pixels
        self.ids = tuple(ids)
        self.failures = dict(failures)

    @property
    def store(self) -> PixelStore:
        """The images, as training reads them."""
        return ArrayStore(self.pixels)

    def rows(self, ids: Sequence[str]) -> npt.NDArray[np.int64]:
        """Row numbers of these ids, int64 (len(ids),).

        Raises:
            DataError: an id is not in the pack.
        """
        try:
            return np.fromiter((self._row_of_id[image] for image in ids), dtype=np.int64, count=len(ids))
        except KeyError as error:
            raise DataError(f"the image {error} is not in the pack {self.folder}") from error

    @functools.cached_property
    def _row_of_id(self) -> dict[str, int]:
        return {image: row for row, image in enumerate(self.ids)}


def pack_key(ids: Sequence[str], preprocess: Preprocess) -> str:
    """The name of the pack of these images at this geometry; the order of the ids does not matter.

    Pillow's version is part of it: another version may resize to slightly other pixels.
    """
    geometry = [
        preprocess.size,
        preprocess.resize,
        preprocess.resize_to,
        preprocess.interpolation,
        preprocess.channels,
    ]
    digest = hashlib.blake2b(digest_size=16)
    digest.update(json.dumps([PACK_VERSION, PIL.__version__, geometry]).encode())
    digest.update("\n".join(sorted(set(ids))).encode())
    return digest.hexdigest()


def pack_images(
    manifest: Manifest,
    source: Source,
    preprocess: Preprocess,
    *,
    cache: Path | None = None,
    workers: int | None = None,
    progress: Progress | None = None,
) -> Pack:
    """Decode every used image once, or find them decoded already.

    Args:
        manifest: its rows with status ok are packed, each id once.
        source: what the manifest was scanned from.
        preprocess: its `margin_pixels` gives the square that is stored.
        cache: root of the cache; `default_cache()` when None.
        workers: threads; the cores that this process may use when None.
        progress: told about resuming, waiting and rebuilding.

    Returns:
        The pack. Images that could not be decoded are in `failures`: hand them to `Manifest.mark`.

    Raises:
        DataError: there is nothing to pack.
        StorageError: the cache cannot be written or is too small.
    """
    progress = progress or Silent()
    where = dict(zip(manifest.ok["id"].to_pylist(), manifest.ok["source"].to_pylist(), strict=True))
    if not where:
        raise DataError(f"{manifest.spec} has no usable image", remedy="look at the ledger for the reasons")
    key = pack_key(list(where), preprocess)
    packs = (default_cache() if cache is None else Path(cache)) / "packs"
    final = packs / key
    pack = _open_pack(final, key, preprocess)
    if pack is not None:
        return pack
    with explained(packs):
        packs.mkdir(parents=True, exist_ok=True)
    with _locked(packs / f"{key}.lock", progress):
        pack = _open_pack(final, key, preprocess)  # another process may have finished it meanwhile
        if pack is not None:
            return pack
        if final.exists():
            progress.warn(f"the packed images in {final} are damaged or lack files that were missing: packing again")
            with explained(final):
                shutil.rmtree(final)
        partial = packs / f"{key}.partial"
        with explained(partial):
            _Build(partial, where, source, preprocess, progress).run(workers or available_cores())
            partial.replace(final)
            _sync_folder(packs)
            _clear_build_files(final)
    pack = _open_pack(final, key, preprocess, accept_transient=True)
    if pack is None:
        raise StorageError(f"the pack {final} changed while it was being opened", remedy="try again")
    return pack


def _open_pack(folder: Path, key: str, preprocess: Preprocess, *, accept_transient: bool = False) -> Pack | None:
    """The finished pack in `folder`, or None when there is none that is whole.

    A pack with images that could not be read (rather than decoded) is of use to the run that made it only: the files
    may be back at the next one.
    """
    try:
        facts = json.loads((folder / "pack.json").read_text(encoding="utf-8"))
        ids = (folder / "ids.txt").read_text(encoding="ascii").split()
        shape = _shape(len(ids), preprocess)
        whole = (
            facts["version"] == PACK_VERSION
            and tuple(facts["shape"]) == shape
            and (folder / "pixels.bin").stat().st_size == int(np.prod(shape, dtype=np.int64))
            and pack_key(ids, preprocess) == key
        )
        if not whole or (facts["transient"] and not accept_transient):
            return None
        failures = {image: (status, reason) for image, (status, reason) in facts["failures"].items()}
        pixels = np.memmap(folder / "pixels.bin", dtype=np.uint8, mode="r", shape=shape)
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return Pack(folder, pixels, ids, failures)


def _shape(count: int, preprocess: Preprocess) -> tuple[int, int, int, int]:
    return (count, preprocess.resize_to, preprocess.resize_to, preprocess.channels)


@contextlib.contextmanager
def _locked(path: Path, progress: Progress) -> Iterator[None]:
    """Hold the lock file; waits while another process (or thread) holds it. The file stays: removing it would race."""
    with explained(path), open(path, "a", encoding="ascii") as handle:
        told = False
        while not _try_lock(handle):
            if not told:
                progress.note("another process is packing the same images: waiting for it")
                told = True
            time.sleep(_LOCK_POLL_SECONDS)
        yield


def _try_lock(handle: IO[str]) -> bool:
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


class _Build:
    """One build of a pack in its partial folder."""

    def __init__(
        self, partial: Path, where: Mapping[str, str], source: Source, preprocess: Preprocess, progress: Progress
    ) -> None:
        self._partial = partial
        self._where = where
        self._source = source
        self._preprocess = preprocess
        self._progress = progress
        self._stop = threading.Event()
        self._image_bytes = int(np.prod(_shape(1, preprocess)))
        self._ids: list[str] = []
        self._block_images = 1

    def run(self, workers: int) -> None:
        """Pack all blocks that are missing and write `pack.json`. The partial folder is then ready to be renamed."""
        if not self._resume():
            self._start()
        blocks = -(-len(self._ids) // self._block_images)
        done_path = self._partial / "done.bin"
        done = done_path.read_bytes().ljust(blocks, b"\0")[:blocks]
        missing = [block for block in range(blocks) if done[block] != 1]
        if len(missing) < blocks:
            self._progress.note(f"resuming the packing: {blocks - len(missing)} of {blocks} parts are there already")
        self._check_space(missing)
        pixels = os.open(self._partial / "pixels.bin", os.O_RDWR | os.O_CREAT)
        marks = os.open(done_path, os.O_RDWR)
        try:
            with self._progress.task("decoding images", len(self._ids)) as task:
                task.advance(len(self._ids) - sum(len(self._block(block)) for block in missing))
                self._pack_blocks(missing, pixels, marks, workers, task)
            # The last block may end in failed images, and thus in a hole that nobody wrote.
            os.ftruncate(pixels, len(self._ids) * self._image_bytes)
            os.fsync(pixels)
        finally:
            os.close(pixels)
            os.close(marks)
        self._finish(blocks)

    def _plan(self, count: int, block_images: int) -> dict[str, Any]:
        return {
            "version": PACK_VERSION,
            "shape": list(_shape(count, self._preprocess)),
            "block_images": block_images,
        }

    def _resume(self) -> bool:
        """Take up the plan of a former build; False when there is none that fits."""
        try:
            plan = json.loads((self._partial / "plan.json").read_text(encoding="utf-8"))
            ids = (self._partial / "ids.txt").read_text(encoding="ascii").split()
            block_images = plan["block_images"]
            if plan != self._plan(len(ids), block_images) or set(ids) != set(self._where):
                return False
            if not (self._partial / "done.bin").is_file() or not (self._partial / "failures").is_dir():
                return False
        except (OSError, ValueError, KeyError, TypeError):
            return False
        self._ids, self._block_images = ids, block_images
        return True

    def _start(self) -> None:
        shutil.rmtree(self._partial, ignore_errors=True)
        (self._partial / "failures").mkdir(parents=True)
        self._ids = list(self._where)
        by_size = max(1, min(_BLOCK_BYTES // self._image_bytes, _MAX_BLOCK_IMAGES))
        self._block_images = min(by_size, -(-len(self._ids) // _MIN_BLOCKS))
        write_text(self._partial / "ids.txt", "\n".join(self._ids) + "\n")
        (self._partial / "done.bin").write_bytes(b"")
        # Last, because its presence says that the rest is there.
        write_json(self._partial / "plan.json", self._plan(len(self._ids), self._block_images))

    def _block(self, block: int) -> list[str]:
        return self._ids[block * self._block_images : (block + 1) * self._block_images]

    def _check_space(self, missing: list[int]) -> None:
        need = sum(len(self._block(block)) for block in missing) * self._image_bytes
        free = shutil.disk_usage(self._partial).free
        if need > free:
            raise StorageError(
                f"the packed images need {need / 2**20:,.1f} MiB and {self._partial.parent} has {free / 2**20:,.1f}",
                expected="free space for every image at the working size",
                remedy="set EYEBRIGHT_CACHE to a folder on a larger disk, free some space, or train at a smaller size",
            )

    def _pack_blocks(self, missing: list[int], pixels: int, marks: int, workers: int, task: Task) -> None:
        """Fill the blocks in threads: Pillow frees the interpreter while it decodes and resizes."""
        pool = ThreadPoolExecutor(max_workers=max(1, workers), thread_name_prefix="pack")
        # Ticks of the bar come from several threads.
        ticking = threading.Lock()
        try:
            futures = [pool.submit(self._pack_block, block, pixels, marks, task, ticking) for block in missing]
            for future in wait(futures, return_when=FIRST_EXCEPTION).done:
                future.result()
        finally:
            # After an error or Ctrl-C: the threads leave at their next image, and what is done stays for the next run.
            self._stop.set()
            pool.shutdown(wait=True, cancel_futures=True)

    def _pack_block(self, block: int, pixels: int, marks: int, task: Task, ticking: threading.Lock) -> None:
        ids = self._block(block)
        images = np.zeros(_shape(len(ids), self._preprocess), dtype=np.uint8)
        failures: dict[str, tuple[str, str, bool]] = {}
        for row, image in enumerate(ids):
            if self._stop.is_set():
                return
            failure = self._decode_into(images[row], image)
            if failure is not None:
                failures[image] = failure
            with ticking:
                task.advance()
        # `pwrite` reports a full disk as an error; writing to a memory map would kill the process.
        _write_all(pixels, images, block * self._block_images * self._image_bytes)
        _data_to_disk(pixels)
        ledger = self._partial / "failures" / f"{block}.json"
        if failures:
            write_json(ledger, failures)
        else:
            ledger.unlink(missing_ok=True)  # of a former build that was killed before it set the mark
        os.pwrite(marks, b"\1", block)

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

    def _finish(self, blocks: int) -> None:
        failures: dict[str, tuple[str, str]] = {}
        transient = False
        for block in range(blocks):
            path = self._partial / "failures" / f"{block}.json"
            if path.exists():
                for image, (status, reason, may_return) in json.loads(path.read_text(encoding="utf-8")).items():
                    failures[image] = (status, reason)
                    transient = transient or may_return
        facts = {**self._plan(len(self._ids), self._block_images), "transient": transient, "failures": failures}
        write_json(self._partial / "pack.json", {**facts, "preprocess": self._preprocess.as_dict()})
        _sync_folder(self._partial)


def _clear_build_files(folder: Path) -> None:
    """Remove what only a build needs; done after the renaming, so that a kill before it loses no work."""
    shutil.rmtree(folder / "failures", ignore_errors=True)
    for name in ("plan.json", "done.bin"):
        (folder / name).unlink(missing_ok=True)


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
