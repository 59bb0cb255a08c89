"""The loop: it learns, it resumes exactly, it stops on NaN and on request, and it keeps to a deadline."""

from __future__ import annotations

import itertools
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from eyebright.config import TrainConfig, build_config
from eyebright.data.batches import PixelSet
from eyebright.errors import MissingDependencyError, NonFiniteLossError, Preempted, UsageError
from eyebright.models.small import SmallNet
from eyebright.preprocess import Preprocess
from eyebright.training.budget import Pace
from eyebright.training.hooks import BaseHook, LoopState, StopSignal
from eyebright.training.level import Level
from eyebright.training.loop import Fitted, fit
from eyebright.training.schedule import rate_factor
from eyebright.training.score import score
from eyebright.training.stage import Stage
from eyebright.training.teacher import Teacher

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
    warn: Callable[[str], None] | None = None,
    level: Level | None = None,
    teacher: Teacher | None = None,
) -> Fitted:
    train = train or stripes(80, 1)
    optim = config.optim
    per_epoch = train.steps_per_epoch(optim.batch_size)
    pace = pace or Pace(deadline=None, most_steps=steps, steps_between=per_epoch)
    stage = Stage(
        name="train", steps=steps, most_steps=steps, evaluate_every=per_epoch, size=16, batch_size=optim.batch_size,
        learning_rate=optim.learning_rate, layer_decay=optim.layer_decay, fixed_statistics=False,
    )  # fmt: skip
    return fit(
        network, train, stripes(40, 2), config=config, stage=stage, pace=pace, checkpoint=folder, stop=stop,
        hooks=hooks or [], warn=warn, level=level, teacher=teacher,
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


class Listen(BaseHook):
    """Keeps the records of the epochs, without what depends on the clock."""

    def __init__(self) -> None:
        self.records: list[dict[str, Any]] = []

    def on_epoch_end(self, state: LoopState, record: dict[str, Any]) -> None:
        self.records.append(
            {key: value for key, value in record.items() if key not in ("seconds", "images_per_second")}
        )


EVERYTHING = {
    "optim": {"accumulate": 3, "ema_decay": 0.9},
    "schedule": {"name": "plateau", "patience": 0, "factor": 0.5},
    "stop": {"patience": 50},
    "augment": {"mixup": 0.2, "cutmix": 1.0, "rotation": 20, "erasing": 0.3, "policy": "randaugment", "flip": True},
    "data": {"sampling": "balanced", "drop_last": False},
    "loss": {"name": "focal"},
}


@pytest.mark.parametrize("extra", [{}, EVERYTHING], ids=["plain", "everything"])
@pytest.mark.parametrize("killed_at", [7, 10, 13])
def test_resuming_gives_the_same_weights_and_history_bit_for_bit(
    tmp_path: Path, killed_at: int, extra: dict[str, Any]
) -> None:
    """Also from within an epoch (5 steps each), with dropout, mixing, augmentation, plateaus and a moving average."""
    # A checkpoint after every step, so that the resumed run starts within an epoch.
    config = build_config(CONFIG.model_dump(), {"checkpoint_steps": 1}, extra)
    whole, told = make_network(), Listen()
    run(whole, tmp_path / "whole", steps=20, config=config, hooks=[told])
    broken, former = make_network(), Listen()
    with pytest.raises(KilledError):
        run(broken, tmp_path / "broken", steps=20, config=config, hooks=[former, KillAt(killed_at)])
    resumed, later = make_network(), Listen()
    run(resumed, tmp_path / "broken", steps=20, config=config, hooks=[later])
    assert later.records[0]["epoch"] == (killed_at - 1) // 5 + 1
    assert_same_weights(whole, resumed)
    history = {record["epoch"]: record for record in [*former.records, *later.records]}
    assert list(history.values()) == told.records


def test_optimiser_moments_keep_their_place_in_memory(tmp_path: Path) -> None:
    """Channels-last weights and contiguous moments would be stepped element by wrong element."""
    config = CONFIG.model_copy(update={"checkpoint_steps": 1})
    with pytest.raises(KilledError):
        run(make_network(), tmp_path / "c", steps=20, config=config, hooks=[KillAt(8)])
    from eyebright.training.checkpoint import load_checkpoint
    from eyebright.training.optim import Average, make_optimiser

    network = make_network()
    optimiser = make_optimiser(network, config.optim)
    average = Average(network, 0.9)
    modules = {"network": network, "average": average.network}
    assert load_checkpoint(tmp_path / "c", modules=modules, optimiser=optimiser, scaler=None) is not None
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
    assert rates[-1] <= CONFIG.optim.learning_rate * rate_factor(CONFIG.schedule, total - 3, total, 5)


def test_a_damaged_checkpoint_falls_back_to_the_one_before_with_the_same_result(tmp_path: Path) -> None:
    whole = make_network()
    run(whole, tmp_path / "whole", steps=20)
    with pytest.raises(KilledError):
        run(make_network(), tmp_path / "c", steps=20, hooks=[KillAt(13)])
    newest = sorted((tmp_path / "c").iterdir())[-1] / "tensors.safetensors"
    newest.write_bytes(newest.read_bytes()[:1000])
    resumed = make_network()
    run(resumed, tmp_path / "c", steps=20)
    assert_same_weights(whole, resumed)


def assert_same_weights(one: nn.Module, other: nn.Module) -> None:
    for (name, value), there in zip(one.state_dict().items(), other.state_dict().values(), strict=True):
        assert torch.equal(value, there), name


def test_images_of_weight_zero_teach_nothing(tmp_path: Path) -> None:
    right = stripes(64, 1)
    wrong = stripes(64, 4)
    pixels = np.concatenate([right.store.take(right.rows), wrong.store.take(wrong.rows)])
    targets = np.concatenate([right.targets, 1 - wrong.targets])
    weights = np.repeat([1.0, 0.0], 64).astype(np.float32)
    train = PixelSet(pixels, np.arange(128), targets, preprocess=PREPROCESS, device=CPU, weights=weights)
    config = build_config(CONFIG.model_dump(), {"augment": {"mixup": 0.0}})
    network = make_network(0.0)
    run(network, tmp_path / "c", steps=40, train=train, config=config)
    assert score(network, stripes(60, 3)).accuracy > 0.95


def without_norms() -> nn.Module:
    """A network whose gradient for a batch is the mean of those of its parts: no batch norm, no dropout."""
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(3, 8, 3, 2), nn.ReLU(), nn.Flatten(), nn.Linear(8 * 49, 2))
    network.num_classes = 2  # type: ignore[assignment]
    return network


