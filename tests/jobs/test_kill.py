"""A run that is killed or preempted, and resumed, ends bit for bit as one that never was."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from safetensors.numpy import load_file

from eyebright.run import open_run

WORKER = Path(__file__).with_name("kill_worker.py")
CLOCK = ("seconds", "images_per_second")


def work(data: Path, output: Path, mode: str, seed: int = 0) -> list[dict[str, Any]]:
    """Run the worker; how each of its sittings ended."""
    result = subprocess.run(
        [sys.executable, str(WORKER), str(data), str(output), mode, str(seed)],
        capture_output=True, text=True, timeout=400, check=False, env={**os.environ, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    assert result.returncode == 0, result.stderr[-3000:]
    ends: list[dict[str, Any]] = json.loads(result.stdout)
    assert ends[-1] == {"signal": None, "code": 0}, result.stderr[-3000:]
    return ends


@pytest.fixture(scope="module")
def uninterrupted(shared_stripes: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    output = tmp_path_factory.mktemp("whole")
    work(shared_stripes, output, "whole")
    return output / "run"


def assert_same_run(one: Path, other: Path) -> None:
    weights, others = (load_file(run / "bundle" / "model.safetensors") for run in (one, other))
    assert weights.keys() == others.keys()
    for name, value in weights.items():
        assert value.tobytes() == others[name].tobytes(), name
    histories = [
        [{key: value for key, value in line.items() if key not in CLOCK} for line in open_run(run).history()]
        for run in (one, other)
    ]
    assert histories[0] == histories[1]
    assert len(histories[0]) == 3
    assert open_run(one).metrics["test"] == open_run(other).metrics["test"]
    assert (one / "history.csv").read_text().count("\n") == (other / "history.csv").read_text().count("\n") == 4


def test_twenty_kills_at_random_moments_change_no_bit(
    shared_stripes: Path, uninterrupted: Path, tmp_path: Path
) -> None:
    ends = work(shared_stripes, tmp_path, "kill")
    kills = [end for end in ends[:-1] if end["signal"] == signal.SIGKILL]
    assert len(kills) == 20
    assert_same_run(uninterrupted, tmp_path / "run")


def test_a_preempted_run_saves_leaves_with_its_own_code_and_goes_on(
    shared_stripes: Path, uninterrupted: Path, tmp_path: Path
) -> None:
    ends = work(shared_stripes, tmp_path, "terminate")
    assert ends[0] == {"signal": None, "code": 143, "state": "interrupted"}
    assert_same_run(uninterrupted, tmp_path / "run")
