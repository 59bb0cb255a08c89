"""The loop: it learns, it resumes exactly, it stops on NaN and on request, and it keeps to a deadline."""

from __future__ import annotations

import itertools
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from eyebright.config import TrainConfig, build_config
from eyebright.data.batches import PixelSet
from eyebright.errors import CorruptBundleError, NonFiniteLossError
from eyebright.models.small import SmallNet
from eyebright.preprocess import Preprocess
from eyebright.training.budget import Pace
from eyebright.training.hooks import BaseHook, LoopState, StopSignal
from eyebright.training.loop import Fitted, fit, score
from eyebright.training.schedule import warmup_cosine

CPU = torch.device("cpu")
PREPROCESS = Preprocess(size=16, mean=(0.5,) * 3, std=(0.25,) * 3)
CONFIG = build_config(
    {"optim": {"batch_size": 16, "learning_rate": 3e-3, "layer_decay": 1.0}, "augment": {"flip": False}}
)


def stripes(count: int, seed: int, weights: bool = False) -> PixelSet:
    """Horizontal against vertical stripes with noise."""
    random = np.random.default_rng(seed)
    targets = random.integers(0, 2, count)
    wave = np.sin(np.arange(16) * 1.3)[None, :, None, None] * np.ones((1, 1, 16, 3))
    images = np.where(targets[:, None, None, None] == 0, wave, wave.swapaxes(1, 2)) * 90 + 128
    pixels = (images + random.normal(0, 20, (count, 16, 16, 3))).clip(0, 255).astype(np.uint8)
    return PixelSet(pixels, np.arange(count), targets, preprocess=PREPROCESS, device=CPU)


def make_network(dropout: float = 0.2) -> SmallNet:
    torch.manual_seed(0)
    return SmallNet(2, width=8, drop_rate=dropout).to(memory_format=torch.channels_last)  # type: ignore[call-overload, no-any-return]


def run(
    network: nn.Module,
    folder: Path,
    *,
    steps: int,
    config: TrainConfig = CONFIG,
    hooks: list[BaseHook] | None = None,
    stop: StopSignal | None = None,
    pace: Pace | None = None,
    train: PixelSet | None = None,
) -> Fitted:
    train = train or stripes(80, 1)
    pace = pace or Pace(deadline=None, most_steps=steps, steps_between=train.steps_per_epoch(16))
    return fit(
        network, train, stripes(40, 2), config=config, steps=steps, pace=pace, size=16, fixed_statistics=False,
        stage="train", checkpoint=folder, stop=stop, hooks=hooks or [],
    )  # fmt: skip


class KilledError(Exception):
    pass


class KillAt(BaseHook):
    def __init__(self, step: int) -> None:
        self.step = step

    def on_step_end(self, state: LoopState) -> None:
        if state.step == self.step:
            raise KilledError


def test_it_learns_what_can_be_learnt(tmp_path: Path) -> None:
    network = make_network()
    fitted = run(network, tmp_path / "c", steps=40)
    assert fitted.val_accuracy == 1.0
    assert score(network, stripes(60, 3)).accuracy == 1.0


@pytest.mark.parametrize("killed_at", [7, 10, 13])
def test_resuming_gives_the_same_weights_bit_for_bit(tmp_path: Path, killed_at: int) -> None:
    """Also from within an epoch (5 steps each), with dropout, mixup, augmentation and a moving average."""
    # A checkpoint after every step, so that the resumed run starts within an epoch.
    config = CONFIG.model_copy(update={"checkpoint_seconds": 1e-9})
    whole = make_network()
    run(whole, tmp_path / "whole", steps=20, config=config)
    broken = make_network()
    with pytest.raises(KilledError):
        run(broken, tmp_path / "broken", steps=20, config=config, hooks=[KillAt(killed_at)])
    resumed = make_network()
    records: list[dict[str, Any]] = []

    class Listen(BaseHook):
        def on_epoch_end(self, state: LoopState, record: dict[str, Any]) -> None:
            records.append(record)

    run(resumed, tmp_path / "broken", steps=20, config=config, hooks=[Listen()])
    assert records[0]["epoch"] == (killed_at - 1) // 5 + 1
    for (name, one), other in zip(whole.state_dict().items(), resumed.state_dict().values(), strict=True):
        assert torch.equal(one, other), name


