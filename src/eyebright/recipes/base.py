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
from eyebright.models.catalog import create_network
from eyebright.preprocess import Preprocess
from eyebright.progress import Progress
from eyebright.training.hooks import Hook, StopSignal
from eyebright.training.stage import Stage
from eyebright.training.team import ALONE, Team


@dataclasses.dataclass(frozen=True, kw_only=True)
class DataFacts:
    """What planning needs to know of the images.

    Attributes:
        images: number of images by split.
        names: names of the classes, in index order.
        side: median of the shorter side in pixels.
        grey: all images looked at are grey.
        superclasses: index of the superclass of each class; empty when there is one level of classes.
    """

    images: Mapping[str, int]
    names: tuple[str, ...]
    side: int
    grey: bool
    superclasses: tuple[int, ...] = ()

    @property
    def classes(self) -> int:
        """Number of classes."""
        return len(self.names)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Plan:
    """What will be done, decided before it begins; written into the run, so that a resumed run keeps to it.

    Attributes:
        network: timm name of the network, or of the backbone under a head of ours.
        architecture, architecture_arguments: what makes the same network again from a bundle.
        pretrained: whether it starts from published weights.
        licence: licence of those weights.
        preprocess: how images become input.
        probe: whether a linear probe comes first.
        stages: what is trained, one after the other; none for a probe alone.
        finish_seconds: time kept for export, evaluation and the report.
        config: the configuration with the recipe's choices filled in.
        reasons: sentences for the user: what was chosen, and why.
    """

    network: str
    architecture: str
    architecture_arguments: dict[str, Any]
    pretrained: bool
    licence: str
    preprocess: Preprocess
    probe: bool
    stages: tuple[Stage, ...]
    finish_seconds: float
    config: TrainConfig
    reasons: tuple[str, ...]

    def as_dict(self) -> dict[str, Any]:
        """Plain values for JSON; `from_dict` reads them back."""
        values = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        return {
            **values,
            "preprocess": self.preprocess.as_dict(),
            "stages": [stage.as_dict() for stage in self.stages],
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
                "stages": tuple(Stage(**stage) for stage in values["stages"]),
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
        hooks: told of every step and epoch, besides those of the run itself.
        team: the processes that train together.
        profiles: filled while training, where `compute.profile` asks for it: seconds by part, by stage of training.
    """

    config: TrainConfig
    facts: DataFacts
    device: torch.device
    deadline: float | None
    checkpoint: Path
    progress: Progress
    stop: StopSignal
    record: Callable[[dict[str, Any]], None]
    hooks: Sequence[Hook] = ()
    team: Team = ALONE
    profiles: dict[str, dict[str, float]] = dataclasses.field(default_factory=dict)

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
        architecture_arguments: what makes the same network again, where that depended on what was fitted; None where it
            is as the plan says.
    """

    network: nn.Module
    reasons: Sequence[str]
    stopped: bool
    architecture_arguments: dict[str, Any] | None = None


@dataclasses.dataclass(frozen=True, kw_only=True)
class Published:
    """What the source of a system reported.

    Attributes:
        figure: what was measured, such as "test accuracy".
        value: as the source gives it.
        where: on which data.
    """

    figure: str
    value: str
    where: str


@dataclasses.dataclass(frozen=True, kw_only=True)
class Measured:
    """What we measured.

    Attributes:
        data: on which images.
        figure, value: what, and how much, with its interval.
        machine: where.
        command: how to repeat it.
    """

    data: str
    figure: str
    value: str
    machine: str
    command: str


@dataclasses.dataclass(frozen=True, kw_only=True)
class Recipe:
    """A named way to train.

    Attributes:
        name: as given with `--recipe`.
        summary: one line.
        defaults: settings under those of the user.
        plan: decides, before any image is decoded.
        fit: does what was planned.
        system: which of the five systems it belongs to; empty for a general one.
        source: what it reproduces.
        published: what its source reported.
        measured: what we measured.
        choices: where the source is silent or contradicts itself, and what was chosen.
        variants: options that make another variant of it, and what changes.
    """

    name: str
    summary: str
    defaults: Mapping[str, Any]
    plan: Callable[[Context], Plan]
    fit: Callable[[Plan, Context, PixelSet, PixelSet], Outcome]
    system: str = ""
    source: str = ""
    published: tuple[Published, ...] = ()
    measured: tuple[Measured, ...] = ()
    choices: tuple[str, ...] = ()
    variants: Mapping[str, str] = dataclasses.field(default_factory=dict)


def make_network(plan: Plan, context: Context) -> nn.Module:
    """The network that the plan names, on the context's device, with the seed's random weights or published ones."""
    torch.manual_seed(plan.config.seed)
    model = plan.config.model
    network = create_network(
        plan.network,
        classes=context.facts.classes,
        channels=plan.preprocess.channels,
        pretrained=plan.pretrained,
        dropout=model.dropout,
        drop_path=model.drop_path,
        head=model.head,
        arguments=model.arguments,
    )
    return network.to(context.device)
