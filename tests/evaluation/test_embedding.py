"""The map of images: groups that the features tell apart lie apart on it."""

from __future__ import annotations

import json

import numpy as np
import pytest
from sklearn.datasets import load_digits
from sklearn.neighbors import NearestNeighbors

from eyebright.errors import DataError
from eyebright.evaluation.embedding import FeatureMap, map_features
from eyebright.evaluation.features import Features
from eyebright.evaluation.predictions import Predictions, make_predictions

NAMES = [str(number) for number in range(10)]


def digits(count: int = 300) -> tuple[Features, Predictions]:
    images, labels = load_digits(return_X_y=True)
    images, labels = images[:count], labels[:count]
    ids = [f"{row:04}" for row in range(count)]
    features = Features(
        ids=np.array(ids), splits=np.array(["test"] * count), labels=labels.astype(np.int64),
        values=images.astype(np.float32),
    )  # fmt: skip
    said = np.where(np.arange(count) % 10 == 0, (labels + 1) % 10, labels)
    names = [NAMES[label] for label in labels]
    return features, make_predictions(ids, ids, names, ["test"] * count, np.eye(10)[said] * 9, 1.0, NAMES)


def test_digits_of_a_kind_lie_together() -> None:
    features, predictions = digits()
    found = map_features(features, predictions, NAMES)
    places = np.array([[image.x, image.y] for image in found.images])
    assert places.min() >= 0
    assert places.max() <= 1
    _, rows = NearestNeighbors(n_neighbors=6).fit(places).kneighbors(places)
    labels = np.array([image.label for image in found.images])
    assert (labels[rows[:, 1:]] == labels[:, None]).mean() > 0.85  # by chance it would be a tenth
    assert found.trustworthiness > 0.95
    assert [image.predicted != image.label for image in found.images] == [row % 10 == 0 for row in range(300)]


def test_the_share_of_alike_neighbours_is_that_of_scikit_learn() -> None:
    features, predictions = digits()
    reference = NearestNeighbors(n_neighbors=11, metric="cosine").fit(features.values)
    _, rows = reference.kneighbors(features.values)
    expected = (features.labels[rows[:, 1:]] == features.labels[:, None]).mean()
    assert map_features(features, predictions, NAMES).neighbours_alike == pytest.approx(expected, abs=0.005)


def test_the_map_is_the_same_for_a_seed_and_survives_json() -> None:
    features, predictions = digits(60)
    first = map_features(features, predictions, NAMES, most=40, seed=3)
    assert len(first.images) == 40
    assert FeatureMap.from_dict(json.loads(json.dumps(first.as_dict()))) == first
    assert map_features(features, predictions, NAMES, most=40, seed=3) == first


def test_a_handful_of_images_makes_no_map() -> None:
    features, predictions = digits(9)
    with pytest.raises(DataError, match="at least 10"):
        map_features(features, predictions, NAMES)
