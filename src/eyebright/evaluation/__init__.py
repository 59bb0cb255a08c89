"""How good a classifier is, from its predictions table alone: metrics, intervals and calibration. No torch."""

from __future__ import annotations

from eyebright.evaluation.calibrate import ReliabilityBin, fit_temperature, reliability
from eyebright.evaluation.costs import CostMatrix, make_costs, read_costs
from eyebright.evaluation.estimate import Estimate
from eyebright.evaluation.intervals import wilson
from eyebright.evaluation.metrics import ClassMetrics, Metrics, evaluate
from eyebright.evaluation.predictions import Predictions, make_predictions

__all__ = [
    "ClassMetrics",
    "CostMatrix",
    "Estimate",
    "Metrics",
    "Predictions",
    "ReliabilityBin",
    "evaluate",
    "fit_temperature",
    "make_costs",
    "make_predictions",
    "read_costs",
    "reliability",
    "wilson",
]
