"""`fast`: planned for the time there is, learns quickly, and goes on after a kill as if nothing had happened."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file

import eyebright
from eyebright.config import build_config
from eyebright.models.fast import FastNet
from eyebright.progress import Silent
from eyebright.recipes import fast
from eyebright.recipes.base import Context, DataFacts, Plan
from eyebright.training.budget import Speed
from eyebright.training.hooks import BaseHook, LoopState, StopSignal

SMALL = ("model.arguments={width: 8, tta: 1}", "data.audit=off", "compute.workers=1")


def context(
    folder: Path,
    *,
    budget_seconds: float | None,
    images: int = 45_000,
    grey: bool = False,
    side: int = 32,
    **settings: Any,
) -> Context:
    return Context(
        config=build_config(fast.RECIPE.defaults, settings),
        facts=DataFacts(
            images={"train": images, "val": images // 9, "test": images // 5},
            names=tuple("abcdefghij"), side=side, grey=grey,
        ),
        device=torch.device("cpu"), deadline=None if budget_seconds is None else time.monotonic() + budget_seconds,
        checkpoint=folder, progress=Silent(), stop=StopSignal(), record=lambda line: None,
    )  # fmt: skip


@pytest.fixture
def steady_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """Speeds by arithmetic: a network of width w trains 2,000,000 / w^2 images a second at 32 px."""

    def speed(network: FastNet, *, size: int, batch_size: int, **more: Any) -> Speed:
        width = network.blocks[0].conv1.out_channels  # type: ignore[union-attr]
        train = 2e6 / width**2 * (32 / size) ** 2  # type: ignore[operator]
        return Speed(size, infer=3 * train, train=train)

    monkeypatch.setattr(fast, "measure_speed", speed)
    monkeypatch.setattr("eyebright.recipes.staged.measure_speed", speed)


def width_of(plan: Plan) -> int:
    return int(plan.architecture_arguments["width"])


@pytest.mark.usefixtures("steady_machine")
def test_more_time_makes_the_network_wider_and_never_narrower(tmp_path: Path) -> None:
    plans = [fast.plan(context(tmp_path, budget_seconds=seconds)) for seconds in (60, 400, 1800, 40_000)]
    widths = [width_of(plan) for plan in plans]
    assert widths == sorted(widths)
    assert len(set(widths)) >= 3
    for plan in plans:
        (stage,) = plan.stages
        epochs = stage.steps / stage.evaluate_every
        assert 0.8 * fast.LEAST_EPOCHS[width_of(plan)] <= epochs <= fast.MOST_EPOCHS
        assert plan.architecture_arguments == plan.config.model.arguments
        assert Plan.from_dict(plan.as_dict()) == plan
    assert any(f"width {widths[-1]}" in reason for reason in plans[-1].reasons)


@pytest.mark.usefixtures("steady_machine")
def test_wider_networks_learn_at_lower_rates(tmp_path: Path) -> None:
    rates = [
        fast.plan(context(tmp_path, budget_seconds=None, model={"arguments": arguments})).stages[0].learning_rate
        for arguments in ({"width": 16}, {"width": 64}, {"widths": [64, 200, 256]})
    ]
    assert rates == [2 * fast.RATE, fast.RATE, fast.RATE]


def test_the_widest_that_gets_its_epochs() -> None:
    enough = {16: 40.0, 24: 20.0, 32: 9.0, 48: 3.0, 64: 100.0}
    assert fast.widest([16, 24, 32, 48, 64], enough.__getitem__) == (32, 9.0)
    assert fast.widest([16], {16: 0.1}.__getitem__) == (16, 0.1)


@pytest.mark.usefixtures("steady_machine")
def test_what_was_asked_for_is_kept(tmp_path: Path) -> None:
    given = {"model": {"arguments": {"width": 20, "tta": 0}}, "epochs": 3, "optim": {"batch_size": 128}}
    plan = fast.plan(context(tmp_path, budget_seconds=3000, **given))
    (stage,) = plan.stages
    assert plan.architecture_arguments == {"width": 20, "tta": 0, "mirror": True}
    assert (stage.batch_size, stage.steps) == (128, 3 * (45_000 // 128))
    slow = fast.plan(context(tmp_path, budget_seconds=None, optim={"learning_rate": 0.002}))
    assert slow.stages[0].learning_rate == 0.002
    unlimited = fast.plan(context(tmp_path, budget_seconds=None, epochs=40))
    assert width_of(unlimited) == max(width for width, least in fast.LEAST_EPOCHS.items() if least <= 40)
    wide = fast.plan(context(tmp_path, budget_seconds=None, model={"arguments": {"widths": [8, 12, 12], "depth": 3}}))
    assert "width" not in wide.architecture_arguments


@pytest.mark.usefixtures("steady_machine")
def test_small_sets_and_large_images(tmp_path: Path) -> None:
    few = fast.plan(context(tmp_path, budget_seconds=600, images=90))
    assert few.stages[0].batch_size == fast.LEAST_BATCH
    assert few.stages[0].steps >= 200
    photos = fast.plan(context(tmp_path, budget_seconds=600, images=2500, side=300))
    assert photos.preprocess.size == fast.LARGEST_SIDE
    assert photos.stages[0].evaluate_every >= fast.STEPS_PER_EPOCH
    symbols = fast.plan(context(tmp_path, budget_seconds=600, grey=True, side=28))
    assert (symbols.preprocess.size, symbols.preprocess.channels) == (28, 1)
    assert not symbols.architecture_arguments["mirror"]


class KilledError(Exception):
    pass


class KillAt(BaseHook):
    """Ends training after a step, as a crash would."""

    def __init__(self, step: int) -> None:
        self.step = step

    def on_step_end(self, state: LoopState) -> None:
        if state.step == self.step:
            raise KilledError


def test_it_learns_at_once_and_goes_on_after_a_crash_to_the_same_bits(shared_stripes: Path, tmp_path: Path) -> None:
    options: dict[str, Any] = {"recipe": "fast", "epochs": 4, "no_budget": True, "settings": SMALL}
    whole = eyebright.train(shared_stripes, output=tmp_path, name="whole", **options)
    assert whole.metrics["test"]["accuracy"]["value"] > 0.9  # chance is a half
    with pytest.raises(KilledError):
        eyebright.train(shared_stripes, output=tmp_path, name="killed", hooks=[KillAt(13)], **options)
    resumed = eyebright.resume(tmp_path / "killed")
    one, other = (load_file(run.path / "bundle" / "model.safetensors") for run in (whole, resumed))
    assert one.keys() == other.keys()
    assert all(np.array_equal(one[name], other[name]) for name in one)
    begun = torch.cat([torch.eye(12), -torch.eye(12)]).view(24, 3, 2, 2).numpy()
    assert not np.allclose(one["stem.whiten.weight"], begun)  # it was whitened
    classifier = eyebright.load(whole.path)
    assert classifier.classes == ("angle-0", "angle-1")
