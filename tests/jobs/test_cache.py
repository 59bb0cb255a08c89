"""Cleaning the cache: what it finds, what it removes, and what it never touches. With real packs of real photos."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from eyebright.data.cache import mark_used
from eyebright.data.cache_contents import Part, list_parts, lock_of
from eyebright.data.manifest import Manifest
from eyebright.data.pack import pack_images
from eyebright.data.sources import open_source
from eyebright.errors import DataError, UsageError
from eyebright.jobs.cache import STALE_SECONDS, Wanted, choose, parse_age, parse_bytes, remove_parts
from eyebright.jobs.run_space import remove_checkpoints, run_spaces
from eyebright.preprocess import Preprocess
from eyebright.run import create_run

DAY = 24 * 3600.0
HOLD_LOCK = """\
import fcntl, sys
handle = open(sys.argv[1], "a")
fcntl.flock(handle, fcntl.LOCK_EX)
print("held", flush=True)
sys.stdin.read()
"""
MAP_FILE = """\
import sys
import numpy as np
pixels = np.memmap(sys.argv[1], dtype=np.uint8, mode="r")
print("held", flush=True)
sys.stdin.read()
print(int(pixels.sum(dtype=np.int64)))
"""


@pytest.fixture(scope="module")
def packed(flowers_sample: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cache with packs of the same photos at three sizes. Tests that change it must copy it."""
    cache = tmp_path_factory.mktemp("packed")
    source = open_source(flowers_sample)
    manifest = Manifest.scan(source)
    for size in (16, 32, 64):
        pack_images(manifest, source, Preprocess(size=size), cache=cache)
    return cache


@pytest.fixture
def cache(packed: Path, tmp_path: Path) -> Path:
    """The packs, last of use 40 (16 px), 20 (32 px) and 1 (64 px) days ago."""
    own = tmp_path / "cache"
    shutil.copytree(packed, own)
    for part, days in zip(sorted(list_parts(own), key=lambda part: part.bytes), (40, 20, 1), strict=True):
        age(part.path, days)
    return own


def age(path: Path, days: float) -> None:
    """Set the time of the last change of a file, or a folder and all in it."""
    moment = time.time() - days * DAY
    for each in (*(path.rglob("*") if path.is_dir() else ()), path):
        os.utime(each, (moment, moment), follow_symlinks=False)


def sides(parts: tuple[Part, ...] | list[Part]) -> list[int]:
    """Working sizes of packs, from their descriptions."""
    return [int(part.details.split(" of ")[1].split("x")[0]) for part in parts]


