"""`scratch`: any network from random weights.

eyebright train DATA --recipe scratch --model resnet18 --budget 30m
eyebright train DATA --recipe scratch --model smallnet --epochs 20 --no-budget
"""

from __future__ import annotations

import torch

from eyebright.config import AugmentConfig, TrainConfig
from eyebright.data.batches import PixelSet
from eyebright.errors import UsageError
from eyebright.models.catalog import create_network, network_facts
from eyebright.preprocess import Preprocess
from eyebright.recipes.base import Context, Outcome, Plan, Recipe, train_network
from eyebright.recipes.finish import finish_seconds
from eyebright.training.budget import measure_speed

SMALL_SIDE = 64
LARGEST_SIDE = 128
MOST_EPOCHS = 100
EPOCHS_WITHOUT_BUDGET = 30


def choose_size(config: TrainConfig, side: int, *, fixed: int | None) -> int:
    """Side of the input: what was asked for, what the network demands, or the images' own up to 128, in fours."""
    if config.image.size is not None:
        return config.image.size
    if fixed is not None:
        return fixed
    return max(16, min(LARGEST_SIDE, -(-side // 4) * 4))


def plan(context: Context) -> Plan:
    """Size from the images, steps from the time that this machine needs for one."""
    config, facts = context.config, context.facts
    if config.epochs == 0:
        raise UsageError("0 epochs from random weights would train nothing", expected="epochs=1 or more")
    name = config.model.name or ("smallnet" if facts.side <= SMALL_SIDE else "resnet18")
    network_ = network_facts(name)
    size = choose_size(config, facts.side, fixed=network_.input_size if network_.fixed_size else None)
    channels = 1 if facts.grey else 3
    preprocess = Preprocess(
        size=size,
        resize=config.image.resize or "squash",
        resize_to=round(size / config.image.crop_share) if config.image.resize == "crop" else 0,
        interpolation=config.image.interpolation,
        channels=channels,
        mean=(0.5,) * channels,
        std=(0.25,) * channels,
    )
    # Without evidence from a pretrained network, small grey images are taken for symbols, whose mirror images differ.
    flip = config.augment.flip if config.augment.flip is not None else not (facts.grey and facts.side <= SMALL_SIDE)
    config = config.model_copy(update={"augment": config.augment.model_copy(update={"flip": flip})})
    batch_size = min(config.optim.batch_size, facts.images["train"])
    per_epoch = max(1, facts.images["train"] // batch_size)
    reasons = [f"{name} from random weights at {size} px: the images' shorter side is {facts.side} px in the median"]
    network = create_network(name, classes=facts.classes, channels=channels, pretrained=False).to(context.device)
    speed = measure_speed(network, size=size, channels=channels, batch_size=batch_size, device=context.device)
    reserve = finish_seconds(facts, speed)
    if config.epochs is not None:
        steps = most_steps = config.epochs * per_epoch
    elif (left := context.seconds_left()) is not None:
        evaluation = facts.images["val"] / speed.infer
        epochs = max(0.0, left - reserve) / (facts.images["train"] / speed.train + evaluation)
        most_steps = MOST_EPOCHS * per_epoch
        steps = max(1, min(most_steps, int(epochs * per_epoch)))
    else:
        steps = most_steps = EPOCHS_WITHOUT_BUDGET * per_epoch
    reasons.append(f"{steps / per_epoch:.1f} epochs planned: this machine trains {speed.train:.0f} images a second")
    reasons.append(
        f"mirroring is {'on' if flip else 'off'}"
        + ("" if context.config.augment.flip is not None else " (set augment.flip to change it)")
    )
    return Plan(
        architecture=name,
        architecture_arguments={},
        pretrained=False,
        licence="none: trained from random weights",
        preprocess=preprocess,
        probe=False,
        steps=steps,
        most_steps=most_steps,
        frozen_share=0.0,
        fixed_statistics=False,
        evaluate_every=per_epoch,
        finish_seconds=reserve,
        config=config,
        reasons=tuple(reasons),
    )


def fit(plan: Plan, context: Context, train: PixelSet, val: PixelSet) -> Outcome:
    """Train from random weights; the weights with the lowest validation loss are kept."""
    torch.manual_seed(plan.config.seed)  # the random weights
    network = create_network(
        plan.architecture,
        classes=context.facts.classes,
        channels=plan.preprocess.channels,
        pretrained=False,
        dropout=plan.config.model.dropout,
    ).to(context.device)
    fitted = train_network(network, plan, context, train, val, stage="train")
    best = fitted.state.best or {}
    reason = f"kept the weights of step {best.get('step', 0):.0f} of {fitted.state.total_steps}, the best on validation"
    context.progress.note(reason)
    return Outcome(network=network.eval(), reasons=(reason,), stopped=fitted.stopped)


RECIPE = Recipe(
    name="scratch",
    defaults={
        "model": {"pretrained": False},
        "optim": {"learning_rate": 3e-3, "layer_decay": 1.0, "batch_size": 64, "weight_decay": 0.05, "ema_decay": 0.99},
        "augment": AugmentConfig(min_area=0.6, aspect=0.1, brightness=0.2, mixup=0.1).model_dump(),
    },
    plan=plan,
    fit=fit,
)
