"""The profile: its parts add up to the time that training took, over resumes too; off, it reads no clock."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from test_loop import CONFIG, KillAt, KilledError, assert_same_weights, make_network, stripes

from eyebright.config import build_config
from eyebright.models.small import SmallNet
from eyebright.training import profile as profile_module
from eyebright.training.budget import Pace
from eyebright.training.checkpoint import STATE_FILE
from eyebright.training.hooks import BaseHook
from eyebright.training.loop import fit
from eyebright.training.profile import (
    AUGMENT,
    BACKWARD,
    CHECKPOINT,
    EVALUATION,
    FORWARD,
    OFF,
    OPTIMISER,
    PARTS,
    DeviceProfile,
    HostProfile,
    Profile,
    make_profile,
)
from eyebright.training.stage import Stage


def run(folder: Path, profile: Profile, hooks: list[BaseHook] | None = None, network: SmallNet | None = None) -> float:
    """Train 20 steps with checkpoints after every fifth; the seconds that it took."""
    config = build_config(CONFIG.model_dump(), {"augment": {"flip": True, "rotation": 10}})
    stage = Stage(
        name="train", steps=20, most_steps=20, evaluate_every=5, size=16, batch_size=16, learning_rate=3e-3,
        layer_decay=1.0,
    )  # fmt: skip
    pace = Pace(deadline=None, most_steps=20, steps_between=5)
    train, val, network = stripes(80, 1), stripes(40, 2), network or make_network()
    began = time.perf_counter()
    try:
        fit(
            network, train, val, config=config, stage=stage, pace=pace, checkpoint=folder, hooks=hooks or [],
            profile=profile,
        )  # fmt: skip
    finally:
        took = time.perf_counter() - began
    return took


def test_the_parts_add_up_to_the_time_of_training(tmp_path: Path) -> None:
    profile = HostProfile()
    took = run(tmp_path / "c", profile)
    seconds = profile.seconds()
    assert set(seconds) <= set(PARTS)
    assert {AUGMENT, FORWARD, BACKWARD, OPTIMISER, EVALUATION, CHECKPOINT} <= set(seconds)
    assert 0.9 * took <= sum(seconds.values()) <= 1.01 * took + 0.01


def test_a_resumed_training_adds_to_what_was_spent_before(tmp_path: Path) -> None:
    with pytest.raises(KilledError):
        run(tmp_path / "c", HostProfile(), hooks=[KillAt(13)])
    newest = max((tmp_path / "c").glob("step-*"))
    before = json.loads((newest / STATE_FILE).read_text())["state"]["profile"]
    assert before[BACKWARD] > 0
    profile = HostProfile()
    took = run(tmp_path / "c", profile)
    seconds = profile.seconds()
    assert all(seconds[part] >= before[part] for part in before)
    assert 0.9 * took <= sum(seconds.values()) - sum(before.values()) <= 1.01 * took + 0.01


def test_a_stage_that_is_done_tells_what_it_took(tmp_path: Path) -> None:
    run(tmp_path / "c", HostProfile())
    profile = HostProfile()
    run(tmp_path / "c", profile)
    assert profile.seconds()[BACKWARD] > 0


def test_without_a_profile_no_clock_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Refusing:
        @staticmethod
        def perf_counter() -> float:
            raise AssertionError("somebody looked at the clock")

    monkeypatch.setattr(profile_module, "time", Refusing)
    with pytest.raises(AssertionError, match="looked at the clock"):
        run(tmp_path / "asked", HostProfile())
    run(tmp_path / "c", OFF)
    assert OFF.seconds() == {}


def test_a_step_makes_few_calls_of_the_profile(tmp_path: Path) -> None:
    """Eight: waiting, copy, augment, forward, backward, forward for the figures, optimiser, other."""

    class Counting(Profile):
        def __init__(self) -> None:
            self.count = 0

        def begins(self, part: str) -> None:
            self.count += 1

    counting = Counting()
    run(tmp_path / "c", counting)
    assert counting.count <= 20 * 8 + 4 * 7 + 4


class FakeEvent:
    """A mark of a device that takes 3 ms for each piece of work, however fast the work is asked for."""

    now = 0.0
    waited = 0

    def record(self) -> None:
        FakeEvent.now += 3.0
        self.at = FakeEvent.now

    def synchronize(self) -> None:
        FakeEvent.waited += 1

    def elapsed_time(self, end_event: Any, /) -> float:
        return float(end_event.at - self.at)


def test_on_a_device_marks_are_read_only_when_somebody_asks() -> None:
    profile = DeviceProfile(FakeEvent)
    profile.restore({BACKWARD: 1.0})
    for _ in range(4):
        profile.begins(FORWARD)
        profile.begins(BACKWARD)
    assert FakeEvent.waited == 0
    assert profile.seconds() == pytest.approx({FORWARD: 0.012, BACKWARD: 1.012})
    assert FakeEvent.waited == 1
    profile.begins(OPTIMISER)
    assert profile.seconds() == pytest.approx({FORWARD: 0.012, BACKWARD: 1.015, OPTIMISER: 0.003})


def test_a_cpu_is_timed_by_its_clock() -> None:
    assert isinstance(make_profile(torch.device("cpu")), HostProfile)
    assert isinstance(make_profile(torch.device("cuda")), DeviceProfile)


def test_a_profile_changes_no_bit(tmp_path: Path) -> None:
    with_profile, without = make_network(), make_network()
    for network, profile, name in ((with_profile, HostProfile(), "with"), (without, OFF, "without")):
        run(tmp_path / name, profile, network=network)
    assert_same_weights(with_profile, without)
