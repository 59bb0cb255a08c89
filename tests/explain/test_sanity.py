"""The check against random weights: its measures against other libraries, and what it says of known methods."""

from __future__ import annotations

import copy

import numpy as np
import numpy.typing as npt
import pytest
import timm
import torch
from scipy import ndimage, stats
from skimage.metrics import structural_similarity
from torch import nn

from eyebright.explain.methods import heat_maps
from eyebright.explain.sanity import (
    check_methods,
    coarse,
    partly_random,
    rank_correlations,
    structural_similarities,
    untrained_network,
)
from eyebright.jobs.explainer import Explainer
from eyebright.preprocess import Preprocess

Heat = npt.NDArray[np.float32]


def maps(seed: int, side: int = 40) -> Heat:
    noise = np.random.default_rng(seed).random((3, side, side))
    smooth = ndimage.gaussian_filter(noise, (0, 2, 2))
    return np.asarray((smooth - smooth.min()) / np.ptp(smooth), dtype=np.float32)


@pytest.mark.parametrize("side", [7, 28, 40])
def test_structural_similarity_is_that_of_scikit_image(side: int) -> None:
    ours, theirs = maps(0, side), maps(1, side)
    wanted = [
        structural_similarity(a.astype(float), b.astype(float), data_range=1.0)
        for a, b in zip(ours, theirs, strict=True)
    ]
    np.testing.assert_allclose(structural_similarities(ours, theirs), wanted, atol=1e-9)


def test_rank_correlation_is_spearmans_of_the_cells() -> None:
    ours, theirs = maps(0), maps(1)
    cells = [coarse(heat, 32).reshape(3, -1) for heat in (ours, theirs)]
    wanted = [stats.spearmanr(a, b).statistic for a, b in zip(*cells, strict=True)]
    np.testing.assert_allclose(rank_correlations(ours, theirs), wanted)
    np.testing.assert_allclose(rank_correlations(ours, ours), 1)
    np.testing.assert_array_equal(rank_correlations(ours, np.zeros_like(ours)), 0)


def test_cells_are_means_of_their_pixels() -> None:
    heat = np.random.default_rng(0).random((2, 64, 96)).astype(np.float32)
    wanted = heat.reshape(2, 32, 2, 32, 3).mean(axis=(2, 4))
    np.testing.assert_allclose(coarse(heat, 32), wanted, rtol=1e-5)


def test_weights_become_random_from_the_last_layer_down() -> None:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = timm.create_model("resnet18", num_classes=3).eval()
        untrained = timm.create_model("resnet18", num_classes=3).eval()
        images = torch.randn(4, 3, 64, 64)
    before = copy.deepcopy(network.state_dict())
    state = torch.get_rng_state()
    first = partly_random(network, untrained, 0.0, images)
    half = partly_random(network, untrained, 0.5, images)
    whole = partly_random(network, untrained, 1.0, images)
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())

    def replaced(made: nn.Module) -> list[str]:
        return [name for name, value in made.named_parameters() if not torch.equal(value, before[name])]

    assert replaced(first) == ["fc.weight", "fc.bias"]
    assert "conv1.weight" not in replaced(half)
    assert "layer4.0.conv1.weight" in replaced(half)
    assert "conv1.weight" in replaced(whole)
    # The norms fit their inputs: nothing swells or starves on the way.
    with torch.no_grad():
        assert 0.1 < float(whole.forward_features(images).std()) < 10  # type: ignore[operator]


def test_a_method_that_shows_edges_whatever_the_weights_is_named(trained_run: object) -> None:
    explainer = Explainer(trained_run)  # type: ignore[arg-type]
    preprocess: Preprocess = explainer.preprocess
    random = np.random.default_rng(0)
    pixels = ndimage.gaussian_filter(random.random((6, 32, 32, 3)), (0, 2, 2, 0))
    pixels = ((pixels - pixels.min()) / np.ptp(pixels) * 255).astype(np.uint8)

    def maps_of(network: nn.Module, method: str) -> Heat:
        if method == "edges":
            grey = pixels.mean(axis=3)
            return np.asarray(np.hypot(ndimage.sobel(grey, 1), ndimage.sobel(grey, 2)), dtype=np.float32)
        return heat_maps(network, preprocess, pixels, np.zeros(6, dtype=np.int64), method)

    images = torch.from_numpy(preprocess.normalise(pixels))
    untrained = untrained_network(explainer.bundle)
    edges, cam = check_methods(explainer.network, untrained, images, ["edges", "grad-cam"], maps_of)
    assert edges.ignores_weights
    assert edges.rank_correlation["all"] == pytest.approx(1)
    assert not cam.ignores_weights
    assert cam.rank_correlation["all"] < 0.5


def test_an_untrained_network_costs_no_random_number(trained_run: object) -> None:
    bundle = Explainer(trained_run).bundle  # type: ignore[arg-type]
    state = torch.get_rng_state()
    first, second = (untrained_network(bundle).state_dict() for _ in range(2))
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(value, second[name]) for name, value in first.items())
