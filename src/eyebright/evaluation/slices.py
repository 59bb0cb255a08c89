"""How good a classifier is on parts of the images: one accuracy with its interval for each value of a column."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np

from eyebright.data.manifest import Manifest
from eyebright.evaluation.estimate import WILSON, Estimate
from eyebright.evaluation.intervals import wilson
from eyebright.evaluation.predictions import Predictions

NO_VALUE = "(none)"
"""Name of the slice of images for which the column is empty."""

ImageInSplit = tuple[str, str | None]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Slice:
    """The images that have one value of a column.

    Attributes:
        images: how many of them have a label and were scored.
        accuracy: share of right predictions, with Wilson's interval.
    """

    images: int
    accuracy: Estimate

    def as_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return dataclasses.asdict(self)


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
        low, high = wilson(hits, images)
        found[value] = Slice(images=images, accuracy=Estimate(hits / images, float(low), float(high), WILSON))
    return found
