"""What a training tells while it runs: figures that move with the bar, and a plain line after every epoch."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from eyebright.progress import Progress, Task
from eyebright.training.hooks import BaseHook, LoopState

LIVE_SECONDS = 0.5
"""Shortest time between two looks at the running figures: each look waits for the device."""


class Reporter(BaseHook):
    """Passes the loop's epochs on to the history, and its steps and epochs to whoever watches.

    Args:
        record: takes the line of each epoch.
        progress: takes a sentence about each epoch.
        task: the bar of this stage, which counts steps.
    """

    def __init__(self, *, record: Callable[[dict[str, Any]], None], progress: Progress, task: Task) -> None:
        self._record = record
        self._progress = progress
        self._task = task
        self._total = 0
        self._done = 0
        self._told = -float("inf")
        self._since: tuple[float, int] | None = None  # time and images from which the speed is measured

    def on_step_end(self, state: LoopState) -> None:
        """Move the bar, and now and then the figures beside it."""
        if state.total_steps != self._total:
            self._total = state.total_steps
            self._task.resize(state.total_steps)
        self._task.advance(state.step - self._done)  # a resumed stage begins where it was
        self._done = state.step
        now = time.monotonic()
        if now - self._told < LIVE_SECONDS:
            return
        self._task.describe(f"{state.stage} · epoch {state.epoch + 1}/{_epochs(state)}")
        self._task.detail(self._figures(state))
        self._told = time.monotonic()

    def on_epoch_end(self, state: LoopState, record: dict[str, Any]) -> None:
        """Record the epoch and tell of it in a line."""
        self._record(record)
        self._progress.note(describe_epoch(record, epochs=_epochs(state)))
        self._since = None  # the time that scoring took is not to slow down what comes

    def _figures(self, state: LoopState) -> dict[str, str]:
        figures = {"loss": f"{state.train_loss:.3f}", "accuracy": _percent(state.train_accuracy)}
        now = time.monotonic()  # asked for after the figures, which waited for all images counted here
        if state.best is not None:
            figures["best"] = _percent(state.best["val_accuracy"])
        figures["rate"] = f"{state.learning_rate:.2g}"
        if self._since is not None and now > self._since[0]:
            figures["images/s"] = _speed((state.images - self._since[1]) / (now - self._since[0]))
        self._since = (now, state.images)
        return figures


def describe_epoch(record: dict[str, Any], *, epochs: int) -> str:
    """The line of an epoch as a sentence: `train epoch 3/20: loss 0.412, accuracy 87.5 %, ...`."""
    parts = [f"loss {record['train_loss']:.3f}"]
    if "train_accuracy" in record:
        parts.append(f"accuracy {_percent(record['train_accuracy'])}")
    if "val_loss" in record:
        parts += [f"val loss {record['val_loss']:.3f}", f"val accuracy {_percent(record['val_accuracy'])}"]
    parts.append(f"rate {record['learning_rate']:.2g}")
    if "images_per_second" in record:
        parts.append(f"{_speed(record['images_per_second'])} images/s")
    if record.get("new_best"):
        parts.append("new best")
    return f"{record['stage']} epoch {record['epoch']}/{epochs}: {', '.join(parts)}"


def _epochs(state: LoopState) -> int:
    """Epochs planned; a budget may change it on the way. The last may be a part of one."""
    return -(-state.total_steps // state.steps_per_epoch)


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"


def _speed(images_per_second: float) -> str:
    return f"{images_per_second:,.0f}" if images_per_second >= 10 else f"{images_per_second:.1f}"
