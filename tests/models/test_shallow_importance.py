"""Importance of features: what the head does not look at costs nothing, what alone tells costs everything."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.inspection import permutation_importance

from eyebright.data.batches import PixelSet
from eyebright.models.catalog import create_network
from eyebright.models.shallow.importance import shallow_importance
from eyebright.models.shallow.table import raw_features, standardise, standardised
from eyebright.preprocess import Preprocess
from eyebright.progress import Silent

GREY = Preprocess(size=32, channels=1, mean=(0,), std=(1,))


def noisy_images(count: int = 120) -> PixelSet:
    """Two classes of grey noise that differ in the brightness of the upper left cell alone."""
    random = np.random.default_rng(0)
    targets = np.arange(count) % 2
    pixels = random.integers(0, 256, (count, 32, 32, 1), dtype=np.uint8)
    pixels[targets == 1, :8, :8] //= 4
    return PixelSet(pixels, np.arange(count), targets, preprocess=GREY, device=torch.device("cpu"))


def network_of(features: tuple[str, ...], images: PixelSet) -> Any:
    """A linear head that is the difference of the class means."""
    network: Any = create_network(
        "shallow", classes=2, channels=1, pretrained=False, arguments={"features": list(features), "img_size": 32}
    ).eval()
    raw = raw_features(network, images, progress=Silent(), description="")
    standardise(network, raw)
    values = standardised(network, raw)
    apart = values[images.targets == 1].mean(0) - values[images.targets == 0].mean(0)
    with torch.no_grad():
        network.classifier.weight.copy_(torch.from_numpy(np.stack([-apart, apart])))
        network.classifier.bias.zero_()
    return network


def test_the_cell_that_tells_is_found() -> None:
    images = noisy_images()
    found = shallow_importance(network_of(("colour",), images), images)
    assert found is not None
    assert found["accuracy"] > 0.95
    lost = np.array([[cell["accuracy_lost"]["value"] for cell in row] for row in found["cells"]])
    assert np.unravel_index(lost.argmax(), lost.shape) == (0, 0)
    assert found["cells"][0][0]["weight"] > 0.5
    everything = found["families"]["colour"]
    assert everything["features"] == 17 * 16
    assert everything["weight"] == pytest.approx(1)
    # With all features exchanged, two equal classes are guessed: half are right, give or take.
    assert found["accuracy"] - everything["accuracy_lost"]["value"] == pytest.approx(0.5, abs=0.1)
    assert everything["accuracy_lost"]["spread"] > 0
    assert everything["loss_gained"]["value"] > 0


def test_features_that_the_head_leaves_alone_cost_nothing() -> None:
    images = noisy_images()
    network = network_of(("colour", "hog"), images)
    with torch.no_grad():
        network.classifier.weight[:, 17 * 16 :] = 0
    found = shallow_importance(network, images)
    assert found is not None
    unused = found["families"]["hog"]
    assert (unused["accuracy_lost"]["value"], unused["accuracy_lost"]["spread"], unused["weight"]) == (0, 0, 0)
    assert found["families"]["colour"]["accuracy_lost"]["value"] > 0.3


class OneColumnAFamily(ClassifierMixin, BaseEstimator):  # type: ignore[misc]
    """For scikit-learn: a whole family hangs on one column, its row number in the table."""

    def __init__(self, network: Any = None, raw: Any = None, width: int = 0) -> None:
        self.network, self.raw, self.width = network, raw, width
        self.classes_ = np.arange(2)

    def fit(self, X: Any, y: Any) -> OneColumnAFamily:
        return self

    def predict(self, X: Any) -> Any:
        first, second = X[:, 0].astype(int), X[:, 1].astype(int)
        table = np.concatenate([self.raw[first, : self.width], self.raw[second, self.width :]], axis=1)
        with torch.inference_mode():
            return self.network.forward_head(torch.from_numpy(table)).argmax(1).numpy()


def test_the_means_are_those_of_scikit_learn() -> None:
    images = noisy_images(200)
    network = network_of(("colour", "hog"), images)
    raw = raw_features(network, images, progress=Silent(), description="")
    found = shallow_importance(network, images, repeats=30)
    assert found is not None
    rows = np.arange(200)[:, None].repeat(2, axis=1).astype(float)
    judged = OneColumnAFamily(network, raw, width=17 * 16)
    expected = permutation_importance(judged, rows, images.targets, n_repeats=30, random_state=1)
    for column, name in enumerate(("colour", "hog")):
        received = found["families"][name]["accuracy_lost"]
        error = 4 * np.hypot(expected.importances_std[column], received["spread"]) / np.sqrt(30) + 1e-9
        assert received["value"] == pytest.approx(expected.importances_mean[column], abs=error)


def test_the_same_seed_gives_the_same_figures_and_few_images_are_taken_evenly() -> None:
    images = noisy_images()
    network = network_of(("colour",), images)
    first, again = (shallow_importance(network, images, seed=3, most_images=51) for _ in range(2))
    assert first == again
    assert first is not None
    assert first["images"] == 51


def test_other_networks_have_none() -> None:
    network = create_network("smallnet", classes=2, channels=1, pretrained=False)
    assert shallow_importance(network, noisy_images(4)) is None
