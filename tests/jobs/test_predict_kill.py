"""Predictions into a file that are killed, and asked for again, end as ones that never were."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from eyebright.classifier import load
from eyebright.jobs.predict_to_file import predict_to_file

WORKER = Path(__file__).with_name("predict_kill_worker.py")


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_kills_at_random_moments_change_no_byte(suffix: str, trained_run: Path, tmp_path: Path) -> None:
    data = trained_run.parents[1] / "stripes"
    whole, killed = tmp_path / f"whole{suffix}", tmp_path / f"killed{suffix}"
    written = predict_to_file(load(trained_run, threads=1), [data], whole, batch_size=4)
    done = subprocess.run(
        [sys.executable, str(WORKER), str(trained_run), str(data), str(killed), "12", "3"],
        capture_output=True, text=True, timeout=120, check=True,
    )  # fmt: skip
    facts = json.loads(done.stdout)
    assert facts["code"] == 0
    assert facts["killed"] >= 2
    assert killed.read_bytes() == whole.read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([whole.name, killed.name])
    assert (written.images, written.bad) == (181, 1)
