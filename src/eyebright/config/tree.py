"""The whole configuration: everything that decides what a training run does."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from eyebright.config.decisions import DecisionsConfig
from eyebright.config.images import AugmentConfig, DataConfig, ImageConfig
from eyebright.config.learning import (
    ComputeConfig,
    DistilConfig,
    LogConfig,
    LossConfig,
    ModelConfig,
    OptimConfig,
    RequirementsConfig,
    ScheduleConfig,
    StageConfig,
    StopConfig,
)
from eyebright.config.part import Part
from eyebright.config.shallow import ShallowConfig


class TrainConfig(Part):
    """Everything that decides what a training run does."""

    recipe: str = "auto"
    """Name of the recipe; `eyebright recipes` lists them."""
    source: str = ""
    """The images: a folder, a table, a Parquet or IDX file, or a name."""
    budget_seconds: float | None = Field(600.0, gt=0)
    """Wall-clock time for the whole command, report included; None trains for `epochs` whatever it takes."""
    epochs: int | None = Field(None, ge=0)
    """Epochs of fine-tuning or training; left out, the budget or the recipe decides."""
    stages: tuple[StageConfig, ...] = ()
    """Stages of training one after the other, in place of `epochs`: freeze and unfreeze, progressive resizing, coarse
    to fine; empty for a single one."""
    seed: int = Field(0, ge=0, lt=2**31)
    """Seed of the split, the weights, the order and the augmentation."""
    device: Literal["auto", "cpu", "cuda", "mps"] = "auto"
    """Where to compute."""
    checkpoint_seconds: float = Field(120.0, gt=0)
    """Longest time between two checkpoints; there is one after every epoch as well."""
    checkpoint_steps: int | None = Field(None, ge=1)
    """Also a checkpoint every so many steps."""
    data: DataConfig = DataConfig()
    image: ImageConfig = ImageConfig()
    model: ModelConfig = ModelConfig()
    requirements: RequirementsConfig = RequirementsConfig()
    optim: OptimConfig = OptimConfig()
    schedule: ScheduleConfig = ScheduleConfig()
    loss: LossConfig = LossConfig()
    stop: StopConfig = StopConfig()
    augment: AugmentConfig = AugmentConfig()
    distil: DistilConfig = DistilConfig()
    shallow: ShallowConfig = ShallowConfig()
    decisions: DecisionsConfig = DecisionsConfig()
    compute: ComputeConfig = ComputeConfig()
    log: LogConfig = LogConfig()

    @model_validator(mode="after")
    def _imbalance_corrected_once(self) -> TrainConfig:
        corrected = self.loss.class_weights != "none" or self.loss.logit_adjustment > 0
        if self.data.sampling == "balanced" and corrected:
            raise ValueError(
                "data.sampling=balanced together with loss.class_weights or loss.logit_adjustment corrects the same "
                "imbalance twice; choose one of them"
            )
        return self
