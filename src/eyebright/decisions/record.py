"""All that a bundle concludes from the network's output, in one record."""

from __future__ import annotations

import dataclasses
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
        outlier: whether the image is unlike the training images, bool (N,); None without a score.
    """

    probabilities: Floats
    best: npt.NDArray[np.int64]
    sets: npt.NDArray[np.bool_] | None
    sure: npt.NDArray[np.bool_] | None
    sure_of_superclass: npt.NDArray[np.bool_] | None
    outlier_scores: dict[str, Floats]
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
        flagged = None
        if self.outliers is not None and self.outliers.used in scores:
            flagged = scores[self.outliers.used] > self.outliers.threshold
        return Decided(
            probabilities=values,
            best=best,
            sets=None if self.sets is None else self.sets.sets(values),
            sure=None if self.selection is None else self.selection.sure(values),
            sure_of_superclass=sure_above,
            outlier_scores=scores,
            outlier=flagged,
        )

    def as_dict(self) -> dict[str, Any]:
        """Plain values for JSON, without the arrays; `from_dict` reads both back."""
        values: dict[str, Any] = {"calibration": self.calibration.as_dict()}
        for name in ("sets", "selection"):
            part = getattr(self, name)
            values[name] = None if part is None else dataclasses.asdict(part)
        values["outliers"] = None if self.outliers is None else {
            "false_alarms": self.outliers.false_alarms,
            "used": self.outliers.used,
            "energy": dataclasses.asdict(self.outliers.energy),
            "distance": None if self.outliers.distance is None else {"threshold": self.outliers.distance.threshold},
        }  # fmt: skip
        return values

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
        outliers = values.get("outliers")
        if outliers is not None:
            distance = outliers.get("distance")
            if distance is not None:
                centre, basis, means = (arrays[name] for name in _ARRAYS)
                distance = FeatureDistance(
                    threshold=float(distance["threshold"]), centre=centre, basis=basis, class_means=means
                )
            outliers = Outliers(**{**outliers, "energy": Energy(**outliers["energy"]), "distance": distance})
        return cls(
            calibration=Calibration.from_dict(values["calibration"]),
            sets=None if values.get("sets") is None else PredictionSets(**values["sets"]),
            selection=selection,
            outliers=outliers,
        )


def sibling_classes(classes: Sequence[str], superclasses: Mapping[str, str]) -> npt.NDArray[np.bool_] | None:
    """Which classes share the superclass of each class, bool (K, K); None where there is one level of classes."""
    if not superclasses:
        return None
    above = np.array([superclasses[name] for name in classes])
    return np.asarray(above[:, None] == above[None])
