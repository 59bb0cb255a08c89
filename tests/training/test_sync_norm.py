"""Batch norms over processes are those of the joined batch: values, gradients and running statistics."""

from __future__ import annotations

import copy
import json
import os
import signal
import sys
from typing import Any

import pytest
import torch
from test_team import finish, start_team
from timm.layers import BatchNormAct2d
from torch import Tensor, nn

from eyebright.errors import TeamError, UsageError
from eyebright.training.sync_norm import synchronise_norms, unsynchronise_norms
from eyebright.training.team import ALONE, Team, join_team

PAIR = Team(size=2)  # without connections: its sums are those of one process
DTYPES = {"float64": 1e-12, "float32": 2e-5}


def make_network(dtype: torch.dtype = torch.float32) -> nn.Sequential:
    """Every kind of batch norm that our networks and timm's have, without the biases before them: no gradient."""
    torch.manual_seed(0)
    network = nn.Sequential(
        nn.Conv2d(3, 4, 3, bias=False), nn.BatchNorm2d(4), nn.ReLU(),
        nn.Conv2d(4, 6, 3, bias=False), BatchNormAct2d(6, act_layer=nn.GELU),
        nn.Conv2d(6, 4, 1, bias=False), nn.BatchNorm2d(4, affine=False), nn.AdaptiveAvgPool2d(2), nn.Flatten(),
        nn.Linear(16, 8, bias=False), nn.BatchNorm1d(8, momentum=None), nn.Tanh(), nn.Linear(8, 2),
    )  # fmt: skip
    for module in network:
        if isinstance(module, (nn.BatchNorm1d, nn.BatchNorm2d)) and module.affine:
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias)
    return network.to(dtype, memory_format=torch.channels_last)  # type: ignore[call-overload, no-any-return]


def train(network: nn.Module, parts: list[tuple[Tensor, Tensor]]) -> dict[str, Tensor]:
    """Steps of plain gradient descent (as the caller completes them) on images and the weights of their outputs."""
    found = {}
    network.train()
    for number, (images, wanted) in enumerate(parts):
        images = images.clone(memory_format=torch.channels_last).requires_grad_()
        output = network(images)
        network.zero_grad()
        (output * wanted).sum().backward()
        assert images.grad is not None
        found |= {f"output {number}": output.detach(), f"input gradient {number}": images.grad}
    found |= {name: value.grad for name, value in network.named_parameters() if value.grad is not None}
    return found | dict(network.named_buffers())


def batches(dtype: torch.dtype) -> list[tuple[Tensor, Tensor]]:
    """Two batches of 8 images, each with its own mean and spread, so that the parts of a batch differ much."""
    torch.manual_seed(1)
    spread = torch.linspace(0.5, 3, 8, dtype=dtype).view(8, 1, 1, 1)
    return [(torch.randn(8, 3, 9, 9, dtype=dtype) * spread + spread, torch.randn(8, 2, dtype=dtype)) for _ in range(2)]


def work(team: Team) -> dict[str, Any]:
    """Largest differences from a plain network on the joined batch; then a death within a norm's backward pass."""
    found: dict[str, Any] = {}
    for parts in ((3, 5), (8, 0)):
        mine = slice(0, parts[0]) if team.leads else slice(parts[0], 8)
        for name in DTYPES:
            dtype = getattr(torch, name)
            whole = train(make_network(dtype), batches(dtype))
            network = synchronise_norms(make_network(dtype), team)
            own = train(network, [(images[mine], wanted[mine]) for images, wanted in batches(dtype)])
            parameters = dict(network.named_parameters())
            differences = {}
            for key, value in own.items():
                # Each process has its own images' part of the gradient of a weight; DDP adds them up.
                value = team.sum(value) if key in parameters else value
                expected = whole[key][mine] if key.startswith(("output", "input")) else whole[key]
                error = (value - expected).abs().max() / whole[key].abs().max() if value.numel() else torch.zeros(())
                differences[key] = float(error)
            found[f"{parts} {name}"] = differences
    network = synchronise_norms(make_network(), team)
    images, _ = batches(torch.float32)[0]
    output = network(images[:4]).sum()
    if team.rank == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    try:
        output.backward()
    except TeamError as error:
        found["death"] = error.problem
    team.leave()
    return found


@pytest.fixture(scope="module")
def found() -> list[dict[str, Any]]:
    """What two processes report, of which the second is killed at the end."""
    return finish(start_team(__file__, 2))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("parts", ["(3, 5)", "(8, 0)"])
def test_two_processes_compute_what_one_does_on_the_joined_batch(
    found: list[dict[str, Any]], parts: str, dtype: str
) -> None:
    differences = found[0][f"{parts} {dtype}"]
    assert {"output 1", "input gradient 1", "4.weight", "6.running_var", "10.running_mean"} <= set(differences)
    assert {key: error for key, error in differences.items() if not error <= DTYPES[dtype]} == {}


def test_a_death_within_a_backward_pass_is_heard(found: list[dict[str, Any]]) -> None:
    assert found[1] == {}
    assert "another process of this training ended" in found[0]["death"]


