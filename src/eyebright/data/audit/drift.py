"""Drift between splits: whether the test (or validation) images may come from where the training images came from.

Each difference is tested, and counts only when it is of a size that matters as well: with many images every difference
is significant.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from eyebright.data.audit import words
from eyebright.data.audit.evidence import Evidence
from eyebright.data.audit.findings import Example, Finding
from eyebright.data.audit.two_sample import (
    Comparison,
    compare_categories,
    compare_numbers,
    holm,
    mean_discrepancy,
    principal_components,
    told_apart,
)
from eyebright.data.sources.base import Split

ALPHA = 0.01  # of each kind of test, for one pair of splits
# Least effects that are worth a finding: the share of images of another class, the KS statistic (or the share of images
# of another category), and the area under the curve of a classifier that tells the splits apart by embeddings.
LEAST_LABELS = 0.1
LEAST_PROPERTY = 0.1
LEAST_EMBEDDINGS = 0.6
MIN_IMAGES = 20  # of each split
MOST_TESTED = 500  # images of each split in the test of embeddings
NUMERIC = {
    "bytes": "file size", "width": "width", "height": "height", "jpeg_quality": "JPEG quality",
    "mean_red": "mean red", "mean_green": "mean green", "mean_blue": "mean blue", "brightness": "brightness",
    "contrast": "contrast", "saturation": "saturation", "sharpness": "sharpness", "entropy": "entropy",
    "edge_contrast": "contrast along the edge",
}  # fmt: skip
CATEGORICAL = {"format": "format", "mode": "mode", "camera": "camera"}
_SHOWN = 3
_PAIRS: tuple[Split, ...] = ("test", "val")


class _Pair(NamedTuple):
    """Train, and a split that is compared with it: rows of the evidence."""

    name: Split
    train: npt.NDArray[np.int64]
    other: npt.NDArray[np.int64]


class _Difference(NamedTuple):
    """One thing in which a split differs from train.

    Attributes:
        pair: which split.
        what: what differs, for the reader.
        result: of the test.
        rows: an image of each end, those typical of train first; may be empty.
        notes: about these images.
    """

    pair: _Pair
    what: str
    result: Comparison
    rows: Sequence[int] = ()
    notes: Sequence[str] = ()


def check_drift(evidence: Evidence, *, seed: int = 0) -> list[Finding]:
    """What differs between train and test, and between train and val; nothing where the data brings no splits.

    Args:
        evidence: the images, with the splits that the data brings.
        seed: of samples and permutations.

    Returns:
        `drift-labels`, `drift-properties` and `drift-embeddings`, each where something differs, else `no-drift`.
    """
    train = np.flatnonzero(evidence.splits == "train")
    pairs = [_Pair(name, train, np.flatnonzero(evidence.splits == name)) for name in _PAIRS]
    pairs = [pair for pair in pairs if min(len(pair.train), len(pair.other)) >= MIN_IMAGES]
    if not pairs:
        return []
    labels, properties, embeddings = [], [], []
    for pair in pairs:
        result = compare_labels(evidence, pair.train, pair.other)
        labels.append(_Difference(pair, "class shares", result))
        if _differs(result, LEAST_LABELS):
            # What follows from the classes alone is no second fault.
            pair = _same_classes(evidence, pair, seed)
            if min(len(pair.train), len(pair.other)) < MIN_IMAGES:
                continue
        properties += _compare_properties(evidence, pair)
        if evidence.embeddings is not None:
            embeddings.append(_compare_embeddings(evidence, pair, seed))
    findings = [
        _finding(evidence, kind, found, tested)
        for kind, tested, least in (
            (_LABELS, labels, LEAST_LABELS),
            (_PROPERTIES, properties, LEAST_PROPERTY),
            (_EMBEDDINGS, embeddings, LEAST_EMBEDDINGS),
        )
        if (found := [difference for difference in tested if _differs(difference.result, least)])
    ]
    if findings:
        return findings
    splits = words.listing(["train", *(pair.name for pair in pairs)])
    compared = words.listing(["class shares", "properties", *(["embeddings"] if embeddings else [])])
    return [
        Finding(
            code="no-drift",
            section="drift",
            severity="passed",
            title=f"{splits.capitalize()} may come from the same place",
            count=0,
            why=f"Two-sample tests of {compared} found nothing that differs by an amount that matters.",
            details={"tests": [_row(difference) for difference in (*labels, *properties, *embeddings)]},
        )
    ]


def compare_labels(evidence: Evidence, one: npt.NDArray[np.int64], other: npt.NDArray[np.int64]) -> Comparison:
    """The shares of the classes in two sets of rows; images without a label are left out."""
    labels = [[label for label in evidence.labels[rows] if label is not None] for rows in (one, other)]
    return compare_categories(*labels) if all(labels) else Comparison(0.0, 1.0)


def compare_properties(
    evidence: Evidence, one: npt.NDArray[np.int64], other: npt.NDArray[np.int64]
) -> dict[str, Comparison]:
    """Every property that is not the same for all images, by its column; p-values are corrected for their number."""
    found: dict[str, Comparison] = {}
    for name in NUMERIC:
        values = evidence.column(name)
        known = [values[rows][~np.isnan(values[rows])] for rows in (one, other)]
        if min(map(len, known)) >= MIN_IMAGES and len(np.unique(np.concatenate(known))) > 1:
            found[name] = compare_numbers(*known)
    for name in CATEGORICAL:
        values = np.array([*evidence.properties[name].to_pylist(), None], dtype=object)[:-1]
        named = [list(values[rows]) for rows in (one, other)]
        if len({*named[0], *named[1]}) > 1:
            found[name] = compare_categories(*named)
    corrected = holm([result.p_value for result in found.values()]) if found else []
    return {
        name: Comparison(result.statistic, p_value)
        for (name, result), p_value in zip(found.items(), corrected, strict=True)
    }


def _differs(result: Comparison, least: float) -> bool:
    return result.p_value < ALPHA and result.statistic > least


def _same_classes(evidence: Evidence, pair: _Pair, seed: int) -> _Pair:
    """As many images of every class from one split as from the other, drawn at random."""
    random = np.random.default_rng(seed)
    train, other = [], []
    for label in dict.fromkeys(evidence.labels[pair.other]):
        own = [rows[evidence.labels[rows] == label] for rows in (pair.train, pair.other)]
        number = min(map(len, own))
        train.append(random.permutation(own[0])[:number])
        other.append(random.permutation(own[1])[:number])
    return _Pair(pair.name, np.sort(np.concatenate(train)), np.sort(np.concatenate(other)))


def _compare_properties(evidence: Evidence, pair: _Pair) -> list[_Difference]:
    differences = []
    for name, result in compare_properties(evidence, pair.train, pair.other).items():
        title = (NUMERIC | CATEGORICAL)[name]
        if name in CATEGORICAL:
            differences.append(_Difference(pair, title, result))
            continue
        values = evidence.column(name)
        rows: list[int] = []
        for part in (pair.train, pair.other):
            known = part[~np.isnan(values[part])]
            nearest = np.argsort(np.abs(values[known] - np.median(values[known])), kind="stable")
            rows += [int(row) for row in known[nearest[:_SHOWN]]]
        differences.append(_Difference(pair, title, result, rows, [f"{title} {values[row]:.4g}" for row in rows]))
    return differences


def _compare_embeddings(evidence: Evidence, pair: _Pair, seed: int) -> _Difference:
    """The size is that of a classifier, the p-value that of the mean discrepancy of images of the same classes."""
    assert evidence.embeddings is not None
    random = np.random.default_rng(seed)
    _, groups = np.unique(evidence.ids, return_inverse=True)
    matched = _same_classes(evidence, pair, seed)
    if len(matched.train) > MOST_TESTED:
        # The same places in both: rows of one class lie at the same places in the two lists when sorted by class.
        order = random.permutation(len(matched.train))[:MOST_TESTED]
        train, other = (part[np.argsort(evidence.labels[part].astype(str), kind="stable")] for part in matched[1:])
        matched = _Pair(pair.name, train[order], other[order])
    rows = np.concatenate([matched.train, matched.other])
    second = np.arange(len(rows)) >= len(matched.train)
    _, strata = np.unique(evidence.labels[rows].astype(str), return_inverse=True)
    points = principal_components(evidence.embeddings[rows])
    discrepancy = mean_discrepancy(points, second, strata, seed=seed)
    area, scores = told_apart(points, second, groups[rows], seed=seed)
    order = np.argsort(scores, kind="stable")
    shown = [*order[~second[order]][:_SHOWN], *order[second[order]][::-1][:_SHOWN]]
    typical = [int(rows[place]) for place in shown]
    notes = [f"typical of {evidence.splits[row]}" for row in typical]
    return _Difference(pair, "embeddings", Comparison(area, discrepancy.p_value), typical, notes)


class _Kind(NamedTuple):
    code: str
    effect: str  # what the size of the effect is
    title: str  # with places for the split, what differs and the effect
    why: str
    remedy: str


_LABELS = _Kind(
    "drift-labels",
    "share of images that would have to change class",
    "The classes have other shares in {split} than in train: {effect:.0%} of its images would have to change class",
    "Accuracy over all images depends on the shares of the classes, and so do the probabilities that a network "
    "gives: figures of this split do not carry over to images with the shares of train.",
    "Divide the images again, stratified by class; or go by the figures of each class.",
)
_PROPERTIES = _Kind(
    "drift-properties",
    "Kolmogorov-Smirnov statistic, or share of images in another category",
    "The images of {split} differ from those of train in {what} (effect {effect:.2f} of at most 1)",
    "Images that were made or chosen in another way than the training images test something else than a random part of "
    "them would: figures may be lower, or higher, than on more images like the training ones.",
    "If both should come from one place, divide the images again at random (near-duplicates kept together). If the "
    "difference is meant, say so beside the figures.",
)
_EMBEDDINGS = _Kind(
    "drift-embeddings",
    "AUC of telling the splits apart",
    "A classifier tells {split} from train by what the images show (AUC {effect:.2f}, 0.50 is chance)",
    "Within the same classes, other things are seen in this split than in train: other backgrounds, views or sources.",
    "Look at the images typical of each. If both should come from one place, divide the images again at random.",
)


def _finding(evidence: Evidence, kind: _Kind, found: Sequence[_Difference], tested: Sequence[_Difference]) -> Finding:
    """One finding about all splits and properties that differ, by the largest effect first."""
    ordered = sorted(found, key=lambda difference: -difference.result.statistic)
    first = ordered[0]
    what = words.listing([difference.what for difference in ordered if difference.pair.name == first.pair.name], 3)
    examples = [
        Example(
            tuple(evidence.ref(row, note) for row, note in zip(difference.rows, difference.notes, strict=True)),
            f"{difference.what}: typical of train, then of {difference.pair.name}",
            difference.result.statistic,
        )
        for difference in ordered[:_SHOWN]
        if difference.rows
    ]
    return Finding(
        code=kind.code,
        section="drift",
        severity="warning",
        title=kind.title.format(split=first.pair.name, what=what, effect=first.result.statistic),
        count=len(found),
        why=kind.why,
        remedy=kind.remedy,
        examples=examples,
        details={"effect": kind.effect, "tests": [_row(difference) for difference in tested]},
    )


def _row(difference: _Difference) -> dict[str, str | float]:
    """One line of the table of tests."""
    effect, p_value = difference.result
    return {"split": difference.pair.name, "compared": difference.what, "effect": effect, "p_value": p_value}
