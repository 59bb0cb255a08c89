"""`fast`: small images from random weights to a good accuracy in the least time.

    eyebright train DATA --recipe fast --budget 10m
    eyebright train DATA --recipe fast --epochs 8 --no-budget

The network is `fastnet`; its width follows from how many epochs of it the time allows. What was measured, and how the
plan is made, stands in docs/speed.md.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import nn

from eyebright.config import ModelConfig, SplitShares, TrainConfig
from eyebright.data.batches import PixelSet, steps_per_epoch
from eyebright.data.sampling import epoch_order
from eyebright.models.catalog import create_network
from eyebright.models.fast import MULTIPLES, FastNet
from eyebright.recipes import staged
from eyebright.recipes.base import Context, Outcome, Plan, Published, Recipe, make_network
from eyebright.recipes.finish import finish_seconds
from eyebright.recipes.plain import over_plain
from eyebright.recipes.registry import SUMMARIES
from eyebright.recipes.settling import settle
from eyebright.recipes.stages import train_stages
from eyebright.training.budget import Speed, measure_speed
from eyebright.training.threads import arithmetic_threads

NETWORK = "fastnet"
LARGEST_SIDE = 64
LEAST_EPOCHS = {16: 0.0, 24: 1.5, 32: 2.0, 48: 4.0, 64: 6.0, 96: 11.0, 128: 16.0}
"""Width of the network, and from how many epochs on it is better than a narrower one that is trained longer."""
MOST_EPOCHS, MOST_STEPS = 60, 1000
"""Epochs after which more of them bring little; small sets get more, up to so many steps."""
EPOCHS_WITHOUT_BUDGET = 8
BATCH, BATCH_ON_GPU = 250, 2000
RATE, RATE_WIDTH, RATE_ON_GPU = 0.025, 64, 1.5
"""Rate for a width; others get it times the root of that width over their own, which keeps the spectral norm of timm's
Muon steps. With the larger batches of a GPU it is so many times as high."""
STEPS_PER_EPOCH, LEAST_BATCH = 20, 16
"""An epoch has at least so many steps, as far as batches do not become smaller than this."""
MEASURED_BATCH = 64
WHITENING_IMAGES, WHITENING_BATCH = 2000, 250
AS_PUBLISHED = "--set budget_seconds=null --set data.audit=off --set 'data.split={train: 0.83, val: 0.02, test: 0.15}'"
"""No time limit, no look at the images before, and a fiftieth of the training images for validation: what the published
figures come close to."""
VIEWS_SHARE = 0.05
"""Share of the budget up to which scoring with six views of each image may take it; else it looks at two."""


def plan(context: Context) -> Plan:
    """The widest network that gets as many epochs as its width is worth; then as every recipe in stages."""
    config = _for_these_images(context)
    config, reasons = _with_network(config, context)
    planned = staged.plan(dataclasses.replace(context, config=config))
    if planned.network != NETWORK:
        return planned
    arguments = {**planned.config.model.arguments, "mirror": bool(planned.config.augment.flip)}
    model = planned.config.model.model_copy(update={"arguments": arguments})
    return dataclasses.replace(
        planned,
        architecture_arguments=arguments,
        config=planned.config.model_copy(update={"model": model}),
        reasons=(*planned.reasons, *reasons),
    )


def fit(plan: Plan, context: Context, train: PixelSet, val: PixelSet) -> Outcome:
    """Whiten the first layer by training images, train, and look at several views of an image from then on."""
    network = make_network(plan, context)
    if not isinstance(network, FastNet):
        return staged.fit(plan, context, train, val)
    # The validation of every epoch looks at each image once: several views would cost more than they tell.
    views, network.tta = network.tta, 0
    with arithmetic_threads(plan.config.compute.threads):
        network.whitening.whiten(whitening_batches(train, plan.config))
        fitted = train_stages(network, plan, context, train, val)
    network.tta = views
    step = (fitted.state.best or {}).get("step", 0)
    reason = f"kept the weights of step {step:.0f} of {fitted.state.total_steps}"
    reasons = (reason,) if fitted.reason is None else (fitted.reason, reason)
    return Outcome(network=network.eval(), reasons=reasons, stopped=fitted.stopped)


def whitening_batches(train: PixelSet, config: TrainConfig) -> list[torch.Tensor]:
    """The images that the first epoch begins with, normalised: the same whenever and wherever it is asked."""
    order = epoch_order(train.targets, seed=config.seed, epoch=0, sampling="shuffle")
    return [batch.images for batch in train.part(order[:WHITENING_IMAGES]).in_order(WHITENING_BATCH)]


def _for_these_images(context: Context) -> TrainConfig:
    """The configuration with the side of the input and the batch that fit these images and this device."""
    config, facts = context.config, context.facts
    size = config.image.size or min(LARGEST_SIDE, staged.choose_size(facts.side, fixed=None))
    optim = config.optim
    batch_size = BATCH_ON_GPU if context.device.type == "cuda" and optim.batch_size == BATCH else optim.batch_size
    largest = max(LEAST_BATCH, facts.images["train"] // STEPS_PER_EPOCH)
    optim = optim.model_copy(update={"batch_size": min(batch_size, largest)})
    return config.model_copy(update={"image": config.image.model_copy(update={"size": size}), "optim": optim})


def _with_network(config: TrainConfig, context: Context) -> tuple[TrainConfig, tuple[str, ...]]:
    """The configuration with the width of the network, its views and, where they are to end, its epochs; and why."""
    given = config.model.arguments
    if config.model.name != NETWORK:
        return config, ()
    widths = [given["width"]] if "width" in given else [] if "widths" in given else list(LEAST_EPOCHS)
    if context.deadline is None or not widths:
        asked_for = config.epochs is not None or config.stages or context.deadline is not None
        epochs = config.epochs if asked_for else EPOCHS_WITHOUT_BUDGET
        if widths:
            in_all = float(epochs or sum(stage.epochs for stage in config.stages))
            given = {"width": widest(widths, lambda width: in_all)[0], **given}
        config = config.model_copy(update={"epochs": epochs, "model": _with(config, {"tta": 2, **given})})
        return _with_rate(config, context), ()
    config, said = settle(
        _network(widths[min(1, len(widths) - 1)], config, context), config, context, size=_size(config),
        channels=_channels(config, context),
    )  # fmt: skip
    costs = _Costs(config, context)
    width, fit_in = widest(widths, lambda width: costs.epochs(width, views=2))
    views = 6 if costs.scoring_seconds(width, views=6) <= VIEWS_SHARE * costs.left else 2
    steps = steps_per_epoch(context.facts.images["train"], config.optim.batch_size, drop_last=config.data.drop_last)
    most = max(MOST_EPOCHS, -(-MOST_STEPS // steps))
    ends = most if config.epochs is None and not config.stages and fit_in > most else config.epochs
    config = config.model_copy(
        update={"epochs": ends, "model": _with(config, {"width": width, "tta": 2 if views == 6 else 1, **given})}
    )
    worth = f", worth it from {LEAST_EPOCHS[width]} on" if width in LEAST_EPOCHS else ""
    return _with_rate(config, context), (*said, f"width {width}: about {fit_in:.0f} epochs fit into the budget{worth}")


def _with_rate(config: TrainConfig, context: Context) -> TrainConfig:
    """The configuration with the recipe's rate fitted to the width and the batch; another one is left as it is."""
    if config.optim.learning_rate != RATE:
        return config
    arguments = config.model.arguments
    width = arguments["width"] if "width" in arguments else arguments["widths"][-1] / MULTIPLES[-1]
    rate = RATE * (RATE_WIDTH / width) ** 0.5 * (RATE_ON_GPU if context.device.type == "cuda" else 1.0)
    return config.model_copy(update={"optim": config.optim.model_copy(update={"learning_rate": round(rate, 4)})})


