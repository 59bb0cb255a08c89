"""What is frozen, and what mode each part of a network trains in."""

from __future__ import annotations

from typing import Any

import pytest
import timm
import torch
from torch import nn

from eyebright.config import OptimConfig
from eyebright.errors import UsageError
from eyebright.models import catalog  # noqa: F401  (registers our networks with timm)
from eyebright.models.small import SmallNet
from eyebright.training.freezing import freeze, freeze_first_layers, head_parameters, layer_names, training_mode
from eyebright.training.optim import make_optimiser


class WithHead(nn.Module):
    """A body of three layers, one of them without a scale of its own, and an MLP head."""

    def __init__(self) -> None:
        super().__init__()
        self.drop_in = nn.Dropout(0.5)
        self.conv1 = nn.Conv2d(3, 4, 3)
        self.plain_norm = nn.BatchNorm2d(4, affine=False)
        self.drop_within = nn.Dropout(0.5)
        self.conv2 = nn.Conv2d(4, 4, 3)
        self.norm = nn.BatchNorm2d(4)
        self.drop_before_head = nn.Dropout(0.5)
        self.hidden = nn.Linear(4, 8)
        self.classifier = nn.Linear(8, 2)

    def get_classifier(self) -> nn.Module:
        return self.classifier

    def get_head(self) -> nn.Module:
        return nn.ModuleList([self.hidden, self.classifier])

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.conv2(self.drop_within(self.plain_norm(self.conv1(self.drop_in(x)))))
        x = self.drop_before_head(self.norm(x).mean((2, 3)))
        logits: torch.Tensor = self.classifier(self.hidden(x).relu())
        return logits


def modes(network: nn.Module, *names: str) -> list[bool]:
    return [network.get_submodule(name).training for name in names]


def test_the_first_layers_are_frozen_and_get_no_step() -> None:
    network = timm.create_model("tf_efficientnet_lite0", num_classes=5)
    frozen = freeze(network, 0.4)
    count = sum(parameter.numel() for parameter in network.parameters() if not parameter.requires_grad)
    assert 0 < frozen == count < 0.4 * sum(parameter.numel() for parameter in network.parameters())
    assert not network.conv_stem.weight.requires_grad
    assert network.classifier.weight.requires_grad
    optimiser = make_optimiser(network, OptimConfig())
    assert all(parameter.requires_grad for group in optimiser.param_groups for parameter in group["params"])
    assert freeze(network, 0.0) == 0
    assert all(parameter.requires_grad for parameter in network.parameters())


def test_every_weight_belongs_to_one_layer() -> None:
    for network in (timm.create_model("resnet18"), timm.create_model("convnext_atto"), SmallNet(), WithHead()):
        names = [name for layer in layer_names(network) for name in layer]
        assert sorted(names) == sorted(name for name, _ in network.named_parameters())


def test_a_network_that_does_not_say_its_layers_is_frozen_in_the_order_of_its_modules() -> None:
    network = WithHead()
    freeze_first_layers(network, 0.4)  # two of five modules with weights
    assert [name for name, p in network.named_parameters() if not p.requires_grad] == [
        "conv1.weight", "conv1.bias", "conv2.weight", "conv2.bias",
    ]  # fmt: skip


@pytest.mark.parametrize(
    "name", ["resnet18", "vit_tiny_patch16_224", "convnext_atto", "deit_tiny_distilled_patch16_224"]
)
def test_a_frozen_body_leaves_the_classifier(name: str) -> None:
    network = timm.create_model(name, num_classes=5)
    total = sum(parameter.numel() for parameter in network.parameters())
    features = network.num_features
    heads = 2 if "distilled" in name else 1
    assert total - freeze(network, "body") == heads * 5 * (features + 1)


def test_a_frozen_body_leaves_the_whole_head_of_a_network_that_has_one() -> None:
    network = WithHead()
    freeze(network, "body")
    trained = {name for name, parameter in network.named_parameters() if parameter.requires_grad}
    assert trained == {"hidden.weight", "hidden.bias", "classifier.weight", "classifier.bias"}
    freeze(network, 0.0)
    assert all(parameter.requires_grad for parameter in network.parameters())


