"""What a CPU leaves open, decided by trials whose clock is ours."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest
import torch

import eyebright.recipes.settling as settling
import eyebright.training.precision as precision
from eyebright.config import TrainConfig, build_config
from eyebright.models.catalog import create_network
from eyebright.progress import Silent
from eyebright.recipes.base import Context, DataFacts
from eyebright.training.budget import compare_steps
from eyebright.training.hooks import StopSignal
from eyebright.training.precision import choose_precision, choose_threads, fastest, precision_in_question
from eyebright.training.team import Team


def context(tmp_path: Path, *settings: str, seconds: float | None = 300.0) -> Context:
    config = build_config({}, {"compute": dict(setting.split("=") for setting in settings)})
    return Context(
        config=config, facts=DataFacts(images={"train": 1000, "val": 100}, names=("a", "b"), side=32, grey=False),
        device=torch.device("cpu"), deadline=None if seconds is None else time.monotonic() + seconds,
        checkpoint=tmp_path, progress=Silent(), stop=StopSignal(), record=lambda line: None,
    )  # fmt: skip


def steps_take(monkeypatch: pytest.MonkeyPatch, **seconds: float) -> list[Any]:
    """Let the trial find these seconds for a step, by precision or number of threads; gives the calls of it."""
    calls: list[Any] = []

    def compare(network: Any, ways: dict[str, Any], **_: Any) -> dict[str, float]:
        calls.append(ways)
        return {name: seconds[f"with_{name}" if name.isdigit() else name] for name in ways}

    monkeypatch.setattr(precision, "compare_steps", compare)
    return calls


@pytest.fixture
def network() -> torch.nn.Module:
    return create_network("smallnet", classes=2, pretrained=False)


def settle(network: torch.nn.Module, where: Context) -> tuple[TrainConfig, list[str]]:
    return settling.settle(network, where.config, where, size=16, channels=3)


@pytest.mark.parametrize(("seconds", "expected"), [(0.5, "bfloat16"), (0.9, "float32"), (1.5, "float32")])
def test_bfloat16_must_be_clearly_faster(
    seconds: float, expected: str, network: torch.nn.Module, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps_take(monkeypatch, float32=1.0, bfloat16=seconds)
    chosen, sentence = choose_precision(network, size=16, channels=3, batch_size=8, threads=None)
    assert chosen == expected
    assert f"{seconds:.2f} times as long" in sentence


def test_hyperthreads_must_be_clearly_faster(network: torch.nn.Module, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(precision, "threads_in_question", lambda: (2, 4))
    steps_take(monkeypatch, with_2=1.0, with_4=0.7)
    assert choose_threads(network, size=16, channels=3, batch_size=8)[0] == 4
    steps_take(monkeypatch, with_2=1.0, with_4=0.95)
    assert choose_threads(network, size=16, channels=3, batch_size=8)[0] == 2


def test_a_tie_leaves_things_as_usual() -> None:
    assert fastest({"usual": 1.0, "other": 1.0}, usual="usual") == "usual"


def test_only_auto_on_a_cpu_that_has_it_is_in_question(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(precision, "has_bfloat16", lambda: True)
    assert precision_in_question("auto")
    assert not precision_in_question("float32")
    monkeypatch.setattr(precision, "has_bfloat16", lambda: False)
    assert not precision_in_question("auto")


def test_the_decision_is_written_into_the_configuration(
    network: torch.nn.Module, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(precision, "has_bfloat16", lambda: True)
    monkeypatch.setattr(precision, "threads_in_question", lambda: (2, 4))
    monkeypatch.setattr(settling, "threads_in_question", lambda: (2, 4))
    calls = steps_take(monkeypatch, float32=1.0, bfloat16=0.5, with_2=1.0, with_4=0.5)
    config, reasons = settle(network, context(tmp_path))
    assert (config.compute.precision, config.compute.threads) == ("bfloat16", 4)
    assert len(reasons) == len(calls) == 2
    assert calls[1] == {"float32": ("float32", 4), "bfloat16": ("bfloat16", 4)}


@pytest.mark.parametrize("why", ["short", "deterministic", "forced", "team", "no budget"])
def test_nothing_is_tried_where_it_should_not(
    why: str, network: torch.nn.Module, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(precision, "has_bfloat16", lambda: True)
    calls = steps_take(monkeypatch, float32=1.0, bfloat16=0.5)
    settings = {"deterministic": ("deterministic=true",), "forced": ("precision=float32", "threads=1")}.get(why, ())
    where = context(tmp_path, *settings, seconds={"short": 20.0, "no budget": None}.get(why, 300.0))
    if why == "team":
        object.__setattr__(where, "team", Team(size=2))
    config, reasons = settle(network, where)
    assert (config, reasons, calls) == (where.config, [], [])


def test_a_trial_leaves_weights_gradients_and_random_numbers_alone(
    network: torch.nn.Module, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(precision, "has_bfloat16", lambda: True)
    before = {key: value.clone() for key, value in network.state_dict().items()}
    drawn = torch.random.get_rng_state()
    _, reasons = settle(network, context(tmp_path))
    assert any("float32" in reason for reason in reasons)
    assert all(torch.equal(before[key], value) for key, value in network.state_dict().items())
    assert all(parameter.grad is None for parameter in network.parameters())
    assert torch.equal(drawn, torch.random.get_rng_state())


def test_steps_are_computed_in_the_precision_they_are_named_for() -> None:
    seen = []

    class Looking(torch.nn.Linear):
        def forward(self, images: torch.Tensor) -> torch.Tensor:
            made = super().forward(images.flatten(1))
            seen.append((made.dtype, torch.get_num_threads()))
            return made

    ways = {"short": ("bfloat16", 1), "long": ("float32", 2)}
    taken = compare_steps(Looking(3 * 8 * 8, 2), ways, size=8, channels=3, batch_size=2, seconds=0)
    assert set(taken) == {"short", "long"}
    assert set(seen) == {(torch.bfloat16, 1), (torch.float32, 2)}
