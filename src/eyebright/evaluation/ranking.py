"""How well the probability of a class ranks its images above the others: AUROC, average precision, top-k."""

from __future__ import annotations

import dataclasses

import numpy as np
import numpy.typing as npt

from eyebright.evaluation.confusion_scores import proportion
from eyebright.evaluation.estimate import DELONG, DELONG_NEWCOMBE, JACKKNIFE, Estimate
from eyebright.evaluation.intervals import Floats, Integers, logit_limits, wilson
from eyebright.evaluation.newcombe import auroc_limits

_NO_VARIANCE = 1e-12


@dataclasses.dataclass(frozen=True, kw_only=True)
class Ranking:
    """One class against the rest, for every class and on average.

    Attributes:
        auroc, average_precision: means over the classes that have images and are not all; None without such a class.
        class_auroc, class_average_precision: of each class (K,); None where it has no image or all of them.
    """

    auroc: Estimate | None
    average_precision: Estimate | None
    class_auroc: tuple[Estimate | None, ...]
    class_average_precision: tuple[Estimate | None, ...]


def rank(probabilities: Floats, truth: Integers) -> Ranking:
    """Score the ranking of N images by each class's probability (N, K).

    Values equal scikit-learn's `roc_auc_score` and `average_precision_score`. Nothing is resampled: what each image
    adds to a mean over classes is known exactly, so 10,000 images of 100 classes take less than a second.

    - AUROC: variance by E. R. DeLong, D. M. DeLong and D. L. Clarke-Pearson (Biometrics 44, 1988). One class alone gets
      the limits of `auroc_limits`, the mean over classes limits on the scale of its logit.
    - Average precision: variance and bias by leaving out one image at a time (J. W. Tukey's jackknife, 1958), limits on
      the scale of the logit. Of few images it lies well above what it would be of many: the limits allow for that.

    Args:
        probabilities: float64 (N, K).
        truth: class indices (N,).
    """
    images, classes = probabilities.shape
    support = np.bincount(truth, minlength=classes)
    chosen = np.flatnonzero((support > 0) & (support < images))
    if len(chosen) == 0:
        return Ranking(
            auroc=None, average_precision=None,
            class_auroc=(None,) * classes, class_average_precision=(None,) * classes,
        )  # fmt: skip
    aurocs, precisions = np.zeros((2, len(chosen)))
    class_auroc: list[Estimate | None] = [None] * classes
    class_precision: list[Estimate | None] = [None] * classes
    auroc_influence, precision_influence = np.zeros((2, images))
    for row, index in enumerate(chosen):
        positive = truth == index
        ties = _Ties(probabilities[:, index], positive)
        aurocs[row], influence = ties.auroc()
        auroc_influence += influence / len(chosen)
        class_auroc[index] = _class_auroc(float(aurocs[row]), influence, positive)
        precisions[row], influence = ties.average_precision()
        precision_influence += influence / len(chosen)
        class_precision[index] = _class_precision(float(precisions[row]), influence, positive)
    mean = _mean(float(aurocs.mean()), auroc_influence, truth, chosen, DELONG)
    if classes == 2:  # both classes have the same one
        mean = class_auroc[1] or mean
    return Ranking(
        auroc=mean,
        average_precision=_mean(float(precisions.mean()), precision_influence, truth, chosen, JACKKNIFE),
        class_auroc=tuple(class_auroc),
        class_average_precision=tuple(class_precision),
    )


def top_k_accuracy(probabilities: Floats, truth: Integers, top_k: int) -> Estimate:
    """Share of images whose true class is among the k most probable ones, with Wilson's interval."""
    own = probabilities[np.arange(len(truth)), truth][:, None]
    # Of equal probabilities the later class ranks higher, as in scikit-learn.
    later = np.arange(probabilities.shape[1])[None] > truth[:, None]
    place = ((probabilities > own) | ((probabilities == own) & later)).sum(axis=1)
    return proportion(int((place < top_k).sum()), len(truth))


