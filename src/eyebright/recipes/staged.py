"""Plan and fit for any network and any configuration: what every recipe but `auto` does.

The configuration says it all; the plan only turns it into stages and steps, and checks first that the network satisfies
what was required of it.
"""

from __future__ import annotations

import dataclasses

from torch import nn

from eyebright.config import StageConfig, TrainConfig
from eyebright.data.batches import PixelSet, steps_per_epoch
from eyebright.errors import UsageError
from eyebright.models.catalog import NetworkFacts, architecture_of, create_network, network_facts
from eyebright.models.requirements import require
from eyebright.preprocess import Preprocess
from eyebright.recipes.base import Context, Outcome, Plan, make_network
from eyebright.recipes.finish import finish_seconds
from eyebright.recipes.settling import settle
from eyebright.recipes.stages import train_stages
from eyebright.training.budget import Speed, measure_speed
from eyebright.training.freezing import freeze
from eyebright.training.stage import Stage
from eyebright.training.threads import arithmetic_threads

SMALL_SIDE = 64
LARGEST_SIDE = 128
MOST_EPOCHS = 100
EPOCHS_WITHOUT_BUDGET = 30


def plan(context: Context) -> Plan:
    """Sizes from the configuration or the images, steps from the epochs or from the time that this machine needs."""
    config, facts = context.config, context.facts
    name = config.model.name or _default_network(context)
    config = _fitting_size(config, name)
    known = network_facts(name, config.model.arguments)
    preprocess = make_preprocess(config, known, side=facts.side, grey=facts.grey)
    # Without evidence from a pretrained network, small grey images are taken for symbols, whose mirror images differ.
    flip = config.augment.flip if config.augment.flip is not None else not (facts.grey and facts.side <= SMALL_SIDE)
    mixup = config.augment.mixup or 0.0
    config = config.model_copy(update={"augment": config.augment.model_copy(update={"flip": flip, "mixup": mixup})})
    reasons = [
        f"{name} {'with published weights' if config.model.pretrained else 'from random weights'} at "
        f"{preprocess.size} px: the images' shorter side is {facts.side} px in the median"
    ]
    # With its weights, so that missing ones are noticed before images are prepared.
    network = create_network(
        name, classes=facts.classes, channels=preprocess.channels, pretrained=config.model.pretrained,
        dropout=config.model.dropout, drop_path=config.model.drop_path, head=config.model.head,
        arguments=config.model.arguments,
    )  # fmt: skip
    if config.requirements != type(config.requirements)():
        require(network, name, config.requirements, (preprocess.channels, preprocess.size, preprocess.size))
        reasons.append(f"{name} satisfies what was required of it")
    wanted = _wanted_stages(config)
    config, settled = settle(network, config, context, size=preprocess.size, channels=preprocess.channels)
    reasons += settled
    reserve, stages = 0.0, [_stage(one, config, context, preprocess.size) for one in wanted]
    if context.deadline is not None:
        network = network.to(context.device)
        with arithmetic_threads(config.compute.threads):
            speeds = [_speed(network, stage, config, preprocess.channels, context) for stage in stages]
        reserve = finish_seconds(facts, speeds[-1])
        stages = _within(stages, speeds, reserve, context, open_end=config.epochs is None and not config.stages)
        reasons.append(f"this machine trains {speeds[-1].train:.0f} images a second ({context.device.type})")
    for stage in stages:
        part = {"body": "the head alone", 0.0: "all layers"}.get(
            stage.frozen, f"without the first {stage.frozen} layers"
        )
        reasons.append(
            f"{stage.name}: {stage.steps / stage.evaluate_every:.1f} epochs at {stage.size} px, learning rate "
            f"{stage.learning_rate:g}, {part}" + (", superclasses" if stage.level == "superclass" else "")
        )
    if not config.augment.albumentations:
        said = "" if context.config.augment.flip is not None else " (set augment.flip to change it)"
        reasons.append(f"mirroring is {'on' if flip else 'off'}{said}")
    architecture, arguments = architecture_of(name, head=config.model.head, arguments=config.model.arguments)
    return Plan(
        network=name,
        architecture=architecture,
        architecture_arguments=arguments,
        pretrained=config.model.pretrained,
        licence=known.licence if config.model.pretrained else "none: trained from random weights",
        preprocess=preprocess,
        probe=False,
        stages=tuple(stages),
        finish_seconds=reserve,
        config=config,
        reasons=tuple(reasons),
    )


def fit(plan: Plan, context: Context, train: PixelSet, val: PixelSet) -> Outcome:
    """Train through the stages; the weights that `stop.keep` says are kept."""
    with arithmetic_threads(plan.config.compute.threads):
        network = make_network(plan, context)
        fitted = train_stages(network, plan, context, train, val)
    best = fitted.state.best or {}
    kept = plan.config.stop.keep
    which = "the last" if kept == "last" else f"the best by {kept}"
    reason = f"kept the weights of step {best.get('step', 0):.0f} of {fitted.state.total_steps}, {which}"
    context.progress.note(reason)
    reasons = (reason,) if fitted.reason is None else (fitted.reason, reason)
    return Outcome(network=network.eval(), reasons=reasons, stopped=fitted.stopped)


def _fitting_size(config: TrainConfig, name: str) -> TrainConfig:
    """A network whose weights depend on the input size is made for the size that was asked for."""
    size, known = config.image.size, network_facts(name, config.model.arguments)
    if not known.fixed_size or size in (None, known.input_size) or "img_size" in config.model.arguments:
        return config
    model = config.model.model_copy(update={"arguments": {**config.model.arguments, "img_size": size}})
    return config.model_copy(update={"model": model})


