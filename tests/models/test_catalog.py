"""Networks by name."""

from __future__ import annotations

import pytest
import torch

from eyebright.errors import UsageError
from eyebright.models.catalog import classifier_layer, count_parameters, create_network, network_facts, network_names


@pytest.mark.parametrize("name", ["smallnet", "tf_efficientnet_lite0", "resnet18", "mobilenetv3_small_050"])
@pytest.mark.parametrize("channels", [1, 3])
def test_every_network_gives_one_logit_a_class(name: str, channels: int) -> None:
    network = create_network(name, classes=7, channels=channels, pretrained=False).eval()
    with torch.inference_mode():
        assert network(torch.zeros(2, channels, 64, 64)).shape == (2, 7)
    assert classifier_layer(network) is not None


def test_grey_input_sees_what_colour_input_sees_of_a_grey_image() -> None:
    colour = create_network("tf_efficientnet_lite0", classes=3, channels=3, pretrained=True).eval()
    grey = create_network("tf_efficientnet_lite0", classes=3, channels=1, pretrained=True).eval()
    image = torch.randn(1, 1, 64, 64)
    with torch.inference_mode():
        one, other = colour.forward_features(image.expand(1, 3, 64, 64)), grey.forward_features(image)  # type: ignore[operator]
    assert torch.allclose(one, other, atol=1e-4)


def test_pretrained_weights_do_not_depend_on_the_seed() -> None:
    torch.manual_seed(1)
    one = create_network("tf_efficientnet_lite0", classes=3, pretrained=True)
    torch.manual_seed(2)
    other = create_network("tf_efficientnet_lite0", classes=3, pretrained=True)
    assert torch.equal(one.conv_stem.weight, other.conv_stem.weight)  # type: ignore[arg-type, union-attr]


def test_facts_say_what_the_weights_expect() -> None:
    assert network_facts("tf_efficientnet_lite0").mean == (0.5, 0.5, 0.5)
    assert network_facts("resnet18").mean == pytest.approx((0.485, 0.456, 0.406))
    assert network_facts("vit_tiny_patch16_224").fixed_size


def test_an_unknown_name_suggests_the_nearest() -> None:
    with pytest.raises(UsageError, match="did you mean 'resnet18'"):
        network_facts("resnet_18")


def test_names_by_pattern() -> None:
    assert "resnet18" in network_names("resnet1*")
    assert network_names("smallnet") == ["smallnet"]


def test_parameters_of_smallnet_by_arithmetic() -> None:
    """Convolutions 3x3 without bias, two numbers a channel for each norm, one linear layer."""

    def conv(inputs: int, outputs: int, side: int = 3) -> int:
        return side * side * inputs * outputs + 2 * outputs

    expected = conv(3, 32) + 2 * conv(32, 32)
    for inputs, outputs in ((32, 64), (64, 128)):
        expected += conv(inputs, outputs) + conv(outputs, outputs) + conv(inputs, outputs, 1)
    expected += 128 * 10 + 10
    assert count_parameters(create_network("smallnet", classes=10, pretrained=False)) == expected