def widest(widths: Sequence[int], epochs: Callable[[int], float]) -> tuple[int, float]:
    """The last of the widths, narrowest first, that gets as many epochs as it is worth, and how many; else the first.

    Args:
        widths: at least one.
        epochs: how many there would be with a width; asked no further than for the first one that gets too few.
    """
    best, fit_in = widths[0], epochs(widths[0])
    for width in widths[1:]:
        found = epochs(width)
        if found < LEAST_EPOCHS[width]:
            break
        best, fit_in = width, found
    return best, fit_in


class _Costs:
    """What networks of some width cost here, measured when first asked for."""

    def __init__(self, config: TrainConfig, context: Context) -> None:
        self.left = context.seconds_left() or 0.0
        self._config, self._context = config, context
        self._speeds: dict[int, Speed] = {}

    def epochs(self, width: int, *, views: int) -> float:
        """How many fit into the budget, beside scoring so many views at the end; no more than were asked for."""
        speed, images = self._speed(width), self._context.facts.images
        seconds = images["train"] / speed.train + images["val"] / speed.infer
        found = max(0.0, self.left - self.scoring_seconds(width, views=views)) / seconds
        return found if self._config.epochs is None else min(found, float(self._config.epochs))

    def scoring_seconds(self, width: int, *, views: int) -> float:
        """Seconds that what follows training takes."""
        speed = self._speed(width)
        return finish_seconds(self._context.facts, dataclasses.replace(speed, infer=speed.infer / views))

    def _speed(self, width: int) -> Speed:
        if width not in self._speeds:
            config, context = self._config, self._context
            network = _network(width, config, context).to(context.device)
            with arithmetic_threads(config.compute.threads):
                self._speeds[width] = measure_speed(
                    network, size=_size(config), channels=_channels(config, context),
                    batch_size=min(MEASURED_BATCH, config.optim.batch_size), device=context.device,
                    precision=config.compute.precision,
                )  # fmt: skip
        return self._speeds[width]


