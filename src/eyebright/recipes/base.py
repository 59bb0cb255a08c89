"""What a recipe is given, what it decides, and what it leaves behind."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

from eyebright.config import TrainConfig
from eyebright.data.batches import PixelSet
from eyebright.preprocess import Preprocess
from eyebright.progress import Progress, Task
from eyebright.training.budget import Pace
from eyebright.training.hooks import BaseHook, LoopState, StopSignal
from eyebright.training.loop import Fitted, fit
from eyebright.training.optim import freeze_first_layers


@dataclasses.dataclass(frozen=True, kw_only=True)
class DataFacts:
    """What planning needs to know of the images.

    Attributes:
        images: number of images by split.
        classes: number of classes.
        side: median of the shorter side in pixels.
        grey: all images looked at are grey.
    """

    images: Mapping[str, int]
    classes: int
    side: int
    grey: bool

    def as_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {**dataclasses.asdict(self), "images": dict(self.images)}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Plan:
    """What will be done, decided before it begins; written into the run, so that a resumed run keeps to it.

    Attributes:
        architecture, architecture_arguments: the network.
        pretrained: whether it starts from published weights.
        licence: licence of those weights.
        preprocess: how images become input.
        probe: whether a linear probe comes first.
        steps: optimiser steps planned; 0 for a probe alone.
        most_steps: the most steps that a faster machine may make of it.
        frozen_share: share of the first layers that keep their weights.
        fixed_statistics: whether batch norms keep their statistics.
        evaluate_every: steps between two evaluations on validation.
        finish_seconds: time kept for export, evaluation and the report.
        config: the configuration with the recipe's choices filled in.
        reasons: sentences for the user: what was chosen, and why.
    """

    architecture: str
    architecture_arguments: dict[str, Any]
    pretrained: bool
    licence: str
    preprocess: Preprocess
    probe: bool
    steps: int
    most_steps: int
    frozen_share: float
    fixed_statistics: bool
    evaluate_every: int
    finish_seconds: float
    config: TrainConfig
    reasons: tuple[str, ...]

    def as_dict(self) -> dict[str, Any]:
        """Plain values for JSON; `from_dict` reads them back."""
        values = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        return {
            **values,
            "preprocess": self.preprocess.as_dict(),
            "config": self.config.model_dump(mode="json"),
            "reasons": list(self.reasons),
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Plan:
        """Read what `as_dict` wrote."""
        return cls(
            **{
                **values,
                "preprocess": Preprocess.from_dict(values["preprocess"]),
                "config": TrainConfig.model_validate(values["config"]),
                "reasons": tuple(values["reasons"]),
            }
        )


@dataclasses.dataclass(frozen=True, kw_only=True)
class Context:
    """Where and for how long a recipe works.

    Attributes:
        config: what was asked for.
        facts: the images.
        device: where to compute.
        deadline: `time.monotonic()` at which the whole command must be over; None without a budget.
        checkpoint: folder for checkpoints.
        progress: whom to tell.
        stop: whether the user asked to stop.
        record: takes a line for the history.
    """

    config: TrainConfig
    facts: DataFacts
    device: torch.device
    deadline: float | None
    checkpoint: Path
    progress: Progress
    stop: StopSignal
    record: Callable[[dict[str, Any]], None]

    def seconds_left(self) -> float | None:
        """Time to the deadline; None without a budget."""
        return None if self.deadline is None else self.deadline - time.monotonic()


@dataclasses.dataclass(frozen=True, kw_only=True)
class Outcome:
    """A trained network and how it came about.

    Attributes:
        network: in evaluation mode, on the context's device.
        reasons: sentences for the user: what was kept, and why.
        stopped: the user stopped it early.
    """

    network: nn.Module
    reasons: Sequence[str]
    stopped: bool


@dataclasses.dataclass(frozen=True, kw_only=True)
class Recipe:
    """A named way to train.

    Attributes:
        name: as given with `--recipe`.
        defaults: settings under those of the user.
        plan: decides, before any image is decoded.
        fit: does what was planned.
    """

    name: str
    defaults: Mapping[str, Any]
    plan: Callable[[Context], Plan]
    fit: Callable[[Plan, Context, PixelSet, PixelSet], Outcome]


class _Reporter(BaseHook):
    """Tells the history and the progress bar of the loop's steps and epochs."""

    def __init__(self, context: Context, task: Task) -> None:
        self._context = context
        self._task = task
        self._total = 0

    def on_step_end(self, state: LoopState) -> None:
        if state.total_steps != self._total:
            self._total = state.total_steps
            self._task.resize(state.total_steps)
        self._task.advance()

    def on_epoch_end(self, state: LoopState, record: dict[str, Any]) -> None:
        self._context.record(record)
        line = f"{record['stage']} epoch {record['epoch']}: train loss {record['train_loss']:.3f}"
        if "val_loss" in record:
            line += f", val loss {record['val_loss']:.3f}, val accuracy {record['val_accuracy']:.3f}"
            if state.best is not None and state.best["step"] == record["step"]:
                line += ", new best"
        self._context.progress.note(line)


def train_network(
    network: nn.Module, plan: Plan, context: Context, train: PixelSet, val: PixelSet, *, stage: str
) -> Fitted:
    """Run the loop as planned, reporting as it goes; see `eyebright.training.loop.fit`."""
    freeze_first_layers(network, plan.frozen_share)
    pace = Pace(
        deadline=None if context.deadline is None else context.deadline - plan.finish_seconds,
        most_steps=plan.most_steps,
        steps_between=plan.evaluate_every,
    )
    with context.progress.task(stage, plan.steps, unit="steps") as task:
        fitted = fit(
            network, train, val, config=plan.config, steps=plan.steps, pace=pace, size=plan.preprocess.size,
            fixed_statistics=plan.fixed_statistics, stage=stage, checkpoint=context.checkpoint / "loop",
            stop=context.stop, hooks=[_Reporter(context, task)],
        )  # fmt: skip
    network.requires_grad_(True)
    return fitted