@pytest.mark.parametrize("parts", [2, 3, 16])
def test_a_batch_in_parts_gives_the_step_of_the_whole_batch(tmp_path: Path, parts: int) -> None:
    """Also with parts of different size, class weights, weighted images and mixing across the parts."""
    settings = {"optim": {"optimiser": "sgd", "learning_rate": 0.05}, "loss": {"class_weights": "balanced"},
                "augment": {"mixup": 0.4}}  # fmt: skip
    train = stripes(70, 1)
    train.weights[::3] = 0.3
    networks = []
    for accumulate in (1, parts):
        network = without_norms()
        config = build_config(CONFIG.model_dump(), settings, {"optim": {"accumulate": accumulate}})
        run(network, tmp_path / str(accumulate), steps=8, config=config, train=train)
        networks.append(network)
    begun = without_norms()
    for first, one, other in zip(begun.parameters(), networks[0].parameters(), networks[1].parameters(), strict=True):
        assert not torch.allclose(first, one, atol=1e-4)
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("workers", [1, 2, 5])
def test_the_number_of_workers_changes_no_bit(tmp_path: Path, workers: int) -> None:
    one, other = make_network(), make_network()
    run(one, tmp_path / "one", steps=10)
    config = build_config(CONFIG.model_dump(), {"compute": {"workers": workers}})
    run(other, tmp_path / "other", steps=10, config=config)
    assert_same_weights(one, other)


def test_images_that_stay_on_the_device_teach_the_same(tmp_path: Path) -> None:
    config = build_config(CONFIG.model_dump(), EVERYTHING)
    gathered, staying = make_network(), make_network()
    run(gathered, tmp_path / "gathered", steps=12, config=config)
    run(staying, tmp_path / "staying", steps=12, config=config, train=stripes(80, 1).staying(True))
    assert_same_weights(gathered, staying)


