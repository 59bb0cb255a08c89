"""How good a classifier is on parts of the images: one accuracy with its interval for each value of a column.

A part may do worse because it holds harder classes. Every slice therefore says beside its accuracy what its classes
alone would give: the mean of the accuracies that each class has on all scored images.
"""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from eyebright.data.manifest import Manifest
from eyebright.evaluation.estimate import WILSON, Estimate
from eyebright.evaluation.intervals import Floats, Integers, wilson
from eyebright.evaluation.predictions import Predictions

NO_VALUE = "(none)"
"""Name of the slice of images for which the column is empty."""
OTHER = "(other)"
"""Name of the slice of all values but the most frequent ones."""
BINS = 5
MOST_VALUES = 20
_FEW_IMAGES = 500  # below, one bin less keeps the intervals of the others useful
_LEAST_IMAGES = 5  # a value is worth a slice of its own from so many images on
_TOLERANCE = 0.02  # of all images by which a bin may be larger or smaller, for the sake of a rounder number
_UNKNOWN = -1

ImageInSplit = tuple[str, str | None]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Slice:
    """The images that have one value of a column.

    Attributes:
        images: how many of them have a label and were scored.
        accuracy: share of right predictions, with Wilson's interval.
        expected: the accuracy that the same classes have on all scored images, weighted as in this slice; None where
            it was not asked for.
    """

    images: int
    accuracy: Estimate
    expected: float | None = None

    def as_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        values = dataclasses.asdict(self)
        if self.expected is None:
            del values["expected"]
        return values


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class SliceColumn:
    """A column of N images, cut into parts.

    Attributes:
        name: its key in `metrics.json`.
        title: its name in a sentence.
        parts: names of the parts in reading order.
        codes: index of the part of every image, int64 (N,); -1 where it is not known.
        numbers: what the parts were cut from, float64 (N,), NaN where there is no number; None for text.
        unit: of the numbers, as in `240 pixels`; empty without one.
    """

    name: str
    title: str
    parts: tuple[str, ...]
    codes: Integers
    numbers: Floats | None = None
    unit: str = ""

    def rows(self, rows: npt.ArrayLike) -> SliceColumn:
        """The same column of some of the images."""
        kept = np.asarray(rows)
        numbers = None if self.numbers is None else self.numbers[kept]
        return dataclasses.replace(self, codes=self.codes[kept], numbers=numbers)


def column_values(manifest: Manifest, column: str) -> dict[ImageInSplit, str]:
    """The value of a column for every used image, by content id and split; empty when there is no such column."""
    if column not in manifest.table.schema.names:
        return {}
    ids, splits, values = (manifest.ok[name].to_pylist() for name in ("id", "split", column))
    return {
        (image, split): NO_VALUE if value is None else str(value)
        for image, split, value in zip(ids, splits, values, strict=True)
    }


def accuracy_by(predictions: Predictions, values: Mapping[ImageInSplit, str]) -> dict[str, Slice]:
    """Accuracy for each value, largest slice first.

    Args:
        predictions: rows without a label are left out.
        values: of the images, by content id and split, as `column_values` gives them; images without one are left out.

    Returns:
        Slices by value. Their images need not be alike: a difference between two slices says where the classifier does
        better, not why.
    """
    scored = predictions.labelled()
    right = scored.predicted_index() == scored.labels_index()
    rows: dict[str, list[int]] = {}
    for row, key in enumerate(zip(scored.column("id"), scored.column("split"), strict=True)):
        value = values.get((str(key[0]), key[1]))
        if value is not None:
            rows.setdefault(value, []).append(row)
    found = {}
    for value in sorted(rows, key=lambda name: (-len(rows[name]), name)):
        hits, images = int(np.count_nonzero(right[rows[value]])), len(rows[value])
        found[value] = Slice(images=images, accuracy=_share(hits, images))
    return found


def accuracy_of_parts(predictions: Predictions, column: SliceColumn) -> dict[str, Slice]:
    """Accuracy of each part that has images, in the order of the parts, with what its classes alone would give.

    Args:
        predictions: N rows, those of the column; rows without a label are left out.
    """
    labels = predictions.labels_index()
    right = (predictions.predicted_index() == labels) & (labels >= 0)
    usual = accuracy_of_class(labels, right)
    found = {}
    for code, part in enumerate(column.parts):
        member = (column.codes == code) & (labels >= 0)
        images = int(member.sum())
        if images:
            hits = int(right[member].sum())
            found[part] = Slice(images=images, accuracy=_share(hits, images), expected=float(usual[member].mean()))
    return found


def accuracy_of_class(labels: Integers, right: npt.NDArray[np.bool_]) -> Floats:
    """For every image the accuracy of its class, float64 (N,); NaN without a label (-1)."""
    known = labels >= 0
    sizes = np.bincount(labels[known], minlength=1)
    hits = np.bincount(labels[known & right], minlength=len(sizes))
    shares = np.full(len(sizes), np.nan)
    np.divide(hits, sizes, out=shares, where=sizes > 0)
    return np.where(known, shares[np.where(known, labels, 0)], np.nan)


def make_column(name: str, values: Sequence[Any], *, always: bool = False) -> SliceColumn | None:
    """The column of a user, cut into parts: numbers (also as text) by size, anything else by value.

    Args:
        values: N of any type; None and empty text are no value.
        always: keep it even where it tells nothing: one value, or hardly two images with the same.

    Returns:
        None for a column that is the same for all images or, as a name is, different for nearly each.
    """
    plain = [None if value is None or value == "" else value for value in values]
    numbers = None if any(isinstance(value, bool) for value in plain) else _as_numbers(plain)
    if numbers is not None:
        column = number_column(name, numbers)
        if column is not None:
            return column
    return _text_column(name, [None if value is None else str(value) for value in plain], always)


