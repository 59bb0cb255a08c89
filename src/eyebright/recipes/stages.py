"""The stages of a plan, carried out one after the other."""

from __future__ import annotations

import time

import torch
from torch import nn

from eyebright.bundle import read_bundle
from eyebright.data.augment import Pipeline
from eyebright.data.batches import Change, PixelSet
from eyebright.data.turns import by_turns
from eyebright.errors import UsageError
from eyebright.recipes.base import Context, Plan
from eyebright.recipes.reporter import Reporter
from eyebright.training.budget import Pace
from eyebright.training.freezing import freeze
from eyebright.training.level import Level
from eyebright.training.loop import Fitted, fit
from eyebright.training.profile import OFF, make_profile
from eyebright.training.stage import Stage
from eyebright.training.teacher import Teacher, make_teacher


def train_stages(network: nn.Module, plan: Plan, context: Context, train: PixelSet, val: PixelSet) -> Fitted:
    """Train the network through all stages; each begins from the weights that the former one kept.

    Every stage has checkpoints of its own, so a resumed run passes at once through those that are done.
    """
    teacher = _teacher(plan, context)
    change = image_change(plan)
    train = by_turns(train, plan.config.augment, seed=plan.config.seed)
    if change is None:
        train, val = _staying(plan, context, train, val)
    fitted = None
    for number, stage in enumerate(plan.stages):
        freeze(network, stage.frozen)
        pace = Pace(
            deadline=_deadline(plan, context, number), most_steps=stage.most_steps, steps_between=stage.evaluate_every
        )
        with context.progress.task(stage.name, stage.steps, unit="steps") as task:
            reporter = Reporter(record=context.record, progress=context.progress, task=task)
            profile = make_profile(context.device) if plan.config.compute.profile and context.team.leads else OFF
            fitted = fit(
                network, train, val, config=plan.config, stage=stage, pace=pace,
                checkpoint=context.checkpoint / "loop" / f"{number}-{stage.name}", team=context.team,
                level=_level(stage, context), teacher=teacher if stage.level == "class" else None, change=change,
                stop=context.stop, hooks=[reporter, *context.hooks],
                warn=context.progress.warn, profile=profile,
            )  # fmt: skip
        if spent := profile.seconds():
            context.profiles[stage.name] = spent
        if fitted.reason is not None:
            context.progress.note(f"{stage.name}: {fitted.reason}")
        if fitted.stopped:
            break
    network.requires_grad_(True)
    assert fitted is not None, "a plan that trains has stages"
    return fitted


def _staying(plan: Plan, context: Context, train: PixelSet, val: PixelSet) -> tuple[PixelSet, PixelSet]:
    """The images of both splits, on the device from now on where that is asked for or of use."""
    wanted = plan.config.compute.resident
    staying = train.staying(wanted)
    if staying.resident is None:
        return train, val
    context.progress.note(f"the training images stay on the device ({context.device.type})")
    return staying, val.staying("auto")


def image_change(plan: Plan) -> Change | None:
    """What happens to single images before they are batched: the Albumentations pipeline, where there is one."""
    settings = plan.config.augment.albumentations
    if not settings:
        return None
    pipeline = Pipeline(settings, seed=plan.config.seed)
    return lambda image, epoch, row: pipeline(image, epoch=epoch, index=row)


def _deadline(plan: Plan, context: Context, number: int) -> float | None:
    """When stage `number` must be over: what is left is divided by the pixels that the stages to come have to see."""
    if context.deadline is None:
        return None
    costs = [stage.steps * stage.batch_size * stage.size**2 for stage in plan.stages[number:]]
    left = context.deadline - plan.finish_seconds - time.monotonic()
    return time.monotonic() + left * costs[0] / sum(costs)


def _level(stage: Stage, context: Context) -> Level | None:
    if stage.level == "class":
        return None
    if not context.facts.superclasses:
        raise UsageError(
            f"the stage {stage.name!r} learns superclasses, and these images have none",
            expected="two levels of classes",
            remedy="say where they are with --superclass, or leave the stage out",
        )
    return Level(torch.tensor(context.facts.superclasses))


def _teacher(plan: Plan, context: Context) -> Teacher | None:
    if plan.config.distil.teacher is None:
        return None
    return make_teacher(read_bundle(plan.config.distil.teacher), context.facts.names, context.device)
