"""First filters as images, and how they are laid out."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from eyebright.errors import UsageError
from eyebright.explain.filters import first_filters, tiled
from eyebright.models.catalog import create_network


def test_a_filter_is_grey_where_its_weights_are_zero_and_shows_their_sign() -> None:
    network = nn.Sequential(nn.Conv2d(3, 2, 2))
    weights = torch.zeros(2, 3, 2, 2)
    weights[0, 0, 1, 0], weights[0, 2, 0, 1] = 4.0, -2.0  # red below left, no blue above right
    network[0].weight = nn.Parameter(weights)
    found = first_filters(network, channels=3, size=8)
    assert (found.layer, found.images.shape) == ("0", (2, 2, 2, 3))
    np.testing.assert_allclose(found.images[0, 1, 0], [1, 0.5, 0.5])
    np.testing.assert_allclose(found.images[0, 0, 1], [0.5, 0.5, 0.25])
    np.testing.assert_allclose(found.images[1], 0.5)  # a filter of zeros is not divided by zero


@pytest.mark.parametrize(
    ("name", "channels", "side", "shape"),
    [
        ("tf_efficientnet_lite0", 3, 64, (32, 3, 3, 3)),
        ("resnet18", 3, 64, (64, 7, 7, 3)),
        ("vit_tiny_patch16_224", 3, 224, (192, 16, 16, 3)),
        ("fashion_cnn", 1, 28, (32, 3, 3)),
        ("fashion_ann", 1, 28, (128, 28, 28)),
        ("cifar100_ann", 3, 32, (1024, 32, 32, 3)),
    ],
)
def test_networks_of_all_kinds_have_first_filters(name: str, channels: int, side: int, shape: tuple[int, ...]) -> None:
    network = create_network(name, classes=4, channels=channels, pretrained=False)
    found = first_filters(network, channels=channels, size=side)
    assert found.images.shape[1:] == shape[1:]
    assert found.images.min() >= 0
    assert found.images.max() <= 1


def test_a_network_without_filters_is_refused() -> None:
    with pytest.raises(UsageError, match="does not begin with a convolution"):
        first_filters(nn.Sequential(nn.Flatten(), nn.Linear(7, 2), nn.Conv2d(1, 1, 1)), channels=3, size=8)


def test_tiles_are_in_reading_order_with_a_gap() -> None:
    images = np.arange(5, dtype=np.float32).reshape(5, 1, 1) / 10
    sheet = tiled(images, gap=1, columns=3, filling=9)
    np.testing.assert_allclose(sheet, [[0, 9, 0.1, 9, 0.2], [9, 9, 9, 9, 9], [0.3, 9, 0.4, 9, 9]], atol=1e-6)
