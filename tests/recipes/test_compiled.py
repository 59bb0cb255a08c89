"""Whether to compile is written into the plan, so that a resumed run keeps it."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from eyebright.config import build_config
from eyebright.progress import Silent
from eyebright.recipes import compiled, get_recipe
from eyebright.recipes.base import Context, DataFacts, Plan
from eyebright.recipes.compiled import with_compiling_decided
from eyebright.training.hooks import StopSignal


def make_context(folder: Path, compile_: bool | str = "auto", *, deterministic: bool = False) -> Context:
    recipe = get_recipe("scratch")
    compute = {"compile": compile_, "deterministic": deterministic}
    settings = {"epochs": 3, "budget_seconds": None, "model": {"name": "smallnet"}, "compute": compute}
    facts = DataFacts(images={"train": 100, "val": 20, "test": 20}, names=("a", "b"), side=32, grey=False)
    return Context(
        config=build_config(recipe.defaults, settings), facts=facts, device=torch.device("cpu"), deadline=None,
        checkpoint=folder, progress=Silent(), stop=StopSignal(), record=lambda line: None,
    )  # fmt: skip


def decided(context: Context) -> Plan:
    return Plan.from_dict(with_compiling_decided(get_recipe("scratch").plan(context), context).as_dict())


@pytest.mark.parametrize("choice", [True, False])
def test_the_choice_and_its_reason_are_in_the_plan(
    choice: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(compiled, "compile_pays", lambda *rest, **more: (choice, "measured"))
    plan = decided(make_context(tmp_path))
    assert plan.config.compute.compile is choice
    assert plan.reasons[-1] == "measured"


def test_what_was_asked_for_is_not_measured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*rest: object, **more: object) -> tuple[bool, str]:
        raise AssertionError("measured all the same")

    monkeypatch.setattr(compiled, "compile_pays", refuse)
    for asked in (True, False):
        assert decided(make_context(tmp_path, asked)).config.compute.compile is asked
    assert decided(make_context(tmp_path, deterministic=True)).config.compute.compile is False


def test_a_short_training_is_not_compiled_and_makes_no_network_to_find_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*rest: object) -> None:
        raise AssertionError("made a network")

    monkeypatch.setattr(compiled, "make_network", refuse)
    plain = get_recipe("scratch").plan(make_context(tmp_path))
    plan = decided(make_context(tmp_path))
    assert plan.config.compute.compile is False
    assert plan.reasons == plain.reasons
