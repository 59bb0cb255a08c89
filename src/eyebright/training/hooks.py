"""Where others can listen to, or stop, a training loop. An error in a hook stops training: nothing is swallowed."""

from __future__ import annotations

import dataclasses
from typing import Any, Protocol


@dataclasses.dataclass
class LoopState:
    """How far the loop has come; a checkpoint holds exactly this.

    Attributes:
        step: steps done.
        total_steps: steps planned; a budget may shorten or lengthen it on the way.
        best: validation loss and accuracy of the best weights so far, and their step; None before any evaluation.
        seconds: time spent in the loop, over all sessions of the run.
    """

    step: int = 0
    total_steps: int = 0
    best: dict[str, float] | None = None
    seconds: float = 0.0


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
    """A request to end training after the current step: asked for once, by anyone."""

    def __init__(self) -> None:
        self.requested = False

    def request(self) -> None:
        """End after this step."""
        self.requested = True
