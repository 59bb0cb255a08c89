"""What the numbers of a classifier say for and against it, as ranked sentences; the verdict is made of these.

A remark is made only where the 95 % interval of a measurement supports it. Where many classes or pairs are looked at
together, each interval is widened so that all of them hold together (C. E. Bonferroni, 1936).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Literal

import numpy as np
from scipy.stats import binom

from eyebright.evaluation.estimate import Estimate
from eyebright.evaluation.intervals import CONFIDENCE, wilson
from eyebright.evaluation.metrics import Metrics
from eyebright.evaluation.overfitting import Diagnosis
from eyebright.evaluation.predictions import Predictions
from eyebright.report import wording
from eyebright.report.wording import count, listing, percent, percent_range, plural

_CONFIDENT = 0.9
_NAMES_IN_A_SENTENCE = 3
_WIDE, _NARROW = 0.10, 0.05
"""An interval of accuracy that is wider than the first is worth a remark; the second is one to wish for."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Step:
    """Something to do: a sentence, and the command for it where there is one."""

    text: str
    command: str = ""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Remark:
    """One thing that the numbers say.

    Attributes:
        side: `good` or `weak`.
        weight: the heaviest are said first.
        text: one or two sentences.
        anchor: the section that shows it; empty for none.
        steps: what to do about it.
    """

    side: Literal["good", "weak"]
    weight: float
    text: str
    anchor: str = ""
    steps: tuple[Step, ...] = ()


def about_chance(metrics: Metrics) -> list[Remark]:
    """Whether it is better than always naming the largest class."""
    largest, share = wording.always_the_largest_class(metrics)
    accuracy = metrics.accuracy
    if accuracy.low > share:
        gain = f"{100 * (accuracy.low - share):.0f}"
        more = f"at least {gain} points more than" if float(gain) >= 1 else "more than"
        return [Remark(
            side="good", weight=9, anchor="scores",
            text=f"It has learnt to tell the classes apart: {more} always answering “{largest}” ({percent(share)}).",
        )]  # fmt: skip
    better = "is worse than" if accuracy.high < share else "is not shown to be better than"
    return [Remark(
        side="weak", weight=100, anchor="scores",
        text=f"It {better} always answering “{largest}”, which is right {percent(share)} of the time.",
        steps=(Step(text="Check that labels and images belong together before anything else."),),
    )]  # fmt: skip


def about_classes(metrics: Metrics) -> list[Remark]:
    """Classes that are found clearly more or less often than the images of all others; those without an image."""
    rows = [row for row in metrics.per_class if row.support]
    found = []
    absent = [row.name for row in metrics.per_class if not row.support]
    if absent:
        found.append(Remark(
            side="weak", weight=40, anchor="classes",
            text=f"Nothing is known of {_some(absent)}: there is no image of "
            f"{'it' if len(absent) == 1 else 'them'} to score.",
            steps=(Step(text=f"Add labelled images of {_some(absent)} to the test split."),),
        ))  # fmt: skip
    if len(rows) < 2:
        return found
    hits = np.array([round(row.recall.value * row.support) for row in rows])
    support = np.array([row.support for row in rows])
    low, high = wilson(hits, support, 1 - (1 - CONFIDENCE) / len(rows))
    rest_low, rest_high = wilson(hits.sum() - hits, support.sum() - support)
    recall = hits / support
    order = np.argsort(recall, kind="stable")
    worse = [rows[place] for place in order if high[place] < rest_low[place]]
    better = [rows[place] for place in order[::-1] if low[place] > rest_high[place]]
    if better:
        names = _some([f"{row.name} ({percent(row.recall.value, 0)} found)" for row in better])
        found.append(Remark(
            side="good", weight=7, anchor="classes", text=f"It is clearly better at {names} than at the others."
        ))  # fmt: skip
    if worse:
        first = worse[0]
        names = _some([row.name for row in worse])
        found.append(Remark(
            side="weak", weight=50, anchor="classes",
            text=f"It is clearly worse at {names} than at the others: of {first.name} it finds "
            f"{percent(first.recall.value, 0)} ({percent_range(first.recall)}).",
            steps=(Step(
                text=f"Add training images of {names}, and look whether their labels can be told apart by eye."
            ),),
        ))  # fmt: skip
    if not worse and not better:
        found.append(Remark(
            side="good", weight=2, anchor="classes",
            text="No class is clearly worse than the others, as far as so many images can show.",
        ))  # fmt: skip
    return found


def about_confusions(metrics: Metrics) -> list[Remark]:
    """The pair of classes that is confused clearly more often than mistakes that fall anywhere would be."""
    number = len(metrics.classes)
    if number < 3:
        return []
    error = 1 - metrics.accuracy.value
    chance = error / (number - 1)
    for pair in wording.confused_pairs(metrics, 3):
        # Cells are small counts, for which the binomial distribution itself is needed: Wilson's limits are too narrow.
        if binom.sf(pair["count"] - 1, pair["support"], chance) < (1 - CONFIDENCE) / (number * (number - 1)):
            share: Estimate = pair["share"]
            return [Remark(
                side="weak", weight=45, anchor="confusion",
                text=f"It takes {pair['true']} for {pair['predicted']}: {count(pair['count'])} of "
                f"{count(pair['support'])} ({percent_range(share)}), more than chance puts there.",
                steps=(Step(
                    text=f"Look at {pair['true']} taken for {pair['predicted']}, by clicking that cell of the "
                    "confusion matrix: is the label wrong, or the image hard?"
                ),),
            )]  # fmt: skip
    return []


