"""`shallow`: what fixed features and a classifier of scikit-learn can do, to show what depth buys.

    eyebright train DATA --recipe shallow
    eyebright train DATA --recipe shallow --set shallow.classifier=rbf-svm --set "shallow.features=[colour,hog]"

Histograms of colour, of oriented gradients and of local binary patterns describe every image once. Logistic regression,
support vector machines (linear and with an RBF kernel) and gradient-boosted trees are fitted to them; each chooses its
settings on validation, and the one with the lowest log-loss after calibration is kept. Its numbers become the head of a
network (`eyebright.models.shallow`), so that the run is one like every other.
"""

from __future__ import annotations

import time
from typing import Any

import numpy as np
import torch

from eyebright.atomic import write_json
from eyebright.config import TrainConfig
from eyebright.data.batches import PixelSet
from eyebright.errors import UsageError
from eyebright.models.catalog import create_network
from eyebright.models.shallow.network import Shallow, check_side, in_order
from eyebright.models.shallow.table import raw_features, standardise, standardised
from eyebright.preprocess import Preprocess
from eyebright.recipes.base import Context, Measured, Outcome, Plan, Recipe
from eyebright.recipes.finish import finish_seconds
from eyebright.recipes.registry import SUMMARIES
from eyebright.recipes.shallow_candidates import CANDIDATES, Fitted, Table, drawn, fit_timed
from eyebright.training.budget import Speed
from eyebright.training.loss import class_weights

SMALL_SIDE = 64
SIDES = (64, 128)
"""Side of the input for images whose shorter side is up to SMALL_SIDE, and for larger ones."""
VAL_IMAGES = 5000
SHARE_FOR_ONE = 0.5
NOMINAL_SECONDS = 600.0
FEWEST_A_CLASS = 20
RECKONED_FROM = 2.0
"""Seconds from which what a candidate should take says something about the machine."""
INFER_AT_128 = 150.0
"""Images a second through the features at 128 px, on one core."""


def plan(context: Context) -> Plan:
    """Choose the input size; refuse settings that would do nothing here."""
    config, facts = context.config, context.facts
    _check(config)
    side = check_side(config.image.size or SIDES[facts.side > SMALL_SIDE])
    channels = config.image.channels or (1 if facts.grey else 3)
    arguments: dict[str, Any] = {"features": in_order(config.shallow.features), "img_size": side}
    network = _network(context, channels, arguments)
    names = _wanted(config)
    reasons = [
        f"{', '.join(arguments['features'])}: {network.num_features:,} features at {side} px, no weights to learn",
        f"{', '.join(names)}: fitted by scikit-learn; settings are chosen on validation"
        + (", the classifier with the lowest log-loss is kept" if len(names) > 1 else ""),
        "every image is described once, as it is: no augmentation, no epochs",
    ]
    return Plan(
        network="shallow",
        architecture="shallow",
        architecture_arguments=arguments,
        pretrained=False,
        licence="none: no published weights",
        preprocess=Preprocess(
            size=side,
            resize=config.image.resize or "squash",
            resize_to=round(side / config.image.crop_share) if config.image.resize == "crop" else 0,
            interpolation=config.image.interpolation,
            channels=channels,
            mean=(0.0,) * channels,
            std=(1.0,) * channels,
        ),
        probe=False,
        stages=(),
        finish_seconds=finish_seconds(facts, Speed(side, INFER_AT_128 * (128 / side) ** 2, 0.0)),
        config=config,
        reasons=tuple(reasons),
    )


def _network(context: Context, channels: int, arguments: dict[str, Any]) -> Shallow:
    network = create_network(
        "shallow", classes=context.facts.classes, channels=channels, pretrained=False, arguments=arguments
    )
    assert isinstance(network, Shallow)
    return network


def _wanted(config: TrainConfig) -> list[str]:
    asked = config.shallow.classifier
    return list(CANDIDATES) if asked == "auto" else [asked]


