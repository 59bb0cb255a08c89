"""Training on streamed images: what is decided, what several processes and a resumed one read, and what comes of it."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file

from eyebright.config import TrainConfig
from eyebright.data.manifest import Manifest
from eyebright.data.sources import open_source
from eyebright.jobs import streaming
from eyebright.jobs.streaming import available_memory_bytes, open_store, pack_bytes, with_stream_decided
from eyebright.preprocess import Preprocess
from eyebright.progress import Silent
from eyebright.recipes.base import Plan
from eyebright.run import Run, open_run
from shards import noisy_image, write_parquet, write_tars

WORKER = Path(__file__).with_name("stream_worker.py")
PREPROCESS = Preprocess(size=16, resize="squash")
ONE = ("OMP_NUM_THREADS", "1")


class Listening(Silent):
    """Remembers what it was told."""

    def __init__(self) -> None:
        self.notes: list[str] = []
        self.warnings: list[str] = []

    def note(self, text: str) -> None:
        self.notes.append(text)

    def warn(self, text: str) -> None:
        self.warnings.append(text)


@pytest.fixture(scope="module")
def striped_shards(shared_stripes: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The striped images in four tar shards, sorted by class."""
    files = sorted(shared_stripes.rglob("*.png"))
    images = [(path.read_bytes(), int(path.parent.name.removeprefix("angle-"))) for path in files]
    return write_tars(tmp_path_factory.mktemp("striped"), images, per_shard=33)


def start(arguments: list[str]) -> None:
    result = subprocess.run(
        [sys.executable, *arguments], capture_output=True, text=True, timeout=400, check=False,
        env=os.environ | dict([ONE]),
    )  # fmt: skip
    assert result.returncode == 0, result.stderr[-3000:]


def train_rows(run: Run) -> set[int]:
    """The rows of the store that are training images."""
    splits = Manifest.read(run.file("manifest.parquet")).ok["split"].to_pylist()
    return {row for row, split in enumerate(splits) if split == "train"}


def epochs_read(path: Path, train: set[int]) -> list[list[list[int]]]:
    """The parts of every training epoch that was begun: training images, and not in the order of the files."""
    readings = [json.loads(line) for line in path.read_text(encoding="ascii").splitlines()]
    flat = [[row for part in parts for row in part] for parts in readings]
    return [parts for parts, rows in zip(readings, flat, strict=True) if set(rows) <= train and rows != sorted(rows)]


