"""A stage of training: a number of steps with one part of the network, one input size and one level of classes."""

from __future__ import annotations

import dataclasses
from typing import Any, Literal

from eyebright.config import TrainConfig


@dataclasses.dataclass(frozen=True, kw_only=True)
class Stage:
    """What a stage does, decided before it begins.

    Attributes:
        name: as in the history.
        steps: optimiser steps planned.
        most_steps: the most steps that a faster machine may make of it under a budget.
        evaluate_every: steps between two evaluations on validation.
        size: side of the input in pixels.
        batch_size: images in a step, over all processes.
        learning_rate, layer_decay: as in `OptimConfig`.
        frozen: share of the first layers that keep their weights; `body` for all but the head.
        fixed_statistics: whether batch norms keep their statistics; None: frozen ones do.
        level: whether classes or superclasses are learnt.
    """

    name: str
    steps: int
    most_steps: int
    evaluate_every: int
    size: int
    batch_size: int
    learning_rate: float
    layer_decay: float
    frozen: float | Literal["body"] = 0.0
    fixed_statistics: bool | None = None
    level: Literal["class", "superclass"] = "class"

    def as_dict(self) -> dict[str, Any]:
        """Plain values for JSON; `Stage(**values)` reads them back."""
        return dataclasses.asdict(self)

    def applied_to(self, config: TrainConfig) -> TrainConfig:
        """The configuration with the rates and the batch size of this stage."""
        optim = config.optim.model_copy(
            update={
                "batch_size": self.batch_size,
                "learning_rate": self.learning_rate,
                "layer_decay": self.layer_decay,
            }
        )
        return config.model_copy(update={"optim": optim})