def about_confidence(predictions: Predictions, metrics: Metrics, *, decided: bool = False) -> list[Remark]:
    """Whether confidence can be taken at its word, on average and where it is high.

    Args:
        decided: there are remarks about a confidence to answer from, which say more of high confidence.
    """
    confidence = predictions.probabilities().max(axis=1)
    right = predictions.predicted_index() == predictions.labels_index()
    claimed, accuracy = float(confidence.mean()), metrics.accuracy
    found = []
    if claimed > accuracy.high:
        found.append(Remark(
            side="weak", weight=30, anchor="confidence",
            text=f"It claims too much: on average {percent(claimed, 0)}, and is right {percent(accuracy.value, 0)} of "
            "the time.",
            steps=(Step(text="Calibrate on more validation images: `decisions.calibration=auto` compares the ways."),),
        ))  # fmt: skip
    elif claimed < accuracy.low:
        found.append(Remark(
            side="weak", weight=12, anchor="confidence",
            text=f"It claims too little: on average {percent(claimed, 0)}, and is right {percent(accuracy.value, 0)} "
            "of the time.",
        ))  # fmt: skip
    sure = confidence > _CONFIDENT
    number = int(sure.sum())
    if number and metrics.accuracy.value < _CONFIDENT and not decided:
        low, high = (float(limit) for limit in wilson(int(right[sure].sum()), number))
        share, told = number / len(right), float(right[sure].mean())
        words = (
            f"Where it claims more than {percent(_CONFIDENT, 0)}, which it does for {percent(share, 0)} of the images, "
            f"it is right {percent(told)} of the time ({100 * low:.1f} to {percent(high)})"
        )
        if low >= _CONFIDENT - 0.05 and told >= _CONFIDENT:
            found.append(Remark(side="good", weight=8, anchor="confidence", text=f"{words}."))
        elif high < _CONFIDENT:
            found.append(Remark(side="weak", weight=35, anchor="confidence", text=f"{words}: less than it says."))
    return found


def about_superclasses(metrics: Metrics) -> list[Remark]:
    """Whether mistakes stay within the superclass."""
    above = metrics.superclass_accuracy
    if above is None or above.low <= metrics.accuracy.high:
        return []
    wrong = 1 - metrics.accuracy.value
    return [Remark(
        side="good", weight=6, anchor="scores",
        text=f"When it is wrong it is often nearly right: {percent((above.value - metrics.accuracy.value) / wrong, 0)} "
        f"of the mistakes stay within the superclass, which it names right for {percent(above.value)}.",
    )]  # fmt: skip


def about_fit(diagnosis: Diagnosis | None) -> list[Remark]:
    """Whether it memorised, or stopped too early."""
    if diagnosis is None or diagnosis.verdict == "too short to tell":
        return []
    steps = tuple(Step(text=text) for text in diagnosis.advice[:2])
    sentences = " ".join(diagnosis.sentences[:2])
    weights = {"clear": 38, "possible": 15, "underfitting": 25}
    if diagnosis.verdict in weights:
        return [Remark(side="weak", weight=weights[diagnosis.verdict], anchor="training", text=sentences, steps=steps)]
    return [Remark(side="good", weight=3, anchor="training", text="There is no sign that it memorised its images.")]


def about_size(metrics: Metrics, detectable: float | None) -> list[Remark]:
    """Whether there are too few test images to say much."""
    width = metrics.accuracy.high - metrics.accuracy.low
    if width <= _WIDE:
        return []
    either = f"{100 * width / 2:.0f} points either way"
    text = f"{plural(metrics.images, 'image')} are few: the accuracy is known to {either}"
    if detectable is not None:
        text += f", and two classifiers must differ by {100 * detectable:.0f} points before these images could tell"
    wanted = int(np.ceil(metrics.images * (width / _NARROW) ** 2 / 100) * 100)
    return [Remark(
        side="weak", weight=20, anchor="scores", text=f"{text}.",
        steps=(Step(
            text=f"Label more test images: with about {count(wanted)} the accuracy would be known to "
            f"{100 * _NARROW / 2:.1f} points either way."
        ),),
    )]  # fmt: skip


def _some(names: Sequence[str]) -> str:
    """A few names, and how many more there are."""
    if len(names) <= _NAMES_IN_A_SENTENCE:
        return listing(list(names))
    shown = list(names[:_NAMES_IN_A_SENTENCE])
    return listing([*shown, plural(len(names) - _NAMES_IN_A_SENTENCE, "more class", "more classes")])
