"""What a classifier can bear: its accuracy on the same images spoilt in many ways, at five severities each. No torch.

The mean corruption error here is the plain mean of the error over the 15 usual corruptions and their severities, and
beside it what that is above the error on clean images. Hendrycks and Dietterich (2019, arXiv:1903.12261) divide by the
errors of AlexNet on ImageNet; those say nothing on other images and classes.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from eyebright.errors import NewerBundleError
from eyebright.evaluation.calibrate import expected_calibration_error
from eyebright.evaluation.estimate import HALL, WILSON, Estimate
from eyebright.evaluation.intervals import Floats, Integers, mean_limits, wilson
from eyebright.evaluation.paired import paired_difference

ROBUSTNESS_VERSION = 1
QUALITY = "quality"
"""The family of the corruptions that have a unit of their own and do not count in the mean corruption error."""
FALLEN = 0.9
"""A classifier has fallen where its accuracy is below this share of the clean accuracy."""

Flags = npt.NDArray[np.bool_]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Cell:
    """One corruption at one severity.

    Attributes:
        severity: from 1, the mildest.
        level: how strong that is, in the unit of the curve.
        accuracy: with Wilson's interval.
        drop: clean accuracy minus this one, on the same images, with Newcombe's interval for paired proportions.
        confidence: mean confidence.
        calibration_error: expected calibration error of the confidence.
    """

    severity: int
    level: float
    accuracy: Estimate
    drop: Estimate
    confidence: float
    calibration_error: float


@dataclasses.dataclass(frozen=True, kw_only=True)
class Curve:
    """One corruption over its severities.

    Attributes:
        name, title: for programs and for people.
        family: `noise`, `blur`, `weather`, `digital`, or `quality` for those outside the usual 15.
        unit: of the levels; empty where they mean little to a reader.
        cells: mildest first.
        accuracy: mean over the severities.
        drop: clean accuracy minus that; its interval is over images.
        confidence: mean confidence over the severities.
        calibration_error: of all severities together.
        falls_at: the first severity at which accuracy is below 90 % of the clean one; None when it never is.
    """

    name: str
    title: str
    family: str
    unit: str
    cells: tuple[Cell, ...]
    accuracy: float
    drop: Estimate
    confidence: float
    calibration_error: float
    falls_at: int | None

    @property
    def common(self) -> bool:
        """Whether it counts in the mean corruption error."""
        return self.family != QUALITY


@dataclasses.dataclass(frozen=True, kw_only=True)
class ClassLoss:
    """What corruptions do to one class, over the usual corruptions and severities.

    Attributes:
        name: of the class.
        images: how many were used.
        clean: share recognised on clean images.
        corrupted: mean share recognised on corrupted ones.
        drop: the difference; its interval is over the images of the class.
        worst: title of the corruption that costs it most.
    """

    name: str
    images: int
    clean: float
    corrupted: float
    drop: Estimate
    worst: str


@dataclasses.dataclass(frozen=True, kw_only=True)
class Robustness:
    """The whole measurement.

    Attributes:
        images: how many were used, the same in every cell.
        choice: a sentence that says which and why so many.
        unreadable: images that were chosen and could not be used.
        side, channels: of the input; corruptions are applied at that size.
        seed: of the choice and of the corruptions.
        seconds: that the measurement took.
        clean: accuracy on the images as they are, with its mean confidence and its calibration error.
        mean_error: mean error over the usual corruptions and their severities; None where none was measured.
        mean_drop: that minus the clean error.
        confidence: mean confidence over the same cells.
        curves: every corruption.
        classes: every class that has images, most hurt first.
        left_out: corruptions that mean nothing for these images, and why.
        examples: for each corruption one image at its severities side by side, as a data URI.
    """

    images: int
    choice: str
    unreadable: int
    side: int
    channels: int
    seed: int
    seconds: float
    clean: Estimate
    clean_confidence: float
    clean_calibration_error: float
    mean_error: Estimate | None
    mean_drop: Estimate | None
    confidence: float | None
    curves: tuple[Curve, ...]
    classes: tuple[ClassLoss, ...]
    left_out: Mapping[str, str] = dataclasses.field(default_factory=dict)
    examples: Mapping[str, str] = dataclasses.field(default_factory=dict)

    def worst(self) -> list[Curve]:
        """The usual corruptions by mean accuracy, lowest first."""
        return sorted((curve for curve in self.curves if curve.common), key=lambda curve: curve.accuracy)

    def as_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {"version": ROBUSTNESS_VERSION, **dataclasses.asdict(self)}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Robustness:
        """Read what `as_dict` wrote.

        Raises:
            NewerBundleError: a later version wrote it.
        """
        rest = dict(values)
        version = rest.pop("version")
        if version > ROBUSTNESS_VERSION:
            raise NewerBundleError(
                f"the robustness table has version {version}",
                expected=f"version {ROBUSTNESS_VERSION} or earlier",
                remedy="update eyebright, or measure again",
            )
        for name in ("clean", "mean_error", "mean_drop"):
            rest[name] = None if rest[name] is None else Estimate(**rest[name])
        rest["classes"] = tuple(ClassLoss(**{**row, "drop": Estimate(**row["drop"])}) for row in rest["classes"])
        rest["curves"] = tuple(
            Curve(**{
                **curve,
                "drop": Estimate(**curve["drop"]),
                "cells": tuple(
                    Cell(**{**cell, "accuracy": Estimate(**cell["accuracy"]), "drop": Estimate(**cell["drop"])})
                    for cell in curve["cells"]
                ),
            })
            for curve in rest["curves"]
        )  # fmt: skip
        return cls(**rest)

    def lines(self) -> list[str]:
        """For a terminal: the summary, then a row for each corruption."""
        found = [f"clean accuracy {_with_range(self.clean)} on {self.images} images ({self.choice})"]
        if self.mean_error is not None and self.mean_drop is not None:
            found.append(
                f"mean corruption error {_with_range(self.mean_error)}; "
                f"accuracy falls by {100 * self.mean_drop.value:.1f} points on average"
            )
        if self.unreadable:
            found.append(f"{self.unreadable} images could not be used")
        found.append("")
        found.append(
            f"{'accuracy, %':<24}{'1':>6}{'2':>6}{'3':>6}{'4':>6}{'5':>6}{'mean':>7}   falls below 90 % of clean"
        )
        for curve in [*self.worst(), *(curve for curve in self.curves if not curve.common)]:
            numbers = "".join(f"{100 * cell.accuracy.value:>6.1f}" for cell in curve.cells)
            falls = "never" if curve.falls_at is None else f"at severity {curve.falls_at}"
            found.append(f"{curve.title:<24}{numbers}{100 * curve.accuracy:>7.1f}   {falls}")
        found += [f"{name}: left out, {reason}" for name, reason in self.left_out.items()]
        return found


def _with_range(estimate: Estimate) -> str:
    return f"{100 * estimate.value:.1f} % ({100 * estimate.low:.1f} to {100 * estimate.high:.1f})"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Measured:
    """The answers to one corruption.

    Attributes:
        name, title, family, unit: as in `Curve`.
        levels: one for each of the L severities, mildest first.
        right: whether the prediction was the label, bool (N, L).
        confidence: float (N, L).
    """

    name: str
    title: str
    family: str
    unit: str
    levels: Sequence[float]
    right: Flags
    confidence: Floats


def summarise(
    *, labels: Integers, classes: Sequence[str], right: Flags, confidence: Floats, measured: Sequence[Measured],
    choice: str, side: int, channels: int, seed: int, seconds: float,
    unreadable: int = 0, left_out: Mapping[str, str] | None = None, examples: Mapping[str, str] | None = None,
) -> Robustness:  # fmt: skip
    """The record of answers to N images.

    Args:
        labels: int64 (N,), class indices.
        classes: class names in index order.
        right, confidence: (N,), on the clean images.
        measured: the answers to each corruption, rows in the same order.
        choice, side, channels, seed, seconds, unreadable, left_out, examples: as in `Robustness`.
    """
    curves = tuple(_curve(one, right, confidence) for one in measured)
    common = [one for one in measured if one.family != QUALITY]
    mean_error = mean_drop = mean_confidence = None
    if common:
        wrong = 1 - np.stack([one.right for one in common], axis=1).mean(axis=(1, 2))  # (N,)
        mean_error, mean_drop = _mean(wrong, lowest=0.0), _mean(wrong - ~right, lowest=-1.0)
        mean_confidence = float(np.mean([one.confidence for one in common]))
    return Robustness(
        images=len(labels), choice=choice, unreadable=unreadable, side=side, channels=channels, seed=seed,
        seconds=seconds, clean=_share(right), clean_confidence=float(confidence.mean()),
        clean_calibration_error=expected_calibration_error(confidence, right),
        mean_error=mean_error, mean_drop=mean_drop, confidence=mean_confidence, curves=curves,
        classes=_classes(common or list(measured), right, labels, classes),
        left_out=dict(left_out or {}), examples=dict(examples or {}),
    )  # fmt: skip


def _curve(one: Measured, right: Flags, confidence: Floats) -> Curve:
    cells = tuple(
        Cell(
            severity=index + 1,
            level=float(level),
            accuracy=_share(one.right[:, index]),
            drop=paired_difference(right, one.right[:, index]),
            confidence=float(one.confidence[:, index].mean()),
            calibration_error=expected_calibration_error(one.confidence[:, index], one.right[:, index]),
        )
        for index, level in enumerate(one.levels)
    )
    enough = FALLEN * float(right.mean())
    return Curve(
        name=one.name, title=one.title, family=one.family, unit=one.unit, cells=cells,
        accuracy=float(one.right.mean()), drop=_mean(right - one.right.mean(axis=1), lowest=-1.0),
        confidence=float(one.confidence.mean()),
        calibration_error=expected_calibration_error(one.confidence.ravel(), one.right.ravel()),
        falls_at=next((cell.severity for cell in cells if cell.accuracy.value < enough), None),
    )  # fmt: skip


def _classes(
    measured: Sequence[Measured], right: Flags, labels: Integers, classes: Sequence[str]
) -> tuple[ClassLoss, ...]:
    """Every class that has images, most hurt first."""
    shares = np.stack([one.right.mean(axis=1) for one in measured], axis=1)  # (N, corruptions)
    found = []
    for index, name in enumerate(classes):
        rows = np.flatnonzero(labels == index)
        if len(rows) == 0:
            continue
        lost = right[rows] - shares[rows].mean(axis=1)
        found.append(
            ClassLoss(
                name=name, images=len(rows), clean=float(right[rows].mean()), corrupted=float(shares[rows].mean()),
                drop=_mean(lost, lowest=-1.0),
                worst=measured[int(shares[rows].mean(axis=0).argmin())].title,
            )
        )  # fmt: skip
    return tuple(sorted(found, key=lambda row: -row.drop.value))


def _share(right: Flags) -> Estimate:
    hits = int(right.sum())
    low, high = wilson(hits, len(right))
    return Estimate(hits / len(right), float(low), float(high), WILSON)


def _mean(values: Floats, *, lowest: float) -> Estimate:
    """The mean of one value an image, (N,), between `lowest` and 1."""
    low, high = mean_limits(values, lowest=lowest, highest=1.0)
    return Estimate(float(values.mean()), low, high, HALL)