@pytest.mark.parametrize("shift", [0.0, 1e4])
@pytest.mark.parametrize("shape", [(6, 3, 5, 5), (6, 3, 7), (6, 3)])
def test_one_part_alone_agrees_with_torch(shape: tuple[int, ...], shift: float) -> None:
    """Also where the mean is 10,000 times the spread, for all shapes that batch norms take."""
    kind = {4: nn.BatchNorm2d, 3: nn.BatchNorm1d, 2: nn.BatchNorm1d}[len(shape)]
    plain, ours = kind(3), kind(3)
    synchronise_norms(ours, PAIR)
    torch.manual_seed(0)
    values, gradient = torch.randn(shape) + shift, torch.randn(shape)
    results = []
    for norm in (plain, ours):
        leaf = values.clone().requires_grad_()
        output = norm(leaf)
        output.backward(gradient)
        results.append([output, leaf.grad, norm.weight.grad, norm.bias.grad, norm.running_mean, norm.running_var])
    for expected, received in zip(*results, strict=True):
        torch.testing.assert_close(received, expected, rtol=1e-3 if shift else 1e-4, atol=2e-3 if shift else 1e-5)


def test_half_precision_keeps_its_type_and_counts_in_full() -> None:
    norm, plain = synchronise_norms(nn.BatchNorm2d(3), PAIR), nn.BatchNorm2d(3)
    torch.manual_seed(0)
    values = torch.randn(8, 3, 16, 16).add_(3).bfloat16().requires_grad_()
    output = norm(values)
    output.float().square().sum().backward()
    assert values.grad is not None
    assert (output.dtype, values.grad.dtype) == (torch.bfloat16, torch.bfloat16)
    plain(values.detach().float())
    torch.testing.assert_close(norm.running_mean, plain.running_mean)
    torch.testing.assert_close(norm.running_var, plain.running_var)


def test_frozen_and_evaluated_norms_are_left_alone() -> None:
    plain, ours = make_network(), synchronise_norms(make_network(), PAIR)
    images, _ = batches(torch.float32)[0]
    assert torch.equal(plain.eval()(images), ours.eval()(images))
    assert all(torch.equal(a, b) for a, b in zip(plain.buffers(), ours.buffers(), strict=True))
    ours.train()
    ours[1].eval()  # type: ignore[index]
    ours(images)
    assert int(ours[1].num_batches_tracked) == 0  # type: ignore[index]
    assert int(ours[4].num_batches_tracked) == 1  # type: ignore[index]


def test_only_the_class_changes_and_it_changes_back() -> None:
    """So that averages, checkpoints and exports work with either."""
    network = make_network()
    classes, tensors = [type(module) for module in network], network.state_dict(keep_vars=True)
    assert synchronise_norms(network, PAIR) is network
    assert [type(module) for module in network] != classes
    average = copy.deepcopy(network)
    average.load_state_dict(network.state_dict())
    for changed in (network, average):
        unsynchronise_norms(changed)
        assert [type(module) for module in changed] == classes
    assert all(tensors[key] is value for key, value in network.state_dict(keep_vars=True).items())
    assert network(batches(torch.float32)[0][0]).shape == (8, 2)


def test_alone_nothing_changes() -> None:
    network = make_network()
    synchronise_norms(network, ALONE)
    assert type(network[1]) is nn.BatchNorm2d


def test_a_batch_norm_of_another_kind_is_refused() -> None:
    class Odd(nn.BatchNorm2d):
        def forward(self, input: Tensor) -> Tensor:
            return 2 * super().forward(input)

    network = nn.Sequential(nn.BatchNorm2d(3), Odd(3))
    with pytest.raises(UsageError, match="batch norm 1 is of the kind Odd"):
        synchronise_norms(network, PAIR)
    assert type(network[0]) is nn.BatchNorm2d


def test_one_value_a_channel_is_refused_as_torch_does() -> None:
    norm = synchronise_norms(nn.BatchNorm1d(3), PAIR)
    with pytest.raises(ValueError, match="Expected more than 1 value per channel"):
        norm(torch.ones(1, 3))


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_cuda_uses_the_kernels_of_torch() -> None:
    """One process: no statistics travel, and the activation of timm's norms is still there."""
    plain = make_network().cuda()
    ours = synchronise_norms(make_network().cuda(), Team(size=2, device=torch.device("cuda")))
    assert isinstance(ours[4], nn.SyncBatchNorm)  # type: ignore[index]
    parts = [(images.cuda(), wanted.cuda()) for images, wanted in batches(torch.float32)]
    for (name, expected), received in zip(train(plain, parts).items(), train(ours, parts).values(), strict=True):
        torch.testing.assert_close(received, expected, rtol=1e-4, atol=1e-4, msg=name)


def main() -> None:
    """What a process of the session does."""
    torch.set_num_threads(1)
    sys.stdout.write(json.dumps(work(join_team("cpu"))))


if __name__ == "__main__":
    main()
