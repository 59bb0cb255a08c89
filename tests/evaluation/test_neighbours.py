"""Nearest images by features, against scikit-learn."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.neighbors import NearestNeighbors

from eyebright.errors import DataError
from eyebright.evaluation.features import Features
from eyebright.evaluation.neighbours import nearest


def features_of(values: np.ndarray, ids: list[str] | None = None) -> Features:
    names = ids or [f"{row:03}" for row in range(len(values))]
    return Features(
        ids=np.array(names), splits=np.array(["train"] * len(values)),
        labels=np.arange(len(values)) % 3, values=values.astype(np.float32),
    )  # fmt: skip


def test_neighbours_are_those_of_scikit_learn() -> None:
    generator = np.random.default_rng(0)
    known, asked = generator.normal(size=(400, 24)), generator.normal(size=(300, 24))
    reference = NearestNeighbors(n_neighbors=7, metric="cosine", algorithm="brute").fit(known)
    distances, rows = reference.kneighbors(asked)
    for found, expected, distance in zip(nearest(features_of(known), asked, 7), rows, distances, strict=True):
        assert [one.id for one in found] == [f"{row:03}" for row in expected]
        assert [one.label for one in found] == [row % 3 for row in expected]
        np.testing.assert_allclose([1 - one.similarity for one in found], distance, atol=1e-5)


def test_an_image_that_occurs_twice_is_named_once_and_zeros_break_nothing() -> None:
    found = nearest(features_of(np.array([[1.0, 0], [1, 0], [0, 0]]), ["a", "a", "b"]), [[2.0, 0], [0, 0]], 5)
    assert [[one.id for one in row] for row in found] == [["a", "b"], ["a", "b"]]
    assert found[0][0].similarity == pytest.approx(1)


def test_features_of_another_network_are_refused() -> None:
    with pytest.raises(DataError, match=r"\(N, 24\)"):
        nearest(features_of(np.ones((3, 24))), np.ones((1, 8)), 1)
