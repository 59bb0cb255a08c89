"""Every headline number of a predictions table, each with a 95 % interval.

Definitions follow scikit-learn (`zero_division=0`): averages over classes run over the classes that occur among the
labels or the predictions; balanced accuracy runs over the classes that occur among the labels.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from eyebright.errors import DataError
from eyebright.evaluation.calibrate import ECE_BINS, equal_mass_bins
from eyebright.evaluation.estimate import BOOTSTRAP, COMBINED, WILSON, Estimate
from eyebright.evaluation.intervals import (
    Floats,
    Integers,
    mean_of_proportions,
    percentile_limits,
    resampled_confusions,
    resampled_means,
    wilson,
)
from eyebright.evaluation.predictions import Predictions


@dataclasses.dataclass(frozen=True)
class ClassMetrics:
    """One class: `support` is its number of images, `predicted` how often it was predicted."""

    name: str
    precision: Estimate
    recall: Estimate
    f1: Estimate
    support: int
    predicted: int


@dataclasses.dataclass(frozen=True)
class Metrics:
    """All numbers of one predictions table; `metrics["accuracy"].value` works too.

    Attributes:
        images: labelled images that were scored.
        unlabelled: images without a label, left out.
        classes: class names in index order.
        top_k: the k of `top_k_accuracy`, which is None unless there are more than k classes.
        log_loss: mean negative log-likelihood in nats.
        brier: mean squared distance of the probabilities to the truth: summed over the classes (0 to 2), and
            halved for two classes (0 to 1), as in scikit-learn.
        ece: expected calibration error over 15 equal-mass bins.
        confusion: counts (K, K), true classes in rows.
        superclass_accuracy: share of images whose predicted class has the superclass of the true one; None where
            there is one level of classes.
    """

    images: int
    unlabelled: int
    classes: tuple[str, ...]
    accuracy: Estimate
    balanced_accuracy: Estimate
    macro_precision: Estimate
    macro_recall: Estimate
    macro_f1: Estimate
    weighted_precision: Estimate
    weighted_recall: Estimate
    weighted_f1: Estimate
    log_loss: Estimate
    brier: Estimate
    ece: Estimate
    top_k: int
    top_k_accuracy: Estimate | None
    per_class: tuple[ClassMetrics, ...]
    confusion: tuple[tuple[int, ...], ...]
    superclass_accuracy: Estimate | None = None

    def estimates(self) -> Iterator[tuple[str, Estimate]]:
        """The headline numbers as (name, estimate); the top-k accuracy is called `top5_accuracy` for k = 5."""
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if isinstance(value, Estimate):
                name = f"top{self.top_k}_accuracy" if field.name == "top_k_accuracy" else field.name
                yield name, value

    def __getitem__(self, name: str) -> Estimate:
        return dict(self.estimates())[name]

    def as_dict(self) -> dict[str, Any]:
        """Plain values for JSON; `from_dict` reads them back."""
        return {
            "images": self.images,
            "unlabelled": self.unlabelled,
            **{name: dataclasses.asdict(estimate) for name, estimate in self.estimates()},
            "top_k": self.top_k,
            "classes": list(self.classes),
            "per_class": [dataclasses.asdict(row) for row in self.per_class],
            "confusion": [list(row) for row in self.confusion],
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Metrics:
        """Read what `as_dict` wrote."""
        plain = dict(values)
        top = plain.pop(f"top{values['top_k']}_accuracy", None)
        estimates = {name: Estimate(**value) for name, value in plain.items() if isinstance(value, Mapping)}
        rows = [
            ClassMetrics(**{**row, **{name: Estimate(**row[name]) for name in ("precision", "recall", "f1")}})
            for row in plain.pop("per_class")
        ]
        counts = tuple(tuple(row) for row in plain.pop("confusion"))
        names = tuple(plain.pop("classes"))
        return cls(
            **{**plain, **estimates},
            classes=names,
            per_class=tuple(rows),
            confusion=counts,
            top_k_accuracy=Estimate(**top) if top else None,
        )


def evaluate(predictions: Predictions, *, top_k: int = 5, seed: int = 0) -> Metrics:
    """Score the labelled rows of a predictions table.

    Args:
        predictions: one split (use `.select`): an image that occurs twice is counted twice.
        top_k: report the top-k accuracy when there are more than k classes.
        seed: of the bootstrap; equal seeds give equal intervals.

    Raises:
        DataError: no row has a label.
    """
    scored = predictions.labelled()
    if len(scored) == 0:
        raise DataError(
            f"none of the {len(predictions)} images has a label",
            expected="labelled images to score predictions against",
        )
    truth, predicted = scored.labels_index(), scored.predicted_index()
    classes = scored.classes
    confusion = np.bincount(truth * len(classes) + predicted, minlength=len(classes) ** 2)
    confusion = confusion.reshape(len(classes), len(classes))
    probabilities = scored.probabilities()
    ranked = _top_k_accuracy(probabilities, truth, top_k) if len(classes) > top_k else None
    return Metrics(
        images=len(scored),
        unlabelled=len(predictions) - len(scored),
        classes=classes,
        **_from_confusion(confusion, seed),
        **_from_probabilities(probabilities, truth, predicted, seed),
        top_k=top_k,
        top_k_accuracy=ranked,
        per_class=_per_class(confusion, classes),
        confusion=tuple(tuple(int(count) for count in row) for row in confusion),
        superclass_accuracy=_superclass_accuracy(scored),
    )


def _superclass_accuracy(scored: Predictions) -> Estimate | None:
    true, predicted = scored.column("superclass"), scored.column("predicted_superclass")
    if None in true or None in predicted:
        return None
    return _proportion(sum(one == other for one, other in zip(true, predicted, strict=True)), len(true))


def _proportion(successes: int, trials: int) -> Estimate:
    low, high = wilson(successes, trials)
    return Estimate(successes / trials if trials else 0.0, float(low), float(high), WILSON)


def _ratio(numerator: Floats | Integers, denominator: Floats | Integers) -> Floats:
    """Element-wise, with 0 where the denominator is 0."""
    return np.divide(numerator, denominator, out=np.zeros(np.shape(numerator)), where=np.asarray(denominator) != 0)


def _f1_limits(hits: Integers, union: Integers) -> tuple[Floats, Floats]:
    """Limits of F1: Wilson's for the share of `hits` among the images that are of the class or predicted as it.

    F1 = 2 J / (1 + J) rises with that share J, so its limits are the limits of J, carried over.
    """
    low, high = wilson(hits, union)
    return 2 * low / (1 + low), 2 * high / (1 + high)


def _per_class(confusion: Integers, classes: tuple[str, ...]) -> tuple[ClassMetrics, ...]:
    hits, support, predicted = np.diag(confusion), confusion.sum(axis=1), confusion.sum(axis=0)
    f1 = _ratio(2 * hits, support + predicted)
    f1_low, f1_high = _f1_limits(hits, support + predicted - hits)
    return tuple(
        ClassMetrics(
            name=name,
            precision=_proportion(int(hits[index]), int(predicted[index])),
            recall=_proportion(int(hits[index]), int(support[index])),
            f1=Estimate(float(f1[index]), float(f1_low[index]), float(f1_high[index]), WILSON),
            support=int(support[index]),
            predicted=int(predicted[index]),
        )
        for index, name in enumerate(classes)
    )


def _from_confusion(confusion: Integers, seed: int) -> dict[str, Estimate]:
    support = confusion.sum(axis=1)
    hits, predicted = np.diag(confusion), confusion.sum(axis=0)
    present = (support + predicted) > 0
    labelled = support > 0

    def averages(right: Integers, columns: Integers) -> dict[str, Floats]:
        # (R, K) in, (R,) out; the data itself is one more "resample".
        precision, recall = _ratio(right, columns), _ratio(right, np.broadcast_to(support, right.shape))
        f1 = _ratio(2 * right, columns + support)
        result = {}
        for name, scores in (("precision", precision), ("recall", recall), ("f1", f1)):
            result[f"macro_{name}"] = scores[:, present].mean(axis=1)
            result[f"weighted_{name}"] = (scores * support).sum(axis=1) / support.sum()
        return result

    values = averages(hits[None], predicted[None])
    resampled = averages(*resampled_confusions(confusion, seed=seed))
    recalls = hits[labelled] / support[labelled]
    spread = mean_of_proportions(recalls, *wilson(hits[labelled], support[labelled]))
    balanced = Estimate(float(recalls.mean()), *spread, COMBINED)
    accuracy = _proportion(int(hits.sum()), int(support.sum()))
    result = {"accuracy": accuracy, "balanced_accuracy": balanced}
    # Measured on 800 test sets of 120 images: 95 % intervals of macro F1 held the truth in 94.0 % of cases as plain
    # percentiles (91.9 % for 8 classes), and in 95.0 % (93.8 %) when centred and stretched.
    images, strata = int(support.sum()), int(labelled.sum())
    stretch = np.sqrt(images / max(1, images - strata))
    for name, value in values.items():
        point = float(value[0])
        if np.ptp(resampled[name]) > 0:
            low, high = percentile_limits(resampled[name], point, centred=True, stretch=float(stretch))
            result[name] = Estimate(point, max(0.0, low), min(1.0, high), BOOTSTRAP)
        else:
            # Without a single error there is nothing to resample, but a small test set is still a small test set.
            result[name] = Estimate(point, min(point, balanced.low), max(point, balanced.high), COMBINED)
    result["weighted_recall"] = accuracy
    if bool((labelled == present).all()):
        result["macro_recall"] = balanced
    return result


def _from_probabilities(probabilities: Floats, truth: Integers, predicted: Integers, seed: int) -> dict[str, Estimate]:
    count, classes = probabilities.shape
    rows = np.arange(count)
    # Float32 can round a probability to zero; the floor is scikit-learn's.
    floor = np.finfo(np.float64).eps
    losses = -np.log(np.clip(probabilities[rows, truth], floor, 1 - floor))
    distances = probabilities.copy()
    distances[rows, truth] -= 1
    briers = np.square(distances).sum(axis=1) / (2 if classes == 2 else 1)
    confidence = probabilities[rows, predicted]
    bins = equal_mass_bins(confidence, ECE_BINS)
    gaps = np.zeros((count, int(bins.max()) + 1))
    gaps[rows, bins] = confidence - (predicted == truth)

    columns = np.column_stack([losses, briers, gaps])
    means = columns.mean(axis=0)
    resampled = resampled_means(columns, truth, seed=seed)
    loss, brier = float(means[0]), float(means[1])
    ece = float(np.abs(means[2:]).sum())
    ece_low, ece_high = percentile_limits(np.abs(resampled[:, 2:]).sum(axis=1), ece, centred=True)
    return {
        "log_loss": Estimate(loss, *percentile_limits(resampled[:, 0], loss), BOOTSTRAP),
        "brier": Estimate(brier, *percentile_limits(resampled[:, 1], brier), BOOTSTRAP),
        "ece": Estimate(ece, max(0.0, ece_low), min(1.0, ece_high), f"{BOOTSTRAP}, centred"),
    }


def _top_k_accuracy(probabilities: Floats, truth: Integers, top_k: int) -> Estimate:
    own = probabilities[np.arange(len(truth)), truth][:, None]
    # Of equal probabilities the later class ranks higher, as in scikit-learn.
    later = np.arange(probabilities.shape[1])[None] > truth[:, None]
    rank = ((probabilities > own) | ((probabilities == own) & later)).sum(axis=1)
    return _proportion(int((rank < top_k).sum()), len(truth))
