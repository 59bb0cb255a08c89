"""`--profile`: a run says where its time went, in words that name the largest part, and in profile.json."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import eyebright
from eyebright.errors import Interrupted
from eyebright.jobs.profile import profile_sentences
from eyebright.run import open_run
from eyebright.training.hooks import BaseHook, LoopState

SHORT: dict[str, Any] = {
    "recipe": "scratch", "model": "smallnet", "size": 48, "settings": ["optim.batch_size=16", "compute.profile=true"],
}  # fmt: skip


class Notes:
    """Keeps what is told."""

    def __init__(self) -> None:
        self.said: list[str] = []

    def task(self, description: str, total: int, unit: str = "images") -> Any:
        from eyebright.progress import Silent

        return Silent().task(description, total, unit)

    def note(self, text: str) -> None:
        self.said.append(text)

    def warn(self, text: str) -> None:
        self.said.append(text)


def test_the_largest_part_is_named_first_and_arithmetic_is_the_limit() -> None:
    told = profile_sentences(
        {
            "backward": 116.0,
            "forward": 75.0,
            "augment": 21.0,
            "optimiser": 14.0,
            "waiting for images": 7.0,
            "other": 8.0,
        },
        {"look": 3.0, "decode": 12.0, "train": 241.0, "report": 4.0},
    )
    assert told[0] == (
        "training took 241 s: 48 % backward, 31 % forward, 9 % augment, 6 % optimiser, 3 % other, "
        "3 % waiting for images"
    )
    assert told[1] == "it is limited by the arithmetic of the network (forward and backward 79 %)"
    assert told[2] == "of 260 s in all: 3.0 s look, 12 s decode, 241 s train, 4.0 s report"
    assert len(told) == 3


@pytest.mark.parametrize(
    ("part", "remedy"),
    [
        ("waiting for images", "compute.workers"),
        ("copy to the device", "compute.resident=true"),
        ("augment", "rotation"),
        ("optimiser", "larger batches"),
        ("evaluation", "validation"),
        ("checkpoint", "disk"),
        ("compiling", "compute.compile=false"),
    ],
)
def test_whatever_else_dominates_comes_with_a_remedy(part: str, remedy: str) -> None:
    mostly = profile_sentences({"forward": 2.0, "backward": 4.0, part: 10.0}, {"train": 16.0})
    assert mostly[1].startswith(f"it is limited by {part} (62 %, the arithmetic of the network 38 %): ")
    assert remedy in mostly[1]
    partly = profile_sentences({"forward": 20.0, "backward": 40.0, part: 10.0}, {"train": 70.0})
    assert partly[1].startswith("it is limited by the arithmetic of the network (forward and backward 86 %), then by")
    assert remedy in partly[1]


def test_stages_that_outlast_training_are_told() -> None:
    told = profile_sentences({"forward": 1.0, "backward": 2.0}, {"decode": 30.0, "train": 10.0})
    assert "7.0 s of the stage train went into what comes before and after its steps" in told
    assert told[-1] == "decode took longer than training"
    assert profile_sentences({}, {"train": 5.0}) == ["of 5.0 s in all: 5.0 s train"]
    assert profile_sentences({}, {}) == []


def test_a_run_on_photos_writes_its_profile(flowers_sample: Path, tmp_path: Path) -> None:
    notes = Notes()
    run = eyebright.train(flowers_sample, output=tmp_path, epochs=4, progress=notes, **SHORT)
    profile = json.loads(run.file("profile.json").read_text())
    parts = profile["training_seconds"]
    took = run.environment["outcome"]["seconds"]["train"]
    assert 0.9 * took <= sum(parts.values()) <= 1.01 * took
    assert profile["training_seconds_by_stage"] == {"train": parts}
    assert profile["device"] == "cpu"
    assert {"plan", "decode", "train", "export and score", "report"} <= set(profile["stage_seconds"])
    largest = max(parts, key=lambda part: parts[part])
    assert profile["sentences"][0].split(": ")[1].split(" % ")[1].startswith(largest)
    assert [text for text in notes.said if text in profile["sentences"]] == profile["sentences"]


def test_a_run_without_profile_writes_none(trained_run: Path) -> None:
    assert not (trained_run / "profile.json").exists()


class InterruptAt(BaseHook):
    def __init__(self, step: int) -> None:
        self.step = step

    def on_step_end(self, state: LoopState) -> None:
        if state.step == self.step:
            raise KeyboardInterrupt


def test_a_resumed_run_tells_of_both_sittings(flowers_sample: Path, tmp_path: Path) -> None:
    with pytest.raises(Interrupted):
        eyebright.train(flowers_sample, output=tmp_path, name="run", epochs=4, hooks=[InterruptAt(13)], **SHORT)
    states = sorted((tmp_path / "run").rglob("step-*/state.json"))
    before = json.loads(states[-1].read_text())["state"]["profile"]
    run = eyebright.resume(tmp_path / "run")
    parts = json.loads(open_run(run.path).file("profile.json").read_text())["training_seconds"]
    second = run.environment["outcome"]["seconds"]["train"]
    assert before["backward"] > 0
    assert 0.85 * second <= sum(parts.values()) - sum(before.values()) <= 1.01 * second
