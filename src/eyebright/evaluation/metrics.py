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
from eyebright.evaluation.confusion_scores import class_scores, confusion_scores
from eyebright.evaluation.costs import CostMatrix, cost_scores
from eyebright.evaluation.detectable import (
    detectable_difference,
    detectable_difference_apart,
    presumed_disagreement,
)
from eyebright.evaluation.estimate import Estimate
from eyebright.evaluation.hierarchy import hierarchy_scores, severities
from eyebright.evaluation.predictions import Predictions
from eyebright.evaluation.probability_scores import probability_scores
from eyebright.evaluation.ranking import rank, top_k_accuracy


@dataclasses.dataclass(frozen=True)
class ClassMetrics:
    """One class.

    Attributes:
        support: its number of images.
        predicted: how often it was predicted.
        auroc, average_precision: of its probability, against all other classes; None where it has no image or all.
    """

    name: str
    precision: Estimate
    recall: Estimate
    f1: Estimate
    support: int
    predicted: int
    auroc: Estimate | None = None
    average_precision: Estimate | None = None


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
        auroc, average_precision: one class against the rest, mean over the classes that have images and are not all.
        kappa, mcc: Cohen's kappa and the Matthews correlation; None when all labels are of one class.
        mistake_severity: 1 for a mistake within the superclass, 2 for one beyond, mean over the mistakes; None where
            there is one level of classes or no mistake.
        mean_severity: the same over all images, right ones counting 0.
        cost: mean cost of an image by the user's cost matrix; None without one.
        optimal_cost: the same had each image been given the class with the least expected cost.
        detectable_difference: the smallest difference in accuracy of another classifier that a paired test on these
            images finds in four of five attempts, if the two disagree on as many images as this one has wrong
            (`evaluation.detectable`); None when there are too few images to find any.
        detectable_difference_apart: the same for a classifier that was tested on as many other images.
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
    auroc: Estimate | None = None
    average_precision: Estimate | None = None
    kappa: Estimate | None = None
    mcc: Estimate | None = None
    mistake_severity: Estimate | None = None
    mean_severity: Estimate | None = None
    cost: Estimate | None = None
    optimal_cost: Estimate | None = None
    detectable_difference: float | None = None
    detectable_difference_apart: float | None = None

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
            "detectable_difference": self.detectable_difference,
            "detectable_difference_apart": self.detectable_difference_apart,
            "classes": list(self.classes),
            "per_class": [dataclasses.asdict(row) for row in self.per_class],
            "confusion": [list(row) for row in self.confusion],
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Metrics:
        """Read what `as_dict` wrote, here or in an earlier version that knew fewer numbers."""
        plain = dict(values)
        top = plain.pop(f"top{values['top_k']}_accuracy", None)
        estimates = {name: Estimate(**value) for name, value in plain.items() if isinstance(value, Mapping)}
        rows: list[dict[str, Any]] = [
            {name: Estimate(**value) if isinstance(value, Mapping) else value for name, value in row.items()}
            for row in plain.pop("per_class")
        ]
        counts = tuple(tuple(row) for row in plain.pop("confusion"))
        names = tuple(plain.pop("classes"))
        return cls(
            **{**plain, **estimates},
            classes=names,
            per_class=tuple(ClassMetrics(**row) for row in rows),
            confusion=counts,
            top_k_accuracy=Estimate(**top) if top else None,
        )


def evaluate(predictions: Predictions, *, top_k: int = 5, seed: int = 0, costs: CostMatrix | None = None) -> Metrics:
    """Score the labelled rows of a predictions table.

    Args:
        predictions: one split (use `.select`): an image that occurs twice is counted twice.
        top_k: report the top-k accuracy when there are more than k classes.
        seed: of the random errors behind the interval of the calibration error; nothing else is drawn.
        costs: what each mistake costs; the order of its classes does not matter.

    Raises:
        DataError: no row has a label, or the costs are of other classes.
    """
    scored = predictions.labelled()
    if len(scored) == 0:
        raise DataError(
            f"none of the {len(predictions)} images has a label",
            expected="labelled images to score predictions against",
        )
    truth, predicted = scored.labels_index(), scored.predicted_index()
    classes, probabilities = scored.classes, scored.probabilities()
    confusion = np.bincount(truth * len(classes) + predicted, minlength=len(classes) ** 2)
    confusion = confusion.reshape(len(classes), len(classes))
    ranking = rank(probabilities, truth)
    grave = severities(scored)
    found = {
        **confusion_scores(confusion),
        **probability_scores(probabilities, truth, predicted, seed=seed),
        **({} if grave is None else hierarchy_scores(grave)),
        **({} if costs is None else cost_scores(costs.for_classes(classes), truth, predicted, probabilities)),
    }
    images, errors = len(scored), len(scored) - int(np.trace(confusion))
    return Metrics(
        images=images,
        unlabelled=len(predictions) - images,
        classes=classes,
        **found,
        auroc=ranking.auroc,
        average_precision=ranking.average_precision,
        top_k=top_k,
        top_k_accuracy=top_k_accuracy(probabilities, truth, top_k) if len(classes) > top_k else None,
        per_class=tuple(
            ClassMetrics(
                name=name,
                **scores,
                support=int(confusion[index].sum()),
                predicted=int(confusion[:, index].sum()),
                auroc=ranking.class_auroc[index],
                average_precision=ranking.class_average_precision[index],
            )
            for index, (name, scores) in enumerate(zip(classes, class_scores(confusion), strict=True))
        ),
        confusion=tuple(tuple(int(count) for count in row) for row in confusion),
        detectable_difference=detectable_difference(images, presumed_disagreement(errors, images)),
        detectable_difference_apart=detectable_difference_apart(images, errors),
    )
