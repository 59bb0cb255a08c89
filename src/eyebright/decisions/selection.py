"""When to answer, when to answer with a superclass only, and when to abstain."""

from __future__ import annotations

import dataclasses

import numpy as np
import numpy.typing as npt

from eyebright.decisions.calibration import Floats


@dataclasses.dataclass(frozen=True, kw_only=True)
class Selection:
    """Least confidence at which an answer is given.

    Attributes:
        error_rate: share of wrong answers among those given that was asked for, such as 0.05.
        threshold: least probability of the predicted class; None when no threshold keeps to the error rate: then no
            answer is ever given.
        class_thresholds: the same for each predicted class (K,), None where the class can't keep to the rate; empty
            when one threshold holds for all.
        superclass_threshold: least probability of the predicted class's superclass, where the class itself is unsure;
            None without superclasses, or when no threshold keeps to the rate.
    """

    error_rate: float
    threshold: float | None
    class_thresholds: tuple[float | None, ...] = ()
    superclass_threshold: float | None = None

    def sure(self, probabilities: npt.ArrayLike) -> npt.NDArray[np.bool_]:
        """Whether the class may be named: bool (N,), of calibrated probabilities (N, K)."""
        values = np.asarray(probabilities, dtype=np.float64)
        best = values.argmax(axis=1)
        least = np.array([_limit(value) for value in self.class_thresholds or (self.threshold,) * values.shape[1]])
        return np.asarray(values.max(axis=1) >= least[best] - 1e-6)

    def sure_of_superclass(self, superclass_probability: Floats) -> npt.NDArray[np.bool_]:
        """Whether the superclass may be named: bool (N,), of the probabilities of the predicted superclass (N,)."""
        return np.asarray(superclass_probability >= _limit(self.superclass_threshold) - 1e-6)


def _limit(threshold: float | None) -> float:
    return np.inf if threshold is None else threshold