def number_column(name: str, numbers: npt.ArrayLike, *, title: str = "", unit: str = "") -> SliceColumn | None:
    """Numbers cut into bins with about as many images each; equal numbers always share a bin.

    Args:
        numbers: (N,), NaN where there is none; such images become a part of their own.
        title: in sentences; the name when empty.
        unit: of the numbers, for the names of the parts.

    Returns:
        None when all numbers are the same.
    """
    values = np.asarray(numbers, dtype=np.float64)
    known = np.isfinite(values)
    cuts = quantile_cuts(values[known], bin_shares(int(known.sum())))
    if not cuts:
        return None
    codes = np.searchsorted(cuts, values, side="right").astype(np.int64)
    parts = [
        bin_name(low, high, values[known & (codes == code)], unit)
        for code, (low, high) in enumerate(zip([None, *cuts], [*cuts, None], strict=True))
    ]
    if not known.all():
        codes[~known] = len(parts)
        parts.append(NO_VALUE)
    return SliceColumn(
        name=name, title=title or name, parts=tuple(parts), codes=codes, numbers=np.where(known, values, np.nan),
        unit=unit,
    )  # fmt: skip


def bin_shares(images: int) -> list[float]:
    """Where to cut so many images: at the fifths, or at the quarters when there are few."""
    bins = BINS if images >= _FEW_IMAGES else BINS - 1
    return [number / bins for number in range(1, bins)]


def quantile_cuts(values: Floats, shares: Sequence[float]) -> list[float]:
    """Rising cuts between different values, about at these shares of them; what is at a cut is above it.

    Each is the roundest number within two in a hundred of its share, or as near to it as ties allow, so that it can
    be read and remembered.
    """
    distinct, counts = np.unique(values, return_counts=True)
    if len(distinct) < 2:
        return []
    below = np.cumsum(counts)[:-1] / len(values)  # share below distinct[i + 1]
    if len(distinct) <= len(shares) + 1:
        return [_roundest(float(low), float(high)) for low, high in itertools.pairwise(distinct)]
    cuts: dict[int, float] = {}
    for share in shares:
        away = np.abs(below - share)
        near = np.flatnonzero(away <= max(_TOLERANCE, float(away.min())))
        cut = _roundest(float(distinct[near[0]]), float(distinct[near[-1] + 1]))
        # Where ties are many, several shares may ask for a cut between the same two numbers.
        cuts.setdefault(int(np.searchsorted(distinct, cut)), cut)
    return [cuts[place] for place in sorted(cuts)]


def bin_name(low: float | None, high: float | None, values: Floats, unit: str) -> str:
    """`under 240 pixels`, `240 to 300 pixels`, `300 pixels or more`, or the value itself where all are the same."""
    behind = f" {unit}" if unit else ""
    if len(values) and (values == values[0]).all():
        return f"{number_text(float(values[0]))}{behind}"
    if low is None:
        assert high is not None
        return f"under {number_text(high)}{behind}"
    if high is None:
        return f"{number_text(low)}{behind} or more"
    return f"{number_text(low)} to {number_text(high)}{behind}"


def number_text(value: float) -> str:
    """0.25 as `0.25`, 12000 as `12,000`, never with more digits than it needs."""
    return f"{value:,.0f}" if value == int(value) and abs(value) < 1e15 else f"{value:.6g}"


def _roundest(below: float, up_to: float) -> float:
    """The number with the fewest digits that is above `below` and not above `up_to`; of several the middle one."""
    first = -math.floor(math.log10(max(abs(below), abs(up_to))))
    for digits in range(first, first + 16):
        for number in ((below + up_to) / 2, up_to - 0.5 * 10.0**-digits):
            candidate = round(number, digits) + 0.0  # no negative zero
            if below < candidate <= up_to:
                return candidate
    return up_to


def _as_numbers(values: Sequence[Any]) -> Floats | None:
    """Numbers, NaN where there is no value; None when a value is no number."""
    if all(value is None for value in values):
        return None
    try:
        numbers = np.array([math.nan if value is None else float(value) for value in values])
    except (TypeError, ValueError):
        return None
    return numbers if np.isfinite(numbers).any() else None


def _text_column(name: str, values: Sequence[str | None], always: bool) -> SliceColumn | None:
    counts = Counter(value for value in values if value is not None)
    ranked = sorted(counts, key=lambda value: (-counts[value], value))
    useful = sum(count >= _LEAST_IMAGES for count in counts.values()) + (None in values)
    if not always and (len(ranked) + (None in values) < 2 or useful < 2):
        return None
    kept = ranked if len(ranked) <= MOST_VALUES else ranked[:MOST_VALUES]
    parts = [*kept, *([OTHER] if len(kept) < len(ranked) else []), *([NO_VALUE] if None in values else [])]
    code = {part: number for number, part in enumerate(parts)}
    codes = [code[NO_VALUE] if value is None else code.get(value, code.get(OTHER, _UNKNOWN)) for value in values]
    return SliceColumn(name=name, title=name, parts=tuple(parts), codes=np.array(codes, dtype=np.int64))


def _share(hits: int, images: int) -> Estimate:
    low, high = wilson(hits, images)
    return Estimate(hits / images, float(low), float(high), WILSON)