def _check(config: TrainConfig) -> None:
    """Settings of networks that are trained step by step mean nothing here: one that a user has set is refused."""
    defaults = TrainConfig()
    unit = (None, (0.0,), (0.0, 0.0, 0.0)), (None, (1.0,), (1.0, 1.0, 1.0))
    reasons = {
        f"epochs={config.epochs}": config.epochs is not None,
        "stages": bool(config.stages),
        f"model.name={config.model.name}": config.model.name not in (None, "shallow"),
        "model.arguments": bool(config.model.arguments),
        "model.head": bool(config.model.head.hidden),
        f"loss.name={config.loss.name}": config.loss.name != "cross-entropy",
        f"loss.logit_adjustment={config.loss.logit_adjustment:g}": config.loss.logit_adjustment > 0,
        f"data.sampling={config.data.sampling}": config.data.sampling != defaults.data.sampling,
        "distil.teacher": config.distil.teacher is not None,
        "requirements": config.requirements != defaults.requirements,
        f"image.mean={config.image.mean}, image.std={config.image.std}": config.image.mean not in unit[0]
        or config.image.std not in unit[1],
    }
    for setting, refused in reasons.items():
        if refused:
            raise UsageError(
                f"{setting} with the recipe shallow, which fits a classifier of scikit-learn in one go",
                expected="settings of shallow, data, image (without mean and std) and loss.class_weights",
                remedy="leave it out; --budget limits the time, and loss.class_weights=balanced evens classes out",
            )


def fit(plan: Plan, context: Context, train: PixelSet, val: PixelSet) -> Outcome:
    """Describe the images, fit the candidates, keep the best on validation.

    Nothing is kept on disk between candidates: a run that was killed fits them again. The first process of a team does
    it all.
    """
    network = _network(context, plan.preprocess.channels, plan.architecture_arguments).to(context.device).eval()
    if not context.team.leads:
        context.team.wait()
        return Outcome(network=network, reasons=(), stopped=False)
    _note_a_second_start(context)
    reasons: list[str] = []
    config, classes, seed = plan.config, context.facts.classes, plan.config.seed
    weights = class_weights(config.loss, train.class_totals(classes))
    rows, val_rows = drawn(train.targets, config.shallow.images, seed), drawn(val.targets, VAL_IMAGES, seed)
    train = _told(train, rows, "training", reasons)
    val = _told(val, val_rows, "validation", reasons)
    raw = raw_features(network, train, progress=context.progress, description="features")
    standardise(network, raw)
    tables = []
    for images, values in ((train, raw), (val, None)):
        if values is None:
            values = raw_features(network, images, progress=context.progress, description="features of val")
        counted = images.weights if weights is None else images.weights * weights[images.targets].astype(np.float32)
        tables.append(
            Table(features=standardised(network, values), targets=images.targets, weights=counted.astype(np.float32))
        )
    best, stopped = _compare(plan, context, tables[0], tables[1], reasons)
    arguments = {**plan.architecture_arguments, "head": best.head, "sizes": dict(best.sizes)}
    kept = _network(context, plan.preprocess.channels, arguments)
    with torch.no_grad():
        kept.mean.copy_(network.mean)
        kept.scale.copy_(network.scale)
    best.install(kept.classifier)
    context.team.wait()
    return Outcome(
        network=kept.to(context.device).eval(),
        reasons=tuple(reasons),
        stopped=stopped,
        architecture_arguments=arguments,
    )


def _note_a_second_start(context: Context) -> None:
    """Say so where a former process had begun to fit: its candidates are not kept."""
    mark = context.checkpoint / "shallow.json"
    if mark.is_file():
        context.progress.note("shallow classifiers are fitted again from the beginning: none was kept on disk")
    else:
        mark.parent.mkdir(parents=True, exist_ok=True)
        write_json(mark, {"begun": True})


def _told(images: PixelSet, rows: Any, what: str, reasons: list[str]) -> PixelSet:
    """These rows of the images; a sentence where they are not all."""
    if len(rows) < len(images):
        reasons.append(
            f"{len(rows):,} of {len(images):,} {what} images were drawn, class by class, to keep memory and time"
        )
    return images.part(rows)


