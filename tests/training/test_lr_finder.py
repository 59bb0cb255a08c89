"""The learning-rate range test: what it suggests, when it ends, and that nothing is changed by it."""

from __future__ import annotations

import contextlib
import random
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from eyebright.config import OptimConfig
from eyebright.errors import UsageError
from eyebright.models.small import SmallNet
from eyebright.progress import Silent
from eyebright.training.lr_finder import range_test
from eyebright.training.optim import make_optimiser
from eyebright.training.untouched import leaving_untouched


def recorded(loss: Callable[[float], float]) -> tuple[Callable[[float], float], list[float]]:
    """A pretended training step whose loss depends on the rate alone, and the rates that it was called with."""
    rates: list[float] = []

    def step(rate: float) -> float:
        rates.append(rate)
        return loss(rate)

    return step, rates


def valley(noise: float, seed: int = 0) -> Callable[[float], float]:
    """Falls most steeply at a rate of 1e-3, is lowest near 1e-2 and explodes from 1 on."""
    generator = np.random.default_rng(seed)

    def loss(rate: float) -> float:
        place = np.log10(rate)
        falling = 2.3 - 1.5 / (1 + np.exp(-4 * (place + 3)))
        return float(falling + np.exp(min(30.0, 8 * (place + 0.5))) + noise * generator.normal())

    return loss


@pytest.mark.parametrize("seed", range(5))
def test_the_steepest_fall_is_suggested_and_the_minimum_gives_the_rule_of_thumb(seed: int) -> None:
    curve = range_test(recorded(valley(0.1, seed))[0])
    assert curve.suggestion is not None
    assert abs(np.log10(curve.suggestion) + 3) < 0.4
    assert curve.minimum_tenth is not None
    assert 1e-4 < curve.minimum_tenth < 3e-2
    assert f"{curve.suggestion:.2g}" in curve.reason


def test_rates_rise_by_a_constant_factor_from_the_lowest_to_the_highest() -> None:
    step, rates = recorded(lambda rate: 1.0)
    curve = range_test(step, lowest=1e-4, highest=1.0, steps=41)
    np.testing.assert_allclose(np.diff(np.log10(rates)), 0.1, rtol=1e-9)
    assert (rates[0], rates[-1]) == (pytest.approx(1e-4), pytest.approx(1.0))
    np.testing.assert_array_equal(curve.rates, rates)
    assert curve.ended is None


def test_smoothing_is_a_moving_average_without_bias() -> None:
    values = iter(np.random.default_rng(0).uniform(1, 2, 30))
    curve = range_test(lambda rate: float(next(values)), steps=30)
    for number in range(30):
        weights = 0.9 ** np.arange(number, -1, -1)
        assert curve.smoothed[number] == pytest.approx((weights * curve.losses[: number + 1]).sum() / weights.sum())


def test_it_ends_when_the_loss_explodes() -> None:
    step, rates = recorded(valley(0.0))
    curve = range_test(step)
    assert len(rates) == len(curve.losses) < 100
    assert curve.smoothed[-1] > 4 * curve.smoothed.min() >= curve.smoothed[:-1].max() / 4
    assert curve.ended is not None
    assert "4 times its minimum" in curve.ended


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_it_ends_at_a_loss_that_is_not_finite_and_still_suggests(bad: float) -> None:
    smooth = valley(0.05)
    step, rates = recorded(lambda rate: smooth(rate) if rate < 0.1 else bad)
    curve = range_test(step)
    assert rates[-1] >= 0.1 > rates[-2]
    assert np.isfinite(curve.losses).all()
    assert len(curve.losses) == len(rates) - 1
    assert curve.ended is not None
    assert "not finite" in curve.ended
    assert curve.suggestion is not None
    assert curve.suggestion == pytest.approx(1e-3, rel=1.5)