def _network(width: int, config: TrainConfig, context: Context) -> nn.Module:
    """A network of that width that looks at each image once, to be measured."""
    return create_network(
        NETWORK, classes=context.facts.classes, channels=_channels(config, context), pretrained=False,
        arguments={**config.model.arguments, "width": width, "tta": 0},
    )  # fmt: skip


def _channels(config: TrainConfig, context: Context) -> int:
    return config.image.channels or (1 if context.facts.grey else 3)


def _size(config: TrainConfig) -> int:
    assert config.image.size is not None, "chosen before"
    return config.image.size


def _with(config: TrainConfig, arguments: dict[str, Any]) -> ModelConfig:
    return config.model.model_copy(update={"arguments": arguments})


RECIPE = Recipe(
    name="fast",
    summary=SUMMARIES["fast"],
    source="Keller Jordan 2024, 94% on CIFAR-10 in 3.29 Seconds on a Single GPU (arXiv:2404.00498), and its successor "
    "with Muon; made general over classes, channels and sizes, and planned for a time.",
    defaults=over_plain(
        budget_seconds=600.0,
        data={"split": SplitShares.parse("45/5/10").model_dump(), "drop_last": True},
        model={"name": NETWORK},
        optim={
            "optimiser": "muon",
            "nesterov": True,
            "momentum": 0.6,
            "batch_size": BATCH,
            "learning_rate": RATE,
            "weight_decay": 0.0,
        },
        schedule={"name": "polynomial", "power": 1.0},
        loss={"label_smoothing": 0.2},
        stop={"keep": "last"},
        augment={"flip": None, "flip_schedule": "alternating", "shift": 2 / 32, "whole_pixels": True},
        compute={"precision": "auto"},
    ),
    plan=plan,
    fit=fit,
    published=(
        Published(figure="test accuracy, mean of 10 runs of 1.6 s on one H100", value="0.9402", where="CIFAR-10"),
    ),
    choices=(
        "All weights are steered by one optimiser: Muon's orthogonal steps for the convolutions and AdamW's for shifts "
        "and classifier, where the source has plain SGD with rates of their own.",
        "The patches are whitened about their mean, which the first bias takes away; the source whitens about zero and "
        "begins with random biases. Both then train the bias.",
        "The largest value over all positions stands for the source's 3x3 pooling, so that any size of image works.",
        "Mirroring by turns, where images are mirrored at all: two epochs show both sides of every image.",
    ),
    variants={
        "for 94 % on CIFAR-10 on a GPU": f"--epochs 8 {AS_PUBLISHED}",
        "for 96 % on CIFAR-10 on a GPU": (
            f"--epochs 40 {AS_PUBLISHED} --set 'model.arguments={{widths: [128, 384, 512], depth: 3}}' "
            "--set augment.shift=0.125 --set augment.erasing=1 --set augment.erasing_side=12"
        ),
        "one view of each image": "--set 'model.arguments={tta: 0}'",
        "mirroring by chance": "--set augment.flip_schedule=random",
        "a width of one's own": "--set 'model.arguments={width: 32}'",
    },
)