def _compare(plan: Plan, context: Context, train: Table, val: Table, reasons: list[str]) -> tuple[Fitted, bool]:
    """Fit the candidates one after the other; the best, and whether the user stopped it."""
    classes, features = context.facts.classes, train.features.shape[1]
    names = _wanted(plan.config)
    end = None if context.deadline is None else context.deadline - plan.finish_seconds

    def expired() -> bool:
        return context.stop.requested or (end is not None and time.monotonic() > end)

    found: dict[str, Fitted] = {}
    slowness = 1.0  # of this machine, against the rates of the candidates

    def say(reason: str) -> None:
        reasons.append(reason)
        context.progress.note(reason)

    with context.progress.task("shallow classifiers", len(names), "classifiers") as task:
        for name in names:
            candidate = CANDIDATES[name]
            task.describe(candidate.title)
            # From what was asked for, not from the clock: what is learnt from must not depend on the machine.
            seconds = plan.config.budget_seconds or NOMINAL_SECONDS
            seconds *= candidate.share if len(names) > 1 else SHARE_FOR_ONE
            most = max(candidate.most_images(seconds, features, classes), FEWEST_A_CLASS * classes)
            rows = drawn(train.targets, most, plan.config.seed)
            reckoned = candidate.seconds(len(rows), features, classes)
            needed = slowness * reckoned
            left = float("inf") if end is None else max(0.0, end - time.monotonic())
            if found and (expired() or needed > left):
                say(
                    f"{candidate.title}: left out, it would take about {needed:.0f} s, and {left:.0f} s are left for it"
                )
                task.advance()
                continue
            part = train if len(rows) == len(train.targets) else train.part(rows)
            try:
                found[name], took = fit_timed(name, part, val, classes=classes, seed=plan.config.seed, expired=expired)
            except KeyboardInterrupt:
                if not found:
                    raise
                context.stop.request()  # Ctrl-C again quits at once
                context.progress.warn("stopped; the best classifier so far is kept and reported")
                break
            say(_sentence(candidate.title, found[name], len(rows), len(train.targets), took))
            context.record({
                "stage": name, "val_loss": found[name].val_loss, "val_accuracy": found[name].val_accuracy,
                "seconds": round(took, 2), "images": len(rows), "settings": found[name].settings,
            })  # fmt: skip
            if reckoned > RECKONED_FROM:
                slowness = max(slowness, took / reckoned)
            task.advance()
    best = min(found, key=lambda name: found[name].val_loss)
    if len(names) > 1:
        say(f"kept {CANDIDATES[best].title}: the lowest log-loss on validation, {found[best].val_loss:.3f}")
    return found[best], context.stop.requested


def _sentence(title: str, fitted: Fitted, images: int, of: int, seconds: float) -> str:
    part = f" on {images:,} of {of:,} training images, so that it stays within its time" if images < of else ""
    return (
        f"{title}{part}: validation log-loss {fitted.val_loss:.3f} after calibration, accuracy "
        f"{fitted.val_accuracy:.3f}, in {seconds:.0f} s ({fitted.settings})"
    )


RECIPE = Recipe(
    name="shallow",
    summary=SUMMARIES["shallow"],
    defaults={"model": {"pretrained": False}},
    plan=plan,
    fit=fit,
    measured=(
        Measured(
            data="flowers",
            figure="test accuracy",
            value="0.678 (0.639 to 0.714)",
            machine="2 CPU cores, one thread, shared: 98 CPU seconds",
            command="eyebright train ../shared/data/flowers --recipe shallow",
        ),
        Measured(
            data="trashnet",
            figure="test accuracy",
            value="0.817 (0.776 to 0.853)",
            machine="2 CPU cores, one thread, shared: 91 CPU seconds",
            command="eyebright train ../shared/data/trashnet --recipe shallow",
        ),
        Measured(
            data="Fashion-MNIST",
            figure="test accuracy, learnt from 10,000 images",
            value="0.896 (0.890 to 0.902)",
            machine="2 CPU cores, one thread, shared: 236 CPU seconds",
            command="eyebright train fashion-mnist --recipe shallow --set shallow.images=10000",
        ),
    ),
    variants={
        "trees alone": "--set shallow.classifier=boosting",
        "without colour": '--set "shallow.features=[hog,lbp]"',
    },
)
