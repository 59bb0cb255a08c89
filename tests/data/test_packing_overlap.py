"""A pack that is read while it is made: the right pixels in the right order, and no one waits in vain."""

from __future__ import annotations

import errno
import fcntl
import os
import shutil
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from eyebright.data.manifest import Manifest
from eyebright.data.numbered import Numbered
from eyebright.data.pack import PackInProgress, begin_packing, pack_images
from eyebright.data.packing import ImagesLost, PackingStopped
from eyebright.errors import StorageError
from eyebright.preprocess import Preprocess
from eyebright.progress import Silent

GEOMETRY = Preprocess(size=8, resize="crop", resize_to=10)
COUNT = 40


class Gate:
    """A source that gives an image only when it may, and keeps the order in which it was asked."""

    def __init__(self, source: Any) -> None:
        self.allowed = threading.Semaphore(0)
        self.asked: list[str] = []
        self._read = source.read
        source.read = self.read

    def read(self, name: str) -> bytes:
        self.asked.append(name)
        assert self.allowed.acquire(timeout=60)
        return self._read(name)

    def open(self, images: int = 10**4) -> None:
        self.allowed.release(images)


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    return tmp_path / "cache"


@pytest.fixture
def images(memory_source: Callable[..., Any]) -> tuple[Manifest, Any]:
    source = memory_source(COUNT)
    return Manifest.scan(source), source


def truth(manifest: Manifest, source: Any, ids: list[str]) -> np.ndarray[Any, Any]:
    names = dict(zip(manifest.ok["id"].to_pylist(), manifest.ok["source"].to_pylist(), strict=True))
    return np.stack([GEOMETRY.margin_pixels(source.contents[names[image]]) for image in ids])


def lock_is_free(cache: Path) -> bool:
    (path,) = (cache / "packs").glob("*.lock")
    with open(path, "a", encoding="ascii") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
    return True


def packing_threads() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("pack")]


def close_behind(packing: PackInProgress, gate: Gate) -> None:
    """Close while a thread is in the middle of an image, which it gets only after it was asked to stop."""
    closing = threading.Thread(target=packing.close)
    closing.start()
    while not packing.store._stopped:  # type: ignore[attr-defined]
        time.sleep(0.001)
    gate.open(1)
    closing.join(60)
    assert not closing.is_alive()


def test_rows_can_be_read_as_soon_as_they_are_decoded_long_before_their_block_is_full(
    images: tuple[Manifest, Any], cache: Path
) -> None:
    manifest, source = images
    gate = Gate(source)
    ids = manifest.ok["id"].to_pylist()
    first = ids[::-1]
    with begin_packing(manifest, source, GEOMETRY, first=first, cache=cache, workers=1) as packing:
        assert packing.in_background
        rows = packing.rows(first)
        assert rows.tolist() == list(range(COUNT))
        gate.open(3)  # of a block of five
        assert np.array_equal(packing.store.take(rows[:3]), truth(manifest, source, first[:3]))
        assert not next((cache / "packs").glob("*.partial/done.bin")).read_bytes().count(1)
        gate.open(9)
        assert np.array_equal(
            packing.store.take(rows[[11, 0, 7, 7]]), truth(manifest, source, [first[n] for n in (11, 0, 7, 7)])
        )
        gate.open()
        pack = packing.wait()
        assert np.array_equal(packing.store.take(rows), truth(manifest, source, first))
    assert pack.ids == tuple(first)
    assert np.array_equal(pack.pixels, truth(manifest, source, first))
    assert lock_is_free(cache)
    assert not packing_threads()


def test_many_readers_at_once_get_their_own_images(images: tuple[Manifest, Any], cache: Path) -> None:
    manifest, source = images
    ids = manifest.ok["id"].to_pylist()
    random = np.random.default_rng(0)
    wanted = [random.integers(0, COUNT, 6) for _ in range(50)]
    expected = truth(manifest, source, ids)
    read = source.read
    source.read = lambda name: (time.sleep(0.001), read(name))[1]
    found: dict[int, Any] = {}
    with begin_packing(manifest, source, GEOMETRY, first=ids, cache=cache, workers=3) as packing:
        reading = packing.store.reading(wanted)
        threads = [threading.Thread(target=lambda n=n: found.update({n: reading.take(n)})) for n in range(50)]  # type: ignore[misc]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
    assert sorted(found) == list(range(50))
    for number, pixels in found.items():
        assert np.array_equal(pixels, expected[wanted[number]])


