"""How much an image differs from those that the classifier learnt from; larger scores are stranger images."""

from __future__ import annotations

import dataclasses
from typing import Literal

import numpy as np
import numpy.typing as npt

from eyebright.decisions.calibration import Floats

Score = Literal["energy", "distance"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Energy:
    """Free energy of the logits (Liu et al., Energy-based out-of-distribution detection, 2020).

    Attributes:
        threshold: images above it are called unlike the training images.
        temperature: of the energy.
    """

    threshold: float
    temperature: float = 1.0

    def scores(self, logits: npt.ArrayLike) -> Floats:
        """Energy of each image, float64 (N,), of uncalibrated logits (N, K)."""
        values = np.asarray(logits, dtype=np.float64) / self.temperature
        peak = values.max(axis=1)
        return np.asarray(-self.temperature * (peak + np.log(np.exp(values - peak[:, None]).sum(axis=1))))


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class FeatureDistance:
    """Mahalanobis distance of the features to the nearest class, with one covariance for all classes.

    Lee et al., A simple unified framework for detecting out-of-distribution samples and adversarial attacks, 2018; on
    features of length one (Mueller and Hein, Mahalanobis++, 2025), in the directions in which they vary most.

    Attributes:
        threshold: images above it are called unlike the training images.
        centre: mean of the normalised features, float32 (F,).
        basis: whitened directions, float32 (F, D).
        class_means: mean of each class in those directions, float32 (K, D).
    """

    threshold: float
    centre: npt.NDArray[np.float32]
    basis: npt.NDArray[np.float32]
    class_means: npt.NDArray[np.float32]

    def __post_init__(self) -> None:
        width, directions = self.basis.shape
        if self.centre.shape != (width,) or self.class_means.ndim != 2 or self.class_means.shape[1] != directions:
            raise ValueError(f"shapes {self.centre.shape}, {self.basis.shape} and {self.class_means.shape}")

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, FeatureDistance):
            return NotImplemented
        pairs = ((getattr(self, name), getattr(other, name)) for name in ("centre", "basis", "class_means"))
        return self.threshold == other.threshold and all(np.array_equal(one, two) for one, two in pairs)

    def scores(self, features: npt.ArrayLike) -> Floats:
        """Distance of each image to the nearest class, float64 (N,), of features (N, F)."""
        values = np.asarray(features, dtype=np.float64)
        lengths = np.linalg.norm(values, axis=1, keepdims=True)
        whitened = (values / np.where(lengths > 0, lengths, 1.0) - self.centre) @ self.basis.astype(np.float64)
        means = self.class_means.astype(np.float64)
        squared = np.square(whitened).sum(1)[:, None] + np.square(means).sum(1) - 2 * whitened @ means.T
        return np.asarray(np.sqrt(np.maximum(squared, 0).min(axis=1)))


@dataclasses.dataclass(frozen=True, kw_only=True)
class Outliers:
    """The scores that a bundle can give, and which of them raises the flag.

    Attributes:
        false_alarms: share of images like the training images that are flagged all the same, such as 0.05.
        used: the score that raises the flag.
        energy: always there.
        distance: None for a network whose features cannot be had.
    """

    false_alarms: float
    used: Score
    energy: Energy
    distance: FeatureDistance | None = None

    def __post_init__(self) -> None:
        if self.used == "distance" and self.distance is None:
            raise ValueError("the outlier score in use is not there")

    @property
    def threshold(self) -> float:
        """Threshold of the score in use."""
        return self.energy.threshold if self.distance is None or self.used == "energy" else self.distance.threshold

    def scores(self, logits: npt.ArrayLike, features: npt.ArrayLike | None = None) -> dict[str, Floats]:
        """Every score that can be had, by name, float64 (N,) each."""
        found = {"energy": self.energy.scores(logits)}
        if self.distance is not None and features is not None:
            found["distance"] = self.distance.scores(features)
        return found
