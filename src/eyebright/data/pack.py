"""The pack: every image decoded once, at the working size, in one file of raw bytes that is mapped into memory.

A pack lives in the cache under a key made of the image ids and the geometry, so that runs on the same images share it.

    packs/<key>.lock       held by the process that builds; the kernel frees it when the process dies
    packs/<key>.partial/   the pack while it is made, see `eyebright.data.packing`
    packs/<key>/           pack.json, ids.txt, pixels.bin; this name appears when everything is on the disk

`pack_images` waits for the whole pack, `begin_packing` makes it in the background of something that reads it already.
"""

from __future__ import annotations

import contextlib
import fcntl
import functools
import hashlib
import json
import shutil
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import IO, Protocol

import numpy as np
import numpy.typing as npt
import PIL

from eyebright.atomic import explained
from eyebright.cores import available_cores
from eyebright.data.cache import default_cache, mark_used
from eyebright.data.manifest import Manifest
from eyebright.data.packing import PACK_VERSION, Build, PackingStopped, clear_build_files, pack_shape, sync_folder
from eyebright.data.sources.base import Source
from eyebright.data.store import ArrayStore, PixelStore, Rows
from eyebright.errors import DataError, StorageError
from eyebright.preprocess import Preprocess
from eyebright.progress import Progress, Silent, Task

_LOCK_POLL_SECONDS = 0.2


class Packed(Protocol):
    """Images by id, decoded or to be decoded: a pack, one that is being made, or a stream."""

    @property
    def store(self) -> PixelStore:
        """The images, as training reads them."""
        ...

    @property
    def failures(self) -> Mapping[str, tuple[str, str]]:
        """(status, reason) by id of the images that could not be decoded, as far as that is known."""
        ...

    def rows(self, ids: Sequence[str]) -> Rows:
        """Row numbers of these ids in the store, int64 (len(ids),)."""
        ...


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
        return _rows(ids, self._row_of_id, self.folder)

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


class PackInProgress:
    """A pack that is there, or that threads make in the background while others read it.

    Use it as a context, or call `close`: both end the threads within an image and free the pack for other processes.
    What was decoded until then is kept for the next build.
    """

    def __init__(self, pack: Pack | None, build: Build | None = None) -> None:
        self._pack = pack
        self._build = build
        self._error: BaseException | None = None
        self._over = threading.Event()
        self._thread: threading.Thread | None = None
        if pack is not None:
            self._over.set()

    @property
    def in_background(self) -> bool:
        """Whether images were still to be decoded when it was begun."""
        return self._build is not None

    @property
    def store(self) -> PixelStore:
        """The images; asked for a row that is still to come, it waits for it. It outlives this object."""
        if self._build is not None:
            return self._build
        assert self._pack is not None
        return self._pack.store

    @property
    def failures(self) -> dict[str, tuple[str, str]]:
        """(status, reason) by id of the images that could not be decoded, as far as that is known."""
        if self._build is None:
            assert self._pack is not None
            return self._pack.failures
        return {image: (status, reason) for image, (status, reason, _) in dict(self._build.failures).items()}

    def rows(self, ids: Sequence[str]) -> Rows:
        """Row numbers of these ids, int64 (len(ids),).

        Raises:
            DataError: an id is not in the pack.
        """
        return _rows(ids, self._row_of_id, "that is being made")

    def wait(self) -> Pack:
        """The whole pack, once it is there.

        Raises:
            StorageError: the disk is full, or cannot be written.
            PackingStopped: it was closed before.
        """
        self._over.wait()
        if self._error is not None:
            raise self._error
        assert self._pack is not None
        return self._pack

    def close(self) -> None:
        """End the work, if there is any left. Returns when no thread is at work and no lock is held."""
        if self._build is not None:
            self._build.stop()
        if self._thread is not None:
            self._thread.join()

    def __enter__(self) -> PackInProgress:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _begin(self, work: Callable[[], Pack], held: contextlib.ExitStack) -> None:
        """Do `work` in a thread; `held` is closed behind it."""

        def make() -> None:
            try:
                with held:
                    self._pack = work()
            except BaseException as error:
                self._error = error
            finally:
                self._over.set()

        self._thread = threading.Thread(target=make, name="packing", daemon=True)
        self._thread.start()

    @functools.cached_property
    def _row_of_id(self) -> dict[str, int]:
        ids = self._build.ids if self._build is not None else self._pack.ids if self._pack is not None else ()
        return {image: row for row, image in enumerate(ids)}


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
    with begin_packing(manifest, source, preprocess, cache=cache, workers=workers, progress=progress) as packing:
        return packing.wait()


