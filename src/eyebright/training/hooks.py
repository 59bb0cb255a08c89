"""Where others can listen to, or stop, a training loop. An error in a hook stops training: nothing is swallowed.

class Print(BaseHook):
    def on_epoch_end(self, state, record):
        print(record["epoch"], record["train_loss"])

eyebright.train("photos/", hooks=[Print()])
"""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterator
from typing import Any, Protocol

import torch


@dataclasses.dataclass(kw_only=True)
class LoopState:
    """How far the loop has come.

    Attributes:
        stage: name of the stage of training.
        step: steps done in this stage.
        total_steps: steps planned; a budget may shorten or lengthen it on the way.
        steps_per_epoch: steps in an epoch.
        learning_rate: of the last step, of the last layer.
        best: the record of validation figures of the best weights so far, with their step; None before any evaluation.
        seconds: time spent in the stage, over all sessions of the run.
        images: images seen in this session.
        sums: float tensor (4,) on the device, over the current epoch: weighted losses, weights, images classified
            right, images.
    """

    stage: str = ""
    step: int = 0
    total_steps: int = 0
    steps_per_epoch: int = 1
    learning_rate: float = 0.0
    best: dict[str, float] | None = None
    seconds: float = 0.0
    images: int = 0
    sums: torch.Tensor = dataclasses.field(default_factory=lambda: torch.zeros(4, dtype=torch.float64))

    @property
    def epoch(self) -> int:
        """The current epoch, from 0."""
        return max(0, self.step - 1) // self.steps_per_epoch

    @property
    def train_loss(self) -> float:
        """Mean loss over the epoch so far, on augmented images; asking waits for the device."""
        return float(self.sums[0] / self.sums[1])

    @property
    def train_accuracy(self) -> float:
        """Accuracy over the epoch so far, on augmented images; asking waits for the device."""
        return float(self.sums[2] / self.sums[3])


class Hook(Protocol):
    """What may listen. Each method is optional in effect: `BaseHook` does nothing in all of them."""

    def on_step_end(self, state: LoopState) -> None:
        """After each optimiser step."""

    def on_epoch_end(self, state: LoopState, record: dict[str, Any]) -> None:
        """After each epoch, with the line that goes into `history.jsonl`."""


class BaseHook:
    """A hook that does nothing; override what is wanted."""

    def on_step_end(self, state: LoopState) -> None:
        """Nothing."""

    def on_epoch_end(self, state: LoopState, record: dict[str, Any]) -> None:
        """Nothing."""


class StopSignal:
    """A request to end training after the current step: asked for by anyone, heard by the loop.

    Attributes:
        requested: end after this step; what was learnt is kept, scored and reported.
        leaving: save after this step and leave at once, because the machine is taken away.
        heard: a loop is running, and asks after every step.
    """

    def __init__(self) -> None:
        self.requested = False
        self.leaving = False
        self.heard = False

    @contextlib.contextmanager
    def listening(self) -> Iterator[None]:
        """The loop asks while the context is open."""
        self.heard = True
        try:
            yield
        finally:
            self.heard = False

    def request(self) -> None:
        """End after this step."""
        self.requested = True

    def leave(self) -> None:
        """Save after this step and leave."""
        self.leaving = True
