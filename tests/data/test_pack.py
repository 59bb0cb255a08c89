"""The pack under everything that can happen to it: kills, several processes, full disks, damage, vanished files."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from eyebright.data.cache import default_cache
from eyebright.data.manifest import Manifest
from eyebright.data.pack import Pack, pack_images, pack_key
from eyebright.data.sources import open_source
from eyebright.errors import DataError, StorageError
from eyebright.preprocess import Preprocess
from eyebright.progress import Silent

MakeFolder = Callable[..., Path]
GEOMETRY = Preprocess(size=8, resize="crop", resize_to=10)
COUNT = 40

# Packs the folder argv[1] into the cache argv[2], sleeping argv[3] seconds for each image, and prints what it did.
PACKER = textwrap.dedent(
    """
    import hashlib, json, sys, time
    from pathlib import Path
    from eyebright.data.manifest import Manifest
    from eyebright.data.pack import pack_images
    from eyebright.data.sources import open_source
    from eyebright.preprocess import Preprocess
    from eyebright.progress import Silent

    source = open_source(sys.argv[1])
    manifest = Manifest.scan(source)
    read, count, notes = source.read, [0], []

    def slow(name):
        count[0] += 1
        time.sleep(float(sys.argv[3]))
        return read(name)

    class Notes(Silent):
        def note(self, text):
            notes.append(text)
            print(text, file=sys.stderr, flush=True)

    source.read = slow
    geometry = Preprocess(size=8, resize="crop", resize_to=10)
    pack = pack_images(manifest, source, geometry, cache=Path(sys.argv[2]), workers=1, progress=Notes())
    digest = hashlib.sha256(pack.pixels[pack.rows(sorted(pack.ids))].tobytes()).hexdigest()
    print(json.dumps({"reads": count[0], "digest": digest, "notes": notes}))
    """
)


class Notes(Silent):
    def __init__(self) -> None:
        self.notes: list[str] = []
        self.warnings: list[str] = []

    def note(self, text: str) -> None:
        self.notes.append(text)

    def warn(self, text: str) -> None:
        self.warnings.append(text)


def start_packer(root: Path, cache: Path, seconds_an_image: float) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", PACKER, str(root), str(cache), str(seconds_an_image)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def digest_of(pack: Pack) -> str:
    return hashlib.sha256(pack.pixels[pack.rows(sorted(pack.ids))].tobytes()).hexdigest()


def blocks_done(cache: Path) -> int:
    marks = [path.read_bytes() for path in cache.glob("packs/*.partial/done.bin")]
    return sum(mark.count(1) for mark in marks)


def wait_until(condition: Callable[[], bool], process: subprocess.Popen[str]) -> None:
    while not condition():
        assert process.poll() is None, process.communicate()
        time.sleep(0.005)


@pytest.fixture
def root(make_folder: MakeFolder) -> Path:
    return make_folder({f"{'ab'[n % 2]}/{n}.png": n for n in range(COUNT)})


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    return tmp_path / "cache"


def scanned(root: Path) -> tuple[Manifest, Any]:
    source = open_source(root)
    return Manifest.scan(source), source


def test_pixels_are_those_of_preprocess_in_rows_found_by_id(root: Path, cache: Path) -> None:
    manifest, source = scanned(root)
    pack = pack_images(manifest, source, GEOMETRY, cache=cache)
    assert pack.pixels.shape == (COUNT, 10, 10, 3)
    assert pack.pixels.dtype == np.uint8
    ids, names = manifest.ok["id"].to_pylist(), manifest.ok["source"].to_pylist()
    for image, name in list(zip(ids, names, strict=True))[::-1]:
        row = pack.rows([image])[0]
        assert np.array_equal(pack.pixels[row], GEOMETRY.margin_pixels(source.read(name)))
    assert pack.rows(ids[5:7] + ids[5:6]).dtype == np.int64
    assert not pack.pixels.flags.writeable
    assert pack.failures == {}
    with pytest.raises(DataError, match="not in the pack"):
        pack.rows(["nobody"])


def test_the_second_time_nothing_is_decoded(memory_source: Callable[..., Any], cache: Path) -> None:
    source = memory_source(COUNT)
    manifest = Manifest.scan(source)
    source.reads.clear()
    first = pack_images(manifest, source, GEOMETRY, cache=cache)
    assert sorted(source.reads) == sorted(source.contents)
    source.reads.clear()
    second = pack_images(manifest, source, GEOMETRY, cache=cache)
    assert source.reads == []
    assert np.array_equal(first.pixels, second.pixels)


def test_the_key_follows_images_and_geometry_only() -> None:
    key = pack_key(["a", "b"], GEOMETRY)
    normalised = Preprocess(size=8, resize="crop", resize_to=10, mean=(0.1, 0.2, 0.3))
    assert pack_key(["b", "a", "a"], normalised) == key
    others = [
        pack_key(["a"], GEOMETRY),
        pack_key(["a", "b"], Preprocess(size=8, resize="crop", resize_to=12)),
        pack_key(["a", "b"], Preprocess(size=10)),
        pack_key(["a", "b"], Preprocess(size=8, resize="crop", resize_to=10, interpolation="bilinear")),
        pack_key(["a", "b"], Preprocess(size=8, resize="crop", resize_to=10, channels=1, mean=(0,), std=(1,))),
    ]
    assert len({key, *others}) == 6


def test_images_that_fail_to_decode_are_reported_and_remembered(
    make_folder: MakeFolder, encode: Callable[..., bytes], cache: Path
) -> None:
    cut = encode(7, side=64)[:-2000]  # the header is whole, so the scan lets it pass
    root = make_folder({"a/1.png": 1, "a/cut.png": cut, "b/2.png": 2})
    manifest, source = scanned(root)
    assert manifest.ok.num_rows == 3
    for _ in range(2):
        pack = pack_images(manifest, source, GEOMETRY, cache=cache)
        assert [status for status, _ in pack.failures.values()] == ["truncated"]
    marked = manifest.mark(pack.failures)
    assert [row["source"] for row in marked.ledger()] == ["a/cut.png"]
    assert pack.pixels[pack.rows(list(pack.failures))].max() == 0


def test_files_that_vanish_or_change_are_failures_of_this_run_only(
    root: Path, cache: Path, encode: Callable[..., bytes]
) -> None:
    manifest, source = scanned(root)
    kept = (root / "a/0.png").read_bytes()
    (root / "a/0.png").unlink()
    (root / "b/1.png").write_bytes(encode(999))
    pack = pack_images(manifest, source, GEOMETRY, cache=cache)
    assert sorted(pack.failures.values()) == [
        ("missing", f"there is no file {root / 'a/0.png'}"),
        ("unreadable", "the file changed after it was listed"),
    ]
    (root / "a/0.png").write_bytes(kept)
    (root / "b/1.png").write_bytes(encode(1))
    progress = Notes()
    assert pack_images(manifest, source, GEOMETRY, cache=cache, progress=progress).failures == {}
    assert len(progress.warnings) == 1


def test_nothing_to_pack_is_an_error(memory_source: Callable[..., Any], cache: Path) -> None:
    source = memory_source(0)
    with pytest.raises(DataError, match="no usable image"):
        pack_images(Manifest.scan(source), source, GEOMETRY, cache=cache)


def test_killed_again_and_again_it_still_ends_with_the_right_pixels(root: Path, cache: Path, tmp_path: Path) -> None:
    for kill_after in (1, 3, 5):
        process = start_packer(root, cache, 0.05)
        wait_until(lambda after=kill_after: blocks_done(cache) >= after, process)  # type: ignore[misc]
        os.kill(process.pid, signal.SIGKILL)
        process.communicate()
        # Nothing that looks finished lies there.
        assert [path.name for path in cache.glob("packs/*") if path.suffix not in (".lock", ".partial")] == []
    left = blocks_done(cache)
    process = start_packer(root, cache, 0)
    output, errors = process.communicate()
    assert process.returncode == 0, errors
    result = json.loads(output)
    assert any("resuming" in note for note in result["notes"])
    assert result["reads"] == COUNT - left * (COUNT // 8)
    manifest, source = scanned(root)
    assert result["digest"] == digest_of(pack_images(manifest, source, GEOMETRY, cache=tmp_path / "fresh"))
    assert {path.suffix for path in cache.glob("packs/*")} == {"", ".lock"}
    assert sorted(path.name for path in cache.glob("packs/*/*")) == ["ids.txt", "pack.json", "pixels.bin"]


def test_two_processes_at_once_decode_once(root: Path, cache: Path) -> None:
    processes = [start_packer(root, cache, 0.02) for _ in range(2)]
    results = []
    for process in processes:
        output, errors = process.communicate()
        assert process.returncode == 0, errors
        results.append(json.loads(output))
    assert sorted(result["reads"] for result in results) == [0, COUNT]
    assert results[0]["digest"] == results[1]["digest"]


def test_the_waiting_process_takes_over_from_a_killed_one(root: Path, cache: Path) -> None:
    first = start_packer(root, cache, 0.05)
    wait_until(lambda: blocks_done(cache) >= 1, first)
    second = start_packer(root, cache, 0)
    assert second.stderr is not None
    assert "waiting" in second.stderr.readline()
    os.kill(first.pid, signal.SIGKILL)
    first.communicate()
    output, errors = second.communicate()
    assert second.returncode == 0, errors
    assert 0 < json.loads(output)["reads"] < COUNT


def test_ctrl_c_leaves_what_is_done(root: Path, cache: Path) -> None:
    process = start_packer(root, cache, 0.05)
    wait_until(lambda: blocks_done(cache) >= 2, process)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate()
    assert "KeyboardInterrupt" in errors
    left = blocks_done(cache)
    assert left >= 2
    source_reads: list[str] = []
    manifest, source = scanned(root)
    read = source.read
    source.read = lambda name: source_reads.append(name) or read(name)
    pack_images(manifest, source, GEOMETRY, cache=cache)
    assert len(source_reads) == COUNT - left * (COUNT // 8)


def only_pack(cache: Path) -> Path:
    (folder,) = (path for path in cache.glob("packs/*") if path.is_dir())
    return folder


def cut_pixels(folder: Path) -> None:
    os.truncate(folder / "pixels.bin", 100)


def swap_ids(folder: Path) -> None:
    text = (folder / "ids.txt").read_text()
    (folder / "ids.txt").write_text(text.replace(text[:32], "0" * 32))


@pytest.mark.parametrize(
    "damage",
    [
        cut_pixels,
        swap_ids,
        lambda folder: (folder / "pixels.bin").unlink(),
        lambda folder: (folder / "ids.txt").write_bytes(b"\xff\xfe"),
        lambda folder: (folder / "pack.json").write_text("{"),
        lambda folder: (folder / "pack.json").write_text("[]"),
        lambda folder: (folder / "pack.json").write_text('{"version": 99}'),
        lambda folder: (folder / "pack.json").unlink(),
    ],
)
def test_a_damaged_pack_is_made_again_with_a_warning(root: Path, cache: Path, damage: Callable[[Path], Any]) -> None:
    manifest, source = scanned(root)
    good = digest_of(pack_images(manifest, source, GEOMETRY, cache=cache))
    damage(only_pack(cache))
    progress = Notes()
    assert digest_of(pack_images(manifest, source, GEOMETRY, cache=cache, progress=progress)) == good
    assert "damaged" in progress.warnings[0]


@pytest.mark.parametrize("torn", ["plan.json", "ids.txt", "done.bin", "failures"])
def test_a_partial_folder_that_makes_no_sense_is_started_afresh(root: Path, cache: Path, torn: str) -> None:
    process = start_packer(root, cache, 0.02)
    wait_until(lambda: blocks_done(cache) >= 1, process)
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()
    (partial,) = cache.glob("packs/*.partial")
    if torn == "failures":
        shutil.rmtree(partial / torn)
    elif torn == "done.bin":
        (partial / torn).unlink()
    else:
        (partial / torn).write_bytes((partial / torn).read_bytes()[:-10])
    manifest, source = scanned(root)
    pack = pack_images(manifest, source, GEOMETRY, cache=cache)
    expected = [GEOMETRY.margin_pixels(source.read(name)) for name in manifest.ok["source"].to_pylist()]
    assert np.array_equal(pack.pixels[pack.rows(manifest.ok["id"].to_pylist())], np.stack(expected))


def test_a_disk_without_room_is_told_before_the_work(root: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = shutil.disk_usage(root)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage._replace(free=1000))
    manifest, source = scanned(root)
    with pytest.raises(StorageError, match="MiB") as caught:
        pack_images(manifest, source, GEOMETRY, cache=cache)
    assert "EYEBRIGHT_CACHE" in (caught.value.remedy or "")


def test_a_disk_that_fills_up_keeps_what_was_written(root: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    manifest, source = scanned(root)
    written = 0
    pwrite = os.pwrite

    def full_after_three_blocks(descriptor: int, content: Any, offset: int) -> int:
        nonlocal written
        written += len(content) > 1
        if written > 3:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return pwrite(descriptor, content, offset)

    with monkeypatch.context() as patch:
        patch.setattr(os, "pwrite", full_after_three_blocks)
        with pytest.raises(StorageError, match="disk is full"):
            pack_images(manifest, source, GEOMETRY, cache=cache, workers=1)
    progress = Notes()
    pack = pack_images(manifest, source, GEOMETRY, cache=cache, progress=progress)
    assert "3 of 8" in progress.notes[0]
    expected = [GEOMETRY.margin_pixels(source.read(name)) for name in manifest.ok["source"].to_pylist()]
    assert np.array_equal(pack.pixels[pack.rows(manifest.ok["id"].to_pylist())], np.stack(expected))


def test_a_disk_that_is_really_full(root: Path, tmp_path: Path) -> None:
    """On a file system of 64 KiB of its own, in a mount namespace that ends with the process."""
    probe = tmp_path / "disk"
    probe.mkdir()
    mount = f"mount -t tmpfs -o size=64k eyebright {probe}"
    inside = ["unshare", "--mount", "--map-root-user", "sh", "-c"]
    if shutil.which("unshare") is None or subprocess.run([*inside, mount], capture_output=True, check=False).returncode:
        pytest.skip("this machine does not let a process mount a file system of its own")
    script = (
        "import shutil\nfree = shutil.disk_usage('.')._replace(free=2**40)\nshutil.disk_usage = lambda path: free\n"
        # 40 images of 10x10x3 need 12 kB: larger squares are wanted here.
        + PACKER.replace("size=8", "size=64").replace("resize_to=10", "resize_to=64")
    )
    (tmp_path / "packer.py").write_text(script)
    command = f"{mount} && {sys.executable} {tmp_path / 'packer.py'} {root} {probe} 0"
    result = subprocess.run([*inside, command], capture_output=True, text=True, check=False)
    assert result.returncode == 1
    assert "StorageError: the disk is full" in result.stderr


def test_a_cache_that_may_not_be_written_says_where_else(root: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    manifest, source = scanned(root)
    with pytest.raises(StorageError, match="file"):
        pack_images(manifest, source, GEOMETRY, cache=tmp_path / "file" / "cache")


def test_the_cache_is_where_the_environment_says(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("EYEBRIGHT_CACHE", str(tmp_path))
    assert default_cache() == tmp_path
    monkeypatch.delenv("EYEBRIGHT_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert default_cache() == tmp_path / "xdg" / "eyebright"


def test_grey_images_from_arrays(cache: Path) -> None:
    pytest.importorskip("sklearn.datasets")
    source = open_source("digits")
    manifest = Manifest.scan(source)
    grey = Preprocess(size=8, channels=1, mean=(0.5,), std=(0.5,))
    pack = pack_images(manifest, source, grey, cache=cache)
    assert pack.pixels.shape == (1797, 8, 8, 1)
    row = pack.rows(manifest.ok["id"].to_pylist())[100]
    assert np.array_equal(pack.pixels[row, :, :, 0], source.read("digits#100"))
