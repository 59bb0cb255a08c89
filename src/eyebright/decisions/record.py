"""All that a bundle concludes from the network's output, in one record."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from eyebright.decisions.calibration import Calibration, Floats
from eyebright.decisions.outliers import Energy, FeatureDistance, Outliers
from eyebright.decisions.selection import Selection
from eyebright.decisions.sets import PredictionSets

_ARRAYS = ("centre", "basis", "class_means")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Decided:
    """What was concluded for N images of K classes.

    Attributes:
        probabilities: calibrated, float64 (N, K).
        best: index of the most probable class, int64 (N,).
        sets: which classes are in the prediction set, bool (N, K); None without prediction sets.
        sure: whether the class may be named, bool (N,); None without a selection.
        sure_of_superclass: whether the superclass may be named, bool (N,); None without superclasses or a selection.
        outlier_scores: scores by name, float64 (N,) each; empty without any.
        outlier_score: the one of them that raises the flag, float64 (N,); None when it cannot be had.
        outlier: whether the image is unlike the training images, bool (N,); None without a score.
    """

    probabilities: Floats
    best: npt.NDArray[np.int64]
    sets: npt.NDArray[np.bool_] | None
    sure: npt.NDArray[np.bool_] | None
    sure_of_superclass: npt.NDArray[np.bool_] | None
    outlier_scores: dict[str, Floats]
    outlier_score: Floats | None
    outlier: npt.NDArray[np.bool_] | None


@dataclasses.dataclass(frozen=True, kw_only=True)
class Decisions:
    """How the network's output is turned into answers; any part but the calibration may be absent.

    Attributes:
        calibration: logits to probabilities.
        sets: prediction sets.
        selection: when to answer.
        outliers: images unlike the training images.
    """

    calibration: Calibration = dataclasses.field(default_factory=Calibration)
    sets: PredictionSets | None = None
    selection: Selection | None = None
    outliers: Outliers | None = None

    def check(self, classes: int) -> None:
        """Make sure that all parts are of a classifier of so many classes.

        Raises:
            ValueError: one is not.
        """
        widths = [len(self.calibration.scale), len(self.calibration.knots)]
        if self.selection is not None:
            widths.append(len(self.selection.class_thresholds))
        if self.outliers is not None and self.outliers.distance is not None:
            widths.append(len(self.outliers.distance.class_means))
        if set(widths) - {0, classes}:
            raise ValueError(f"parts of the decisions are of {sorted(set(widths) - {0, classes})} classes")

    def decide(
        self,
        probabilities: npt.ArrayLike,
        logits: npt.ArrayLike,
        features: npt.ArrayLike | None = None,
        *,
        siblings: npt.NDArray[np.bool_] | None = None,
    ) -> Decided:
        """Conclude from what the network, or its graph, gave for N images.

        Args:
            probabilities: calibrated, (N, K): of the graph, or of `calibration.probabilities(logits)`.
            logits: uncalibrated, (N, K).
            features: what goes into the network's classifier, (N, F); None when they cannot be had.
            siblings: bool (K, K), which classes share the superclass of each class; None without superclasses.
        """
        values = np.asarray(probabilities, dtype=np.float64)
        best = values.argmax(axis=1)
        sure_above = None
        if self.selection is not None and siblings is not None:
            sure_above = self.selection.sure_of_superclass((values * siblings[best]).sum(axis=1))
        scores = {} if self.outliers is None else self.outliers.scores(logits, features)
        used = None if self.outliers is None else scores.get(self.outliers.used)
        flagged = None if self.outliers is None or used is None else used > self.outliers.threshold
        return Decided(
            probabilities=values,
            best=best,
            sets=None if self.sets is None else self.sets.sets(values),
            sure=None if self.selection is None else self.selection.sure(values),
            sure_of_superclass=sure_above,
            outlier_scores=scores,
            outlier_score=used,
            outlier=flagged,
        )

    def as_dict(self) -> dict[str, Any]:
        """Plain values for JSON, without the arrays; `from_dict` reads both back. An infinite threshold is None."""
        sets, outliers = self.sets, self.outliers
        distance = None if outliers is None else outliers.distance
        return {
            "calibration": self.calibration.as_dict(),
            "sets": None if sets is None else {**dataclasses.asdict(sets), "threshold": _finite(sets.threshold)},
            "selection": None if self.selection is None else dataclasses.asdict(self.selection),
            "outliers": None if outliers is None else {
                "false_alarms": outliers.false_alarms,
                "used": outliers.used,
                "energy": {**dataclasses.asdict(outliers.energy), "threshold": _finite(outliers.energy.threshold)},
                "distance": None if distance is None else {"threshold": _finite(distance.threshold)},
            },
        }  # fmt: skip

    def arrays(self) -> dict[str, npt.NDArray[np.float32]]:
        """The arrays, by name; empty without a feature distance."""
        distance = None if self.outliers is None else self.outliers.distance
        return {} if distance is None else {name: getattr(distance, name) for name in _ARRAYS}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any], arrays: Mapping[str, npt.NDArray[np.float32]]) -> Decisions:
        """Read what `as_dict` and `arrays` gave.

        Raises:
            ValueError, TypeError, KeyError: it is no such record, or arrays are missing or do not fit.
        """
        selection = values.get("selection")
        if selection is not None:
            selection = Selection(**{**selection, "class_thresholds": tuple(selection["class_thresholds"])})
        sets = values.get("sets")
        if sets is not None:
            sets = PredictionSets(**{**sets, "threshold": _number(sets["threshold"])})
        outliers = values.get("outliers")
        if outliers is not None:
            energy, distance = outliers["energy"], outliers.get("distance")
            energy = Energy(**{**energy, "threshold": _number(energy["threshold"])})
            if distance is not None:
                centre, basis, means = (arrays[name] for name in _ARRAYS)
                distance = FeatureDistance(
                    threshold=_number(distance["threshold"]), centre=centre, basis=basis, class_means=means
                )
            outliers = Outliers(**{**outliers, "energy": energy, "distance": distance})
        return cls(
            calibration=Calibration.from_dict(values["calibration"]), sets=sets, selection=selection, outliers=outliers
        )


def _finite(threshold: float) -> float | None:
    """JSON knows no infinity; None stands for the threshold that nothing exceeds."""
    return threshold if math.isfinite(threshold) else None


def _number(threshold: float | None) -> float:
    return math.inf if threshold is None else float(threshold)


def sibling_classes(classes: Sequence[str], superclasses: Mapping[str, str]) -> npt.NDArray[np.bool_] | None:
    """Which classes share the superclass of each class, bool (K, K); None where there is one level of classes."""
    if not superclasses:
        return None
    above = np.array([superclasses[name] for name in classes])
    return np.asarray(above[:, None] == above[None])
