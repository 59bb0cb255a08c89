"""What is concluded from the network's output: calibrated probabilities, prediction sets, abstention, outliers.

Records that were fitted on validation images and travel in the bundle, and the arithmetic that applies them. Training,
`predict`, `evaluate` and servers all call it. NumPy only; fitting is in `eyebright.evaluation`.
"""

from __future__ import annotations

from eyebright.decisions.calibration import Calibration, softmax
from eyebright.decisions.outliers import Energy, FeatureDistance, Outliers
from eyebright.decisions.record import Decided, Decisions
from eyebright.decisions.selection import Selection
from eyebright.decisions.sets import PredictionSets

__all__ = [
    "Calibration",
    "Decided",
    "Decisions",
    "Energy",
    "FeatureDistance",
    "Outliers",
    "PredictionSets",
    "Selection",
    "softmax",
]