class _Ties:
    """N images in groups of equal scores, highest first, and how many of each group are positive.

    Influences (N,) are (N - 1) times what leaving the image out takes away; their mean is the bias (0 for AUROC).
    """

    def __init__(self, scores: Floats, positive: npt.NDArray[np.bool_]) -> None:
        _, self.group = np.unique(-scores, return_inverse=True)
        self.positive = positive
        self.hits = np.bincount(self.group, weights=positive)
        self.counts = np.bincount(self.group).astype(np.float64)
        self.positives, self.images = float(positive.sum()), len(scores)

    def auroc(self) -> tuple[float, Floats]:
        """AUROC and the influence of each image on it."""
        negatives = self.images - self.positives
        misses = self.counts - self.hits
        beaten = negatives - np.cumsum(misses) + misses / 2  # negatives below, a tie counting half
        beating = np.cumsum(self.hits) - self.hits / 2
        share = np.where(
            self.positive, beaten[self.group] / negatives, beating[self.group] / self.positives
        )  # of the other kind that an image is on the right side of
        value = float(share[self.positive].mean())
        of_kind = np.where(self.positive, self.positives, negatives)
        return value, (self.images - 1) * (share - value) / np.maximum(of_kind - 1, 1)

    def average_precision(self) -> tuple[float, Floats]:
        """Average precision and the influence of each image on it."""
        hits, above = self.hits, np.cumsum(self.hits)
        ranks = np.cumsum(self.counts)
        terms = hits * above / ranks
        value = float(terms.sum()) / self.positives
        before = np.cumsum(terms) - terms
        rest = np.where(ranks > 1, ranks - 1, 1.0)
        # Without a negative, precision rises in its group and below; without a positive it falls there.
        rising = hits * above / rest
        without_negative = (before + rising[::-1].cumsum()[::-1]) / self.positives
        falling = hits * (above - 1) / rest
        own = (hits - 1) * (above - 1) / rest
        below = falling[::-1].cumsum()[::-1] - falling
        without_positive = (before + own + below) / max(self.positives - 1, 1)
        if self.positives == 1:
            without_positive[:] = value
        without = np.where(self.positive, without_positive[self.group], without_negative[self.group])
        return value, (self.images - 1) * (value - without)


def _class_auroc(value: float, influence: Floats, positive: npt.NDArray[np.bool_]) -> Estimate:
    positives, negatives = int(positive.sum()), int((~positive).sum())
    variance = None
    if positives > 1 and negatives > 1:
        variance = _variance(influence, positive.astype(np.int64), borrow=False)
    return Estimate(value, *auroc_limits(value, variance, positives, negatives), DELONG_NEWCOMBE)


def _class_precision(value: float, influence: Floats, positive: npt.NDArray[np.bool_]) -> Estimate:
    positives = int(positive.sum())
    # Of so few positives the variance itself is unsure: Student's t instead of the normal, to the first order.
    variance = _variance(influence, positive.astype(np.int64), borrow=False) * (1 + 2 / positives)
    images = float(positives)
    return Estimate(value, *_limits(value, influence, variance if positives > 1 else 0.0, images), JACKKNIFE)


def _mean(value: float, influence: Floats, truth: Integers, chosen: Integers, method: str) -> Estimate:
    """Limits for a mean over the chosen classes."""
    images = len(chosen) ** 2 / float((1 / np.bincount(truth)[chosen]).sum())  # had all classes equally many
    return Estimate(value, *_limits(value, influence, _variance(influence, truth, borrow=True), images), method)


def _limits(value: float, influence: Floats, variance: float, images: float) -> tuple[float, float]:
    """Limits on the scale of the logit, or those of a share of so many images where there is no variance."""
    if variance > _NO_VARIANCE:
        # Influences are N - 1 times what an image adds: their mean is the jackknife's bias with the other sign.
        return logit_limits(value + float(influence.mean()), variance, value)
    low, high = wilson(value * images, images)
    return min(value, float(low)), max(value, float(high))


def _variance(influence: Floats, truth: Integers, *, borrow: bool) -> float:
    """Variance of a number from the influences of N images: within the classes and among them.

    Args:
        influence: (N,).
        truth: class indices (N,).
        borrow: let each class have one more deviation, as large as those of all classes are on average: a class of
            which no image was out of place is then not taken to be free of errors.
    """
    images = len(truth)
    _, truth, counts = np.unique(truth, return_inverse=True, return_counts=True)
    means = np.bincount(truth, influence) / counts
    squares = np.bincount(truth, np.square(influence - means[truth])) * np.square(counts / images)
    freedom, more = counts - 1, int(borrow)
    typical = squares.sum() / max(int(freedom.sum()), 1)
    within = np.where(freedom + more > 0, (squares + more * typical) / np.maximum(freedom + more, 1), typical)
    among = (counts * np.square(means - influence.mean())).sum() / images**2
    return float((within / counts).sum() + among)
