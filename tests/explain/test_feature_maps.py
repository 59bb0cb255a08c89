"""Feature maps of any layer, against a hook of our own and torch's arithmetic."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from eyebright.errors import UsageError
from eyebright.explain.feature_maps import FeatureMaps, feature_maps
from eyebright.models.catalog import create_network
from eyebright.preprocess import Preprocess

PREPROCESS = Preprocess(size=64, resize="squash", resize_to=0, mean=(0.5,) * 3, std=(0.25,) * 3)


def pixels(count: int = 2, side: int = 64) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (count, side, side, 3), dtype=np.uint8)


def test_maps_of_the_first_convolution_are_the_convolution_of_the_image() -> None:
    network = create_network("resnet18", classes=4, pretrained=False).train()
    found = feature_maps(network, PREPROCESS, pixels(), "conv1")
    images = torch.from_numpy((pixels() / 255 - 0.5) / 0.25).permute(0, 3, 1, 2).float()
    expected = nn.functional.conv2d(images, network.conv1.weight, stride=2, padding=3)
    np.testing.assert_allclose(found.values, expected.detach().numpy(), rtol=1e-3, atol=1e-3)
    assert network.training  # left as it was


def test_the_strongest_maps_vary_most() -> None:
    values = np.zeros((1, 4, 2, 2), dtype=np.float32)
    values[0, 1], values[0, 3] = [[0, 1], [1, 0]], [[5, 0], [0, 0]]
    values[0, 2] = 100  # high, but the same everywhere
    assert FeatureMaps(layer="x", values=values).strongest(0, 2).tolist() == [3, 1]


def test_patches_of_a_transformer_become_rows_and_columns() -> None:
    network = create_network("vit_tiny_patch16_224", classes=4, pretrained=False)
    preprocess = Preprocess(size=224, resize="squash", resize_to=0)
    found = feature_maps(network, preprocess, pixels(1, 224), "blocks.3")
    assert found.values.shape == (1, 192, 14, 14)


def test_without_a_layer_the_one_of_explanations_is_shown() -> None:
    found = feature_maps(create_network("resnet18", classes=4, pretrained=False), PREPROCESS, pixels())
    assert found.layer.startswith("layer4")
    assert found.values.shape == (2, 512, 2, 2)


def test_a_layer_that_does_not_exist_and_one_without_maps_are_refused() -> None:
    network = create_network("resnet18", classes=4, pretrained=False)
    with pytest.raises(UsageError, match="did you mean 'layer4"):
        feature_maps(network, PREPROCESS, pixels(), "layer44")
    with pytest.raises(UsageError, match="no map with rows and columns"):
        feature_maps(network, PREPROCESS, pixels(), "fc")
    dense = create_network("cifar100_ann", classes=4, pretrained=False)
    with pytest.raises(UsageError, match="no layer of"):
        feature_maps(dense, Preprocess(size=32, resize="squash", resize_to=0), pixels(1, 32))