@pytest.mark.parametrize("seed", range(5))
def test_a_flat_curve_and_one_that_only_rises_give_no_suggestion(seed: int) -> None:
    generator = np.random.default_rng(seed)
    flat = range_test(lambda rate: 2.3 + 0.2 * generator.normal())
    rising = range_test(lambda rate: 2.3 + min(50.0, 3 * rate) + 0.1 * generator.normal())
    constant = range_test(lambda rate: 0.7)
    for curve in (flat, rising, constant):
        assert curve.suggestion is None
        assert curve.minimum_tenth is None
        assert "did not fall" in curve.reason


def test_a_deeper_descent_after_an_explosion_is_not_suggested() -> None:
    smooth = valley(0.02)

    def loss(rate: float) -> float:
        return smooth(rate) if rate < 0.1 else float(3.1 - 1.9 * (rate > 3))

    curve = range_test(loss, lowest=1e-6, highest=1000.0)
    assert curve.ended is None
    assert curve.suggestion is not None
    assert curve.suggestion < 1e-2


def test_a_loss_that_is_never_finite_is_said_so() -> None:
    curve = range_test(lambda rate: float("nan"))
    assert len(curve.rates) == 0
    assert curve.suggestion is None
    assert "after only 0 steps" in curve.reason


def test_impossible_ranges_and_too_few_steps_are_refused() -> None:
    with pytest.raises(UsageError, match="no range"):
        range_test(lambda rate: 1.0, lowest=1.0, highest=0.1)
    with pytest.raises(UsageError, match="no range"):
        range_test(lambda rate: 1.0, lowest=0.0)
    with pytest.raises(UsageError, match="too few"):
        range_test(lambda rate: 1.0, steps=5)


class Counting(Silent):
    """A `Progress` that counts what it hears."""

    def __init__(self) -> None:
        self.total = self.done = 0

    @contextlib.contextmanager
    def task(self, description: str, total: int, unit: str = "images") -> Iterator[Any]:
        self.total = total
        yield self

    def advance(self, units: int = 1) -> None:
        self.done += units


def test_progress_hears_of_every_step() -> None:
    progress = Counting()
    range_test(lambda rate: 1.0, steps=25, progress=progress)
    assert (progress.total, progress.done) == (25, 25)


def network_in_use() -> SmallNet:
    """A network in the middle of something: some gradients, a frozen part, mixed modes, channels-last."""
    torch.manual_seed(3)
    network = SmallNet(num_classes=3, width=4, drop_rate=0.5).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    network.train()
    network(torch.randn(4, 3, 8, 8)).sum().backward()
    network.stem.requires_grad_(False)
    network.stem.eval()
    network.classifier.zero_grad(set_to_none=True)
    assert network.classifier.weight.grad is None
    with torch.no_grad():
        network.blocks[1].bn1.running_mean[0] = float("nan")  # type: ignore[union-attr, index, operator]
    return network


def everything(network: nn.Module) -> dict[str, Any]:
    """All that must be the same afterwards, as bytes and identities."""
    facts: dict[str, Any] = {}
    for name, tensor in (*network.named_parameters(), *network.named_buffers()):
        facts[name] = (id(tensor), tensor.data_ptr(), tensor.stride(), tensor.detach().numpy().tobytes())
    for name, parameter in network.named_parameters():
        gradient = parameter.grad
        facts[f"{name}.grad"] = None if gradient is None else (id(gradient), gradient.numpy().tobytes())
        facts[f"{name}.requires_grad"] = parameter.requires_grad
    for name, module in network.named_modules():
        facts[f"{name}.training"] = module.training
    _, keys, place, has_gauss, gauss = np.random.get_state()  # type: ignore[misc]
    facts["random"] = (
        torch.get_rng_state().numpy().tobytes(),
        keys.tobytes(),
        place,
        has_gauss,
        gauss,
        random.getstate(),
    )  # type: ignore[union-attr]
    return facts