def test_images_are_taken_in_the_order_of_need_and_the_others_after_them(
    images: tuple[Manifest, Any], cache: Path
) -> None:
    manifest, source = images
    ids, names = manifest.ok["id"].to_pylist(), manifest.ok["source"].to_pylist()
    source.reads.clear()
    first = [ids[5], ids[30], ids[5], ids[2]]
    with begin_packing(manifest, source, GEOMETRY, first=first, cache=cache, workers=1) as packing:
        packing.wait()
    rest = [name for number, name in enumerate(names) if number not in (5, 30, 2)]
    assert source.reads == [names[5], names[30], names[2], *rest]


def test_the_finished_pack_is_simply_there(images: tuple[Manifest, Any], cache: Path) -> None:
    manifest, source = images
    pack_images(manifest, source, GEOMETRY, cache=cache)
    source.reads.clear()
    told: list[float] = []
    ids = manifest.ok["id"].to_pylist()
    with begin_packing(
        manifest, source, GEOMETRY, first=ids[::-1], cache=cache, finished=lambda pack, seconds: told.append(seconds)
    ) as packing:
        assert not packing.in_background
        assert np.array_equal(packing.store.take(packing.rows(ids[:4])), truth(manifest, source, ids[:4]))
    assert source.reads == []
    assert told == []


def test_numbers_follow_the_manifest_whatever_the_order_in_the_pack(images: tuple[Manifest, Any], cache: Path) -> None:
    manifest, source = images
    ids = manifest.ok["id"].to_pylist()
    with begin_packing(manifest, source, GEOMETRY, first=ids[::-1], cache=cache) as packing:
        numbered = Numbered(packing, ids)
        assert numbered.rows(ids).tolist() == list(range(COUNT))
        parts = [np.array([3, 1]), np.array([39])]
        reading = numbered.store.reading(parts)
        for number, part in enumerate(parts):
            assert np.array_equal(reading.take(number), truth(manifest, source, [ids[row] for row in part]))
        assert numbered.store.shape == (COUNT, 10, 10, 3)
        assert np.array_equal(numbered.store.take(np.arange(COUNT)), truth(manifest, source, ids))


def test_a_build_that_was_stopped_keeps_its_order_and_its_images(images: tuple[Manifest, Any], cache: Path) -> None:
    manifest, source = images
    gate = Gate(source)
    ids, names = manifest.ok["id"].to_pylist(), manifest.ok["source"].to_pylist()
    packing = begin_packing(manifest, source, GEOMETRY, first=ids[::-1], cache=cache, workers=1)
    gate.open(12)
    packing.store.take(np.arange(12))
    close_behind(packing, gate)
    assert lock_is_free(cache)
    assert not packing_threads()
    with pytest.raises(PackingStopped):
        packing.wait()
    gate.asked.clear()
    gate.open()
    # Two blocks of five were whole; another order is wanted, and the former one is kept.
    with begin_packing(manifest, source, GEOMETRY, first=ids, cache=cache, workers=1) as packing:
        assert packing.rows(ids[-2:]).tolist() == [1, 0]
        assert np.array_equal(packing.store.take(packing.rows(ids)), truth(manifest, source, ids))
    assert gate.asked == names[::-1][10:]


def test_who_waits_is_told_when_the_build_is_stopped_or_nobody_wants_the_batch(
    images: tuple[Manifest, Any], cache: Path
) -> None:
    manifest, source = images
    gate = Gate(source)
    errors: list[BaseException] = []

    def wait(take: Callable[[], Any]) -> threading.Thread:
        def work() -> None:
            try:
                take()
            except BaseException as error:
                errors.append(error)

        thread = threading.Thread(target=work)
        thread.start()
        return thread

    packing = begin_packing(manifest, source, GEOMETRY, cache=cache, workers=1)
    reading = packing.store.reading([np.arange(5)])
    dropped, kept = wait(lambda: reading.take(0)), wait(lambda: packing.store.take(np.arange(3)))
    reading.close()
    dropped.join(60)
    assert not dropped.is_alive()
    assert kept.is_alive()
    close_behind(packing, gate)
    kept.join(60)
    assert not kept.is_alive()
    assert [type(error) for error in errors] == [PackingStopped, PackingStopped]