def begin_packing(
    manifest: Manifest,
    source: Source,
    preprocess: Preprocess,
    *,
    first: Sequence[str] = (),
    cache: Path | None = None,
    workers: int | None = None,
    progress: Progress | None = None,
    finished: Callable[[Pack, float], None] | None = None,
) -> PackInProgress:
    """Begin to decode every used image once, in threads, or find them decoded already.

    Another process that packs the same images is waited for here, and not in the background: the order of the rows,
    which is known from here on, is its.

    Args:
        manifest, source, preprocess, cache, workers, progress: as for `pack_images`.
        first: ids in the order in which they are needed; the others follow in the order of the manifest. When one of
            these cannot be decoded, reading anything raises `ImagesLost`. A pack that was begun before keeps its order.
        finished: called in the background with the pack and the seconds it took, once it is there; not for a pack that
            was there before.

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
        return PackInProgress(pack)
    with explained(packs):
        packs.mkdir(parents=True, exist_ok=True)
    with contextlib.ExitStack() as held:
        held.enter_context(_locked(packs / f"{key}.lock", progress))
        pack = _open_pack(final, key, preprocess)  # another process may have finished it meanwhile
        if pack is not None:
            return PackInProgress(pack)
        if final.exists():
            progress.warn(f"the packed images in {final} are damaged or lack files that were missing: packing again")
            with explained(final):
                shutil.rmtree(final)
        partial = packs / f"{key}.partial"
        with explained(partial):
            build = Build(partial, where, source, preprocess, first=first, progress=progress)
        task = held.enter_context(progress.task("decoding images", len(where)))
        task.advance(build.there)
        packing = PackInProgress(None, build)

        def work() -> Pack:
            return _carry_out(build, final, key, preprocess, workers or available_cores(), task, finished)

        packing._begin(work, held.pop_all())
    return packing


def _carry_out(
    build: Build,
    final: Path,
    key: str,
    preprocess: Preprocess,
    workers: int,
    task: Task,
    finished: Callable[[Pack, float], None] | None,
) -> Pack:
    """Make the pack and give it its name; the lock is held."""
    began = time.monotonic()
    with explained(build.folder):
        if not build.run(workers, task):
            raise PackingStopped("the decoding of the images was stopped")
        build.folder.replace(final)
        sync_folder(final.parent)
        clear_build_files(final)
    pack = _open_pack(final, key, preprocess, accept_transient=True)
    if pack is None:
        raise StorageError(f"the pack {final} changed while it was being opened", remedy="try again")
    if finished is not None:
        finished(pack, time.monotonic() - began)
    return pack


def _open_pack(folder: Path, key: str, preprocess: Preprocess, *, accept_transient: bool = False) -> Pack | None:
    """The finished pack in `folder`, or None when there is none that is whole.

    A pack with images that could not be read (rather than decoded) is of use to the run that made it only: the files
    may be back at the next one.
    """
    try:
        facts = json.loads((folder / "pack.json").read_text(encoding="utf-8"))
        ids = (folder / "ids.txt").read_text(encoding="ascii").split()
        shape = pack_shape(len(ids), preprocess)
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
    mark_used(folder)
    return Pack(folder, pixels, ids, failures)


def _rows(ids: Sequence[str], row_of_id: Mapping[str, int], folder: Path | str) -> Rows:
    try:
        return np.fromiter((row_of_id[image] for image in ids), dtype=np.int64, count=len(ids))
    except KeyError as error:
        raise DataError(f"the image {error} is not in the pack {folder}") from error


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