def test_the_head_of_a_headed_network_is_its_hidden_layers_and_its_classifier() -> None:
    network = timm.create_model("headed", backbone="resnet10t", hidden=[8], num_classes=4)
    freeze(network, "body")
    trained = {name.split(".")[0] for name, parameter in network.named_parameters() if parameter.requires_grad}
    assert trained == {"hidden", "classifier"}
    assert not any(parameter.requires_grad for parameter in network.backbone.parameters())


def test_a_network_without_a_head_is_refused() -> None:
    with pytest.raises(UsageError, match="no head"):
        head_parameters(SmallNet(num_classes=0))


def test_a_frozen_body_gives_the_features_that_evaluation_gives() -> None:
    torch.manual_seed(0)
    network = timm.create_model(
        "tf_efficientnet_lite0", num_classes=3, drop_path_rate=0.5, drop_rate=0.0
    )  # random weights: what matters is the mode
    images = torch.randn(4, 3, 64, 64)
    probed = network.eval()(images)
    statistics = {name: buffer.clone() for name, buffer in network.named_buffers()}
    freeze(network, "body")
    training_mode(network, fixed_statistics=None)
    trained = network(images)
    assert trained.requires_grad
    torch.testing.assert_close(trained, probed)
    assert all(torch.equal(buffer, statistics[name]) for name, buffer in network.named_buffers())
    freeze(network, 0.0)
    training_mode(network, fixed_statistics=None)
    assert not torch.allclose(network(images), probed), "unfrozen, batch norms use the batch and depth is stochastic"
    assert int(network.bn1.num_batches_tracked) == 1


def test_layers_without_weights_follow_their_neighbours() -> None:
    network = WithHead()
    freeze(network, "body")
    training_mode(network, fixed_statistics=None)
    assert modes(network, "drop_in", "conv1", "plain_norm", "drop_within", "conv2", "norm") == [False] * 6
    assert modes(network, "drop_before_head", "hidden", "classifier") == [True] * 3
    freeze_first_layers(network, 0.2)  # the first convolution alone
    training_mode(network, fixed_statistics=None)
    assert modes(network, "drop_in", "conv1") == [False] * 2
    assert modes(network, "plain_norm", "drop_within", "conv2", "norm") == [True] * 4


@pytest.mark.parametrize(("fixed", "expected"), [(True, [False, False]), (False, [True, True]), (None, [False, True])])
def test_statistics_are_fixed_for_all_none_or_the_frozen_batch_norms(fixed: Any, expected: list[bool]) -> None:
    network = SmallNet(num_classes=3, width=4)
    freeze_first_layers(network, 0.25)  # the stem
    training_mode(network, fixed_statistics=fixed)
    before = [network.stem[1].running_mean.clone(), network.blocks[2].bn1.running_mean.clone()]  # type: ignore[operator, union-attr]
    network(torch.randn(8, 3, 16, 16))
    after = [network.stem[1].running_mean, network.blocks[2].bn1.running_mean]  # type: ignore[union-attr]
    assert [not torch.equal(a, b) for a, b in zip(before, after, strict=True)] == expected  # type: ignore[arg-type]
    assert network.blocks[2].conv1.training


def test_a_frozen_batch_norm_in_a_block_that_trains_keeps_its_statistics() -> None:
    network = SmallNet(num_classes=3, width=4)
    network.blocks[1].bn1.requires_grad_(False)  # type: ignore[union-attr]
    training_mode(network, fixed_statistics=None)
    assert modes(network, "blocks.1.bn1", "blocks.1.bn2", "blocks.1") == [False, True, True]


def test_everything_trains_when_nothing_is_frozen() -> None:
    network = WithHead().eval()
    training_mode(network, fixed_statistics=None)
    assert all(module.training for module in network.modules())


def test_dropout_before_a_head_that_trains_is_active() -> None:
    network = WithHead()
    freeze(network, "body")
    training_mode(network, fixed_statistics=None)
    images = torch.randn(2, 3, 9, 9)
    assert not torch.equal(network(images), network(images))
