"""`auto`: the best classifier that the budget allows, without a guess from the user.

    eyebright train DATA --budget 5m

It measures this machine, then chooses the input size and how much of the network to fine-tune. Features are computed
once for a linear probe; its weights become the classifier from which fine-tuning starts, so that the pretrained
features are not torn up by a random head (Kumar et al. 2022, arXiv:2202.10054). Lower layers move more slowly
(discriminative rates, Howard and Ruder 2018, arXiv:1801.06146) or not at all when time is short. Probe and fine-tuned
network are compared on validation after temperature scaling, and the better one is kept.
"""

from __future__ import annotations

import dataclasses
import math

from eyebright.config import TrainConfig, build_config
from eyebright.data.batches import PixelSet
from eyebright.models.catalog import architecture_of, classifier_layer, create_network, network_facts
from eyebright.preprocess import Preprocess
from eyebright.recipes import scratch, staged
from eyebright.recipes.base import Context, DataFacts, Outcome, Plan, Recipe, make_network
from eyebright.recipes.finish import finish_seconds
from eyebright.recipes.probing import calibrated_loss, probe_first
from eyebright.recipes.settling import settle
from eyebright.recipes.stages import train_stages
from eyebright.training.budget import Speed, measure_speed
from eyebright.training.freezing import freeze_first_layers
from eyebright.training.probe import install_probe
from eyebright.training.score import predict_logits
from eyebright.training.stage import Stage
from eyebright.training.threads import arithmetic_threads

DEFAULT_NETWORK = "tf_efficientnet_lite0"
SIZES = (288, 256, 224, 192, 160, 128, 96)
FROZEN_SHARES = (0.0, 0.4)
MEASURED_SIZE = 160
FEWEST_EPOCHS = 2.0
MOST_EPOCHS = 15
SYMBOL_SIDE = 32
EPOCHS_WITHOUT_BUDGET = 10
PACK_BYTES = 12 * 2**30
DECODE_SECONDS_PER_PIXEL = 5e-9
RESIZE_SECONDS_PER_PIXEL = 26e-9
PROBE_FIT_SECONDS = 6.0
MIXUP = 0.2
MIXUP_EPOCHS = 8


@dataclasses.dataclass(frozen=True)
class Option:
    """One way to spend the budget, and what it is expected to cost in accuracy against the best imaginable."""

    size: int
    frozen_share: float
    epochs: float
    speed: Speed

    @property
    def expected_loss(self) -> float:
        """Points of accuracy lost by few epochs, a small input and frozen layers.

        The three terms were read off fine-tuning runs on flowers and trashnet (docs/log.md): they order the options,
        they do not predict an accuracy.
        """
        by_epochs = 12.0 / max(self.epochs, 0.1)
        by_size = 4.0 * max(0.0, math.log2(224 / self.size)) - 1.5 * max(0.0, math.log2(self.size / 224))
        by_freezing = 1.5 * self.frozen_share
        return by_epochs + by_size + by_freezing


def _scaled(speed: Speed, size: int) -> Speed:
    """Speed at another size: the work grows with the number of pixels."""
    factor = (speed.size / size) ** 2
    return Speed(size, speed.infer * factor, speed.train * factor)


def _packing_seconds(facts: DataFacts, size: int) -> float:
    """Rough time to decode and resize all images on two cores (benchmarks/packing.py); photos are taken for 4:3."""
    pixels = DECODE_SECONDS_PER_PIXEL * facts.side**2 * 4 / 3 + RESIZE_SECONDS_PER_PIXEL * size**2
    return sum(facts.images.values()) * pixels


def _options(context: Context, speeds: dict[float, Speed], sizes: tuple[int, ...], epochs: int | None) -> list[Option]:
    facts, left = context.facts, context.seconds_left()
    options = []
    for size in sizes:
        for share, measured in speeds.items():
            speed = _scaled(measured, size)
            if epochs is not None:
                options.append(Option(size, share, epochs, speed))
                continue
            if left is None:
                options.append(Option(size, share, EPOCHS_WITHOUT_BUDGET, speed))
                continue
            train, val = facts.images["train"], facts.images["val"]
            packing = _packing_seconds(facts, size)
            probing = (train + 2 * val) / speed.infer + PROBE_FIT_SECONDS
            room = left - packing - probing - finish_seconds(facts, speed)
            options.append(
                Option(size, share, min(MOST_EPOCHS, room / (train / speed.train + 0.5 * val / speed.infer)), speed)
            )
    return options