def in_another_process(code: str, path: Path) -> subprocess.Popen[str]:
    process = subprocess.Popen(
        [sys.executable, "-c", code, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    return process


def test_a_pack_is_listed_with_its_geometry_its_bytes_and_its_times(cache: Path) -> None:
    parts = list_parts(cache)
    assert [part.state for part in parts] == ["ready"] * 3
    assert sides(parts) == [16, 32, 64]  # those of use longest ago first
    assert parts[2].details == "120 images of 64x64x3"
    pixels = 120 * 64 * 64 * 3
    assert pixels <= parts[2].bytes < pixels + 64 * 1024
    assert parts[2].made == pytest.approx(time.time() - DAY, abs=60)


def test_a_hole_in_a_file_takes_no_space(cache: Path) -> None:
    part = list_parts(cache)[0]
    with open(part.path / "pixels.bin", "ab") as handle:
        handle.truncate(2**30)
    assert list_parts(cache)[0].bytes < 2**20


def test_the_part_that_was_not_of_use_for_longest_goes_first(cache: Path) -> None:
    parts = list_parts(cache)
    keep = parts[1].bytes + parts[2].bytes
    assert sides(choose(cache, Wanted(keep_bytes=keep)).remove) == [16]
    assert sides(choose(cache, Wanted(keep_bytes=keep - 1)).remove) == [16, 32]
    assert choose(cache, Wanted(keep_bytes=keep + parts[0].bytes)).remove == ()
    mark_used(parts[0].path)
    assert sides(choose(cache, Wanted(keep_bytes=keep)).remove) == [32]


def test_conditions_hold_together(cache: Path) -> None:
    assert sides(choose(cache, Wanted()).remove) == [16, 32, 64]
    assert sides(choose(cache, Wanted(older_than_seconds=30 * DAY)).remove) == [16]
    assert sides(choose(cache, Wanted(older_than_seconds=10 * DAY)).remove) == [16, 32]
    large = list_parts(cache)[0].bytes
    assert sides(choose(cache, Wanted(larger_than_bytes=large)).remove) == [32, 64]
    assert sides(choose(cache, Wanted(larger_than_bytes=large, older_than_seconds=10 * DAY)).remove) == [32]
    assert choose(cache, Wanted(kinds=["embeddings"])).remove == ()


def test_removing_gives_the_space_back_and_a_pack_that_is_needed_is_made_again(
    cache: Path, flowers_sample: Path
) -> None:
    choice = choose(cache, Wanted(older_than_seconds=30 * DAY))
    before = sum(part.bytes for part in list_parts(cache))
    removed, kept = remove_parts(choice.remove)
    assert (sides(removed), kept) == ([16], [])
    assert sum(part.bytes for part in list_parts(cache)) == before - choice.bytes
    assert not list(cache.rglob("*.partial"))
    source = open_source(flowers_sample)
    again = pack_images(Manifest.scan(source), source, Preprocess(size=16), cache=cache)
    assert again.folder.resolve() == removed[0].path
    assert np.asarray(again.pixels).any()


def test_a_pack_that_another_process_makes_is_left_alone(cache: Path) -> None:
    oldest = list_parts(cache)[0]
    partial = oldest.path.with_name(f"{oldest.path.name}.partial")
    oldest.path.rename(partial)
    age(partial, 40)
    stale = choose(cache, Wanted()).remove
    builder = in_another_process(HOLD_LOCK, lock_of(partial))
    try:
        assert lock_of(partial).name == f"{oldest.path.name}.lock"
        assert [part.state for part in list_parts(cache)] == ["in use", "ready", "ready"]
        choice = choose(cache, Wanted(older_than_seconds=30 * DAY))
        assert choice.remove == ()
        assert [part.path for part in choice.spared] == [partial]
        # Chosen before the other process began: the lock is asked again.
        removed, kept = remove_parts(stale[:1])
        assert (removed, [part.path for part in kept]) == ([], [partial])
        assert (partial / "pixels.bin").is_file()
    finally:
        builder.communicate("")
    assert [part.path for part in remove_parts(stale[:1])[0]] == [partial]


@pytest.mark.skipif(not Path("/proc/self/maps").exists(), reason="the system does not tell what processes have open")
def test_a_pack_that_another_process_has_mapped_is_left_alone(cache: Path) -> None:
    oldest = list_parts(cache)[0]
    total = int(np.fromfile(oldest.path / "pixels.bin", dtype=np.uint8).sum(dtype=np.int64))
    reader = in_another_process(MAP_FILE, oldest.path / "pixels.bin")
    assert list_parts(cache)[0].state == "in use"
    choice = choose(cache, Wanted())
    assert [part.path for part in choice.spared] == [oldest.path]
    assert sides(choice.remove) == [32, 64]
    # Even removed, as a machine that shares the cache may do, its pages stay with the reader.
    assert remove_parts([oldest])[0] == [oldest]
    assert int(reader.communicate("")[0]) == total


def test_a_half_done_pack_goes_with_every_clean_once_nobody_has_touched_it_for_a_day(cache: Path) -> None:
    newest = list_parts(cache)[2]
    partial = newest.path.with_name(f"{newest.path.name}.partial")
    newest.path.rename(partial)
    part = next(part for part in list_parts(cache) if part.path == partial)
    assert part.state == "half-done"
    narrow = Wanted(older_than_seconds=1000 * DAY)
    assert choose(cache, narrow, now=part.used + STALE_SECONDS - 1).remove == ()
    assert choose(cache, narrow, now=part.used + STALE_SECONDS + 1).remove == (part,)


def test_a_build_that_was_killed_shows_how_far_it_came_and_is_taken_up(flowers_sample: Path, tmp_path: Path) -> None:
    source = open_source(flowers_sample)
    manifest = Manifest.scan(source)
    whole = pack_images(manifest, source, Preprocess(size=16), cache=tmp_path)
    pixels = np.array(whole.pixels)
    partial = whole.folder.with_name(f"{whole.folder.name}.partial")
    whole.folder.rename(partial)
    del whole  # what this process has mapped would count as in use
    facts = json.loads((partial / "pack.json").read_text(encoding="utf-8"))
    (partial / "pack.json").unlink()
    plan = {name: facts[name] for name in ("version", "shape", "block_images")}
    (partial / "plan.json").write_text(json.dumps(plan), encoding="utf-8")
    (partial / "done.bin").write_bytes(b"\1\1\0\1\1\0\0\1")
    (partial / "failures").mkdir()
    (part,) = list_parts(tmp_path)
    assert (part.path, part.state) == (partial, "half-done")
    assert part.details == "120 images of 16x16x3, 5 of 8 parts there"
    again = pack_images(manifest, source, Preprocess(size=16), cache=tmp_path)
    assert np.array_equal(again.pixels, pixels)


def test_what_is_not_known_is_left_alone(cache: Path) -> None:
    (cache / "notes.txt").write_text("mine", encoding="utf-8")
    (cache / "packs" / "holiday").mkdir()
    (cache / "packs" / "holiday" / "photo.jpg").write_bytes(b"mine")
    (cache / "data" / "mnist").mkdir(parents=True)
    (cache / "data" / "mnist" / "train.gz").write_bytes(b"mine")
    guarded = list_parts(cache)[0].path
    (guarded / "my-labels.csv").write_text("mine", encoding="utf-8")
    parts = {part.path.name: part for part in list_parts(cache)}
    assert parts["notes.txt"].state == parts["holiday"].state == "unknown"
    assert parts[guarded.name].details == "holds what Eyebright did not write: my-labels.csv"
    assert parts["data"].state == "yours"
    remove_parts(choose(cache, Wanted()).remove)
    assert {part.path.name for part in list_parts(cache)} == {"data", "holiday", "notes.txt", guarded.name}
    assert (guarded / "pixels.bin").is_file()


def test_links_are_not_followed(cache: Path, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "pack.json").write_text("{}", encoding="utf-8")
    (outside / "graph.onnx").write_bytes(b"0" * 100_000)
    (cache / "packs" / ("a" * 32)).symlink_to(outside)
    (cache / "embeddings").symlink_to(outside)
    kept = list_parts(cache)[0].path
    (kept / "pixels.bin").unlink()
    (kept / "pixels.bin").symlink_to(outside / "graph.onnx")
    parts = {part.path.name: part for part in list_parts(cache)}
    assert {parts["a" * 32].state, parts["embeddings"].state, parts[kept.name].state} == {"unknown"}
    assert parts["embeddings"].bytes < 10_000
    remove_parts(choose(cache, Wanted()).remove)
    assert sorted(path.name for path in outside.iterdir()) == ["graph.onnx", "pack.json"]
    assert (cache / "embeddings").is_symlink()
    assert kept.is_dir()


def test_the_cache_itself_may_be_a_link(cache: Path, tmp_path: Path) -> None:
    link = tmp_path / "link"
    link.symlink_to(cache)
    assert list_parts(link) == list_parts(cache)
    assert len(list_parts(link)) == 3


def test_a_file_of_a_process_that_died_is_left_over_and_that_of_a_living_one_is_in_use(tmp_path: Path) -> None:
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    archives = tmp_path / "archives"
    archives.mkdir()
    dead = archives / f".{'a' * 32}-10-20.tar.{ended.pid}-0123abcd.partial"
    dead.write_bytes(b"half")
    fetched = tmp_path / "remote" / ("b" * 32)
    (fetched / "deep").mkdir(parents=True)
    (fetched / "deep" / f".train.parquet.{os.getpid()}-0123abcd.partial").write_bytes(b"half")
    # Just written: a machine that shares the cache may be at it.
    assert {part.kind: part.state for part in list_parts(tmp_path)} == {"archives": "in use", "remote": "in use"}
    age(dead, 1)
    choice = choose(tmp_path, Wanted(older_than_seconds=1000 * DAY))
    assert [part.path for part in choice.remove] == [dead]
    remove_parts(choice.remove)
    assert [part.kind for part in list_parts(tmp_path)] == ["remote"]


def test_every_kind_is_found_under_the_name_that_its_writer_gives(tmp_path: Path) -> None:
    for name in (
        "embeddings/tf_efficientnet_lite0-224-64bf104b190a/76a245d8a1a3e61fd13ac838.npz",
        "embeddings/tf_efficientnet_lite0-224-64bf104b190a/graph.onnx",
        "properties/v1/76a245d8a1a3e61fd13ac838.parquet",
        f"archives/{'0' * 32}-1000-2000.tar",
        f"remote/{'0' * 32}/data/train-0.parquet",
        "hub/owner--name@0123456789012345678901234567890123456789.json",
    ):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"x")
    parts = list_parts(tmp_path)
    assert [part.kind for part in parts] == ["embeddings", "properties", "archives", "remote", "hub"]
    assert {part.state for part in parts} == {"ready"}
    assert len(remove_parts(choose(tmp_path, Wanted(kinds=["remote", "hub"])).remove)[0]) == 2
    assert [part.kind for part in list_parts(tmp_path)] == ["embeddings", "properties", "archives"]


def test_an_unknown_kind_is_refused_with_a_suggestion(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="did you mean 'packs'"):
        choose(tmp_path, Wanted(kinds=["pack"]))


def test_a_cache_that_is_not_there_is_empty(tmp_path: Path) -> None:
    assert list_parts(tmp_path / "none") == []


def test_marking_tolerates_what_is_gone(tmp_path: Path) -> None:
    mark_used(tmp_path / "gone")
    os.utime(tmp_path, (0, 0))
    mark_used(tmp_path)
    assert tmp_path.stat().st_mtime == pytest.approx(time.time(), abs=60)


@pytest.mark.parametrize(
    ("text", "bytes_"),
    [("0", 0), ("1000", 1000), ("1KiB", 1024), ("10GiB", 10 * 2**30), ("500 MB", 500_000_000), ("1.5g", 3 * 2**29)],
)
def test_amounts_of_storage_are_read(text: str, bytes_: int) -> None:
    assert parse_bytes(text) == bytes_


@pytest.mark.parametrize("text", ["", "-1", "GiB", "10 apples", "1e9"])
def test_what_is_no_amount_of_storage_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="amount"):
        parse_bytes(text)


