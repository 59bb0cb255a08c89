"""What a network costs, against arithmetic by hand."""

from __future__ import annotations

import pytest
import timm
import torch
import torch.nn.functional as F
from torch import nn

from eyebright.errors import UsageError
from eyebright.models.inspect import activation_bytes, describe_network, network_to_inspect, own_classes
from eyebright.models.running import parse_input_size
from eyebright.models.timing import time_one_image


class Small(nn.Module):
    """Two convolutions and a linear layer, with a functional pooling."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 4, 3, padding=1, bias=False)
        self.middle = nn.Sequential(nn.ReLU(), nn.Identity(), nn.Conv2d(4, 2, 1))
        self.last = nn.Linear(2 * 4 * 4, 5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.last(F.max_pool2d(self.middle(self.first(x)), 2).flatten(1))


def test_layers_and_arithmetic_by_hand() -> None:
    network = Small()
    network.last.weight.requires_grad_(False)
    description = describe_network(network, "small", (3, 8, 8))
    first, second, linear = 8 * 8 * 4 * 3 * 9, 8 * 8 * 2 * 4, 32 * 5
    assert [(row.depth, row.path, row.kind, row.output_shape, row.parameters, row.multiply_adds)
            for row in description.layers] == [
        (0, "", "Small", (5,), 108 + 10 + 165, first + second + linear),
        (1, "first", "Conv2d", (4, 8, 8), 108, first),
        (1, "middle", "Sequential", (2, 8, 8), 10, second),
        (2, "middle.0", "ReLU", (4, 8, 8), 0, 0),
        (2, "middle.2", "Conv2d", (2, 8, 8), 10, second),
        (1, "last", "Linear", (5,), 165, linear),
    ]  # fmt: skip
    assert description.flops == 2 * description.multiply_adds == 2 * (first + second + linear)
    assert (description.parameters, description.trainable_parameters) == (283, 283 - 160)
    assert (description.weight_bytes, description.classes) == (283 * 4, 5)


def test_activations_by_hand() -> None:
    """ReLU and the 1x1 convolution keep one tensor; pooling keeps its input and places (int64), the last its input.

    The image and the weights are no activations.
    """
    pixels = 8 * 8
    expected = 4 * pixels * 4 + 2 * pixels * 4 + 2 * (pixels // 4) * 8 + 2 * (pixels // 4) * 4
    assert activation_bytes(Small(), (3, 8, 8)) == expected


def test_activations_of_a_network_whose_last_map_is_a_single_position() -> None:
    network = timm.create_model("resnet18")
    assert activation_bytes(network, (3, 32, 32)) > 0


def test_attention_is_part_of_the_arithmetic() -> None:
    """timm publishes 1.26 G multiply-adds for this network; the products with the class token are in it."""
    network, size = network_to_inspect("vit_tiny_patch16_224")
    tokens, width, depth = 197, 192, 12
    block = tokens * width * (3 * width + width + 8 * width) + 2 * tokens**2 * width
    expected = 196 * width * 3 * 16 * 16 + depth * block + width * 1000
    assert describe_network(network, "vit", size).multiply_adds == expected


def test_a_part_that_is_never_called_itself_has_the_arithmetic_of_its_children() -> None:
    network, size = network_to_inspect("headed")
    rows = {row.path: row for row in describe_network(network, "headed", size, depth=2).layers}
    children = [row for path, row in rows.items() if path.startswith("backbone.")]
    assert rows["backbone"].multiply_adds == sum(row.multiply_adds for row in children) > 3e8
    assert rows["backbone"].parameters == sum(row.parameters for row in children)


def test_depth_limits_the_table_and_nothing_else() -> None:
    network, size = network_to_inspect("resnet18")
    shallow = describe_network(network, "resnet18", size, depth=1)
    deep = describe_network(network, "resnet18", size, depth=3)
    assert {row.depth for row in shallow.layers} == {0, 1}
    assert {row.depth for row in deep.layers} == {0, 1, 2, 3}
    assert shallow.flops == deep.flops == 2 * shallow.layers[0].multiply_adds
    assert shallow.parameters == 11_689_512
    assert sum(row.parameters for row in shallow.layers if row.depth == 1) == shallow.parameters


def test_the_network_is_left_as_it_was() -> None:
    network, size = network_to_inspect("deep_v1")
    network.train()
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    state = torch.random.get_rng_state()
    describe_network(network, "deep_v1", size)
    assert torch.equal(torch.random.get_rng_state(), state)
    assert all(module.training for module in network.modules())
    assert all(torch.equal(before[name], tensor) for name, tensor in network.state_dict().items())
    assert all(parameter.grad is None for parameter in network.parameters())


@pytest.mark.parametrize(
    ("name", "size", "classes"),
    [
        ("resnet18", (3, 224, 224), 1000), ("cifar10net_v2", (3, 32, 32), 10), ("cifar100_cnn", (3, 32, 32), 100),
        ("fashion_cnn", (1, 28, 28), 10), ("vit_tiny_patch16_224", (3, 224, 224), 1000),
    ],
)  # fmt: skip
def test_size_and_classes_are_the_network_s_own_unless_told_otherwise(
    name: str, size: tuple[int, int, int], classes: int
) -> None:
    network, found = network_to_inspect(name)
    assert found == size
    assert own_classes(name) == classes
    with torch.inference_mode():
        assert network.eval()(torch.zeros(1, *size)).shape == (1, classes)


@pytest.mark.parametrize("name", ["vit_tiny_patch16_224", "fashion_cnn", "resnet18"])
def test_another_size_number_of_channels_and_of_classes(name: str) -> None:
    network, size = network_to_inspect(name, classes=7, input_size=(2, 64, 48))
    description = describe_network(network, name, size, depth=1)
    assert (description.input_size, description.classes) == ((2, 64, 48), 7)


@pytest.mark.parametrize(
    ("name", "size"),
    [
        ("deep_v1", (3, 16, 16)),
        ("fashion_cnn", (1, 5, 5)),
        ("vit_tiny_patch16_224", (3, 8, 8)),
        ("inception_v3", (3, 32, 32)),
    ],
)
def test_a_size_that_the_network_cannot_take(name: str, size: tuple[int, int, int]) -> None:
    with pytest.raises(UsageError) as caught:
        describe_network(*_made(name, size))
    assert name in caught.value.problem
    assert caught.value.expected is not None


def _made(name: str, size: tuple[int, int, int]) -> tuple[nn.Module, str, tuple[int, int, int]]:
    network, size = network_to_inspect(name, input_size=size)
    return network, name, size


def test_the_size_as_people_write_it() -> None:
    assert parse_input_size("3x128x96") == (3, 128, 96)
    assert parse_input_size(" 1X28×28 ") == (1, 28, 28)


@pytest.mark.parametrize(
    "text", ["", "128", "3x128", "3x128x128x1", "ax1x1", "3,32,32", "0x8x8", "3x0x8", "3x8x9999", "-3x8x8"]
)
def test_a_size_that_is_none(text: str) -> None:
    with pytest.raises(UsageError, match="size"):
        parse_input_size(text)


def test_a_timing_has_a_median_between_its_quartiles_and_leaves_the_network_alone() -> None:
    network = timm.create_model("lcnet_035").train()
    timing = time_one_image(network, (3, 32, 32), seconds=0.0)
    assert 0 < timing.low <= timing.median <= timing.high
    assert timing.runs == 5
    assert network.training