def test_optimiser_moments_keep_their_place_in_memory(tmp_path: Path) -> None:
    """Channels-last weights and contiguous moments would be stepped element by wrong element."""
    config = CONFIG.model_copy(update={"checkpoint_seconds": 1e-9})
    with pytest.raises(KilledError):
        run(make_network(), tmp_path / "c", steps=20, config=config, hooks=[KillAt(8)])
    from eyebright.training.checkpoint import load_checkpoint
    from eyebright.training.optim import Average, make_optimiser

    network = make_network()
    optimiser = make_optimiser(network, config.optim)
    average = Average(network, 0.9)
    load_checkpoint(tmp_path / "c", modules={"network": network, "average": average.network}, optimiser=optimiser)
    for parameter, state in optimiser.state.items():
        assert state["exp_avg"].stride() == parameter.stride()


def test_nan_stops_and_leaves_the_last_checkpoint(tmp_path: Path) -> None:
    network = make_network()

    class Poison(BaseHook):
        def on_step_end(self, state: LoopState) -> None:
            if state.step == 7:
                with torch.no_grad():
                    network.stem[0].weight.fill_(float("nan"))  # type: ignore[operator, index, union-attr]

    with pytest.raises(NonFiniteLossError, match="step 7"):
        run(network, tmp_path / "c", steps=20, hooks=[Poison()])
    healthy = make_network()
    fitted = run(healthy, tmp_path / "c", steps=20)
    assert fitted.state.step == 20
    assert all(torch.isfinite(value).all() for value in healthy.state_dict().values())


def test_a_stop_finishes_the_step_saves_and_scores(tmp_path: Path) -> None:
    stop = StopSignal()

    class Ask(BaseHook):
        def on_step_end(self, state: LoopState) -> None:
            if state.step == 3:
                stop.request()

    fitted = run(make_network(), tmp_path / "c", steps=20, hooks=[Ask()], stop=stop)
    assert (fitted.stopped, fitted.state.step) == (True, 3)
    assert (tmp_path / "c" / "state.json").exists()
    assert run(make_network(), tmp_path / "c", steps=20).state.step == 20


def test_a_deadline_shortens_training_and_the_rate_still_ends_at_zero(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = itertools.count(0.0, 0.25)
    monkeypatch.setattr("eyebright.training.budget.time.monotonic", lambda: next(clock))
    rates: list[float] = []

    class Listen(BaseHook):
        def on_epoch_end(self, state: LoopState, record: dict[str, Any]) -> None:
            rates.append(record["learning_rate"])

    pace = Pace(deadline=time.monotonic() + 12.0, most_steps=1000, steps_between=5, window=8)
    fitted = run(make_network(), tmp_path / "c", steps=1000, hooks=[Listen()], pace=pace)
    assert fitted.state.step == fitted.state.total_steps < 200
    # The last step's rate is that of the end of the schedule, give or take two steps of planning.
    total = fitted.state.total_steps
    assert rates[-1] <= CONFIG.optim.learning_rate * warmup_cosine((total - 3) / total, CONFIG.schedule.warmup_share)


def test_a_damaged_checkpoint_is_refused(tmp_path: Path) -> None:
    run(make_network(), tmp_path / "c", steps=5)
    file = tmp_path / "c" / "tensors.safetensors"
    file.write_bytes(file.read_bytes()[:1000])
    with pytest.raises(CorruptBundleError, match="checkpoint"):
        run(make_network(), tmp_path / "c", steps=10)


def test_images_of_weight_zero_teach_nothing(tmp_path: Path) -> None:
    right = stripes(64, 1)
    wrong = stripes(64, 4)
    pixels = np.concatenate([right.pixels, wrong.pixels])
    targets = np.concatenate([right.targets, 1 - wrong.targets])
    weights = np.repeat([1.0, 0.0], 64).astype(np.float32)
    train = PixelSet(pixels, np.arange(128), targets, preprocess=PREPROCESS, device=CPU, weights=weights)
    config = build_config(CONFIG.model_dump(), {"augment": {"mixup": 0.0}})
    network = make_network(0.0)
    run(network, tmp_path / "c", steps=40, train=train, config=config)
    assert score(network, stripes(60, 3)).accuracy > 0.95