def test_ages_are_read() -> None:
    assert parse_age("30d") == 30 * DAY
    assert parse_age("12h") == DAY / 2
    with pytest.raises(UsageError, match="not an age"):
        parse_age("old")


def test_runs_are_measured_by_what_they_hold_and_only_checkpoints_of_complete_ones_go(tmp_path: Path) -> None:
    for name, state in (("done", "complete"), ("stopped", "complete"), ("killed", "interrupted")):
        run = create_run(tmp_path, name)
        run.set_state(state)
        for file, size in (("bundle/model.safetensors", 40_000), ("report.html", 20_000), ("manifest.parquet", 9_000)):
            run.file(file).parent.mkdir(exist_ok=True)
            run.file(file).write_bytes(b"x" * size)
    for name in ("stopped", "killed"):
        (tmp_path / name / "checkpoint" / "loop").mkdir(parents=True)
        (tmp_path / name / "checkpoint" / "loop" / "network.safetensors").write_bytes(b"x" * 100_000)
    spaces = {space.path.name: space for space in run_spaces(tmp_path)}
    assert {name: space.state for name, space in spaces.items()} == {
        "stopped": "complete", "killed": "interrupted", "done": "complete",
    }  # fmt: skip
    assert list(spaces)[-1] == "done"  # the largest first
    assert spaces["killed"].bytes["checkpoint"] >= 100_000
    assert spaces["done"].bytes["checkpoint"] == 0
    assert 40_000 <= spaces["done"].bytes["bundle"] < 60_000
    assert 20_000 <= spaces["done"].bytes["report"] < 30_000
    assert 9_000 <= spaces["done"].bytes["tables"] < 20_000
    assert [space.path.name for space in remove_checkpoints(list(spaces.values()))] == ["stopped"]
    assert not (tmp_path / "stopped" / "checkpoint").exists()
    assert (tmp_path / "killed" / "checkpoint" / "loop" / "network.safetensors").is_file()
    with pytest.raises(DataError, match="has no run"):
        run_spaces(tmp_path / "done" / "bundle")