def make_preprocess(config: TrainConfig, known: NetworkFacts, *, side: int, grey: bool) -> Preprocess:
    """How images become input: as configured, else as the weights want it, else by the images themselves."""
    image, pretrained = config.image, config.model.pretrained
    size = image.size or choose_size(side, fixed=known.input_size if known.fixed_size or pretrained else None)
    channels = image.channels or (1 if grey and not pretrained else 3)
    mean = image.mean or (known.mean if pretrained else (0.5,))
    std = image.std or (known.std if pretrained else (0.25,))
    return Preprocess(
        size=size,
        resize=image.resize or "squash",
        resize_to=round(size / image.crop_share) if image.resize == "crop" else 0,
        interpolation=image.interpolation,
        channels=channels,
        mean=_for_channels(mean, channels, "image.mean"),
        std=_for_channels(std, channels, "image.std"),
    )


def choose_size(side: int, *, fixed: int | None) -> int:
    """Side of the input: what the network demands, or the images' own up to 128, in fours."""
    if fixed is not None:
        return fixed
    return max(16, min(LARGEST_SIDE, -(-side // 4) * 4))


def _for_channels(values: tuple[float, ...], channels: int, key: str) -> tuple[float, ...]:
    """One value for each channel: one for all, or three averaged for a grey image."""
    if len(values) == channels:
        return values
    if len(values) == 1:
        return values * channels
    if channels == 1:
        return (sum(values) / len(values),)
    raise UsageError(f"{key} has {len(values)} values for {channels} channels", expected=f"1 or {channels} values")


def _default_network(context: Context) -> str:
    if context.config.model.pretrained:
        return "tf_efficientnet_lite0"
    return "smallnet" if context.facts.side <= SMALL_SIDE else "resnet18"


def _wanted_stages(config: TrainConfig) -> list[StageConfig]:
    """The configured stages, the last of them with `epochs` where those were asked for; else a single one."""
    if config.epochs == 0:
        raise UsageError("0 epochs would train nothing", expected="epochs=1 or more")
    if not config.stages:
        fixed = False if not config.model.pretrained else None
        return [StageConfig(name="train", epochs=config.epochs or EPOCHS_WITHOUT_BUDGET, fixed_statistics=fixed)]
    names = [stage.name for stage in config.stages]
    if len(set(names)) < len(names):
        raise UsageError(f"two stages have the same name: {names}", expected="a name of its own for each stage")
    *first, last = config.stages
    return [*first, last if config.epochs is None else last.model_copy(update={"epochs": config.epochs})]


def _stage(wanted: StageConfig, config: TrainConfig, context: Context, size: int) -> Stage:
    images = context.facts.images["train"]
    batch_size = min(wanted.batch_size or config.optim.batch_size, images)
    per_epoch = steps_per_epoch(images, batch_size, drop_last=config.data.drop_last)
    if wanted.size is not None and wanted.size > size:
        raise UsageError(
            f"the stage {wanted.name!r} wants {wanted.size} px, and images are prepared at {size} px",
            expected="stages of at most the size of the input",
            remedy="set image.size to the largest size of a stage",
        )
    hole, side = config.augment.erasing_side, wanted.size or size
    if config.augment.erasing > 0 and hole is not None and hole >= side:
        raise UsageError(
            f"augment.erasing_side={hole} would erase the whole image of {side} px in the stage {wanted.name!r}",
            expected="a square smaller than the image",
        )
    return Stage(
        name=wanted.name,
        steps=wanted.epochs * per_epoch,
        most_steps=wanted.epochs * per_epoch,
        evaluate_every=per_epoch,
        size=wanted.size or size,
        batch_size=batch_size,
        learning_rate=wanted.learning_rate or config.optim.learning_rate,
        layer_decay=wanted.layer_decay or config.optim.layer_decay,
        frozen=wanted.frozen,
        fixed_statistics=wanted.fixed_statistics,
        level=wanted.level,
    )


def _speed(network: nn.Module, stage: Stage, config: TrainConfig, channels: int, context: Context) -> Speed:
    freeze(network, stage.frozen)
    return measure_speed(
        network,
        size=stage.size,
        channels=channels,
        batch_size=stage.batch_size,
        device=context.device,
        precision=config.compute.precision,
    )


def _within(
    stages: list[Stage], speeds: list[Speed], reserve: float, context: Context, *, open_end: bool
) -> list[Stage]:
    """The stages with as many steps as the budget allows: shortened alike, and lengthened when no epochs were given."""
    facts, left = context.facts, context.seconds_left() or 0.0
    needed = sum(
        stage.steps * stage.batch_size / speed.train
        + stage.steps / stage.evaluate_every * facts.images["val"] / speed.infer
        for stage, speed in zip(stages, speeds, strict=True)
    )
    share = max(0.0, left - reserve) / needed
    if not open_end:
        share = min(1.0, share)
    return [_scaled(stage, share, open_end=open_end) for stage in stages]


def _scaled(stage: Stage, share: float, *, open_end: bool) -> Stage:
    most = MOST_EPOCHS * stage.evaluate_every if open_end else stage.steps
    return dataclasses.replace(stage, steps=max(1, min(most, int(stage.steps * share))), most_steps=most)
