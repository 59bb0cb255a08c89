"""Optimisers by what their steps do, parameter groups, and the moving average."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Any

import pytest
import timm
import torch
from torch import nn

from eyebright.config import OptimConfig
from eyebright.errors import UsageError
from eyebright.models import catalog  # noqa: F401  (registers our networks with timm)
from eyebright.models.small import SmallNet
from eyebright.training.optim import Average, make_optimiser

OPTIMISERS = ("adamw", "adam", "sgd", "lion", "muon")


def small_network() -> SmallNet:
    torch.manual_seed(0)
    return SmallNet(num_classes=5, width=8).to(memory_format=torch.channels_last)  # type: ignore[call-overload]


def gradients(network: nn.Module, seed: int = 0) -> None:
    """Fill in gradients of many sizes and both signs, none of them zero."""
    generator = torch.Generator().manual_seed(seed)
    for parameter in network.parameters():
        values = torch.randn(parameter.shape, generator=generator)
        parameter.grad = torch.empty_like(parameter).copy_(values + values.sign() * 1e-3)


def copies(network: nn.Module) -> dict[str, torch.Tensor]:
    return {name: parameter.detach().clone() for name, parameter in network.named_parameters()}


def peaks(network: nn.Module, optimiser: torch.optim.Optimizer) -> dict[str, float]:
    names = {parameter: name for name, parameter in network.named_parameters()}
    return {names[p]: group["peak"] for group in optimiser.param_groups for p in group["params"]}


def decays(network: nn.Module, optimiser: torch.optim.Optimizer) -> dict[str, float]:
    names = {parameter: name for name, parameter in network.named_parameters()}
    return {names[p]: group["weight_decay"] for group in optimiser.param_groups for p in group["params"]}


@pytest.mark.parametrize("layer_decay", [1.0, 0.8])
@pytest.mark.parametrize("optimiser", OPTIMISERS)
def test_weight_decay_alone_shrinks_weights_and_moves_no_norm_and_no_bias(optimiser: str, layer_decay: float) -> None:
    network = small_network()
    settings: dict[str, Any] = {"optimiser": optimiser, "learning_rate": 0.1, "weight_decay": 0.5}
    chosen = make_optimiser(network, OptimConfig(**settings, layer_decay=layer_decay))
    before = copies(network)
    for parameter in network.parameters():
        parameter.grad = torch.zeros_like(parameter)
    chosen.step()
    rates = peaks(network, chosen)
    for name, parameter in network.named_parameters():
        if parameter.ndim == 1:
            assert torch.equal(parameter, before[name]), name
        elif optimiser == "adam":  # L2 in the gradient: Adam makes a step of the size of the rate of it
            moved = (parameter - before[name]).abs()
            torch.testing.assert_close(moved, torch.full_like(moved, rates[name]), rtol=1e-2, atol=1e-6)
        else:
            ahead = 1.9 if optimiser == "sgd" else 1.0  # Nesterov's momentum takes the first step and 0.9 of it again
            torch.testing.assert_close(parameter, before[name] * (1 - rates[name] * 0.5 * ahead), rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("layer_decay", [1.0, 0.8])
@pytest.mark.parametrize("optimiser", OPTIMISERS)
def test_decay_all_decays_norms_and_biases_too(optimiser: str, layer_decay: float) -> None:
    network = timm.create_model("vit_tiny_patch16_224", num_classes=5, img_size=32, depth=2)
    settings: dict[str, Any] = {"optimiser": optimiser, "weight_decay": 0.03, "layer_decay": layer_decay}
    everything = decays(network, make_optimiser(network, OptimConfig(**settings, decay_all=True)))
    assert set(everything.values()) == {0.03}
    assert len(everything) == len(list(network.parameters()))
    chosen = decays(network, make_optimiser(network, OptimConfig(**settings)))
    assert chosen["norm.weight"] == chosen["norm.bias"] == chosen["head.bias"] == 0
    assert chosen["pos_embed"] == chosen["cls_token"] == 0, "the network names these in no_weight_decay()"
    assert chosen["head.weight"] == chosen["patch_embed.proj.weight"] == 0.03


def test_each_layer_learns_slower_than_the_next_by_the_factor() -> None:
    network = timm.create_model("resnet10t", num_classes=5)
    rates = peaks(network, make_optimiser(network, OptimConfig(learning_rate=1e-3, layer_decay=0.5)))
    assert rates["fc.weight"] == rates["fc.bias"] == 1e-3
    assert rates["conv1.0.weight"] == pytest.approx(rates["layer1.0.conv1.weight"] / 2)
    for stage in (1, 2, 3):
        assert rates[f"layer{stage}.0.conv1.weight"] == pytest.approx(rates[f"layer{stage + 1}.0.bn2.weight"] / 2)
    assert len(rates) == len(list(network.parameters()))


def test_layer_decay_works_for_a_network_of_our_own_and_leaves_frozen_weights_out() -> None:
    network = small_network()
    network.stem.requires_grad_(False)
    rates = peaks(network, make_optimiser(network, OptimConfig(learning_rate=1.0, layer_decay=0.5)))
    assert rates["classifier.weight"] == 1.0
    assert [rates[f"blocks.{block}.conv1.weight"] for block in range(3)] == [0.125, 0.25, 0.5]
    assert not any(name.startswith("stem") for name in rates)


@pytest.mark.parametrize("name", ["deep_v1", "cnn224", "cifar10net_v3", "fashion_ann", "headed"])
def test_the_networks_of_the_catalogue_have_lower_rates_layer_by_layer(name: str) -> None:
    options: dict[str, Any] = {"backbone": "resnet10t", "hidden": [8]} if name == "headed" else {}
    network = timm.create_model(name, num_classes=4, **options)
    rates = peaks(network, make_optimiser(network, OptimConfig(learning_rate=1.0, layer_decay=0.5)))
    in_order = [rates[parameter] for parameter, _ in network.named_parameters()]  # as the networks were built
    assert in_order == sorted(in_order)
    steps = sorted(set(in_order))
    assert steps[-1] == rates["classifier.weight"] == 1.0
    assert [low / high for low, high in pairwise(steps)] == [0.5] * (len(steps) - 1)
    assert len(steps) > 2
    if name == "headed":
        assert rates["hidden.0.linear.weight"] == 1.0


def test_groups_are_few_where_all_layers_learn_alike() -> None:
    optimiser = make_optimiser(small_network(), OptimConfig(layer_decay=1.0))
    assert sorted(group["weight_decay"] for group in optimiser.param_groups) == [0.0, OptimConfig().weight_decay]


def test_a_frozen_network_is_refused() -> None:
    with pytest.raises(UsageError, match="frozen"):
        make_optimiser(small_network().requires_grad_(False), OptimConfig())


REFERENCES = {
    "adamw": (torch.optim.AdamW, {"betas": (0.8, 0.999)}),
    "adam": (torch.optim.Adam, {"betas": (0.8, 0.999)}),
    "sgd": (torch.optim.SGD, {"momentum": 0.8, "nesterov": True}),
}


@pytest.mark.parametrize("optimiser", list(REFERENCES))
def test_steps_are_those_of_torch_without_fusion(optimiser: str) -> None:
    network, reference = small_network(), small_network()
    settings: dict[str, Any] = {"optimiser": optimiser, "learning_rate": 0.01, "weight_decay": 0.1, "momentum": 0.8}
    chosen = make_optimiser(network, OptimConfig(**settings, layer_decay=1.0, decay_all=True))
    kind, options = REFERENCES[optimiser]
    expected = kind(reference.parameters(), lr=0.01, weight_decay=0.1, fused=False, foreach=False, **options)  # type: ignore[operator]
    for step in range(5):
        for pair in (network, reference):
            gradients(pair, seed=step)
        chosen.step()
        expected.step()
    for ours, theirs in zip(network.parameters(), reference.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-6)


def test_nesterov_and_momentum_can_be_turned_off() -> None:
    network, reference = small_network(), small_network()
    settings = OptimConfig(optimiser="sgd", momentum=0, learning_rate=0.1, weight_decay=0, layer_decay=1.0)
    optimiser = make_optimiser(network, settings)
    for step in range(2):
        gradients(network, seed=step)
        optimiser.step()
    for step in range(2):
        gradients(reference, seed=step)
        with torch.no_grad():
            for parameter in reference.parameters():
                parameter -= 0.1 * parameter.grad
    for ours, plain in zip(network.parameters(), reference.parameters(), strict=True):
        torch.testing.assert_close(ours, plain)


def test_lions_first_step_moves_every_weight_by_the_rate_against_its_gradient() -> None:
    network = small_network()
    settings = OptimConfig(optimiser="lion", learning_rate=0.01, weight_decay=0.0, layer_decay=1.0)
    optimiser, before = make_optimiser(network, settings), copies(network)
    gradients(network)
    optimiser.step()
    for name, parameter in network.named_parameters():
        assert parameter.grad is not None
        torch.testing.assert_close(parameter, before[name] - 0.01 * parameter.grad.sign())


def test_muons_first_step_of_a_hidden_layer_is_close_to_orthogonal_and_as_large_as_adams() -> None:
    network = small_network()
    settings = OptimConfig(optimiser="muon", learning_rate=0.01, weight_decay=0.0, layer_decay=1.0, nesterov=False)
    optimiser, before = make_optimiser(network, settings), copies(network)
    gradients(network)
    hidden = network.get_parameter("blocks.1.conv2.weight")
    assert hidden.grad is not None
    hidden.grad *= torch.logspace(0, -1, 16).view(-1, 1, 1, 1)  # some outputs have much larger gradients than others
    optimiser.step()
    moved = {name: (before[name] - parameter).detach() for name, parameter in network.named_parameters()}
    update = moved["blocks.1.conv2.weight"].flatten(1)  # (16, 16 * 9)
    singular = torch.linalg.svdvals(update)
    # Newton and Schulz's iteration leaves singular values between about 0.7 and 1.2 of the common one.
    assert singular.max() / singular.min() < 2
    values = torch.linalg.svdvals(hidden.grad.flatten(1))
    assert values.max() / values.min() > 10, "the gradient itself is far from orthogonal"
    # 0.2 is the usual root mean square of an update of AdamW with rate 1.
    assert float(update.square().mean().sqrt()) == pytest.approx(0.2 * 0.01, rel=0.3)
    for name in ("classifier.weight", "classifier.bias", "stem.1.weight"):  # the first step of Adam
        gradient = network.get_parameter(name).grad
        assert gradient is not None
        torch.testing.assert_close(moved[name], 0.01 * gradient.sign(), rtol=1e-2, atol=1e-6)


def test_muon_leaves_depthwise_kernels_to_adam() -> None:
    network = timm.create_model("tf_efficientnet_lite0", num_classes=5)
    optimiser = make_optimiser(network, OptimConfig(optimiser="muon"))
    gradients(network)
    optimiser.step()
    by_muon = {n for n, p in network.named_parameters() if "momentum_buffer" in optimiser.state[p]}
    assert "blocks.1.0.conv_pw.weight" in by_muon
    assert not by_muon & {"blocks.1.0.conv_dw.weight", "classifier.weight", "bn1.weight"}


@pytest.mark.parametrize("optimiser", OPTIMISERS)
def test_a_step_at_rate_zero_changes_nothing(optimiser: str) -> None:
    network = small_network()
    chosen = make_optimiser(network, OptimConfig(optimiser=optimiser))
    before = copies(network)
    gradients(network)
    for group in chosen.param_groups:
        group["lr"] = group["peak"] * 0.0
    chosen.step()
    for name, parameter in network.named_parameters():
        assert torch.equal(parameter, before[name])


@pytest.mark.parametrize("optimiser", OPTIMISERS)
def test_every_optimiser_learns(optimiser: str) -> None:
    network = small_network()
    rate = 0.1 if optimiser == "sgd" else 3e-3
    chosen = make_optimiser(network, OptimConfig(optimiser=optimiser, learning_rate=rate, layer_decay=1.0))
    images, targets = torch.randn(20, 3, 8, 8), torch.arange(20) % 5
    first = last = math.nan
    for step in range(30):
        loss = nn.functional.cross_entropy(network(images), targets)
        chosen.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        chosen.step()
        last = loss.item()
        first = last if step == 0 else first
    assert last < 0.7 * first


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


def test_moving_average_copies_counters_and_averages_statistics() -> None:
    network = torch.nn.BatchNorm2d(2)
    average = Average(network, decay=0.9)
    network(torch.randn(4, 2, 3, 3))
    average.update(network, 0)
    assert average.network.num_batches_tracked == 1
    assert network.running_mean is not None
    torch.testing.assert_close(average.network.running_mean, 0.9 * network.running_mean)


def test_moving_average_keeps_the_memory_order_and_averages_each_element_with_its_own() -> None:
    network = small_network()
    average = Average(network, decay=0.9)
    before = copies(network)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.normal_()
    average.update(network, 0)
    mean = average.network.get_parameter("blocks.0.conv1.weight")
    assert mean.is_contiguous(memory_format=torch.channels_last)
    for name, parameter in network.named_parameters():
        expected = 0.1 * before[name] + 0.9 * parameter
        torch.testing.assert_close(average.network.get_parameter(name).data, expected.data)


def test_tied_weights_move_once() -> None:
    network = nn.Sequential(nn.Linear(2, 2, bias=False), nn.Linear(2, 2, bias=False))
    network[1].weight = network[0].weight
    average = Average(network, decay=0.9)
    start = network[0].weight.detach().clone()
    with torch.no_grad():
        network[0].weight.fill_(1.0)  # type: ignore[operator]
    average.update(network, 0)
    torch.testing.assert_close(average.network.get_parameter("0.weight").data, 0.1 * start + 0.9)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("optimiser", OPTIMISERS)
def test_steps_on_a_gpu_are_those_on_the_cpu(optimiser: str) -> None:
    here, there = small_network(), small_network().cuda()
    settings = OptimConfig(optimiser=optimiser, learning_rate=0.01, weight_decay=0.1)
    ours, theirs = make_optimiser(here, settings), make_optimiser(there, settings)
    for step in range(3):
        gradients(here, seed=step)
        for cpu, gpu in zip(here.parameters(), there.parameters(), strict=True):
            assert cpu.grad is not None
            gpu.grad = torch.empty_like(gpu).copy_(cpu.grad)
        ours.step()
        theirs.step()
    for cpu, gpu in zip(here.parameters(), there.parameters(), strict=True):
        # Muon multiplies in bfloat16, which rounds otherwise on a GPU.
        tolerance = 2e-2 if optimiser == "muon" else 1e-4
        torch.testing.assert_close(cpu.data, gpu.data.cpu(), rtol=tolerance, atol=tolerance)
