"""Shortcuts: can the label be told from what is not content, such as the file size, the JPEG quality or the camera?

For each family of properties a learner predicts the label out of fold, copies of an image always in one fold, and for
each class the area under the ROC curve against the rest says how well that class is told. What counts is the lower
limit of the largest of these areas: a mean over the classes would hide that a single one of many carries the shortcut.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from eyebright.data.audit import words
from eyebright.data.audit.evidence import Evidence
from eyebright.data.audit.findings import Example, Finding, Severity
from eyebright.data.audit.out_of_fold import (
    Estimate,
    area_under_curve,
    as_codes,
    balanced_accuracy,
    group_folds,
    predict_out_of_fold,
)
from eyebright.data.audit.shortcut_families import Family, Kind, property_families

MIN_CLASS_IMAGES = 10  # smaller classes are left out: nothing could be said of them
MOST_IMAGES = 20_000  # more are sampled


class Limits(NamedTuple):
    """From which lower limit of the area under the curve on a family is a finding; None: never."""

    note: float
    warning: float | None
    critical: float | None


# Measured: the largest of these lower limits over all classes, in sets without a known shortcut (flowers, trashnet,
# 6,000 images of cifar10, and cifar100-fifth with its 100 small classes), and in flowers with one planted in one class.
LIMITS: dict[Kind, Limits] = {
    # Without: 0.49 (random sizes and qualities in flowers; 0.56 the largest of 300 sets of random numbers). Planted:
    # quality 60, 70 or 90, PNG, grey, 96, 126 or 160 pixels 0.998; half of one class at quality 60 0.70.
    "file": Limits(0.60, 0.65, 0.90),
    # Without: file size 0.71, 0.64, 0.67, 0.78; edge 0.56, 0.64, 0.66, 0.69. Planted: a border of 2 or 4 pixels 0.998.
    "trace": Limits(0.80, 0.90, None),
    # Without: mean colour 0.78, 0.86, 0.80, 0.92; sharpness 0.69, 0.70, 0.72, 0.84. Planted: without colour 0.988;
    # brightness x0.6 0.92, x1.3 0.80, which nothing tells from content.
    "appearance": Limits(0.80, 0.97, None),
    # Planted: another camera 0.998; one class taken within 2 of 13 years 0.90.
    "provenance": Limits(0.65, 0.75, None),
    # Without: 0.52, 0.50. Planted: a suffix of its own 0.999.
    "name": Limits(0.75, None, None),
}
# A family says nothing new about a class that one of these tells as well.
_EXPLAINED_BY = {
    "jpeg": ("format",),
    "aspect": ("dimensions",),
    "file-size": ("format", "jpeg", "dimensions", "frame"),
    "sharpness": ("format", "jpeg", "dimensions", "frame"),
    "mean-colour": ("frame",),
    "border-colour": ("frame", "mean-colour"),
    "light": ("frame", "mean-colour"),
}
_WHY: dict[Kind, str] = {
    "file": "A network can learn how the files of a class were made instead of what they show: it is then right on "
    "test images that were made the same way, and wrong on new ones.",
    "trace": "This depends on the content too, so look at the examples: if it comes from how the images were made, "
    "a network can learn that instead of the content.",
    "appearance": "This is often the content itself. Where it is not, as with one background or one lamp for each "
    "class, a network uses it all the same and fails elsewhere.",
    "provenance": "A network does not see this, but it says that the classes come from different sources, which may "
    "differ in ways that a network does see.",
    "name": "A network does not see file names. They only hint that the classes come from different sources.",
}
_REMEDY: dict[Kind, str] = {
    "file": "Make the images of all classes the same way from the originals: the same size, format and quality. Test "
    "on images from another source.",
    "trace": "Look at the examples. If the files were made in different ways, make them again from the originals.",
    "appearance": "Look at the examples. If this is not what makes the class, add images where it is otherwise.",
    "provenance": "Collect every class from every source, or test on images from a source that was not trained on.",
    "name": "Nothing, if the files were only named class by class; else mix the sources within each class.",
}
# Dimensions and aspects that differ by less do not reach the pixels that a network sees (areas, so 1.25 x 1.25).
_LEAST_RATIO = {"dimensions": 1.56, "aspect": 1.1}
_WITHOUT_COLOURS = "together, without colours and names"
_SHOWN_CLASSES = 4
_SHOWN_IMAGES = 3
_LISTED_CLASSES = 50
_TITLE_CLASSES = 3


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Told:
    """What one family tells.

    Attributes:
        title: of the family, or of several together.
        accuracy: mean of the accuracies within the classes.
        plain_accuracy: share of all images.
        areas: for each class, against the rest.
        probabilities: float64 (M, K), out of fold, for the images `rows`.
        rows: int64 (M,).
    """

    title: str
    accuracy: Estimate
    plain_accuracy: float
    areas: Sequence[Estimate]
    probabilities: npt.NDArray[np.float64]
    rows: npt.NDArray[np.int64]

    def best(self) -> int:
        return max(range(len(self.areas)), key=lambda number: self.areas[number].low)


class _Sample(NamedTuple):
    """The images that are looked at, and classes 0 to K-1 of these."""

    evidence: Evidence
    labels: npt.NDArray[np.int64]
    names: Sequence[str]
    groups: npt.NDArray[np.int64]


def check_shortcuts(
    evidence: Evidence, *, groups: Sequence[object] | npt.NDArray[np.object_] | None = None, seed: int = 0
) -> list[Finding]:
    """A finding for each family of properties that tells a class, and one about all of them together.

    Args:
        evidence: the images.
        groups: one name an image; images of one group, such as copies, are never on both sides of a fold. The content
            ids when None.
        seed: of the folds, the learner and the sample.

    Returns:
        Findings with codes `shortcut-<family>` and, last, `shortcuts-together`; nothing where there are not two
        classes of at least `MIN_CLASS_IMAGES` images.
    """
    sample = _sample(evidence, as_codes(evidence.ids if groups is None else list(groups)), seed)
    if sample is None:
        return []
    families = property_families(sample.evidence)
    differing = [family for family in families if not family.constant]
    told = {family.name: found for family in differing if (found := _tell([family], family.title, sample, seed))}
    findings: list[Finding] = []
    flagged: dict[str, set[int]] = {}
    for family in differing:
        if family.name in told:
            known = set().union(*(flagged.get(name, set()) for name in _EXPLAINED_BY.get(family.name, ())))
            finding, classes = _judge(family, told[family.name], sample, known, seed)
            flagged[family.name] = classes
            findings += [finding] if finding else []
    return [*findings, _together(families, differing, told, findings, sample, seed)]


def _sample(evidence: Evidence, groups: npt.NDArray[np.int64], seed: int) -> _Sample | None:
    labels = evidence.label_index()
    counts = np.bincount(labels[labels >= 0], minlength=len(evidence.manifest.classes))
    keep = np.flatnonzero((labels >= 0) & (counts >= MIN_CLASS_IMAGES)[labels])
    if len(keep) > MOST_IMAGES:  # whole groups, in an order that only the seed decides
        place = np.random.default_rng(seed).permutation(int(groups.max()) + 1)[groups[keep]]
        keep = np.sort(keep[np.argsort(place, kind="stable")[:MOST_IMAGES]])
        counts = np.bincount(labels[keep], minlength=len(counts))
        keep = keep[counts[labels[keep]] >= MIN_CLASS_IMAGES]
    present, codes = np.unique(labels[keep], return_inverse=True)
    if len(present) < 2:
        return None
    part = dataclasses.replace(
        evidence,
        ids=tuple(evidence.ids[row] for row in keep),
        sources=tuple(evidence.sources[row] for row in keep),
        labels=evidence.labels[keep],
        splits=evidence.splits[keep],
        groups=evidence.groups[keep],
        properties=evidence.properties.take(keep),
        embeddings=None,
    )
    return _Sample(part, codes, [evidence.manifest.classes[number] for number in present], groups[keep])


def _tell(families: Sequence[Family], title: str, sample: _Sample, seed: int) -> _Told | None:
    """How well these families together tell the classes; None where fewer than two classes have them."""
    rows = np.flatnonzero(families[0].rows) if len(families) == 1 else np.arange(len(sample.labels))
    counts = np.bincount(sample.labels[rows], minlength=len(sample.names))
    rows = rows[counts[sample.labels[rows]] >= MIN_CLASS_IMAGES]
    if (counts >= MIN_CLASS_IMAGES).sum() < 2:
        return None
    values = np.concatenate([family.values[rows] for family in families], axis=1)
    _, groups = np.unique(sample.groups[rows], return_inverse=True)
    # Classes that have no such property keep their number, with no image.
    labels = sample.labels[rows]
    probabilities = np.zeros((len(rows), len(sample.names)))
    found = predict_out_of_fold(values, labels, group_folds(labels, groups, seed), seed)
    probabilities[:, : found.shape[1]] = found
    predicted = probabilities.argmax(axis=1)
    tests = int((counts >= MIN_CLASS_IMAGES).sum())
    return _Told(
        title=title,
        accuracy=balanced_accuracy(predicted, labels, groups, seed),
        plain_accuracy=float((predicted == labels).mean()),
        areas=[
            area_under_curve(probabilities[:, number], labels == number, groups, tests=tests)
            if counts[number] >= MIN_CLASS_IMAGES
            else Estimate(0.5, 0.0, 1.0)
            for number in range(len(sample.names))
        ],
        probabilities=probabilities,
        rows=rows,
    )


def _judge(family: Family, told: _Told, sample: _Sample, known: set[int], seed: int) -> tuple[Finding | None, set[int]]:
    """The finding about one family, and the classes that it tells; `known` are told by a plainer property already."""
    limits = LIMITS[family.kind]
    areas = _telling(told, sample, limits.note)
    ordered = [number for number in areas if number not in known]
    if not ordered:
        return None, set(areas)
    area = areas[ordered[0]]
    severity: Severity = "note"
    named = ordered
    if limits.warning is not None and area.low >= limits.warning:
        severity = "warning"
        named = [number for number in ordered if areas[number].low >= limits.warning]
    if (
        limits.critical is not None
        and area.low >= limits.critical
        and _left_in_pixels(family, told, ordered[0], sample)
    ):
        severity = "critical"
    examples = [_example(family, told, number, sample, seed) for number in ordered[:_SHOWN_CLASSES]]
    finding = Finding(
        code=f"shortcut-{family.name}",
        section="shortcuts",
        severity=severity,
        title=f"{_named_classes(named, sample)} can be told by {family.title} alone (AUC {area.value:.2f})",
        count=len(ordered),
        why=_WHY[family.kind],
        remedy=_REMEDY[family.kind],
        examples=examples,
        details={
            **_accuracy(told, sample),
            "classes": [
                {"class": sample.names[number], **_area(areas[number]), **_values(family, told, number, sample)}
                for number in ordered[:_LISTED_CLASSES]
            ],
        },
    )
    return finding, set(areas)


def _telling(told: _Told, sample: _Sample, least: float) -> dict[int, Estimate]:
    """The classes that are told, best first, with the area of each against the classes that come after it.

    A class must not count as told because it is not the one that carries the shortcut, so that one is set aside before
    the next is looked at.
    """
    labels, groups = sample.labels[told.rows], sample.groups[told.rows]
    found: dict[int, Estimate] = {}
    candidates = [number for number, area in enumerate(told.areas) if area.low >= least]
    areas = {number: told.areas[number] for number in candidates}
    while areas:
        best = max(areas, key=lambda number: areas[number].low)
        if areas[best].low < least:
            break
        found[best] = areas.pop(best)
        left = ~np.isin(labels, list(found))
        if len(np.unique(labels[left])) < 2:
            break
        areas = {
            number: area_under_curve(
                told.probabilities[left, number], labels[left] == number, groups[left], tests=len(sample.names)
            )
            for number in areas
        }
    return found


def _together(
    families: Sequence[Family],
    differing: Sequence[Family],
    told: Mapping[str, _Told],
    findings: Sequence[Finding],
    sample: _Sample,
    seed: int,
) -> Finding:
    """The table of all families, and what they tell together."""
    of_files = [family for family in differing if family.kind in ("file", "trace", "provenance")]
    joined = [
        found
        for part, title in ((of_files, _WITHOUT_COLOURS), (differing, "all together"))
        if len(part) > 1 and (found := _tell(part, title, sample, seed))
    ]
    rows = [_row(found, sample) for found in [*told.values(), *joined]]
    same = [family.title for family in families if family.constant]
    grave = [finding for finding in findings if finding.severity in ("warning", "critical")]
    details: dict[str, Any] = {"properties": rows}
    if same:
        details["the_same_for_all"] = ", ".join(title.removeprefix("the ") for title in same)
    if grave:
        title = f"{words.plural(len(grave), 'property', 'properties')} of the files tell a class without its content"
        title = title if len(grave) > 1 else title.replace(" tell ", " tells ")
    elif not rows:
        title = "The files of all classes are alike: the same format, dimensions, names and colours"
    else:
        title = "No property of the files gives a class away"
        found = next((found for found in joined if found.title == _WITHOUT_COLOURS), None)
        if found:
            right, chance = words.percent(found.accuracy.value), words.percent(1 / len(sample.names))
            title += f": without colours and names they are right for {right} (chance: {chance})"
    return Finding(
        code="shortcuts-together",
        section="shortcuts",
        severity="note" if grave else "passed",
        title=title,
        count=len(grave),
        why="A label that can be told without the content makes test figures too good: it holds only as long as new "
        "images are made the same way. Accuracies are means over the classes, out of fold.",
        remedy="See the findings on each property." if grave else "",
        details=details,
    )


def _left_in_pixels(family: Family, told: _Told, number: int, sample: _Sample) -> bool:
    """Whether the difference reaches the network: two pixels more or less do not, another scale does."""
    if family.name not in _LEAST_RATIO:
        return True
    inside = sample.labels[told.rows] == number
    measure = family.values[told.rows].prod(axis=1)  # the area, or the aspect itself
    middle, other = float(np.median(measure[inside])), float(np.median(measure[~inside]))
    return max(middle / other, other / middle) >= _LEAST_RATIO[family.name]


def _example(family: Family, told: _Told, number: int, sample: _Sample, seed: int) -> Example:
    """A few images of the class that are told best, beside one that is taken for another."""
    # Many images may be told equally well: any of them will do.
    order = np.random.default_rng(seed).permutation(len(told.rows))
    order = order[np.argsort(-told.probabilities[order, number], kind="stable")]
    inside = sample.labels[told.rows[order]] == number
    shown = told.rows[np.concatenate([order[inside][:_SHOWN_IMAGES], order[~inside][-1:]])]
    images = [sample.evidence.ref(int(row), family.describe(np.array([row]))) for row in shown]
    values = _values(family, told, number, sample)
    caption = f"{sample.names[number]}: {values['typical']}; the rest: {values['rest']}"
    return Example(tuple(images), caption, told.areas[number].low)


def _values(family: Family, told: _Told, number: int, sample: _Sample) -> dict[str, str]:
    inside = sample.labels[told.rows] == number
    return {"typical": family.describe(told.rows[inside]), "rest": family.describe(told.rows[~inside])}


def _row(told: _Told, sample: _Sample) -> dict[str, Any]:
    """One line of the table of all families."""
    best = told.best()
    return {
        "property": told.title.removeprefix("the "),
        **_accuracy(told, sample),
        "best_told": sample.names[best],
        **_area(told.areas[best]),
    }


def _accuracy(told: _Told, sample: _Sample) -> dict[str, float]:
    labels = sample.labels[told.rows]
    counts = np.bincount(labels)
    return {
        "accuracy": told.accuracy.value,
        "low": told.accuracy.low,
        "high": told.accuracy.high,
        "chance": 1 / int((counts > 0).sum()),
        "plain_accuracy": told.plain_accuracy,
        "largest_class_share": float(counts.max() / len(labels)),
    }


def _area(area: Estimate) -> dict[str, float]:
    return {"AUC": area.value, "AUC_from": area.low, "AUC_to": area.high}


def _named_classes(ordered: Sequence[int], sample: _Sample) -> str:
    if len(sample.names) == 2:
        return f"{sample.names[0]} and {sample.names[1]}"
    return words.listing([sample.names[number] for number in ordered], _TITLE_CLASSES)