@pytest.fixture(scope="module")
def sittings(striped_shards: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A training that nothing disturbed, and one that was killed in its second epoch and resumed."""
    output = tmp_path_factory.mktemp("sittings")
    start([str(WORKER), str(striped_shards), str(output)])
    return output


def test_a_killed_training_reads_exactly_the_rest_of_its_epoch(sittings: Path) -> None:
    train = train_rows(open_run(sittings / "whole"))
    whole = epochs_read(sittings / "reads-whole.jsonl", train)
    rest = epochs_read(sittings / "reads-resumed.jsonl", train)
    assert len(whole) == 3
    for parts in whole:
        assert sorted(row for part in parts for row in part) == sorted(train)
    assert 0 < len(rest[0]) < len(whole[1])
    assert rest[0] == whole[1][-len(rest[0]) :]
    assert rest[1:] == whole[2:]


def test_a_killed_training_ends_bit_for_bit_as_one_that_never_was(sittings: Path) -> None:
    weights, others = (load_file(sittings / name / "bundle" / "model.safetensors") for name in ("whole", "killed"))
    assert weights.keys() == others.keys()
    for name, value in weights.items():
        assert value.tobytes() == others[name].tobytes(), name
    one, other = (open_run(sittings / name) for name in ("whole", "killed"))
    assert one.metrics["test"] == other.metrics["test"]
    assert json.loads(one.file("plan.json").read_text())["config"]["data"]["stream"] is True


def test_three_processes_read_every_image_once(striped_shards: Path, tmp_path: Path) -> None:
    arguments = ["-m", "torch.distributed.run", "--standalone", "--local-addr", "127.0.0.1", "--nproc-per-node", "3"]
    start([*arguments, str(WORKER), str(striped_shards), str(tmp_path), "team"])
    run = open_run(tmp_path / "team")
    assert run.environment["processes"] == 3
    train = train_rows(run)
    ranks = [epochs_read(tmp_path / f"reads-{rank}.jsonl", train) for rank in range(3)]
    for epoch in range(2):
        read = [[row for part in rank[epoch] for row in part] for rank in ranks]
        assert sorted(row for rows in read for row in rows) == sorted(train)
        assert min(map(len, read)) >= len(train) // 3 - 3


def plan_of(stream: Any, window: int = 8192) -> Plan:
    config = TrainConfig.model_validate(
        {"source": "photos", "recipe": "scratch", "data": {"stream": stream, "shuffle_window": window}}
    )
    return Plan(
        network="smallnet", architecture="smallnet", architecture_arguments={}, pretrained=False, licence="",
        preprocess=PREPROCESS, probe=False, stages=(), finish_seconds=1.0, config=config, reasons=("one",),
    )  # fmt: skip


@pytest.fixture(scope="module")
def manifest(striped_shards: Path) -> Manifest:
    return Manifest.scan(open_source(striped_shards))


def test_a_pack_is_made_where_it_fits(manifest: Manifest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streaming, "available_memory_bytes", lambda: None)
    plan = with_stream_decided(plan_of("auto"), manifest)
    assert plan.config.data.stream is False
    assert plan.reasons == ("one",)
    assert pack_bytes(manifest, PREPROCESS) == 120 * 16 * 16 * 3


@pytest.mark.parametrize(("free", "stream"), [(92_160, True), (102_000, True), (103_000, False)])
def test_images_are_streamed_where_a_pack_leaves_no_room_on_the_disk(
    manifest: Manifest, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, free: int, stream: bool
) -> None:
    monkeypatch.setenv("EYEBRIGHT_CACHE", str(tmp_path))  # where no other test has packed the same images
    monkeypatch.setattr(shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(10**9, 0, free))  # type: ignore[attr-defined]
    plan = with_stream_decided(plan_of("auto"), manifest)
    assert plan.config.data.stream is stream
    assert len(plan.reasons) == 1 + stream
    assert Plan.from_dict(plan.as_dict()) == plan  # a resumed run keeps to it


def test_a_pack_that_is_there_is_used_however_full_the_disk(
    manifest: Manifest, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, striped_shards: Path
) -> None:
    from eyebright.data.pack import pack_images

    monkeypatch.setenv("EYEBRIGHT_CACHE", str(tmp_path))
    pack_images(manifest, open_source(striped_shards), PREPROCESS)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(10**9, 0, 0))  # type: ignore[attr-defined]
    assert with_stream_decided(plan_of("auto"), manifest).config.data.stream is False


def test_a_wish_is_followed_and_told(manifest: Manifest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streaming, "available_memory_bytes", lambda: 100_000)
    wished = with_stream_decided(plan_of(True, window=500), manifest)
    assert wished.config.data.stream is True
    assert "in windows of 500 images" in wished.reasons[-1]
    packed = with_stream_decided(plan_of(False), manifest)
    assert packed.config.data.stream is False
    assert "data.stream=true reads the files in order" in packed.reasons[-1]  # 90 kB of 100 kB of memory


def test_a_stream_stands_in_for_a_pack_and_says_what_it_costs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streaming, "available_memory_bytes", lambda: 2**40)
    images = [(noisy_image(seed), seed % 2) for seed in range(60)]
    source = open_source(write_parquet(tmp_path / "set", images, per_shard=60, row_group=60))
    manifest = Manifest.scan(source)
    told = Listening()
    config = plan_of(True, window=30).config
    streamed = open_store(manifest, source, PREPROCESS, config, told)
    ids = manifest.ok["id"].to_pylist()
    assert streamed.rows(ids).tolist() == list(range(60))
    assert streamed.store.window == 30
    assert not streamed.failures
    pixels = streamed.store.take(np.array([7]))
    assert np.array_equal(pixels[0], PREPROCESS.margin_pixels(images[7][0]))
    assert any("streaming 60 images: at most 1 GiB" in note for note in told.notes)
    assert "is read 8 times in each epoch" in told.warnings[0]
    monkeypatch.setattr(streaming, "available_memory_bytes", lambda: 2**30)
    open_store(manifest, source, PREPROCESS, config, told)
    assert "at most 0.25 GiB" in told.notes[-1]


@pytest.mark.parametrize(
    ("group", "files", "least"),
    [
        ("0::/", {}, 8 * 2**20),
        ("0::/job", {"sys/fs/cgroup/job/memory.max": "max\n"}, 8 * 2**20),
        ("0::/job", {"sys/fs/cgroup/job/memory.max": "5000\n", "sys/fs/cgroup/job/memory.current": "2000\n"}, 3000),
        ("0::/host/job", {"sys/fs/cgroup/memory.max": "7000\n"}, 7000),
        ("4:memory:/job", {"sys/fs/cgroup/memory/job/memory.limit_in_bytes": "6000\n"}, 6000),
        ("4:cpu:/job", {"sys/fs/cgroup/memory/job/memory.limit_in_bytes": "6000\n"}, 8 * 2**20),
    ],
)
def test_available_memory_heeds_control_groups(tmp_path: Path, group: str, files: dict[str, str], least: int) -> None:
    facts = {"proc/meminfo": "MemTotal: 9999 kB\nMemAvailable:    8192 kB\n", "proc/self/cgroup": f"{group}\n"}
    for name, text in (facts | files).items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    assert available_memory_bytes(tmp_path) == least
    assert available_memory_bytes(tmp_path / "nowhere") is None