def plan(context: Context) -> Plan:
    """Choose the network, the input size, what to fine-tune and for how long."""
    config, facts = context.config, context.facts
    if config.model.name is None and facts.grey and facts.side <= SYMBOL_SIDE:
        drawn = staged.plan(dataclasses.replace(context, config=_with_scratch_defaults(config)))
        reason = f"small grey images ({facts.side} px) are unlike the photographs that pretrained networks have seen"
        return dataclasses.replace(drawn, reasons=(reason, *drawn.reasons))
    name = config.model.name or DEFAULT_NETWORK
    known = network_facts(name)
    batch_size = min(config.optim.batch_size, facts.images["train"])
    network = create_network(name, classes=facts.classes, pretrained=config.model.pretrained).to(context.device)
    asked = known.input_size if known.fixed_size else config.image.size
    measured = asked or MEASURED_SIZE
    settled: list[str] = []
    if config.epochs != 0:
        config, settled = settle(network, config, context, size=measured, channels=3)
    speeds = {}
    for share in FROZEN_SHARES:
        freeze_first_layers(network, share)
        with arithmetic_threads(config.compute.threads):
            speeds[share] = measure_speed(
                network, size=measured, channels=3, batch_size=batch_size, device=context.device,
                precision=config.compute.precision,
            )  # fmt: skip
    if asked is not None:
        sizes: tuple[int, ...] = (asked,)
    else:
        sizes = SIZES if context.deadline is not None else (known.input_size,)
        fitting = tuple(size for size in sizes if 3 * size**2 * sum(facts.images.values()) <= PACK_BYTES)
        sizes = fitting or sizes[-1:]
    reasons = [
        f"this machine trains {speeds[0.0].train:.0f} and classifies {speeds[0.0].infer:.0f} images a second "
        f"with {name} at {speeds[0.0].size} px ({context.device.type})",
        *settled,
    ]
    options = _options(context, speeds, sizes, config.epochs)
    best = min(options, key=lambda option: option.expected_loss)
    per_epoch = max(1, facts.images["train"] // batch_size)
    if config.epochs == 0 or (best.epochs < FEWEST_EPOCHS and config.epochs is None):
        best, steps, most_steps = _largest_for_a_probe(options, context), 0, 0
        why = "as asked" if config.epochs == 0 else f"fewer than {FEWEST_EPOCHS:g} epochs of fine-tuning would fit"
        reasons.append(f"a linear probe on features at {best.size} px, no fine-tuning: {why}")
    else:
        most_steps = (config.epochs or MOST_EPOCHS) * per_epoch
        steps = min(most_steps, max(1, round(best.epochs * per_epoch)))
        what = "the whole network" if best.frozen_share == 0 else f"the last {1 - best.frozen_share:.0%} of the layers"
        epochs = steps / per_epoch
        reasons.append(f"a linear probe, then fine-tuning of {what} at {best.size} px for about {epochs:.1f} epochs")
        if config.augment.mixup is None:
            # Mixup keeps long training from memorising; in a few epochs it only slows learning (docs/log.md).
            mixup = MIXUP if epochs >= MIXUP_EPOCHS else 0.0
            config = config.model_copy(update={"augment": config.augment.model_copy(update={"mixup": mixup})})
            reasons.append(f"mixup {mixup:g}" if mixup else f"no mixup: it pays from about {MIXUP_EPOCHS} epochs")
    if facts.side < best.size:
        reasons.append(f"images of {facts.side} px are enlarged: the pretrained features work better at {best.size} px")
    stage = Stage(
        name="fine-tune",
        steps=steps,
        most_steps=most_steps,
        evaluate_every=_epochs_between_evaluations(best, context) * per_epoch,
        size=best.size,
        batch_size=batch_size,
        learning_rate=config.optim.learning_rate,
        layer_decay=config.optim.layer_decay,
        frozen=best.frozen_share,
        fixed_statistics=config.model.pretrained,
    )
    architecture, arguments = architecture_of(name, head=config.model.head, arguments=config.model.arguments)
    return Plan(
        network=name,
        architecture=architecture,
        architecture_arguments=arguments,
        pretrained=config.model.pretrained,
        licence=known.licence if config.model.pretrained else "none: trained from random weights",
        preprocess=Preprocess(
            size=best.size,
            resize=config.image.resize or "squash",
            resize_to=round(best.size / config.image.crop_share) if config.image.resize == "crop" else 0,
            interpolation=config.image.interpolation,
            mean=config.image.mean or known.mean,
            std=config.image.std or known.std,
        ),
        probe=True,
        stages=(stage,) if steps else (),
        finish_seconds=finish_seconds(facts, best.speed),
        config=config,
        reasons=tuple(reasons),
    )


def _largest_for_a_probe(options: list[Option], context: Context) -> Option:
    """The largest size up to 224 at which the features can be computed in the time that is left, else the smallest."""
    facts, left = context.facts, context.seconds_left()
    images = facts.images["train"] + 2 * facts.images["val"]

    def fits(option: Option) -> bool:
        needed = images / option.speed.infer + PROBE_FIT_SECONDS + finish_seconds(facts, option.speed)
        return left is None or needed < left

    fitting = [option for option in options if option.size <= 224 and fits(option)]
    if fitting:
        return max(fitting, key=lambda option: option.size)
    return min(options, key=lambda option: option.size)


def _epochs_between_evaluations(option: Option, context: Context) -> int:
    """Under a budget, evaluations get about a tenth of the time; without one, nothing may depend on the clock."""
    if context.deadline is None:
        return 1
    images = context.facts.images
    epoch_seconds, evaluation_seconds = images["train"] / option.speed.train, images["val"] / option.speed.infer
    return max(1, min(5, round(10 * evaluation_seconds / epoch_seconds)))


def _with_scratch_defaults(config: TrainConfig) -> TrainConfig:
    """The configuration with the scratch recipe's rates and augmentation where the user left auto's defaults."""
    defaults = build_config(dict(RECIPE.defaults)).model_dump()
    chosen = {
        part: {key: value for key, value in getattr(config, part).model_dump().items() if value != defaults[part][key]}
        for part in ("optim", "augment")
    }
    base = config.model_dump(exclude={"optim", "augment", "model"})
    return build_config(base, {key: dict(value) for key, value in scratch.RECIPE.defaults.items()}, chosen)


def fit(plan: Plan, context: Context, train: PixelSet, val: PixelSet) -> Outcome:
    """Probe, fine-tune, keep the better on validation."""
    if not plan.probe:
        return staged.fit(plan, context, train, val)
    with arithmetic_threads(plan.config.compute.threads):
        return _fit(plan, context, train, val)


def _fit(plan: Plan, context: Context, train: PixelSet, val: PixelSet) -> Outcome:
    network = make_network(plan, context)
    layer = classifier_layer(network)
    assert layer is not None
    probe, flip, reasons = probe_first(network, plan, context, train, val)
    install_probe(layer, probe)
    if not plan.stages or context.stop.requested:
        return Outcome(network=network.eval(), reasons=tuple(reasons), stopped=context.stop.requested)
    if plan.config.augment.flip is None:
        augment = plan.config.augment.model_copy(update={"flip": flip})
        plan = dataclasses.replace(plan, config=plan.config.model_copy(update={"augment": augment}))
    before = {key: value.clone() for key, value in network.state_dict().items()}
    probe_loss = calibrated_loss(predict_logits(network, val).numpy(), val.targets)
    fitted = train_stages(network, plan, context, train, val)
    tuned_loss = calibrated_loss(predict_logits(network, val).numpy(), val.targets)
    compared = (
        f"validation log-loss after calibration {tuned_loss:.3f} fine-tuned against {probe_loss:.3f} for the probe, "
        f"accuracy {fitted.val_accuracy:.3f} against {probe.val_accuracy:.3f}"
    )
    if tuned_loss <= probe_loss:
        reasons.append(f"kept the fine-tuned network: {compared}")
    else:
        network.load_state_dict(before)
        reasons.append(f"kept the linear probe: {compared}")
    context.progress.note(reasons[-1])
    return Outcome(network=network.eval(), reasons=tuple(reasons), stopped=fitted.stopped)


RECIPE = Recipe(
    name="auto",
    summary="pretrained network: linear probe, then fine-tuning as far as the budget goes; the better one is kept",
    defaults={},
    plan=plan,
    fit=fit,
)
