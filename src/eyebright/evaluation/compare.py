"""Classifiers on the same images: which is better, which cannot be told apart, and what each alone gets right.

Two classifiers are called different when McNemar's test says so after Holm's correction over all pairs: of all the
comparisons in which nothing differs, at most one in twenty calls any pair different. Whatever was not told apart is
shown as a tie, also between classifiers that a third one lies between.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import Any

import numpy as np
import numpy.typing as npt

from eyebright.errors import DataError
from eyebright.evaluation.estimate import WILSON, Estimate
from eyebright.evaluation.intervals import Floats, Integers, wilson
from eyebright.evaluation.metrics import Metrics, evaluate
from eyebright.evaluation.paired import (
    SIGNIFICANCE,
    Booleans,
    holm,
    images_to_tell_apart,
    macro_f1_difference,
    mcnemar_of_counts,
    paired_difference,
    paired_mean_differences,
)
from eyebright.evaluation.paired import mcnemar as mcnemar
from eyebright.evaluation.predictions import Predictions
from eyebright.evaluation.ties import tie_letters


@dataclasses.dataclass(frozen=True, kw_only=True)
class Pair:
    """Two classifiers on the same images. Differences are the first's value less the second's.

    Attributes:
        first, second: their names.
        only_first, only_second: images that only one of them names right.
        accuracy, macro_f1, log_loss, brier: differences with 95 % intervals, not corrected for being several.
        p_value: of McNemar's mid-p test.
        adjusted_p: the same after Holm's correction over all pairs.
    """

    first: str
    second: str
    only_first: int
    only_second: int
    accuracy: Estimate
    macro_f1: Estimate
    log_loss: Estimate
    brier: Estimate
    p_value: float
    adjusted_p: float

    @property
    def told_apart(self) -> bool:
        """Whether the test calls their accuracies different."""
        return self.adjusted_p <= SIGNIFICANCE

    def turned(self) -> Pair:
        """The same pair with the second classifier first."""

        def minus(estimate: Estimate) -> Estimate:
            return Estimate(-estimate.value, -estimate.high, -estimate.low, estimate.method)

        return dataclasses.replace(
            self, first=self.second, second=self.first, only_first=self.only_second, only_second=self.only_first,
            accuracy=minus(self.accuracy), macro_f1=minus(self.macro_f1), log_loss=minus(self.log_loss),
            brier=minus(self.brier),
        )  # fmt: skip


@dataclasses.dataclass(frozen=True, kw_only=True)
class Contest:
    """M classifiers on the same N labelled images.

    Attributes:
        names: of the classifiers, the most accurate first.
        classes: the K class names.
        ids: content ids of the images, N of them, in the order of every array.
        sources: where the images lie.
        truth: class index of each image, (N,).
        predicted: class index that each classifier gave, (M, N).
        metrics: of each classifier, by name.
        pairs: every pair once, in the order of `names`.
        letters: classifiers that share a letter were not told apart; by name, such as "a" or "ab".
    """

    names: tuple[str, ...]
    classes: tuple[str, ...]
    ids: tuple[str, ...]
    sources: tuple[str, ...]
    truth: Integers
    predicted: Integers
    metrics: Mapping[str, Metrics]
    pairs: tuple[Pair, ...]
    letters: Mapping[str, str]

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def right(self) -> Booleans:
        """Whether each classifier named each image right, (M, N)."""
        return np.asarray(self.predicted == self.truth[None], dtype=np.bool_)

    @property
    def best(self) -> str:
        """The classifier with the highest accuracy on these images; it may be tied."""
        return self.names[0]

    def pair(self, first: str, second: str) -> Pair:
        """What was found of two classifiers, seen from the first."""
        for pair in self.pairs:
            if {pair.first, pair.second} == {first, second}:
                return pair if pair.first == first else pair.turned()
        raise KeyError((first, second))

    def tied_with_best(self) -> tuple[str, ...]:
        """The best classifier and those that were not told apart from it."""
        return tuple(name for name in self.names if name == self.best or not self.pair(self.best, name).told_apart)

    def only_right(self) -> dict[str, Integers]:
        """For each classifier the positions of the images that it alone names right."""
        right = self.right
        alone = right & (right.sum(axis=0) == 1)[None]
        return {name: np.flatnonzero(row) for name, row in zip(self.names, alone, strict=True)}

    def none_right(self) -> Integers:
        """Positions of the images that no classifier names right."""
        return np.flatnonzero(~self.right.any(axis=0))

    def any_right(self) -> Estimate:
        """Share of images that at least one classifier names right: what a perfect choice among them would give."""
        hits, total = int(self.right.any(axis=0).sum()), len(self)
        low, high = wilson(hits, total)
        return Estimate(hits / total, float(low), float(high), WILSON)

    def agreement(self) -> Floats:
        """Share of images that two classifiers give the same class, right or wrong: (M, M), ones on the diagonal."""
        return np.asarray((self.predicted[:, None] == self.predicted[None]).mean(axis=2), dtype=np.float64)

    def class_accuracy(self) -> Floats:
        """Share of the images of each class that each classifier names right: (M, K), NaN for a class without any."""
        support = np.bincount(self.truth, minlength=len(self.classes))
        hits = np.stack([np.bincount(self.truth[row], minlength=len(self.classes)) for row in self.right])
        shares = np.divide(hits, support, out=np.full(hits.shape, np.nan), where=support > 0)
        return np.asarray(shares, dtype=np.float64)

    def images_needed(self, difference: float = 0.01) -> int:
        """Images that a paired test needs to find such a difference between the best two, four times out of five."""
        if len(self.names) < 2:
            return 0
        pair = self.pair(*self.names[:2])
        return images_to_tell_apart(difference, (pair.only_first + pair.only_second) / len(self))

    def as_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        support = np.bincount(self.truth, minlength=len(self.classes))
        shares = self.class_accuracy()
        return {
            "images": len(self),
            "classes": list(self.classes),
            "models": {
                name: {
                    "tie_group": self.letters[name],
                    "tied_with_best": name in self.tied_with_best(),
                    "metrics": self.metrics[name].as_dict(),
                }
                for name in self.names
            },
            "pairs": [dataclasses.asdict(pair) | {"told_apart": pair.told_apart} for pair in self.pairs],
            "any_right": dataclasses.asdict(self.any_right()),
            "images_to_find_one_point": self.images_needed(),
            "agreement": {
                name: dict(zip(self.names, map(float, row), strict=True))
                for name, row in zip(self.names, self.agreement(), strict=True)
            },
            "class_accuracy": {
                class_name: {
                    "images": int(support[index]),
                    **{name: float(shares[row, index]) for row, name in enumerate(self.names)},
                }
                for index, class_name in enumerate(self.classes)
                if support[index]
            },
            "only_right": {
                name: {
                    "by_class": self._by_class(rows),
                    "ids": [self.ids[row] for row in rows],
                }
                for name, rows in self.only_right().items()
            },
            "none_right": {
                "by_class": self._by_class(self.none_right()),
                "ids": [self.ids[row] for row in self.none_right()],
            },
        }

    def _by_class(self, rows: Integers) -> dict[str, int]:
        counts = np.bincount(self.truth[rows], minlength=len(self.classes))
        return {
            self.classes[index]: int(counts[index]) for index in np.argsort(-counts, kind="stable") if counts[index]
        }


def compare_predictions(tables: Mapping[str, Predictions], *, seed: int = 0) -> Contest:
    """Compare classifiers on the same images.

    Rows are matched by content id and classes by name, in whatever order each table has them.

    Args:
        tables: the predictions of each classifier by its name; every table holds the same images once.
        seed: of the bootstraps.

    Raises:
        DataError: tables hold other images or classes, an image twice, an image without a label or with two labels.
    """
    first, *others = tables
    reference = tables[first]
    order = _rows_by_id(reference, first)
    if len(order) == 0:
        raise DataError("there is no image to compare classifiers on", expected="labelled images")
    aligned = {first: reference.rows(list(order.values()))}
    for name in others:
        rows = _rows_by_id(tables[name], name)
        if rows.keys() != order.keys():
            shared = len(rows.keys() & order.keys())
            raise DataError(
                f"{name} was scored on {len(rows)} images and {first} on {len(order)}, of which they share {shared}",
                expected="predictions of the same images",
            )
        aligned[name] = tables[name].rows([rows[image] for image in order])
    check_classes({name: table.classes for name, table in tables.items()})
    classes = reference.classes
    truth = aligned[first].labels_index()
    for name in others:
        labels = aligned[name].column("label")
        for image, expected, found in zip(order, aligned[first].column("label"), labels, strict=True):
            if expected != found:
                raise DataError(
                    f"image {image} is labelled {expected!r} for {first} and {found!r} for {name}",
                    expected="the same labels for all classifiers",
                    remedy="evaluate each on the same labelled images: `eyebright evaluate RUN DATA`",
                )
    probabilities = {name: _in_order(table, classes) for name, table in aligned.items()}
    predicted = {name: _predicted(table, classes) for name, table in aligned.items()}
    metrics = {name: evaluate(table, seed=seed) for name, table in aligned.items()}
    names = tuple(sorted(tables, key=lambda name: (-metrics[name].accuracy.value, list(tables).index(name))))
    pairs = _pairs(names, truth, predicted, probabilities, len(classes), seed)
    apart = {(pair.first, pair.second) for pair in pairs if pair.told_apart}
    return Contest(
        names=names,
        classes=classes,
        ids=tuple(order),
        sources=tuple(source or "" for source in aligned[first].column("source")),
        truth=truth,
        predicted=np.stack([predicted[name] for name in names]),
        metrics=metrics,
        pairs=pairs,
        letters=tie_letters(names, apart),
    )


def check_classes(classes: Mapping[str, Sequence[str]]) -> None:
    """Refuse classifiers whose classes differ; their order does not matter.

    Raises:
        DataError: naming what differs.
    """
    first, *others = classes
    for name in others:
        ours, theirs = set(classes[first]), set(classes[name])
        if ours != theirs:
            parts = [
                f"{who} alone has {_listed(sorted(own))}"
                for who, own in ((first, ours - theirs), (name, theirs - ours))
                if own
            ]
            raise DataError(
                f"{first} and {name} have different classes: {'; '.join(parts)}",
                expected="classifiers that choose among the same classes",
                remedy="compare classifiers of the same classes, or several data sets side by side with --across",
            )


def _pairs(
    names: Sequence[str],
    truth: Integers,
    predicted: Mapping[str, Integers],
    probabilities: Mapping[str, Floats],
    classes: int,
    seed: int,
) -> tuple[Pair, ...]:
    places = list(combinations(range(len(names)), 2))
    right = [predicted[name] == truth for name in names]
    alone = [
        (int((right[one] & ~right[other]).sum()), int((right[other] & ~right[one]).sum())) for one, other in places
    ]
    p_values = [mcnemar_of_counts(*counts) for counts in alone]
    adjusted = holm(p_values)
    log_losses, briers = (
        paired_mean_differences(np.column_stack(columns), places, truth, seed=seed)
        for columns in zip(*(_losses(probabilities[name], truth) for name in names), strict=True)
    )
    return tuple(
        Pair(
            first=names[one],
            second=names[other],
            only_first=alone[index][0],
            only_second=alone[index][1],
            accuracy=paired_difference(right[one], right[other]),
            macro_f1=macro_f1_difference(truth, predicted[names[one]], predicted[names[other]], classes, seed=seed),
            log_loss=log_losses[index],
            brier=briers[index],
            p_value=p_values[index],
            adjusted_p=adjusted[index],
        )
        for index, (one, other) in enumerate(places)
    )


def _losses(probabilities: Floats, truth: Integers) -> tuple[Floats, Floats]:
    """Log-loss and Brier score of each image, (N,) each, as `evaluate` defines them."""
    rows = np.arange(len(truth))
    floor = np.finfo(np.float64).eps
    log_losses = -np.log(np.clip(probabilities[rows, truth], floor, 1 - floor))
    distances = probabilities.copy()
    distances[rows, truth] -= 1
    return log_losses, np.square(distances).sum(axis=1) / (2 if probabilities.shape[1] == 2 else 1)


def _rows_by_id(table: Predictions, name: str) -> dict[str, int]:
    ids = [str(image) for image in table.column("id")]
    rows = {image: row for row, image in enumerate(ids)}
    if len(rows) != len(ids):
        raise DataError(f"the predictions of {name} hold an image more than once", expected="one row an image")
    return rows


def _in_order(table: Predictions, classes: Sequence[str]) -> Floats:
    """Probabilities (N, K) with the columns in the order of `classes`."""
    return table.probabilities()[:, [table.classes.index(name) for name in classes]]


def _predicted(table: Predictions, classes: Sequence[str]) -> npt.NDArray[np.int64]:
    position = {name: index for index, name in enumerate(classes)}
    return np.asarray([position[str(name)] for name in table.column("predicted")], dtype=np.int64)


def _listed(names: Sequence[str], most: int = 5) -> str:
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(map(repr, names[:most])) + more
