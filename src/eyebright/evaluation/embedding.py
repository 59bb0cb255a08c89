"""A map of images in two dimensions, on which images lie close that the network takes for alike."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from sklearn.decomposition import PCA
from sklearn.manifold import TSNE, trustworthiness

from eyebright.errors import DataError
from eyebright.evaluation.features import Features
from eyebright.evaluation.predictions import Predictions

MOST_IMAGES = 1500
FEWEST_IMAGES = 10
_DIRECTIONS = 50
_PERPLEXITY = 30.0
_NEIGHBOURS = 10


@dataclasses.dataclass(frozen=True, kw_only=True)
class MappedImage:
    """One image on the map, `x` and `y` from 0 to 1; `predicted` is None for an image that was not scored."""

    id: str
    x: float
    y: float
    label: str | None
    predicted: str | None
    split: str


@dataclasses.dataclass(frozen=True, kw_only=True)
class FeatureMap:
    """A map of features.

    Attributes:
        method: how it was made, in words.
        trustworthiness: how far neighbours on the map are neighbours among the features too, 0 to 1 (Venna and Kaski,
            Neighborhood preservation in nonlinear projection methods, 2001), over ten neighbours.
        neighbours_alike: share of the ten nearest neighbours, by the features, that have the image's own label.
        images: what lies where.
    """

    method: str
    trustworthiness: float
    neighbours_alike: float
    images: tuple[MappedImage, ...]

    def as_dict(self) -> dict[str, Any]:
        """Plain values for JSON; `from_dict` reads them back."""
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> FeatureMap:
        """Read what `as_dict` wrote."""
        return cls(**{**values, "images": tuple(MappedImage(**image) for image in values["images"])})


def map_features(
    features: Features, predictions: Predictions, classes: Sequence[str], *, most: int = MOST_IMAGES, seed: int = 0
) -> FeatureMap:
    """t-SNE (van der Maaten and Hinton, Visualizing data using t-SNE, 2008) of features of length one.

    Distances between far groups mean nothing on such a map; what lies close together is alike to the network.

    Args:
        features: of the images to show; beyond `most` an even sample is shown.
        predictions: what was said of them, matched by id and split.
        classes: names of the classes in index order.
        most: how many images are shown at most.
        seed: of the map.

    Raises:
        DataError: there are fewer than ten images.
    """
    if len(features) < FEWEST_IMAGES:
        raise DataError(f"features of {len(features)} images", expected=f"at least {FEWEST_IMAGES} for a map")
    rows = np.unique(np.linspace(0, len(features) - 1, min(most, len(features))).astype(np.int64))
    lengths = np.linalg.norm(features.values[rows], axis=1, keepdims=True)
    values = features.values[rows] / np.where(lengths > 0, lengths, 1)
    directions = min(_DIRECTIONS, *values.shape)
    reduced = PCA(directions, random_state=seed).fit_transform(values)
    perplexity = min(_PERPLEXITY, (len(rows) - 1) / 3)
    places = TSNE(2, perplexity=perplexity, init="pca", random_state=seed).fit_transform(reduced)
    span = np.ptp(places, axis=0)
    places = (places - places.min(axis=0)) / np.where(span > 0, span, 1)
    neighbours = min(_NEIGHBOURS, (len(rows) - 1) // 2)
    said = {
        (image, split): predicted
        for image, split, predicted in zip(
            predictions.column("id"), predictions.column("split"), predictions.column("predicted"), strict=True
        )
    }
    images = []
    for row, (x, y) in zip(rows, places, strict=True):
        image, split, label = str(features.ids[row]), str(features.splits[row]), int(features.labels[row])
        images.append(
            MappedImage(
                id=image, x=float(x), y=float(y), label=classes[label] if label >= 0 else None,
                predicted=said.get((image, split)), split=split,
            )
        )  # fmt: skip
    return FeatureMap(
        method=f"t-SNE of {features.values.shape[1]} features, perplexity {perplexity:.3g}",
        trustworthiness=float(trustworthiness(reduced, places, n_neighbors=neighbours)),
        neighbours_alike=_alike(values, features.labels[rows], neighbours),
        images=tuple(images),
    )


def _alike(values: Any, labels: Any, neighbours: int) -> float:
    similarity = values @ values.T
    np.fill_diagonal(similarity, -np.inf)
    nearest = np.argsort(-similarity, axis=1, kind="stable")[:, :neighbours]
    known = labels >= 0
    if not known.any():
        return 0.0
    return float((labels[nearest] == labels[:, None])[known].mean())
