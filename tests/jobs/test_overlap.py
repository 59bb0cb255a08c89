"""Training that begins while images are still decoded ends as one that waits for them, whatever happens meanwhile."""

from __future__ import annotations

import errno
import fcntl
import io
import os
import shutil
import signal
import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from safetensors.numpy import load_file

import eyebright
from eyebright.data import packing
from eyebright.data.manifest import Manifest
from eyebright.errors import BadImagesError, StorageError
from eyebright.progress import Silent
from eyebright.run import Run, open_run
from eyebright.training import budget
from eyebright.training.budget import Pace

SCRATCH = {"recipe": "scratch", "epochs": 2, "size": 32}
SETTINGS = ("optim.batch_size=16", "augment.mixup=0.2", "data.audit=off", "augment.flip=false")

# Trains on the folder argv[1] as the run argv[2]; decoding an image takes argv[3] seconds more, and the process kills
# itself after step argv[4] of the first epoch, 0 for never.
WORKER = textwrap.dedent(
    """
    import json, os, signal, sys, time
    from pathlib import Path
    import torch
    import eyebright
    from eyebright.data import packing
    from eyebright.errors import EyebrightError
    from eyebright.training.hooks import BaseHook

    torch.set_num_threads(1)
    data, run, seconds, last = Path(sys.argv[1]), Path(sys.argv[2]), float(sys.argv[3]), int(sys.argv[4])
    decode = packing.Build._decode_into

    def slow(self, row, image):
        time.sleep(seconds)
        return decode(self, row, image)

    packing.Build._decode_into = slow

    class Killer(BaseHook):
        def on_step_end(self, state):
            print("step", state.step, flush=True)
            if state.step == last:
                os.kill(os.getpid(), signal.SIGKILL)

    try:
        if run.exists():
            eyebright.resume(run, hooks=[Killer()])
        else:
            settings = ["optim.batch_size=8", "checkpoint_steps=2", "augment.mixup=0.2", "data.audit=off"]
            eyebright.train(data, output=run.parent, name=run.name, recipe="scratch", epochs=2, size=16,
                            settings=settings, hooks=[Killer()])
    except EyebrightError as error:
        print(error, file=sys.stderr)
        sys.exit(error.exit_code)
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


@pytest.fixture
def cold(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Empties the cache when called."""

    def empty() -> None:
        cache = tmp_path / "cold"
        shutil.rmtree(cache, ignore_errors=True)
        monkeypatch.setenv("EYEBRIGHT_CACHE", str(cache))

    return empty


def trained(data: Path, output: Path, name: str, overlap: bool, *settings: str, **options: Any) -> tuple[Run, Notes]:
    notes = Notes()
    chosen = [f"data.overlap={str(overlap).lower()}", *settings]
    run = eyebright.train(data, output=output, name=name, progress=notes, settings=chosen, **options)
    return run, notes


def assert_same(one: Run, other: Run) -> None:
    weights, others = (load_file(run.file("bundle/model.safetensors")) for run in (one, other))
    assert weights.keys() == others.keys()
    for key, value in weights.items():
        assert value.tobytes() == others[key].tobytes(), key
    assert one.metrics["test"] == other.metrics["test"]
    ledgers = [Manifest.read(run.file("manifest.parquet")).ledger() for run in (one, other)]
    assert ledgers[0] == ledgers[1]
    clock = ("seconds", "images_per_second")
    lines = [[{k: v for k, v in line.items() if k not in clock} for line in run.history()] for run in (one, other)]
    assert lines[0] == lines[1]


MIRRORED = "augment.albumentations=[{HorizontalFlip: {p: 0.5}}]"


@pytest.mark.parametrize(
    ("settings", "options"),
    [
        ((*SETTINGS, "data.sampling=balanced", "data.drop_last=false"), SCRATCH),
        ((*SETTINGS, MIRRORED), SCRATCH),
        (("data.audit=off", "shallow.classifier=logistic"), {"recipe": "shallow", "size": 32}),
        (("data.audit=off",), {"recipe": "auto", "epochs": 0, "size": 64, "no_budget": True}),
    ],
    ids=["balanced", "albumentations", "shallow", "auto"],
)
def test_the_bits_do_not_depend_on_overlap(
    stripes: Path, tmp_path: Path, cold: Any, settings: tuple[str, ...], options: dict[str, Any]
) -> None:
    if MIRRORED in settings:
        pytest.importorskip("albumentations")
    cold()
    one, said = trained(stripes, tmp_path, "on", True, *settings, **options)
    assert any("while training" in note for note in said.notes)
    assert one.environment["outcome"]["decoding_overlapped_seconds"] > 0
    cold()
    other, said = trained(stripes, tmp_path, "off", False, *settings, **options)
    assert not any("while training" in note for note in said.notes)
    assert_same(one, other)


def test_photos_of_many_sizes_too(flowers_sample: Path, tmp_path: Path, cold: Any) -> None:
    runs = []
    for overlap in (True, False):
        cold()
        runs.append(trained(flowers_sample, tmp_path, str(overlap), overlap, *SETTINGS, **SCRATCH)[0])
    assert_same(*runs)


def broken(data: Path, tmp_path: Path, numbers: tuple[int, ...]) -> Path:
    """A copy of the folder in which these photos of the first class end early: only decoding them tells."""
    copy = tmp_path / "broken"
    shutil.copytree(data, copy)
    photos = sorted((copy / "daisy").iterdir())
    for number in numbers:
        stream = io.BytesIO()
        with Image.open(photos[number]) as photo:
            photo.save(stream, "PNG")
        photos[number].unlink()
        photos[number].with_suffix(".png").write_bytes(stream.getvalue()[:-2000])
    return copy


@pytest.mark.parametrize(("numbers", "splits"), [((5, 20, 3), {"train", "val"}), ((8,), {"test"})])
def test_broken_images_are_left_out_as_if_all_had_been_decoded_before(
    flowers_sample: Path, tmp_path: Path, cold: Any, numbers: tuple[int, ...], splits: set[str]
) -> None:
    data = broken(flowers_sample, tmp_path, numbers)
    runs, steps = [], []
    for overlap in (True, False):
        cold()
        run, said = trained(data, tmp_path, str(overlap), overlap, *SETTINGS, "data.allow_bad=0.05", **SCRATCH)
        runs.append(run)
        steps.append([note for note in said.notes if "training begins again" in note])
        assert sum("could not be decoded" in warning for warning in said.warnings) == 1
    table = Manifest.read(runs[0].file("manifest.parquet")).table.to_pylist()
    assert {row["split"] for row in table if row["status"] == "truncated"} == splits
    assert [len(notes) for notes in steps] == [int("train" in splits), 0]
    assert_same(*runs)
    assert (runs[0].path / "history.csv").read_text().count("\n") == 3
    assert not runs[0].checkpoint.exists()


def test_too_many_broken_images_end_the_run_as_before(flowers_sample: Path, tmp_path: Path, cold: Any) -> None:
    data = broken(flowers_sample, tmp_path, tuple(range(12)))
    problems = []
    for overlap in (True, False):
        cold()
        with pytest.raises(BadImagesError) as caught:
            trained(data, tmp_path, str(overlap), overlap, *SETTINGS, **SCRATCH)
        problems.append(str(caught.value))
        assert open_run(tmp_path / str(overlap)).state["state"] == "failed"
    assert problems[0] == problems[1]
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("pack")]


