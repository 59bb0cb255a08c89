"""What a training tells: every epoch in a line and in the history, running figures seldom and true."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from typing import Any

import pytest
import torch

from eyebright.progress import Task
from eyebright.recipes import reporter
from eyebright.recipes.reporter import Reporter
from eyebright.training.hooks import LoopState


class Listener:
    """A progress and its task, which keep what they are told."""

    def __init__(self) -> None:
        self.notes: list[str] = []
        self.done = 0
        self.total = 0
        self.heads: list[str] = []
        self.figures: list[Mapping[str, str]] = []

    @contextlib.contextmanager
    def task(self, description: str, total: int, unit: str = "images") -> Iterator[Task]:
        yield self

    def note(self, text: str) -> None:
        self.notes.append(text)

    def warn(self, text: str) -> None:
        raise AssertionError(text)

    def advance(self, units: int = 1) -> None:
        self.done += units

    def describe(self, text: str) -> None:
        self.heads.append(text)

    def detail(self, figures: Mapping[str, str]) -> None:
        self.figures.append(figures)

    def resize(self, total: int) -> None:
        self.total = total


class Clock:
    """A clock that moves when told to."""

    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(reporter, "time", clock)
    return clock


class Asked(LoopState):
    """A state that counts how often somebody waited for the device."""

    asked = 0

    @property
    def train_loss(self) -> float:
        type(self).asked += 1
        return super().train_loss


def step(state: LoopState, images: int = 32) -> None:
    state.step += 1
    state.images += images
    state.sums += torch.tensor([0.4 * images, images, 0.875 * images, images], dtype=torch.float64)


def record(epoch: int, **more: Any) -> dict[str, Any]:
    return {
        "stage": "train", "epoch": epoch, "step": 10 * epoch, "train_loss": 0.4123, "train_accuracy": 0.8754,
        "learning_rate": 7.5e-4, "images_per_second": 2812.4, **more,
    }  # fmt: skip


def test_steps_move_the_bar_and_a_budget_may_change_its_length(clock: Clock) -> None:
    listener = Listener()
    telling = Reporter(record=lambda line: None, progress=listener, task=listener)
    state = LoopState(stage="train", total_steps=40, steps_per_epoch=10)
    for _ in range(5):
        step(state)
        telling.on_step_end(state)
    assert (listener.done, listener.total) == (5, 40)
    state.total_steps = 25
    step(state)
    clock.now += 1
    telling.on_step_end(state)
    assert (listener.done, listener.total) == (6, 25)
    assert listener.heads == ["train · epoch 1/4", "train · epoch 1/3"]


def test_the_bar_of_a_resumed_stage_begins_where_it_was(clock: Clock) -> None:
    listener = Listener()
    telling = Reporter(record=lambda line: None, progress=listener, task=listener)
    state = LoopState(stage="train", step=30, total_steps=40, steps_per_epoch=10)
    for _ in range(2):
        step(state)
        telling.on_step_end(state)
    assert (listener.done, listener.total) == (32, 40)


def test_the_device_is_asked_for_figures_at_most_twice_a_second(clock: Clock) -> None:
    listener = Listener()
    telling = Reporter(record=lambda line: None, progress=listener, task=listener)
    state = Asked(stage="train", total_steps=1000, steps_per_epoch=100)
    Asked.asked = 0
    for _ in range(500):
        step(state)
        telling.on_step_end(state)
        clock.now += 0.01
    assert listener.done == 500
    assert len(listener.figures) == Asked.asked
    assert 9 <= Asked.asked <= 10


def test_running_figures_are_those_of_the_loop(clock: Clock) -> None:
    listener = Listener()
    telling = Reporter(record=lambda line: None, progress=listener, task=listener)
    state = LoopState(stage="train", total_steps=40, steps_per_epoch=10, learning_rate=7.5e-4)
    for _ in range(3):
        step(state)
        telling.on_step_end(state)
        clock.now += 0.8
    first, *_, last = listener.figures
    assert first == {"loss": "0.400", "accuracy": "87.5 %", "rate": "0.00075"}
    assert last == first | {"images/s": "40"}  # 32 images in 0.8 s
    state.best = {"val_accuracy": 0.9012, "val_loss": 0.3, "step": 20.0}
    step(state)
    telling.on_step_end(state)
    assert list(listener.figures[-1].items())[2] == ("best", "90.1 %")


def test_the_time_of_scoring_does_not_count_as_training(clock: Clock) -> None:
    listener = Listener()
    telling = Reporter(record=lambda line: None, progress=listener, task=listener)
    state = LoopState(stage="train", total_steps=40, steps_per_epoch=2)
    for number in range(4):
        if number == 2:
            clock.now += 100
            telling.on_epoch_end(state, record(1))
        step(state)
        clock.now += 1
        telling.on_step_end(state)
    assert [figures.get("images/s") for figures in listener.figures] == [None, "32", None, "32"]


def test_an_epoch_is_recorded_and_told_in_one_line() -> None:
    listener, lines = Listener(), []
    telling = Reporter(record=lines.append, progress=listener, task=listener)
    state = LoopState(stage="train", total_steps=200, steps_per_epoch=10)
    plain = record(3)
    scored = record(4, val_loss=0.398, val_accuracy=0.8812, new_best=True)
    worse = record(5, val_loss=0.41, val_accuracy=0.88, new_best=False)
    for line in (plain, scored, worse):
        telling.on_epoch_end(state, line)
    assert lines == [plain, scored, worse]
    assert listener.notes == [
        "train epoch 3/20: loss 0.412, accuracy 87.5 %, rate 0.00075, 2,812 images/s",
        "train epoch 4/20: loss 0.412, accuracy 87.5 %, val loss 0.398, val accuracy 88.1 %, rate 0.00075, "
        "2,812 images/s, new best",
        "train epoch 5/20: loss 0.412, accuracy 87.5 %, val loss 0.410, val accuracy 88.0 %, rate 0.00075, "
        "2,812 images/s",
    ]
