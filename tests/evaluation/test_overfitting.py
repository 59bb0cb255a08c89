"""The diagnosis names overfitting where it is, and is not fooled by noise."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from torch import nn

from eyebright.config import TrainConfig
from eyebright.evaluation.curve import falls_at_the_end, noise_of, rise_of
from eyebright.evaluation.history import in_order
from eyebright.evaluation.overfitting import Verdict, diagnose

SETTINGS = TrainConfig().model_dump(mode="json")


def records(
    val_loss: Iterable[float | None], train_loss: Iterable[float | None] | None = None, *, stage: str = "train",
    train_accuracy: Callable[[int], float] | None = None, val_accuracy: Callable[[int], float] | None = None,
    **more: Any,
) -> list[dict[str, Any]]:  # fmt: skip
    """The lines of one stage, as the loop writes them."""
    losses = list(val_loss)
    trains = list(train_loss) if train_loss is not None else [None] * len(losses)
    found = []
    for index, (val, train) in enumerate(zip(losses, trains, strict=True)):
        line: dict[str, Any] = {"stage": stage, "epoch": index + 1, "step": 10 * index + 10, **more}
        if train is not None:
            line["train_loss"] = train
        if train_accuracy is not None:
            line["train_accuracy"] = train_accuracy(index)
        if val is not None:
            line["val_loss"] = val
            if val_accuracy is not None:
                line["val_accuracy"] = val_accuracy(index)
        found.append(line)
    return found


def falling(epochs: int, low: float, high: float) -> list[float]:
    """A loss on its way down, ever more slowly."""
    return [low + (high - low) * math.exp(-8 * index / epochs) for index in range(epochs)]


def turning(epochs: int, turn: int, lowest: float, last: float, first: float = 1.4) -> list[float]:
    """A loss that is lowest at epoch `turn` (from 1) and rises in a straight line to `last`."""
    down = [lowest + (first - lowest) * (1 - index / (turn - 1)) ** 2 for index in range(turn)]
    up = [lowest + (last - lowest) * (index + 1) / (epochs - turn) for index in range(epochs - turn)]
    return down + up


def test_a_turn_is_told_with_its_figures() -> None:
    train = np.interp(range(20), [0, 6, 19], [1.5, 0.31, 0.09]).tolist()
    history = records(turning(20, 7, 0.412, 0.533), train)
    found = diagnose(history)
    assert found.verdict == "clear"
    expected = "Validation loss was lowest at epoch 7 (0.412) and rose to 0.533 by epoch 20 while training loss fell "
    assert expected + "from 0.310 to 0.090." in found.sentences
    assert found.turn is not None
    assert (found.turn.epoch, found.turn.last_epoch, found.turn.training) == (7, 20, "fell")


@pytest.mark.parametrize(
    ("history", "verdict", "part"),
    [
        (records(falling(20, 0.3, 1.5), falling(20, 0.2, 1.5)), "none", "lowest in the last epoch, 20 (0.30"),
        (records(turning(20, 12, 0.5, 0.545), falling(20, 0.2, 1.5)), "possible", "rose to 0.545 by epoch 20"),
        (records(turning(20, 12, 0.5, 0.505), falling(20, 0.2, 1.5)), "none", "so that is no turn"),
        (records(turning(20, 7, 0.5, 0.9), turning(20, 7, 0.4, 0.8)), "none", "training was unsteady"),
        (records(turning(20, 7, 0.5, 0.9), [0.5] * 20), "possible", "training loss hardly moved"),
        (records(turning(20, 7, 0.5, 0.9)), "possible", "rose to 0.900 by epoch 20."),
        (records([1.5 - 0.05 * i for i in range(10)], [1.6 - 0.05 * i for i in range(10)]), "underfitting",
         "both losses were still falling"),
        (records([0.9, 0.5, 0.7]), "too short to tell", "3 evaluations are too few"),
        (records([0.9]), "too short to tell", "lowest in the last epoch, 1 (0.900)"),
        (records([None] * 8, falling(8, 0.2, 1)), "too short to tell", "No epoch recorded a validation loss"),
        ([{"stage": "probe", "val_loss": 0.5, "val_accuracy": 0.9}], "too short to tell", "No epoch recorded"),
        ([], "too short to tell", "No epoch recorded"),
    ],
)  # fmt: skip
def test_each_shape_of_curve_has_its_verdict(history: list[dict[str, Any]], verdict: Verdict, part: str) -> None:
    found = diagnose(history)
    assert found.verdict == verdict, found.sentences
    assert part in " ".join(found.sentences)
    assert bool(found.advice) == (verdict in ("possible", "clear", "underfitting") or "unsteady" in part)
    json.dumps(found.as_dict(), allow_nan=False)


def test_a_loss_that_rises_while_accuracy_grows_is_overconfidence_and_not_clear() -> None:
    curve, train = turning(20, 7, 0.4, 0.7), falling(20, 0.05, 1.5)
    grows = diagnose(records(curve, train, val_accuracy=lambda i: 0.7 + 0.01 * i))
    stays = diagnose(records(curve, train, val_accuracy=lambda i: 0.8))
    assert (grows.verdict, stays.verdict) == ("possible", "clear")
    assert any("confidence" in sentence for sentence in grows.sentences)


def test_figures_in_evaluation_mode_are_preferred_to_running_ones() -> None:
    history = records(
        falling(12, 0.9, 1.5), falling(12, 1.0, 1.6), train_accuracy=lambda i: 0.6, val_accuracy=lambda i: 0.62
    )
    assert diagnose(history).verdict == "none"
    found = diagnose(history, train={"accuracy": 0.998, "loss": 0.01, "images": 500})
    assert (found.verdict, found.gap.basis, found.gap.val_accuracy) == ("clear", "evaluation", 0.62)
    assert found.gap.accuracy == pytest.approx(0.378)
    assert "99.8 % of 500 training images right and 62.0 %" in found.sentences[1]
    given_both = diagnose(history, train={"accuracy": 0.9}, val={"accuracy": 0.85})
    assert (given_both.verdict, given_both.gap.accuracy) == ("none", pytest.approx(0.05))


def test_a_gap_that_few_images_may_show_by_chance_is_none() -> None:
    gaps = [
        diagnose([], train={"accuracy": 0.8, "images": images}, val={"accuracy": 0.65, "images": images}).verdict
        for images in (20, 2000)
    ]
    assert gaps == ["none", "possible"]
    running = records(falling(12, 0.9, 1.5), train_accuracy=lambda i: 0.714, val_accuracy=lambda i: 0.52)
    assert diagnose(running).verdict == "possible"
    assert diagnose(running, val={"images": 25}).verdict == "none"


def test_the_kept_epoch_is_named_when_later_ones_were_in_vain() -> None:
    history = records(turning(20, 7, 0.4, 0.7), falling(20, 0.05, 1.5))
    for line in history:
        line["new_best"] = line["epoch"] <= 7
    assert "The best weights are those of epoch 7" in diagnose(history).sentences[-1]
    for line in history:
        line["new_best"] = True  # the last weights are kept whatever they are
    assert "The best weights" not in " ".join(diagnose(history).sentences)


def test_lines_of_a_resumed_run_may_come_twice_and_late() -> None:
    history = records(turning(20, 7, 0.412, 0.533), falling(20, 0.09, 1.5))
    stale = [{**line, "val_loss": 9.0} for line in history[3:6]]
    shuffled = [*history[:3], *stale, *reversed(history[3:])]
    assert diagnose(shuffled) == diagnose(history)
    assert [line["epoch"] for line in in_order(shuffled)[0]] == list(range(1, 21))


def test_epochs_without_validation_count_for_training_only() -> None:
    curve = turning(20, 7, 0.412, 0.533)
    sparse = records([value if index % 2 == 0 else None for index, value in enumerate(curve)], falling(20, 0.09, 1.5))
    found = diagnose(sparse)
    assert found.verdict == "clear"
    assert found.turn is not None
    assert (found.turn.epoch, found.turn.last_epoch) == (7, 19)


def test_the_last_stage_is_judged_alone_when_it_is_long_enough() -> None:
    first = records(turning(12, 4, 0.5, 1.2), falling(12, 0.1, 1.5), stage="head")
    second = records(falling(10, 0.4, 0.6), falling(10, 0.3, 0.5), stage="all")
    assert diagnose(first).verdict == "clear"
    assert diagnose([*first, *second]).verdict == "none"


def test_a_short_last_stage_is_judged_with_what_compares_to_it() -> None:
    head = records(turning(10, 4, 0.5, 0.9), falling(10, 0.2, 1.5), stage="head", size=64)
    end = records([0.95, 1.0, 1.05], [0.15, 0.12, 0.1], stage="all", size=64)
    found = diagnose([*head, *end])
    assert found.verdict == "clear"
    assert "lowest at epoch 4 of head (0.500) and rose to 1.050 by epoch 3 of all" in " ".join(found.sentences)
    larger = [{**line, "size": 128} for line in end]
    assert diagnose([*head, *larger]).verdict == "too short to tell"
    coarse = {"stages": [{"name": "head", "level": "superclass"}, {"name": "all", "level": "class"}]}
    assert diagnose([*head, *end], config=coarse).verdict == "too short to tell"


def test_stopping_at_the_target_is_not_underfitting() -> None:
    history = records(
        [1.5 - 0.1 * i for i in range(10)], [1.6 - 0.1 * i for i in range(10)],
        train_accuracy=lambda i: 0.4 + 0.05 * i, val_accuracy=lambda i: 0.41 + 0.05 * i,
    )  # fmt: skip
    assert diagnose(history, config={"stop": {"target_accuracy": None}}).verdict == "underfitting"
    assert diagnose(history, config={"stop": {"target_accuracy": 0.85}}).verdict == "none"


def noisy(generator: np.random.Generator, epochs: int, correlation: float = 0.0) -> np.ndarray:
    """Standard normal noise of which each value leans towards the one before it."""
    values = generator.normal(size=epochs)
    for index in range(1, epochs):
        values[index] = correlation * values[index - 1] + math.sqrt(1 - correlation**2) * values[index]
    return values


@pytest.mark.parametrize("epochs", [5, 8, 20, 60])
@pytest.mark.parametrize("spread", [0.01, 0.05, 0.15])
def test_noise_around_a_level_seldom_passes_for_a_turn(epochs: int, spread: float) -> None:
    # The worst case: the training loss falls all the while, so that only the noise of validation can acquit.
    generator = np.random.default_rng(epochs)
    train = falling(epochs, 0.05, 1.5)
    verdicts = [diagnose(records(0.6 * np.exp(spread * noisy(generator, epochs)), train)).verdict for _ in range(300)]
    assert verdicts.count("clear") <= 0.03 * 300
    assert verdicts.count("clear") + verdicts.count("possible") <= 0.09 * 300


def test_noise_that_leans_on_itself_is_seldom_called_clear() -> None:
    generator = np.random.default_rng(3)
    train = falling(20, 0.05, 1.5)
    verdicts = [diagnose(records(0.6 + 0.03 * noisy(generator, 20, 0.5), train)).verdict for _ in range(400)]
    assert verdicts.count("clear") <= 0.10 * 400


def test_noise_around_a_falling_curve_is_never_called_clear() -> None:
    generator = np.random.default_rng(4)
    level, train = np.array(falling(20, 0.5, 1.5)), falling(20, 0.05, 1.5)
    verdicts = [diagnose(records(level + 0.03 * noisy(generator, 20), train)).verdict for _ in range(300)]
    assert verdicts.count("clear") == 0
    assert verdicts.count("possible") <= 0.02 * 300


@pytest.mark.parametrize(("epochs", "least"), [(10, 0.6), (20, 0.95), (40, 0.99)])
def test_a_rise_in_noise_is_found(epochs: int, least: float) -> None:
    generator = np.random.default_rng(5)
    level, train = np.array(turning(epochs, epochs // 3, 0.5, 0.8)), falling(epochs, 0.05, 1.5)
    verdicts = [diagnose(records(level + 0.03 * noisy(generator, epochs), train)).verdict for _ in range(200)]
    assert (verdicts.count("clear") + verdicts.count("possible")) / 200 >= least


def test_a_flat_noisy_curve_is_seldom_called_underfitting() -> None:
    generator = np.random.default_rng(6)
    verdicts = [diagnose(records(*(1.2 + 0.03 * noisy(generator, 15) for _ in range(2)))).verdict for _ in range(300)]
    assert verdicts.count("underfitting") <= 0.01 * 300


def test_noise_is_measured_about_right_on_straight_and_bent_curves() -> None:
    generator = np.random.default_rng(7)
    straight, bent = np.linspace(1, 0.5, 40), np.array(turning(40, 15, 0.5, 0.9))
    for level in (straight, bent):
        measured = [noise_of(level + 0.02 * generator.normal(size=40)) for _ in range(200)]
        assert 0.017 < np.mean(measured) < 0.03


@given(st.lists(st.floats(1e-6, 1e3), min_size=5, max_size=60), st.floats(0.01, 100))
def test_the_scale_of_a_loss_does_not_matter(values: list[float], scale: float) -> None:
    curve = np.array(values)
    assert rise_of(scale * curve) == pytest.approx(rise_of(curve), rel=1e-6, abs=1e-6)
    assert noise_of(scale * curve) == pytest.approx(scale * noise_of(curve), rel=1e-6)


@given(st.lists(st.one_of(st.none(), st.floats(0, 1e6)), max_size=30), st.data())
def test_any_history_has_a_diagnosis(values: list[float | None], data: st.DataObject) -> None:
    losses = data.draw(st.lists(st.one_of(st.none(), st.floats(0, 1e6)), min_size=len(values), max_size=len(values)))
    history = records(values, losses)
    for line in history:
        line["stage"] = data.draw(st.sampled_from(["one", "two"]))
    found = diagnose(
        [{"stage": "probe", "val_loss": 0.4}, *history, {"stage": "two", "epoch": 99, "val_loss": math.nan}]
    )
    assert found.sentences
    json.dumps(found.as_dict(), allow_nan=False)


def test_curves_that_fall_steadily_still_fall_at_the_end() -> None:
    assert falls_at_the_end(np.array([1.5, 1.25, 1.05, 0.9, 0.78]))
    assert falls_at_the_end(np.linspace(2, 1, 12))
    assert not falls_at_the_end(np.array(falling(40, 0.5, 2)))


def test_advice_leaves_out_what_the_run_used() -> None:
    history = records(turning(20, 7, 0.4, 0.7), falling(20, 0.05, 1.5))
    plain = " ".join(diagnose(history).advice)
    for key in ("augment.policy=trivialaugment", "augment.mixup=0.2", "loss.label_smoothing=0.1", "model.dropout=0.3",
                "stop.patience=5", "more images"):  # fmt: skip
        assert key in plain
    used = {
        "epochs": 20,
        "model": {"pretrained": False, "dropout": 0.4},
        "augment": {"policy": "randaugment", "erasing": 0.2, "cutmix": 1.0},
        "loss": {"label_smoothing": 0.1},
        "optim": {"optimiser": "adam", "weight_decay": 1e-5},
        "stop": {"patience": 3},
    }
    told = " ".join(diagnose(history, config=used).advice)
    for key in ("augment.", "label_smoothing", "dropout", "patience"):
        assert key not in told
    assert "`optim.weight_decay=0.0005`" in told
    assert "`epochs=8` instead of 20" in told
    assert "published weights" in told


def test_every_setting_that_is_advised_exists() -> None:
    over = records(turning(20, 7, 0.4, 0.7), falling(20, 0.05, 1.5))
    unsteady = records(turning(20, 7, 0.5, 0.9), turning(20, 7, 0.4, 0.8))
    under = records([1.5 - 0.05 * i for i in range(10)], [1.6 - 0.05 * i for i in range(10)])
    bare = {"augment": {"min_area": 1.0}, "model": {"pretrained": False}, "epochs": 20,
            "schedule": {"name": "step"}, "optim": {"learning_rate": 0.1, "clip_norm": None}}  # fmt: skip
    strong = {"model": {"dropout": 0.6}, "augment": {"mixup": 1.0, "cutmix": 1.0}, "budget_seconds": None}
    advised = set()
    for history, config in ((over, None), (over, bare), (unsteady, bare), (under, SETTINGS), (under, strong)):
        text = " ".join(diagnose(history, config=config).advice)
        advised |= {part.partition("=") for part in text.split("`")[1::2] if "=" in part}
    assert len(advised) >= 12
    for key, _, value in advised:
        parts = key.split(".")
        setting: Any = {parts[-1]: json.loads(value) if value[0].isdigit() or value == "true" else value}
        for part in reversed(parts[:-1]):
            setting = {part: setting}
        TrainConfig.model_validate(setting)


def small_photos(folder: Path, classes: list[str], first: int, count: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Photos of each class, 16 x 16 pixels: (N, 3, 16, 16) around zero, and class indices (N,)."""
    pixels, labels = [], []
    for label, name in enumerate(classes):
        for path in sorted((folder / name).iterdir())[first : first + count]:
            with Image.open(path) as photo:
                pixels.append(np.asarray(photo.convert("RGB").resize((16, 16)), dtype=np.float32) / 127.5 - 1)
            labels.append(label)
    return torch.from_numpy(np.stack(pixels)).permute(0, 3, 1, 2), torch.tensor(labels)


