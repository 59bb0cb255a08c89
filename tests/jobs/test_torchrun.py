"""The same command under torchrun: the same result from two processes, and a death that costs no more than a resume."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

import eyebright
from eyebright.run import Run, open_run

WORKER = Path(__file__).with_name("torchrun_worker.py")
# SGD, because Adam turns a rounded zero into a whole step; 15 images, so that no batch can be halved.
SETTINGS = (
    "optim.optimiser=sgd", "optim.learning_rate=0.05", "optim.batch_size=15", "augment.mixup=0.2", "model.dropout=0",
    "data.audit=off", "data.drop_last=false",
)  # fmt: skip
OPTIONS = (
    "--name",
    "run",
    "--recipe",
    "scratch",
    "--size",
    "16",
    *(part for one in SETTINGS for part in ("--set", one)),
)


def torchrun(*arguments: str, processes: int = 2) -> subprocess.CompletedProcess[str]:
    """Start it, and wait until all of its processes have ended."""
    start = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--local-addr", "127.0.0.1"]
    return subprocess.run(
        [*start, "--nproc-per-node", str(processes), *arguments],
        capture_output=True, text=True, timeout=400, check=False, env={**os.environ, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip


def command_line(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "eyebright", *arguments],
        capture_output=True, text=True, timeout=400, check=False, env={**os.environ, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip


@pytest.fixture(scope="module")
def pair(shared_stripes: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Run, Run]:
    """The same training by one process and by two."""
    alone, together = tmp_path_factory.mktemp("alone"), tmp_path_factory.mktemp("together")
    arguments = ["train", str(shared_stripes), *OPTIONS, "--epochs", "3", "--json", "--output"]
    one = command_line(*arguments, str(alone))
    assert one.returncode == 0, one.stderr[-3000:]
    two = torchrun("-m", "eyebright", *arguments, str(together))
    assert two.returncode == 0, two.stderr[-3000:]
    assert json.loads(two.stdout)  # one process has printed the result, and nothing else was printed
    return open_run(alone / "run"), open_run(together / "run")


def test_two_processes_give_the_metrics_of_one(pair: tuple[Run, Run]) -> None:
    one, two = pair
    assert two.environment["processes"] == 2
    for name in ("accuracy", "log_loss", "brier", "ece"):
        assert two.metrics["test"][name]["value"] == pytest.approx(one.metrics["test"][name]["value"], rel=1e-4), name
    assert two.metrics["test"]["images"] == one.metrics["test"]["images"]
    lines = list(zip(one.history(), two.history(), strict=True))
    assert len(lines) == 3
    for mine, other in lines:
        assert mine.keys() == other.keys()
        for key in ("train_loss", "train_accuracy", "val_loss", "val_accuracy"):
            assert other[key] == pytest.approx(mine[key], rel=1e-4), key


def test_two_processes_give_the_weights_of_one(pair: tuple[Run, Run]) -> None:
    weights, others = (load_file(run.path / "bundle" / "model.safetensors") for run in pair)
    assert weights.keys() == others.keys()
    for name, value in weights.items():
        np.testing.assert_allclose(others[name], value, rtol=1e-3, atol=1e-4, err_msg=name)


def test_a_death_ends_the_others_with_a_clear_message_and_the_run_can_be_resumed(
    shared_stripes: Path, tmp_path: Path
) -> None:
    arguments = [str(shared_stripes), str(tmp_path), *OPTIONS, "--set", "checkpoint_steps=2", "--epochs", "20"]
    broken = torchrun(str(WORKER), *arguments)
    assert broken.returncode != 0
    assert "another process of this training ended" in broken.stderr
    assert "eyebright resume" in broken.stderr
    assert "eyebright/training" not in broken.stderr  # no stack trace of ours; torchrun has its own
    run = tmp_path / "run"
    assert open_run(run).state["state"] in ("interrupted", "failed")
    resumed = eyebright.resume(run)
    assert [line["epoch"] for line in resumed.history()] == list(range(1, 21))
    assert resumed.metrics["test"]["accuracy"]["value"] > 0.9