def test_a_disk_that_fills_up_ends_the_run_with_the_remedy(
    stripes: Path, tmp_path: Path, cold: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    cold()
    write_all = packing._write_all

    def full(descriptor: int, array: Any, offset: int) -> None:
        if offset > 0:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        write_all(descriptor, array, offset)

    monkeypatch.setattr(packing, "_write_all", full)
    with pytest.raises(StorageError, match="disk is full") as caught:
        trained(stripes, tmp_path, "r", True, *SETTINGS, **SCRATCH)
    assert "EYEBRIGHT_CACHE" in (caught.value.remedy or "")
    assert open_run(tmp_path / "r").state["state"] == "failed"
    assert lock_is_free(tmp_path)


def lock_is_free(tmp_path: Path) -> bool:
    (path,) = tmp_path.glob("cold/packs/*.lock")
    with open(path, "a", encoding="ascii") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
    return True


def start(data: Path, run: Path, seconds: float, last: int) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", WORKER, str(data), str(run), str(seconds), str(last)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def test_killed_in_the_overlapped_epoch_it_resumes_to_the_same_bits(stripes: Path, tmp_path: Path, cold: Any) -> None:
    cold()
    killed = start(stripes, tmp_path / "killed", 0.05, 3)
    killed.communicate(timeout=120)
    assert killed.returncode == -signal.SIGKILL
    assert list((tmp_path / "cold").glob("packs/*.partial"))  # it was in the middle of decoding
    assert (tmp_path / "killed/checkpoint/decoding.json").exists()
    resumed = start(stripes, tmp_path / "killed", 0, 0)
    said, errors = resumed.communicate(timeout=120)
    assert resumed.returncode == 0, errors
    assert said.startswith("step 3")  # went on from the checkpoint after two
    cold()
    whole = start(stripes, tmp_path / "whole", 0, 0)
    _, errors = whole.communicate(timeout=120)
    assert whole.returncode == 0, errors
    assert_same(open_run(tmp_path / "killed"), open_run(tmp_path / "whole"))


def test_ctrl_c_twice_leaves_no_process_and_no_lock_and_keeps_what_was_decoded(
    stripes: Path, tmp_path: Path, cold: Any
) -> None:
    cold()
    process = start(stripes, tmp_path / "r", 0.05, 0)
    assert process.stdout is not None
    while "step 2" not in process.stdout.readline():
        assert process.poll() is None
    process.send_signal(signal.SIGINT)
    time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130, errors
    assert "eyebright resume" in errors
    assert open_run(tmp_path / "r").state["state"] == "interrupted"
    assert lock_is_free(tmp_path)
    (marks,) = (tmp_path / "cold").glob("packs/*.partial/done.bin")
    assert marks.read_bytes().count(1)


def test_two_trainings_on_the_same_cold_images_both_end_right(stripes: Path, tmp_path: Path, cold: Any) -> None:
    cold()
    processes = [start(stripes, tmp_path / name, 0.02, 0) for name in ("one", "other")]
    for process in processes:
        _, errors = process.communicate(timeout=240)
        assert process.returncode == 0, errors
    assert_same(open_run(tmp_path / "one"), open_run(tmp_path / "other"))
    assert len(list((tmp_path / "cold").glob("packs/*/pack.json"))) == 1


def test_slow_first_steps_neither_break_the_deadline_nor_cost_later_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    """A budget of 100 s: 30 steps wait two seconds each for their images, the others take a quarter of one."""
    clock = [0.0]
    monkeypatch.setattr(budget.time, "monotonic", lambda: clock[0])
    pace = Pace(deadline=100.0, most_steps=10_000, steps_between=10_000)
    pace.start()
    step, total = 0, 400
    while step < total:
        clock[0] += 2.0 if step < 30 else 0.25
        step += 1
        total = pace.total_steps(step, total)
    assert step == 30 + 40 / 0.25
    assert clock[0] == pytest.approx(100.0)