def test_training_stops_at_the_target_accuracy_and_keeps_those_weights(tmp_path: Path) -> None:
    config = build_config(CONFIG.model_dump(), {"stop": {"target_accuracy": 0.9, "keep": "val_accuracy"}})
    listen = Listen()
    fitted = run(make_network(), tmp_path / "c", steps=200, config=config, hooks=[listen])
    assert fitted.state.step < 200
    assert not fitted.stopped
    assert fitted.reason is not None
    assert "0.9" in fitted.reason
    accuracies = [record["val_accuracy"] for record in listen.records]
    assert accuracies[-1] >= 0.9
    assert all(value < 0.9 for value in accuracies[:-1])
    # A resumed run knows that it is over.
    again = Listen()
    assert run(make_network(), tmp_path / "c", steps=200, config=config, hooks=[again]).reason == fitted.reason
    assert again.records == []


def test_early_stopping_restores_the_best_weights(tmp_path: Path) -> None:
    """With labels that are noise, validation turns at once and training stops long before its end."""
    train = stripes(48, 1)
    train.targets = np.random.default_rng(0).permutation(train.targets)
    config = build_config(CONFIG.model_dump(), {"stop": {"patience": 4}, "schedule": {"name": "constant"}})
    network, listen = make_network(0.0), Listen()
    fitted = run(network, tmp_path / "c", steps=600, config=config, train=train, hooks=[listen])
    assert fitted.reason is not None
    losses = [record["val_loss"] for record in listen.records]
    assert len(losses) < 600 // 3
    assert losses.index(min(losses)) == len(losses) - 5
    assert score(network, stripes(40, 2)).loss == pytest.approx(min(losses), rel=1e-6)


def test_the_rate_falls_on_a_plateau_and_stays_fallen_after_a_resume(tmp_path: Path) -> None:
    train = stripes(48, 1)
    train.targets = np.random.default_rng(0).permutation(train.targets)
    settings = {"schedule": {"name": "plateau", "patience": 1, "factor": 0.5, "warmup_share": 0.0}}
    config = build_config(CONFIG.model_dump(), settings)
    listen = Listen()
    run(make_network(), tmp_path / "c", steps=60, config=config, train=train, hooks=[listen])
    rates = [record["learning_rate"] for record in listen.records]
    assert rates[0] == pytest.approx(3e-3)
    assert rates[-1] < 1e-3
    assert all(late == early or late == pytest.approx(early / 2) for early, late in itertools.pairwise(rates))


def test_another_batch_size_goes_on_from_the_same_place_and_says_what_differs(tmp_path: Path) -> None:
    config = CONFIG.model_copy(update={"checkpoint_steps": 1})
    with pytest.raises(KilledError):
        run(make_network(), tmp_path / "c", steps=20, config=config, hooks=[KillAt(8)])  # 5 steps an epoch
    smaller = build_config(config.model_dump(), {"optim": {"batch_size": 8}})
    told: list[str] = []
    listen = Listen()
    fitted = run(make_network(), tmp_path / "c", steps=40, config=smaller, hooks=[listen], warn=told.append)
    assert [(record["epoch"], record["step"]) for record in listen.records] == [(2, 20), (3, 30), (4, 40)]
    assert fitted.state.step == 40
    assert "batches of 8 instead of 16" in told[0]


def test_a_machine_that_is_taken_away_leaves_an_exact_checkpoint(tmp_path: Path) -> None:
    stop = StopSignal()

    class Leave(BaseHook):
        def on_step_end(self, state: LoopState) -> None:
            if state.step == 8:
                stop.leave()

    whole, resumed = make_network(), make_network()
    run(whole, tmp_path / "whole", steps=20)
    with pytest.raises(Preempted, match="step 8"):
        run(make_network(), tmp_path / "c", steps=20, hooks=[Leave()], stop=stop)
    run(resumed, tmp_path / "c", steps=20)
    assert_same_weights(whole, resumed)