def train_a_little(network: nn.Module, optimiser: str, device: str = "cpu") -> None:
    """Real steps with everything that could leave traces."""
    network.requires_grad_(True).train()
    chosen = make_optimiser(network, OptimConfig(optimiser=optimiser, learning_rate=0.1))  # type: ignore[arg-type]
    network.zero_grad(set_to_none=False)  # writes into the gradients that are there
    for _ in range(3):
        scale = random.random() * float(np.random.normal())
        loss = network(scale * torch.randn(4, 3, 8, 8, device=device)).square().sum()
        chosen.zero_grad()
        loss.backward()
        chosen.step()


@pytest.mark.parametrize("optimiser", ["adamw", "sgd", "lion", "muon"])
def test_training_inside_leaves_no_trace(optimiser: str) -> None:
    network = network_in_use()
    before = everything(network)
    with leaving_untouched(network):
        train_a_little(network, optimiser)
        changed = everything(network)
        assert all(changed[name] != before[name] for name in ("stem.0.weight", "classifier.weight.grad", "random"))
        assert changed["stem.training"] != before["stem.training"]
    assert everything(network) == before


def test_an_error_inside_leaves_no_trace_either() -> None:
    network = network_in_use()
    before = everything(network)
    with pytest.raises(ZeroDivisionError), leaving_untouched(network):
        train_a_little(network, "adamw")
        raise ZeroDivisionError
    assert everything(network) == before


def test_replaced_weights_and_buffers_are_put_back() -> None:
    network = network_in_use()
    before = everything(network)
    with leaving_untouched(network):
        network.stem[0].weight = nn.Parameter(torch.zeros(4, 3, 3, 3))  # type: ignore[operator]
        network.blocks[0].bn1.running_var = torch.zeros(4)  # type: ignore[union-attr]
    assert everything(network) == before


def test_an_optimiser_made_before_goes_on_as_if_nothing_had_been() -> None:
    def steps(with_test: bool) -> bytes:
        network = network_in_use()
        torch.manual_seed(0)
        optimiser = torch.optim.Adam(network.parameters(), lr=0.01)
        for step in range(4):
            if with_test and step == 2:
                with leaving_untouched(network):
                    train_a_little(network, "adamw")
            network(torch.randn(4, 3, 8, 8)).sum().backward()
            optimiser.step()
        return network.classifier.weight.detach().numpy().tobytes()  # type: ignore[operator, union-attr]

    assert steps(with_test=True) == steps(with_test=False)


def test_a_real_network_is_given_a_rate_that_it_learns_with() -> None:
    torch.manual_seed(0)
    network = SmallNet(num_classes=3, width=4)
    images = torch.randn(96, 3, 8, 8)
    targets = torch.arange(96) % 3
    images[torch.arange(96), targets] += 1.0  # the class is the brightest channel
    optimiser = make_optimiser(network, OptimConfig(optimiser="sgd", layer_decay=1.0))
    generator = torch.Generator().manual_seed(0)

    def step(rate: float) -> float:
        rows = torch.randperm(96, generator=generator)[:32]
        for group in optimiser.param_groups:
            group["lr"] = rate
        loss = nn.functional.cross_entropy(network(images[rows]), targets[rows])
        optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
        return loss.item()

    before = everything(network)
    with leaving_untouched(network):
        curve = range_test(step)
    assert everything(network) == before
    assert curve.suggestion is not None
    assert 1e-3 < curve.suggestion < 1.0
    optimiser = make_optimiser(network, OptimConfig(optimiser="sgd", layer_decay=1.0))
    losses = [step(curve.suggestion) for _ in range(40)]
    assert np.mean(losses[-5:]) < 0.6 * losses[0]


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_training_inside_leaves_no_trace_on_a_gpu() -> None:
    network = network_in_use().cuda()

    def facts() -> list[bytes]:
        values = [tensor.detach().cpu().numpy().tobytes() for tensor in network.state_dict().values()]
        return [*values, torch.cuda.get_rng_state().numpy().tobytes()]

    before = facts()
    with leaving_untouched(network):
        train_a_little(network, "adamw", "cuda")
        assert facts()[-1] != before[-1]
    assert facts() == before
