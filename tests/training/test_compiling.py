"""Compiling: decided by what it would save, left out where it fails, and without effect on what is learnt."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from test_loop import CONFIG, Listen, assert_same_weights, make_network, run
from torch import nn

from eyebright.config import build_config
from eyebright.training import compiling
from eyebright.training.compiling import Trial, compile_pays, largest_part
from eyebright.training.stage import Stage

CPU, CUDA = torch.device("cpu"), torch.device("cuda")
HOURS = 3600.0


def make_stage(steps: int, name: str = "train") -> Stage:
    return Stage(
        name=name, steps=steps, most_steps=steps, evaluate_every=5, size=16, batch_size=16, learning_rate=1e-3,
        layer_decay=1.0,
    )  # fmt: skip


@pytest.fixture
def measured(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Sets what is measured: seconds of an eager step, of a compiled one, and of compiling."""

    def set_to(*, eager: float, compiled: float, compiling_seconds: float = 60.0) -> None:
        trial = Trial(compiling_seconds=compiling_seconds, eager_seconds=eager, compiled_seconds=compiled)
        monkeypatch.setattr(compiling, "_fastest", lambda *rest: eager)
        monkeypatch.setattr(compiling, "try_compiling", lambda *rest, **more: trial)
        monkeypatch.setattr(compiling, "can_compile", lambda device: True)
        monkeypatch.setattr(compiling, "PIXELS_A_SECOND", 1.0)

    return set_to


def decide(*stages: Stage, seconds_left: float | None = 1e6, device: torch.device = CPU) -> tuple[bool, str]:
    return compile_pays(
        make_network, stages, config=CONFIG, channels=3, device=device, seconds_left=seconds_left,
    )  # fmt: skip


def test_a_long_training_is_compiled_where_that_saves_time(measured: Callable[..., None]) -> None:
    measured(eager=0.5, compiled=0.3)
    choice, reason = decide(make_stage(10_000))
    assert choice
    assert reason == "compiled: a step takes 500.0 ms, and 300.0 ms compiled, which took 60 s"
    measured(eager=0.5, compiled=0.49)
    choice, reason = decide(make_stage(10_000))
    assert not choice
    assert reason.startswith("not compiled: a step takes 500.0 ms")


def test_each_further_stage_must_pay_for_its_own_compiling(measured: Callable[..., None]) -> None:
    measured(eager=0.5, compiled=0.45, compiling_seconds=200.0)
    assert decide(make_stage(3000, "one"))[0]
    stages = [make_stage(1000, str(number)) for number in range(3)]
    assert not decide(*stages)[0], "150 s saved, and 400 s to compile for two more stages"