def test_a_coarse_stage_learns_superclasses_only(tmp_path: Path) -> None:
    """Classes 0 and 2 look alike; together they differ from class 1. The coarse stage cannot tell 0 from 2."""
    train = stripes(120, 1)
    half = np.random.default_rng(5).random(120) < 0.5
    train.targets = np.where((train.targets == 0) & half, 2, train.targets)
    torch.manual_seed(0)
    network = SmallNet(3, width=8).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    level = Level(torch.tensor([0, 1, 0]))
    listen = Listen()
    config = build_config(CONFIG.model_dump(), {"loss": {"label_smoothing": 0.0}})
    fitted = run(network, tmp_path / "c", steps=60, config=config, train=train, level=level, hooks=[listen])
    assert fitted.val_accuracy == 1.0  # over superclasses
    images = next(iter(train.in_order(120)))
    with torch.inference_mode():
        probabilities = network(images.images).softmax(1)
    coarse = torch.stack([probabilities[:, [0, 2]].sum(1), probabilities[:, 1]], dim=1)
    assert (coarse.argmax(1) == level.targets(images.targets)).all()


def test_a_teacher_can_teach_images_that_have_no_usable_labels(tmp_path: Path) -> None:
    """With the teacher as the whole loss, labels are never looked at."""
    learnt = make_network(0.0)
    run(learnt, tmp_path / "teacher", steps=40)
    train = stripes(80, 1)
    train.targets = 1 - train.targets  # wrong, all of them
    teacher = Teacher(learnt, PREPROCESS, torch.tensor([0, 1]), CPU)
    settings = {"distil": {"weight": 1.0}, "stop": {"keep": "last"}, "augment": {"mixup": 0.0}}
    pupil = make_network(0.0)
    run(pupil, tmp_path / "pupil", steps=40, config=build_config(CONFIG.model_dump(), settings), train=train,
        teacher=teacher)  # fmt: skip
    assert score(pupil, stripes(60, 3)).accuracy > 0.95


def test_recomputing_activations_changes_no_gradient_worth_mentioning(tmp_path: Path) -> None:
    networks = []
    for recompute in (False, True):
        network = make_network(0.0)
        config = build_config(CONFIG.model_dump(), {"model": {"gradient_checkpointing": recompute}})
        run(network, tmp_path / str(recompute), steps=5, config=config)
        networks.append(network)
    for one, other in zip(networks[0].parameters(), networks[1].parameters(), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)


def test_bfloat16_computes_shorter_and_still_learns(tmp_path: Path) -> None:
    config = build_config(CONFIG.model_dump(), {"compute": {"precision": "bfloat16"}})
    seen: set[torch.dtype] = set()
    network = make_network()
    network.stem[0].register_forward_hook(lambda module, inputs, output: seen.add(output.dtype))  # type: ignore[operator, index, union-attr]
    assert run(network, tmp_path / "c", steps=40, config=config).val_accuracy == 1.0
    assert seen == {torch.bfloat16}
    assert all(parameter.dtype == torch.float32 for parameter in network.parameters())


def test_compiling_without_a_compiler_is_refused_in_words(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("eyebright.training.compiling.shutil.which", lambda name: None)
    config = build_config(CONFIG.model_dump(), {"compute": {"compile": True}})
    with pytest.raises(MissingDependencyError, match="C\\+\\+ compiler"):
        run(make_network(), tmp_path / "c", steps=2, config=config)


def test_a_network_that_cannot_recompute_is_refused_in_words(tmp_path: Path) -> None:
    config = build_config(CONFIG.model_dump(), {"model": {"gradient_checkpointing": True}})
    with pytest.raises(UsageError, match="compute its activations again"):
        run(without_norms(), tmp_path / "c", steps=2, config=config)


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("g++") is None, reason="needs a C++ compiler")
@pytest.mark.filterwarnings("ignore")  # the compiler's own
def test_a_compiled_network_learns_the_same(tmp_path: Path) -> None:
    networks = []
    for compiled in (False, True):
        network = make_network(0.0)
        settings = {"compute": {"compile": compiled}, "optim": {"optimiser": "sgd", "learning_rate": 0.05}}
        run(network, tmp_path / str(compiled), steps=5, config=build_config(CONFIG.model_dump(), settings))
        networks.append(network)
    for one, other in zip(networks[0].parameters(), networks[1].parameters(), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-4)