def trained_history(
    network: nn.Module, train: tuple[torch.Tensor, torch.Tensor], val: tuple[torch.Tensor, torch.Tensor],
    *, epochs: int, weight_decay: float,
) -> tuple[list[dict[str, Any]], dict[str, float]]:  # fmt: skip
    """Lines of a short training, and the figures on training images at its end."""
    optimiser = torch.optim.AdamW(network.parameters(), lr=2e-3, weight_decay=weight_decay)

    def score(images: torch.Tensor, labels: torch.Tensor) -> dict[str, float]:
        network.eval()
        with torch.inference_mode():
            logits = network(images)
        right = (logits.argmax(1) == labels).float().mean()
        return {"loss": float(F.cross_entropy(logits, labels)), "accuracy": float(right), "images": len(labels)}

    lines = []
    for epoch in range(epochs):
        network.train()
        losses = []
        for batch in torch.randperm(len(train[1])).split(8):
            loss = F.cross_entropy(network(train[0][batch]), train[1][batch])
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            losses.append(float(loss.detach()))
        found = score(*val)
        lines.append({"stage": "train", "epoch": epoch + 1, "train_loss": float(np.mean(losses)),
                      "val_loss": found["loss"], "val_accuracy": found["accuracy"]})  # fmt: skip
    return lines, score(*train)


