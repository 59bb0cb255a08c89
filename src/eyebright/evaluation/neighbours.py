"""Images that the network takes for alike: the nearest ones by their features."""

from __future__ import annotations

import dataclasses

import numpy as np
import numpy.typing as npt

from eyebright.errors import DataError
from eyebright.evaluation.features import Features

_QUERIES_AT_ONCE = 256


@dataclasses.dataclass(frozen=True, kw_only=True)
class Neighbour:
    """An image like the one that was asked about.

    Attributes:
        id: its content id.
        label: index of its class.
        similarity: cosine of the angle between the features, -1 to 1.
    """

    id: str
    label: int
    similarity: float


def nearest(features: Features, queries: npt.ArrayLike, count: int) -> list[list[Neighbour]]:
    """For each query (N, F), the images with the most similar features, most similar first.

    Args:
        features: of the images to choose from; an image that occurs twice is named once.
        queries: features of the images that are asked about.
        count: how many to name for each.

    Raises:
        DataError: the features are of another width.
    """
    asked = np.asarray(queries, dtype=np.float32)
    if asked.ndim != 2 or asked.shape[1] != features.values.shape[1]:
        raise DataError(
            f"features of shape {asked.shape}", expected=f"(N, {features.values.shape[1]}), as the run's features are"
        )
    _, first = np.unique(features.ids, return_index=True)
    known = _unit(features.values[first])
    found = []
    for start in range(0, len(asked), _QUERIES_AT_ONCE):
        similarities = _unit(asked[start : start + _QUERIES_AT_ONCE]) @ known.T
        for row in similarities:
            order = np.argsort(-row, kind="stable")[:count]
            found.append([
                Neighbour(
                    id=str(features.ids[first[place]]),
                    label=int(features.labels[first[place]]),
                    similarity=float(row[place]),
                )
                for place in order
            ])  # fmt: skip
    return found


def _unit(values: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    lengths = np.linalg.norm(values, axis=1, keepdims=True)
    return np.asarray(values / np.where(lengths > 0, lengths, 1), dtype=np.float32)
