"""Prediction sets: the classes that an image may belong to, the true one among them at a stated rate."""

from __future__ import annotations

import dataclasses
from typing import Literal

import numpy as np
import numpy.typing as npt

from eyebright.decisions.calibration import Floats

Method = Literal["aps", "raps"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class PredictionSets:
    """The threshold of conformal prediction sets and how a class is scored against it.

    A class's score is the probability of all classes more probable than itself (adaptive prediction sets, Romano,
    Sesia and Candès, Classification with valid and adaptive coverage, 2020, arXiv 2006.02544), plus, for `raps`,
    `penalty` for each rank beyond `free_ranks` (Angelopoulos et al., Uncertainty sets for image classifiers using
    conformal prediction, 2021, arXiv 2009.14193).

    Nothing is drawn by chance, so that an image always gets the same set. The authors' score counts a random part of
    the class's own probability; any fixed part keeps the promise too. With the whole of it, a sure and right prediction
    scores worse than an unsure one, and a classifier that is right more often than is asked for gets sets of all
    classes; with none of it, the score of the most probable class is zero, and such a classifier gets sets of one.

    Attributes:
        method: `aps` or `raps`.
        coverage: promised share of images whose set holds the true class, such as 0.9.
        threshold: classes with a score up to it are in the set; zero or more, so that the most probable class is.
        penalty, free_ranks: of `raps`; zero for `aps`.
    """

    method: Method
    coverage: float
    threshold: float
    penalty: float = 0.0
    free_ranks: int = 0

    def scores(self, probabilities: npt.ArrayLike) -> Floats:
        """Score of every class, float64 (N, K), of calibrated probabilities (N, K); the lower, the more fitting."""
        values = np.asarray(probabilities, dtype=np.float64)
        order = np.argsort(-values, axis=1, kind="stable")
        ranked = np.take_along_axis(values, order, axis=1)
        summed = np.cumsum(ranked, axis=1) - ranked
        summed += self.penalty * np.maximum(0, np.arange(1, values.shape[1] + 1) - self.free_ranks)
        found = np.empty_like(summed)
        np.put_along_axis(found, order, summed, axis=1)
        return found

    def sets(self, probabilities: npt.ArrayLike) -> npt.NDArray[np.bool_]:
        """Which classes are in the set of each image: bool (N, K)."""
        values = np.asarray(probabilities, dtype=np.float64)
        # Probabilities from a float32 graph differ in the last digits: the same set must come of them.
        inside = self.scores(values) <= self.threshold + 1e-6
        inside[np.arange(len(values)), values.argmax(axis=1)] = True
        return inside