def test_a_network_that_learns_random_labels_by_heart_is_found_out(flowers_sample: Path) -> None:
    torch.manual_seed(0)
    images, _ = small_photos(flowers_sample, ["rose", "tulip"], 0, 40)
    labels = torch.randint(0, 2, (80,))
    order = torch.randperm(80)
    train, val = order[:40], order[40:]
    network = nn.Sequential(nn.Flatten(), nn.Linear(768, 256), nn.ReLU(), nn.Linear(256, 2))
    lines, on_training = trained_history(
        network, (images[train], labels[train]), (images[val], labels[val]), epochs=25, weight_decay=0.0
    )
    assert on_training["accuracy"] == 1
    by_curve = diagnose(lines)
    assert by_curve.verdict == "clear", by_curve.sentences
    assert (
        diagnose(lines[:3], train=on_training, val={"accuracy": lines[-1]["val_accuracy"], "images": 40}).verdict
        == "clear"
    )


def test_a_small_regularised_network_with_true_labels_is_acquitted(flowers_sample: Path) -> None:
    torch.manual_seed(0)
    train = small_photos(flowers_sample, ["daisy", "rose"], 0, 25)
    val = small_photos(flowers_sample, ["daisy", "rose"], 25, 15)
    network = nn.Sequential(nn.AvgPool2d(8), nn.Flatten(), nn.Dropout(0.3), nn.Linear(12, 2))
    lines, on_training = trained_history(network, train, val, epochs=25, weight_decay=0.5)
    assert diagnose(lines).verdict != "clear", lines
    found = diagnose(lines, train=on_training, val={"images": 30})
    assert found.verdict in ("none", "underfitting"), found.sentences