def test_a_training_of_minutes_is_not_worth_a_trial(
    measured: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    measured(eager=0.5, compiled=0.1)

    def refuse(*rest: Any, **more: Any) -> Trial:
        raise AssertionError("tried all the same")

    monkeypatch.setattr(compiling, "try_compiling", refuse)
    assert decide(make_stage(1000)) == (False, "not compiled: about 500 s of training are too short for it")
    assert decide(make_stage(100_000), seconds_left=600.0) == (False, "")
    assert decide(make_stage(100_000), seconds_left=None) == (False, ""), "the clock decides nothing without a budget"
    monkeypatch.setattr(compiling, "PIXELS_A_SECOND", 1e5)
    assert decide(make_stage(1000)) == (False, "")


def test_a_compiler_that_fails_is_left_out(measured: Callable[..., None], monkeypatch: pytest.MonkeyPatch) -> None:
    measured(eager=0.5, compiled=0.1)

    def fail(*rest: Any, **more: Any) -> Trial:
        raise RuntimeError("no such instruction\nand much more")

    monkeypatch.setattr(compiling, "try_compiling", fail)
    assert decide(make_stage(10_000)) == (False, "not compiled: it was tried, and failed (no such instruction)")


def test_without_a_compiler_nothing_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("eyebright.training.compiling.shutil.which", lambda name: None)
    assert decide(make_stage(10_000_000)) == (False, "")
    assert decide(make_stage(10_000_000), device=torch.device("mps")) == (False, "")


def test_what_is_compiled_is_what_a_process_computes_at_a_time() -> None:
    config = build_config({"optim": {"batch_size": 50, "accumulate": 4}})
    assert largest_part(config) == 13
    assert largest_part(config, processes=2) == 7
    assert largest_part(build_config({"optim": {"batch_size": 2, "accumulate": 8}})) == 1


class Broken(nn.Module):
    """A compiled network whose compiler fails when it is first called."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        raise RuntimeError("the compiler crashed")


COMPILED = build_config(CONFIG.model_dump(), {"compute": {"compile": True}})


def test_a_network_that_cannot_be_compiled_is_trained_without(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compiling, "can_compile", lambda device: True)
    monkeypatch.setattr(torch, "compile", lambda network, **options: Broken(network))
    eager, fallen = make_network(), make_network()
    warnings: list[str] = []
    run(eager, tmp_path / "eager", steps=6)
    run(fallen, tmp_path / "fallen", steps=6, config=COMPILED, warn=warnings.append)
    assert_same_weights(eager, fallen)
    assert warnings == ["compiling the network failed (the compiler crashed): it is trained without"]


def test_the_first_try_changes_no_weight_and_no_statistic(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a compiler that does nothing, training is the same, bit for bit, as without."""
    monkeypatch.setattr(compiling, "can_compile", lambda device: True)
    monkeypatch.setattr(torch, "compile", lambda network, **options: network)
    eager, same = make_network(), make_network()
    run(eager, tmp_path / "eager", steps=6)
    run(same, tmp_path / "same", steps=6, config=COMPILED)
    assert_same_weights(eager, same)


def test_graphs_are_for_one_process_that_computes_a_batch_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[str, bool]] = []

    def compiled(network: nn.Module, device: torch.device, *, graphs: bool) -> nn.Module:
        asked.append((device.type, graphs))
        return network

    monkeypatch.setattr("eyebright.training.wrapping.compiled", compiled)
    run(make_network(), tmp_path / "one", steps=2, config=COMPILED)
    parts = build_config(COMPILED.model_dump(), {"optim": {"accumulate": 2}})
    run(make_network(), tmp_path / "parts", steps=2, config=parts)
    assert asked == [("cpu", True), ("cpu", False)]
    modes = []
    monkeypatch.setattr(torch, "compile", lambda network, **options: modes.append(options["mode"]))
    compiling.compiled(make_network(), CUDA)
    compiling.compiled(make_network(), CUDA, graphs=False)
    assert modes == ["reduce-overhead", None]


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("g++") is None, reason="needs a C++ compiler")
@pytest.mark.filterwarnings("ignore")  # the compiler's own
def test_compiled_steps_have_the_losses_of_eager_ones(tmp_path: Path) -> None:
    losses = []
    for compile_ in (False, True):
        told = Listen()
        settings = {"compute": {"compile": compile_}, "optim": {"optimiser": "sgd", "learning_rate": 0.05}}
        config = build_config(CONFIG.model_dump(), settings)
        run(make_network(0.0), tmp_path / str(compile_), steps=15, config=config, hooks=[told])
        losses.append([(record["train_loss"], record["val_loss"]) for record in told.records])
    torch.testing.assert_close(torch.tensor(losses[0]), torch.tensor(losses[1]), rtol=1e-3, atol=1e-4)


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("g++") is None, reason="needs a C++ compiler")
@pytest.mark.filterwarnings("ignore")
def test_a_trial_measures_and_leaves_the_network_as_it_was() -> None:
    network, untouched = make_network(), make_network()
    trial = compiling.try_compiling(network, shape=(16, 3, 16, 16), config=CONFIG, device=CPU)
    assert min(trial.compiling_seconds, trial.eager_seconds, trial.compiled_seconds) > 0
    assert_same_weights(network, untouched)
    assert all(parameter.grad is None for parameter in network.parameters())
