"""How good a classifier is, from its predictions table alone: metrics, intervals and calibration. No torch."""

from __future__ import annotations

from eyebright.evaluate.calibrate import ReliabilityBin, fit_temperature, reliability
from eyebright.evaluate.intervals import wilson
from eyebright.evaluate.metrics import ClassMetrics, Estimate, Metrics, evaluate
from eyebright.evaluate.predictions import Predictions, make_predictions

__all__ = [
    "ClassMetrics",
    "Estimate",
    "Metrics",
    "Predictions",
    "ReliabilityBin",
    "evaluate",
    "fit_temperature",
    "make_predictions",
    "reliability",
    "wilson",
]
