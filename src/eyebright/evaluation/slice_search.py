"""Search for the parts of the images on which a classifier does worse than it does on the same classes elsewhere.

Conditions are the parts of columns (properties of images, where they come from, the user's own), also pairs of them and
one beside a class. A slice is bad when it has more mistakes than the mistakes of its classes, spread by chance over
the images of each class, would put there: harder classes alone make no bad slice. Thousands of slices are looked at, so
chance must be paid for: mistakes are dealt out anew within every class many times, and an adjusted p-value is the share
of these deals in which any slice looks as bad (step-down maxT of Westfall and Young, Resampling-Based Multiple Testing,
1993). It controls the family-wise error as Holm's method does, but knows that slices overlap; with so many overlapping
slices Holm's method would find next to nothing, and a false discovery rate, as Benjamini and Hochberg control it, would
let through twenty names for one chance event.

The right to be found is not the reason: a slice says where to look, and a slice chosen as the worst of many will do
less badly on new images.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from scipy.sparse import csr_array

from eyebright.evaluation.estimate import WILSON, Estimate
from eyebright.evaluation.intervals import Floats, Integers, wilson
from eyebright.evaluation.predictions import Predictions
from eyebright.evaluation.slices import NO_VALUE, OTHER, SliceColumn, accuracy_of_class, bin_name, quantile_cuts

LEVEL = 0.05
"""Chance that anything is found where nothing but the class matters."""
LEAST_IMAGES = 20
LEAST_SHARE = 0.01
RESAMPLES = 999
_FEWEST_RESAMPLES = 199
_WORK = 5e9  # multiplications and additions: a fraction of a second on one core
_MOST_SLICES = 6000
_MOST_CELLS = 5e7  # slices times images: a set of 50,000 images gets 1,000 slices
_CHUNK = 256
_TAILS = (0.1, 0.2, 0.4, 0.6, 0.8, 0.9)  # where numbers are cut for conditions
_NEARLY_ALL = 0.9  # a pair that keeps so much of one of its conditions is that condition
_PAIR_HANDICAP = 0.5  # standard deviations that a pair must be worse than a single condition to come before it
_UNEXPLAINED = 3.0  # standard deviations, about one in a thousand, above what reported slices explain
_EXAMPLES = 8

Bools = npt.NDArray[np.bool_]


@dataclasses.dataclass(frozen=True, kw_only=True)
class WorstSlice:
    """A part of the images with more mistakes than its classes explain.

    Attributes:
        conditions: one or two, in words; all of them hold.
        images: how many images it has.
        accuracy: share of right predictions, with Wilson's interval. It was chosen for being low, so the accuracy on
            new images of the kind is likely to be somewhat higher.
        expected: the accuracy of the same classes on all scored images.
        difference: accuracy less what was expected; below zero.
        p_value: adjusted for all slices that were looked at.
        compared: how many those were.
        mistakes: ids of a few wrong images, most confident first.
    """

    conditions: tuple[str, ...]
    images: int
    accuracy: Estimate
    expected: float
    difference: float
    p_value: float
    compared: int
    mistakes: tuple[str, ...]

    def as_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {**dataclasses.asdict(self), "conditions": list(self.conditions), "mistakes": list(self.mistakes)}


class _Condition(NamedTuple):
    column: int
    text: str
    member: Bools


class _Candidates(NamedTuple):
    """Slices as pairs of rows of `members`; a single condition is paired with itself."""

    members: Bools  # (C, N)
    one: Integers  # (S,)
    other: Integers  # (S,)

    def of(self, start: int, stop: int) -> Bools:
        return np.asarray(self.members[self.one[start:stop]] & self.members[self.other[start:stop]])


def search_slices(
    predictions: Predictions,
    columns: Sequence[SliceColumn],
    *,
    level: float = LEVEL,
    least_images: int | None = None,
    most: int = 10,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> list[WorstSlice]:
    """The worst slices, each with an adjusted p-value of at most `level`, worst first.

    Slices that another reported one explains are left out.

    Args:
        predictions: N rows of one split, those of the columns; rows without a label are left out.
        columns: what to cut by.
        level: chance of finding anything where there is nothing to be found.
        least_images: smaller slices are not looked at; 20 or one in a hundred, whichever is more, when None.
        most: report no more than this.
        resamples: how often mistakes are dealt out; fewer for many images and slices (199 at least).
        seed: of the deals.
    """
    labelled = np.flatnonzero(predictions.labels_index() >= 0)
    scored = predictions.rows(labelled)
    columns = [column.rows(labelled) for column in columns]
    labels = scored.labels_index()
    wrong = scored.predicted_index() != labels
    least = max(LEAST_IMAGES, round(LEAST_SHARE * len(labels))) if least_images is None else least_images
    if not wrong.any() or wrong.all() or len(labels) < 2 * least:
        return []
    conditions = _conditions(columns, least)
    classes = [
        _Condition(len(columns), f"class {scored.classes[index]}", labels == index)
        for index in np.flatnonzero((np.bincount(labels) >= least) & (np.bincount(labels, weights=wrong) > 0))
    ]
    candidates = _candidates([*conditions, *classes], len(conditions), least)
    if not len(candidates.one):
        return []
    scores, p_values = _compare(candidates, wrong, labels, resamples, seed)
    found = np.flatnonzero(p_values <= level)
    single = candidates.one[found] == candidates.other[found]
    ranked = found[np.argsort(-(scores[found] + _PAIR_HANDICAP * single), kind="stable")]
    kept = _unexplained(ranked, candidates, wrong, labels, most)
    confidence = scored.probabilities().max(axis=1)
    usual = accuracy_of_class(labels, ~wrong)
    ids = [str(image) for image in scored.column("id")]
    names = [condition.text for condition in (*conditions, *classes)]
    return [
        _describe(
            candidates.of(index, index + 1)[0],
            tuple(names[row] for row in dict.fromkeys((candidates.one[index], candidates.other[index]))),
            float(p_values[index]), len(p_values), wrong, usual, confidence, ids,
        )
        for index in kept
    ]  # fmt: skip


def _conditions(columns: Sequence[SliceColumn], least: int) -> list[_Condition]:
    """Values of text; the tails and the middle parts of numbers. None is too small, nor its complement."""
    found = []
    for number, column in enumerate(columns):
        for text, member in _of_numbers(column) if column.numbers is not None else _of_values(column):
            if least <= member.sum() <= len(member) - least:
                found.append(_Condition(number, text, member))
    return found


def _of_values(column: SliceColumn) -> list[tuple[str, Bools]]:
    return [(f"{column.title} {part}", column.codes == code) for code, part in enumerate(column.parts) if part != OTHER]


def _of_numbers(column: SliceColumn) -> list[tuple[str, Bools]]:
    numbers = column.numbers
    assert numbers is not None
    known = np.isfinite(numbers)
    cuts = quantile_cuts(numbers[known], _TAILS)
    middle = len(cuts) // 2
    ends = [(None, cut) for cut in cuts[: max(1, middle)]] + [(cut, None) for cut in cuts[middle:]]
    found: list[tuple[str, Bools]] = []
    for low, high in (*ends, *itertools.pairwise(cuts)):
        member = known & (numbers >= (-np.inf if low is None else low)) & (numbers < (np.inf if high is None else high))
        found.append((f"{column.title} {bin_name(low, high, numbers[member], column.unit)}", member))
    if column.parts[-1] == NO_VALUE:
        found.append((f"{column.title} {NO_VALUE}", column.codes == len(column.parts) - 1))
    return found


def _candidates(conditions: Sequence[_Condition], usable: int, least: int) -> _Candidates:
    """All single conditions and pairs of different columns that are worth a look; the first `usable` may stand alone.

    Where there are too many, the largest are kept.
    """
    members = np.stack([condition.member for condition in conditions]) if conditions else np.zeros((0, 0), dtype=bool)
    column = np.array([condition.column for condition in conditions], dtype=np.int64)
    images = members.astype(np.float32)
    sizes = np.rint(images @ images.T).astype(np.int64)  # (C, C) images that two conditions share
    own = np.diag(sizes)
    one, other = np.triu_indices(len(conditions), k=1)
    shared = sizes[one, other]
    useful = (column[one] != column[other]) & (one < usable) & (shared >= least)
    useful &= shared <= _NEARLY_ALL * np.minimum(own[one], own[other])
    pairs = np.flatnonzero(useful)
    most = int(min(_MOST_SLICES, _MOST_CELLS / members.shape[1])) if len(conditions) else 0
    pairs = np.sort(pairs[np.argsort(-shared[pairs], kind="stable")][: max(0, most - usable)])
    singles = np.arange(usable)
    return _Candidates(members, np.concatenate([singles, one[pairs]]), np.concatenate([singles, other[pairs]]))


def _compare(
    candidates: _Candidates, wrong: Bools, labels: Integers, resamples: int, seed: int
) -> tuple[Floats, Floats]:
    """How bad each slice is, in standard deviations, and its adjusted p-value: both float64 (S,)."""
    slices, images = len(candidates.one), len(labels)
    deals = int(np.clip(_WORK / (slices * images), min(_FEWEST_RESAMPLES, resamples), resamples))
    dealt = _deal(wrong, labels, deals, seed)  # (N, 1 + R), the truth first
    strata = _Strata(labels, wrong)
    scores = np.empty((slices, 1 + deals), dtype=np.float32)
    for start in range(0, slices, _CHUNK):
        member = candidates.of(start, start + _CHUNK).astype(np.float32)
        scores[start : start + _CHUNK] = strata.scores(member, member @ dealt)
    order = np.argsort(-scores[:, 0], kind="stable")
    # Of the slices that look no worse than this one, the worst in each deal.
    worst = np.maximum.accumulate(scores[order[::-1], 1:], axis=0)[::-1]
    exceeding = (worst >= scores[order, :1] - 1e-6).sum(axis=1)
    p_values = np.empty(slices)
    p_values[order] = np.maximum.accumulate((1 + exceeding) / (1 + deals))
    return scores[:, 0].astype(np.float64), p_values


def _deal(wrong: Bools, labels: Integers, deals: int, seed: int) -> npt.NDArray[np.float32]:
    """The mistakes as they are and dealt out anew within each class, float32 (N, 1 + R)."""
    generator = np.random.default_rng(seed)
    dealt = np.empty((len(labels), 1 + deals), dtype=np.float32)
    dealt[:, 0] = wrong
    for index in np.unique(labels):
        rows = np.flatnonzero(labels == index)
        own = np.repeat(wrong[rows, None], deals, axis=1)
        mixed = wrong[rows].any() and not wrong[rows].all()
        dealt[rows, 1:] = generator.permuted(own, axis=0) if mixed else own
    return dealt


class _Strata:
    """Scores of slices, given how many mistakes each stratum of the images has."""

    def __init__(self, strata: Integers, wrong: Bools) -> None:
        sizes = np.bincount(strata)
        share = np.bincount(strata[wrong], minlength=len(sizes)) / np.maximum(sizes, 1)
        self._expected = share[strata]  # (N,)
        # The hypergeometric variance of the mistakes among n of the N images of a stratum is factor * n * (1 - n / N).
        self._factor = share * (1 - share) * sizes / np.maximum(sizes - 1, 1)
        self._sizes = np.maximum(sizes, 1)
        rows = np.arange(len(strata))
        self._which = csr_array((np.ones(len(strata)), (rows, strata)), shape=(len(strata), len(sizes)))

    def scores(self, member: npt.NDArray[np.float32], mistakes: npt.NDArray[np.floating[Any]]) -> Floats:
        """How many standard deviations the mistakes are above those expected.

        The root of a count is nearly normal even where few mistakes are expected (Anscombe, Biometrika 1948), so that
        small and large slices can be compared.

        Args:
            member: (S, N).
            mistakes: (S, R) of each slice.

        Returns:
            float64 (S, R); -inf where the slice could not have had another number of mistakes.
        """
        expected = member @ self._expected
        counts = self._which.T.dot(member.T).T  # (S, strata)
        variance = (counts * (1 - counts / self._sizes)) @ self._factor
        possible = variance > 1e-9
        spread = np.sqrt(np.where(possible, variance, 1) / np.where(possible, np.maximum(expected, 1e-9), 1))
        above = 2 * (np.sqrt(mistakes + 0.375) - np.sqrt(expected + 0.375)[:, None])
        return np.where(possible[:, None], above / spread[:, None], -np.inf)


def _unexplained(ranked: Integers, candidates: _Candidates, wrong: Bools, labels: Integers, most: int) -> list[int]:
    """The slices, worst first, that still have too many mistakes when those kept before are taken into account."""
    kept: list[int] = []
    members: dict[int, Bools] = {}

    def beyond(index: int, others: Sequence[int]) -> float:
        strata = labels
        for other in others:
            strata = np.unique(2 * strata + members[other], return_inverse=True)[1]
        member = members[index].astype(np.float32)[None]
        return float(_Strata(strata, wrong).scores(member, member @ wrong.astype(np.float32)[:, None])[0, 0])

    for index in ranked:
        members[index] = candidates.of(index, index + 1)[0]
        if beyond(index, kept) < _UNEXPLAINED:
            continue
        kept.append(int(index))
        # A slice kept before may be a part of this one that is no worse than the rest of it.
        kept = [one for one in kept if one == index or beyond(one, [other for other in kept if other != one])
                >= _UNEXPLAINED]  # fmt: skip
        if len(kept) >= most:
            break
    return kept


def _describe(
    member: Bools,
    conditions: tuple[str, ...],
    p_value: float,
    compared: int,
    wrong: Bools,
    usual: Floats,
    confidence: Floats,
    ids: Sequence[str],
) -> WorstSlice:
    rows = np.flatnonzero(member)
    hits = int((~wrong[rows]).sum())
    low, high = wilson(hits, len(rows))
    expected = float(usual[rows].mean())
    mistakes = rows[wrong[rows]]
    mistakes = mistakes[np.argsort(-confidence[mistakes], kind="stable")][:_EXAMPLES]
    return WorstSlice(
        conditions=conditions,
        images=len(rows),
        accuracy=Estimate(hits / len(rows), float(low), float(high), WILSON),
        expected=expected,
        difference=hits / len(rows) - expected,
        p_value=p_value,
        compared=compared,
        mistakes=tuple(ids[row] for row in mistakes),
    )
