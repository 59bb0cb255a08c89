"""What can be told of a label from a few numbers, by a learner that never saw the image or a copy of it."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from scipy import stats
from sklearn.ensemble import ExtraTreesClassifier

from eyebright.data.probing import available_cores

FOLDS = 5
_TREES = 60
_MAX_LEAVES = 128
_MIN_LEAF_IMAGES = 5
_RESAMPLES = 500

Labels = npt.NDArray[np.int64]
Probabilities = npt.NDArray[np.float64]


class Estimate(NamedTuple):
    """A figure with the limits of its interval."""

    value: float
    low: float
    high: float


def group_folds(labels: Labels, groups: Labels, seed: int) -> Labels:
    """The fold of every image, int64 (N,) of 0 to 4: groups stay whole, classes are spread evenly."""
    random = np.random.default_rng(seed)
    order = random.permutation(len(labels))
    # A group counts as of the class of its first image; dealing the groups class by class spreads them.
    _, first = np.unique(groups[order], return_index=True)
    representatives = order[np.sort(first)]
    dealt = representatives[np.argsort(labels[representatives], kind="stable")]
    fold_of_group = np.empty(int(groups.max()) + 1, dtype=np.int64)
    fold_of_group[groups[dealt]] = np.arange(len(dealt)) % FOLDS
    return fold_of_group[groups]


def predict_out_of_fold(values: npt.NDArray[np.float32], labels: Labels, folds: Labels, seed: int) -> Probabilities:
    """Probabilities of the classes, float64 (N, K), of forests that were fitted on the other folds.

    Extremely randomised trees (Geurts et al. 2006), classes weighted evenly: no scaling, no tuning, quick, and as good
    with codes as with numbers.

    Args:
        values: float32 (N, F).
        labels: int64 (N,) of 0 to K-1.
        folds: int64 (N,).
        seed: of the forests.
    """
    probabilities = np.zeros((len(labels), int(labels.max()) + 1))

    def work(fold: int) -> None:
        held_out = folds == fold
        if not held_out.any() or held_out.all():
            return
        forest = ExtraTreesClassifier(
            _TREES,
            min_samples_leaf=_MIN_LEAF_IMAGES,
            max_leaf_nodes=_MAX_LEAVES,
            class_weight="balanced",
            random_state=seed,
        )
        forest.fit(values[~held_out], labels[~held_out])
        rows = np.flatnonzero(held_out)
        probabilities[np.ix_(rows, forest.classes_)] = forest.predict_proba(values[held_out])

    with ThreadPoolExecutor(available_cores()) as pool:
        list(pool.map(work, range(FOLDS)))
    return probabilities


def balanced_accuracy(predicted: Labels, labels: Labels, groups: Labels, seed: int) -> Estimate:
    """Mean of the accuracies within each class, with the 95 % interval of a bootstrap over groups."""
    present, labels = np.unique(labels, return_inverse=True)
    right = predicted == present[labels]
    _, groups = np.unique(groups, return_inverse=True)
    number, classes = int(groups.max()) + 1, len(present)
    # Few numbers for each pair of group and class, so that a resample is a weighted sum.
    cells, cell = np.unique(groups * classes + labels, return_inverse=True)
    total, hits = np.bincount(cell), np.bincount(cell, weights=right)
    random = np.random.default_rng(seed)
    drawn = []
    for _ in range(_RESAMPLES):
        weight = np.bincount(random.integers(0, number, number), minlength=number)[cells // classes]
        sums = np.bincount(cells % classes, weights=weight * total, minlength=classes)
        hit = np.bincount(cells % classes, weights=weight * hits, minlength=classes)
        drawn.append(float((hit[sums > 0] / sums[sums > 0]).mean()))
    within = np.bincount(labels, weights=right) / np.bincount(labels)
    low, high = np.quantile(drawn, [0.025, 0.975])
    return Estimate(float(within.mean()), float(low), float(high))


def area_under_curve(
    scores: Probabilities, positive: npt.NDArray[np.bool_], groups: Labels, *, tests: int = 1
) -> Estimate:
    """Area under the ROC curve with a 95 % interval that holds for `tests` areas at once (Bonferroni).

    The variance is that of DeLong et al. (1988) for images that come in groups (Obuchowski 1997); where few images
    leave it no room, as at an area of one, it is at least that of Hanley and McNeil (1982) for one image less.

    Args:
        scores: float64 (N,).
        positive: bool (N,), with both values present.
        groups: int64 (N,).
        tests: how many areas are looked at.
    """
    above, below = scores[positive], scores[~positive]
    higher, lower = _placements(above, np.sort(below)), 1 - _placements(below, np.sort(above))
    area = float(higher.mean())
    _, groups = np.unique(groups, return_inverse=True)
    number = int(groups.max()) + 1
    of_above = np.bincount(groups[positive], weights=higher - area, minlength=number)
    of_below = np.bincount(groups[~positive], weights=lower - area, minlength=number)
    above_groups, below_groups = len(np.unique(groups[positive])), len(np.unique(groups[~positive]))
    m, n = len(above), len(below)
    variance = (
        _inflation(above_groups) * float(of_above @ of_above) / m**2
        + _inflation(below_groups) * float(of_below @ of_below) / n**2
        + 2 * _inflation(number) * float(of_above @ of_below) / (m * n)
    )
    few = 0.5 / min(above_groups, below_groups)
    variance = max(variance, _hanley_mcneil(min(max(area, few), 1 - few), above_groups, below_groups))
    reach = float(stats.norm.ppf(1 - 0.025 / tests)) * variance**0.5
    return Estimate(area, max(0.0, area - reach), min(1.0, area + reach))


def _placements(scores: Probabilities, others: Probabilities) -> Probabilities:
    """Share of the sorted `others` that each score exceeds; equal ones count half."""
    left, right = np.searchsorted(others, scores, "left"), np.searchsorted(others, scores, "right")
    return np.asarray((left + right) / (2 * len(others)), dtype=np.float64)


def _inflation(number: int) -> float:
    return number / (number - 1) if number > 1 else 1.0


def _hanley_mcneil(area: float, m: int, n: int) -> float:
    first, second = area / (2 - area), 2 * area**2 / (1 + area)
    return (area * (1 - area) + (m - 1) * (first - area**2) + (n - 1) * (second - area**2)) / (m * n)


def as_codes(names: Sequence[object]) -> Labels:
    """A number for every different name, int64 (N,)."""
    code: dict[object, int] = {}
    return np.array([code.setdefault(name, len(code)) for name in names], dtype=np.int64)
