"""How the network's output becomes an answer: calibration, prediction sets, abstention, outliers."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from eyebright.config.part import Part


class DecisionsConfig(Part):
    """What is concluded from the network's output, fitted on the validation images."""

    calibration: Literal["auto", "none", "temperature", "vector", "isotonic"] = "auto"
    """How logits become probabilities; `auto` compares the others by cross-validation and keeps to the temperature
    unless another is better beyond chance."""
    sets: Literal["aps", "raps"] = "raps"
    """Kind of conformal prediction sets."""
    coverage: float = Field(0.9, gt=0, lt=1)
    """Share of images whose prediction set shall hold the true class."""
    error_rate: float = Field(0.05, gt=0, lt=1)
    """Share of wrong answers among those given: an image is answered when its confidence keeps to it."""
    thresholds: Literal["global", "per-class"] = "global"
    """Whether one confidence decides for all classes or each class has its own."""
    outlier: Literal["distance", "energy"] = "distance"
    """Score that flags images unlike the training images; both are stored."""
    false_alarms: float = Field(0.05, gt=0, lt=1)
    """Share of images like the training images that may be flagged."""
