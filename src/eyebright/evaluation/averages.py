"""Averages of precision and F1 over classes that are no plain means of proportions: how each image moves them."""

from __future__ import annotations

import dataclasses

import numpy as np
import numpy.typing as npt

from eyebright.evaluation.intervals import Floats, Integers

NAMES = ("macro_f1", "weighted_precision", "weighted_f1")


@dataclasses.dataclass(frozen=True)
class Averages:
    """What follows from a confusion matrix; counts need not be whole.

    Attributes:
        confusion: float64 (K, K), true classes in rows.
        present: bool (K,), classes that macro F1 runs over: those that occur among labels or predictions.
    """

    confusion: Floats
    present: npt.NDArray[np.bool_]

    def classes(self) -> tuple[Floats, Floats]:
        """Precision and F1 of each class, float64 (K,) each; 0 where there is nothing to divide by."""
        hits, support, predicted = np.diag(self.confusion), self.confusion.sum(axis=1), self.confusion.sum(axis=0)
        return divide(hits, predicted), divide(2 * hits, support + predicted)

    def values(self) -> dict[str, float]:
        """The averages by name, as in scikit-learn with `zero_division=0`."""
        precision, f1 = self.classes()
        shares = self.confusion.sum(axis=1) / self.confusion.sum()
        found = (f1[self.present].mean(), shares @ precision, shares @ f1)
        return {name: float(value) for name, value in zip(NAMES, found, strict=True)}

    def influences(self) -> dict[str, Floats]:
        """Influence of an image in each cell on each average, float64 (K, K): what its share adds, by its share.

        The mean over the images is zero, and the variance of an average is the variance of these over the number of
        images (the delta method). Classes with few images get more than that, as a variance from n images has n - 1.
        """
        images = self.confusion.sum()
        precision, f1 = self.classes()
        support, predicted = self.confusion.sum(axis=1), self.confusion.sum(axis=0)
        right = np.eye(len(self.confusion))
        per_predicted = images * divide(_spread(predicted), predicted)
        per_either = images * divide(_spread((support + predicted) / 2), support + predicted)

        on_precision = per_predicted[None] * (right - precision[None])
        # An image counts for the F1 of its true class and of its predicted one; a right one counts twice for its own.
        on_true, on_predicted = per_either[:, None] * (right - f1[:, None]), per_either[None] * (right - f1[None])
        present, shares = self.present / self.present.sum(), support / images
        found = (
            on_true * present[:, None] + on_predicted * present[None],
            precision[:, None] - shares @ precision + on_precision * shares[None],
            f1[:, None] - shares @ f1 + on_true * shares[:, None] + on_predicted * shares[None],
        )
        return dict(zip(NAMES, found, strict=True))

    def biases(self) -> dict[str, float]:
        """By how much an average lies above what it would be with endless images, by leaving out one image at a time.

        The jackknife of M. H. Quenouille (Notes on bias in estimation, Biometrika 43, 1956). Classes with one
        image are left out, as they would cease to be.
        """
        images = self.confusion.sum()
        precision, f1 = self.classes()
        support, predicted, hits = self.confusion.sum(axis=1), self.confusion.sum(axis=0), np.diag(self.confusion)
        true, said = np.nonzero(self.confusion)
        times = self.confusion[true, said] * (support[true] > 1)
        right = (true == said).astype(np.float64)

        precision_change = divide(hits[said] - right, predicted[said] - 1) - precision[said]
        true_change = divide(2 * (hits[true] - right), support[true] + predicted[true] - 1 - right) - f1[true]
        said_change = (1 - right) * (divide(2 * hits[said], support[said] + predicted[said] - 1) - f1[said])
        macro = self.present[true] * true_change + self.present[said] * said_change
        weighted_precision, weighted_f1 = support @ precision, support @ f1
        without = (
            weighted_precision - precision[true] + (support[said] - right) * precision_change,
            weighted_f1 - f1[true] + (support[true] - 1) * true_change + support[said] * said_change,
        )
        scale = (images - 1) / images
        sums = (weighted_precision, weighted_f1)
        changes = [rest / max(1.0, images - 1) - whole / images for rest, whole in zip(without, sums, strict=True)]
        return {
            "macro_f1": float(scale * (times @ macro) / self.present.sum()),
            "weighted_precision": float(scale * (times @ changes[0])),
            "weighted_f1": float(scale * (times @ changes[1])),
        }


def divide(numerator: Floats | Integers, denominator: Floats | Integers) -> Floats:
    """Element-wise, with 0 where the denominator is not above 0."""
    shape = np.broadcast_shapes(np.shape(numerator), np.shape(denominator))
    return np.divide(numerator, denominator, out=np.zeros(shape), where=np.asarray(denominator) > 0)


def _spread(counts: Floats) -> Floats:
    """Factor on deviations from a share of so many images, one more of which was made up (see `smoothed`)."""
    return np.asarray(1 / np.sqrt(1 - counts / np.square(counts + 1)))