def test_a_full_disk_reaches_who_waits_with_the_remedy(
    images: tuple[Manifest, Any], cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    manifest, source = images
    pwrite = os.pwrite

    def full(descriptor: int, content: Any, offset: int) -> int:
        if offset >= 2 * 5 * 300 and len(content) > 1:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return pwrite(descriptor, content, offset)

    with monkeypatch.context() as patch:
        patch.setattr(os, "pwrite", full)
        with begin_packing(manifest, source, GEOMETRY, cache=cache, workers=2) as packing:
            for ask in (lambda: packing.store.take(np.arange(COUNT)), packing.wait):
                with pytest.raises(StorageError, match="disk is full") as caught:
                    ask()
                assert "EYEBRIGHT_CACHE" in (caught.value.remedy or "")
    assert lock_is_free(cache)
    assert not packing_threads()
    assert pack_images(manifest, source, GEOMETRY, cache=cache).failures == {}


def test_a_disk_without_room_is_told_before_anything_begins(
    images: tuple[Manifest, Any], cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    manifest, source = images
    usage = shutil.disk_usage(cache.parent)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage._replace(free=1000))
    with pytest.raises(StorageError, match="MiB"):
        begin_packing(manifest, source, GEOMETRY, cache=cache)
    assert lock_is_free(cache)
    assert not packing_threads()


@pytest.mark.parametrize("needed", [True, False])
def test_a_broken_image_is_told_at_once_where_it_is_needed_and_at_the_end_where_not(
    memory_source: Callable[..., Any], encode: Callable[..., bytes], cache: Path, needed: bool
) -> None:
    contents = {f"{number}.png": encode(number) for number in range(COUNT)}
    contents["4.png"] = encode(4, side=64)[:-2000]
    whole = memory_source(COUNT)
    source = memory_source(items=list(whole.items()), contents=contents)
    manifest = Manifest.scan(source)
    ids = manifest.ok["id"].to_pylist()
    broken = ids[manifest.ok["source"].to_pylist().index("4.png")]
    first = ids[:8] if needed else [image for image in ids if image != broken][:8]
    with begin_packing(manifest, source, GEOMETRY, first=first, cache=cache, workers=1) as packing:
        if needed:
            with pytest.raises(ImagesLost):
                packing.store.take(np.arange(6, 8))
        else:
            packing.store.take(np.arange(COUNT))
        assert [status for status, _ in packing.wait().failures.values()] == ["truncated"]
        assert list(packing.failures) == [broken]


def test_two_at_once_on_the_same_images_decode_once(images: tuple[Manifest, Any], cache: Path) -> None:
    manifest, source = images
    ids = manifest.ok["id"].to_pylist()
    source.reads.clear()
    read = source.read
    source.read = lambda name: (time.sleep(0.002), read(name))[1]
    notes: list[str] = []

    class Notes(Silent):
        def note(self, text: str) -> None:
            notes.append(text)

    with (
        begin_packing(manifest, source, GEOMETRY, first=ids[::-1], cache=cache) as one,
        # Waits here, because the order of the rows is that of the one that is at work.
        begin_packing(manifest, source, GEOMETRY, first=ids, cache=cache, progress=Notes()) as other,
    ):
        assert np.array_equal(one.rows(ids), other.rows(ids))
        assert np.array_equal(one.store.take(one.rows(ids)), other.store.take(other.rows(ids)))
        assert not other.in_background
    assert len(source.reads) == COUNT
    assert "waiting" in notes[0]


def test_a_partial_folder_of_an_earlier_version_is_taken_up(images: tuple[Manifest, Any], cache: Path) -> None:
    """Its pixels end with the last block that was written: they were not made long from the beginning then."""
    manifest, source = images
    gate = Gate(source)
    packing = begin_packing(manifest, source, GEOMETRY, cache=cache, workers=1)
    gate.open(11)
    packing.store.take(np.arange(11))
    close_behind(packing, gate)
    (partial,) = (cache / "packs").glob("*.partial")
    os.truncate(partial / "pixels.bin", 10 * 300)
    gate.asked.clear()
    gate.open()
    pack = pack_images(manifest, source, GEOMETRY, cache=cache)
    assert len(gate.asked) == COUNT - 10
    assert np.array_equal(pack.pixels, truth(manifest, source, list(pack.ids)))
