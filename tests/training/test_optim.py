"""Parameter groups, freezing and the moving average."""

from __future__ import annotations

import timm
import torch

from eyebright.config import OptimConfig
from eyebright.models.small import SmallNet
from eyebright.training.optim import Average, freeze_first_layers, layer_names, make_optimiser


def test_norms_and_biases_have_no_decay_and_later_layers_learn_faster() -> None:
    network = timm.create_model("tf_efficientnet_lite0", num_classes=5)
    optimiser = make_optimiser(network, OptimConfig(learning_rate=1e-3, layer_decay=0.8, weight_decay=0.05))
    names = {parameter: name for name, parameter in network.named_parameters()}
    rates = {}
    for group in optimiser.param_groups:
        for parameter in group["params"]:
            assert group["weight_decay"] == (0.05 if parameter.ndim > 1 else 0.0), names[parameter]
            rates[names[parameter]] = group["peak"]
    assert rates["classifier.weight"] == 1e-3
    assert rates["conv_stem.weight"] < rates["blocks.2.0.conv_pw.weight"] < rates["blocks.6.0.conv_pw.weight"] < 1e-3
    assert len(rates) == len(names)


def test_frozen_layers_are_the_first_and_get_no_step() -> None:
    network = timm.create_model("tf_efficientnet_lite0", num_classes=5)
    frozen = freeze_first_layers(network, 0.4)
    count = sum(parameter.numel() for parameter in network.parameters() if not parameter.requires_grad)
    assert 0 < frozen == count < 0.4 * sum(parameter.numel() for parameter in network.parameters())
    assert not network.conv_stem.weight.requires_grad
    assert network.classifier.weight.requires_grad
    optimiser = make_optimiser(network, OptimConfig())
    assert all(parameter.requires_grad for group in optimiser.param_groups for parameter in group["params"])
    freeze_first_layers(network, 0.0)
    assert all(parameter.requires_grad for parameter in network.parameters())


def test_every_weight_belongs_to_one_layer() -> None:
    for network in (timm.create_model("resnet18"), timm.create_model("convnext_atto"), SmallNet()):
        names = [name for layer in layer_names(network) for name in layer]
        assert sorted(names) == sorted(name for name, _ in network.named_parameters())


def test_moving_average_is_the_recurrence() -> None:
    network = torch.nn.Linear(1, 1, bias=False)
    average = Average(network, decay=0.9)
    expected = network.weight.item()
    for step in range(30):
        with torch.no_grad():
            network.weight.fill_(step)
        average.update(network, step)
        decay = min(0.9, (1 + step) / (10 + step))
        expected = decay * expected + (1 - decay) * step
    assert abs(average.network.weight.item() - expected) < 1e-4  # type: ignore[operator, union-attr]


def test_moving_average_copies_counters() -> None:
    network = torch.nn.BatchNorm2d(2)
    average = Average(network, decay=0.9)
    network(torch.randn(4, 2, 3, 3))
    average.update(network, 0)
    assert average.network.num_batches_tracked == 1
