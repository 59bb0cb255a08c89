"""The one configuration tree: what a run was asked to do, typed, checked and written back whole.

A recipe gives the defaults; a YAML file, `--set key=value` and the command's own options fill the tree in that order,
later ones winning. Unknown keys are refused with the nearest known one.
"""

from eyebright.config.decisions import DecisionsConfig
from eyebright.config.images import AugmentConfig, DataConfig, ImageConfig, SplitShares
from eyebright.config.learning import (
    ComputeConfig,
    DistilConfig,
    HeadConfig,
    LogConfig,
    LossConfig,
    Metric,
    ModelConfig,
    OptimConfig,
    RequirementsConfig,
    ScheduleConfig,
    StageConfig,
    StopConfig,
)
from eyebright.config.part import Part
from eyebright.config.quantities import parse_duration, parse_share
from eyebright.config.reading import build_config, parse_assignment, read_yaml, to_yaml
from eyebright.config.shallow import ShallowConfig
from eyebright.config.tree import TrainConfig

__all__ = [
    "AugmentConfig",
    "ComputeConfig",
    "DataConfig",
    "DecisionsConfig",
    "DistilConfig",
    "HeadConfig",
    "ImageConfig",
    "LogConfig",
    "LossConfig",
    "Metric",
    "ModelConfig",
    "OptimConfig",
    "Part",
    "RequirementsConfig",
    "ScheduleConfig",
    "ShallowConfig",
    "SplitShares",
    "StageConfig",
    "StopConfig",
    "TrainConfig",
    "build_config",
    "parse_assignment",
    "parse_duration",
    "parse_share",
    "read_yaml",
    "to_yaml",
]
