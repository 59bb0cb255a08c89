"""Peaks of memory belong to the innermost stage that is under way."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "benchmarks"))

from peak_memory import START, Sample, stages_of


def test_a_peak_belongs_to_the_innermost_stage_under_way() -> None:
    allocated = {0.0: 10, 1.0: 20, 2.0: 90, 3.0: 30, 4.0: 25}
    samples = [Sample(moment=moment, allocated=value, mapped=5) for moment, value in allocated.items()]
    events = [(0.5, "begin", "train"), (1.5, "begin", "score"), (2.5, "end", "score"), (3.5, "end", "train")]
    stages = stages_of(samples, events)
    assert {name: stage.allocated for name, stage in stages.items()} == {
        START: 10, "train": 30, "train > score": 90, "between the stages": 25,
    }  # fmt: skip
    assert stages["train"].after == 30
    assert stages["train > score"].total == 95
    assert sum(stage.seconds for stage in stages.values()) == pytest.approx(4)
