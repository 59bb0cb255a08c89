"""The training loop: epochs of steps, evaluation, checkpoints, and when to end. A step is in `step`.

`fit` knows nothing of recipes, files or budgets in minutes: it takes a network, images and a stage, and calls plain
functions. A deadline, when there is one, moves the planned number of steps so that the learning rate always reaches
its end. Several processes each compute a part of every batch, and take the same steps.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

from eyebright.config import TrainConfig
from eyebright.data.batches import Change, Order, PixelSet
from eyebright.errors import Preempted
from eyebright.training.budget import Pace
from eyebright.training.checkpoint import load_checkpoint, save_checkpoint
from eyebright.training.device import needs_scaling
from eyebright.training.freezing import training_mode
from eyebright.training.hooks import Hook, LoopState, StopSignal
from eyebright.training.level import Level
from eyebright.training.loss import Objective
from eyebright.training.optim import Average, make_optimiser
from eyebright.training.profile import CHECKPOINT, COMPILING, EVALUATION, OFF, OTHER, Profile
from eyebright.training.schedule import Plateau, rate_factor
from eyebright.training.score import score
from eyebright.training.stage import Stage
from eyebright.training.step import Learner, check_finite, team_part, train_step
from eyebright.training.stopping import Stopping, metric_value
from eyebright.training.teacher import Teacher
from eyebright.training.team import ALONE, Team
from eyebright.training.wrapping import wrapped

_CHECK_STEPS = 50


@dataclasses.dataclass(frozen=True, kw_only=True)
class Fitted:
    """What the loop leaves: the network holds the weights that are kept.

    Attributes:
        state: the final counters.
        val_accuracy, val_loss: of the weights that are kept.
        stopped: training was stopped from outside before its last planned step.
        reason: why it ended by itself before that, in words; None when it did not.
    """

    state: LoopState
    val_accuracy: float
    val_loss: float
    stopped: bool
    reason: str | None = None


def fit(
    network: nn.Module, train: PixelSet, val: PixelSet, *,
    config: TrainConfig, stage: Stage, pace: Pace, checkpoint: Path,
    team: Team = ALONE, level: Level | None = None, teacher: Teacher | None = None, change: Change | None = None,
    stop: StopSignal | None = None, hooks: Sequence[Hook] = (), warn: Callable[[str], None] | None = None,
    profile: Profile = OFF,
) -> Fitted:  # fmt: skip
    """Train `network` in place for one stage and leave the weights in it that `config.stop.keep` says.

    Args:
        network: on its device; frozen weights have `requires_grad` off.
        train, val: the images.
        config: everything but what the stage says itself.
        stage: steps, size, rates.
        pace: moves the number of steps to keep a deadline, and says how often to evaluate.
        checkpoint: folder of the checkpoints; continues from the newest that is there.
        team: the processes that train together.
        level: the superclasses, for a stage that learns those.
        teacher: who teaches besides the labels.
        change: what happens to single images before they are batched.
        stop: asked after every step.
        hooks: told of every step and epoch; in the first process of a team only.
        warn: takes a sentence about what is no longer as it was.
        profile: told what time is spent on; it goes on from where a checkpoint left it.

    Raises:
        NonFiniteLossError: the loss or a gradient became NaN or infinite; the last checkpoint is untouched.
        Preempted: the machine is taken away; a checkpoint was saved.
        TeamError: another process of the team ended.
    """
    profile.begins(OTHER)
    config = stage.applied_to(config)
    device, classes = train.device, int(network.num_classes)  # type: ignore[arg-type]
    optimiser = make_optimiser(network, config.optim)
    average = Average(network, config.optim.ema_decay) if config.optim.ema_decay > 0 else None
    candidate = average.network if average else network
    modules = {"network": network} | ({"average": average.network} if average else {})
    scaler = torch.amp.GradScaler(device.type, enabled=needs_scaling(device, config.compute.precision))
    plateau, stopping = Plateau(config.schedule, peak=stage.learning_rate), Stopping(config.stop)
    totals = torch.from_numpy(train.class_totals(classes))
    if level is not None:
        totals = torch.zeros(level.superclasses, dtype=totals.dtype).index_add_(0, level.membership, totals)
    order = Order(
        seed=config.seed, batch_size=stage.batch_size, settings=config.data, change=change,
        workers=config.compute.workers, part=_needed(config, team), doing=profile.begins,
    )  # fmt: skip
    per_epoch = train.steps_per_epoch(stage.batch_size, drop_last=config.data.drop_last)
    state, best = LoopState(stage=stage.name, total_steps=stage.steps, steps_per_epoch=per_epoch), {}
    state.sums = torch.zeros(4, dtype=torch.float32 if device.type == "mps" else torch.float64, device=device)
    loaded = load_checkpoint(checkpoint, modules=modules, optimiser=optimiser, scaler=scaler)
    if loaded is not None:
        for name in loaded.damaged:
            _say(warn, f"the checkpoint {name} is damaged: the one before it is used")
        if loaded.not_restored:
            _say(warn, f"not restored, because it belongs to another device: {', '.join(loaded.not_restored)}")
        _restore(state, loaded.state, stage, train.device, warn)
        state.sums = loaded.tensors["sums"]["sums"].to(state.sums) * team.leads  # of all processes together
        best = loaded.tensors.get("best", {})
        plateau.restore(loaded.state["plateau"])
        stopping.restore(loaded.state["stopping"])
        profile.restore(loaded.state.get("profile", {}))
    before, began = state.seconds, time.monotonic()
    saved = began

    def save() -> None:
        profile.begins(CHECKPOINT)
        state.seconds = before + time.monotonic() - began
        sums = team.sum(state.sums)
        if team.leads:
            save_checkpoint(
                checkpoint, step=state.step, modules=modules, optimiser=optimiser, scaler=scaler,
                tensors={"best": best, "sums": {"sums": sums}},
                state={
                    **_saved(state, stage, device), "plateau": plateau.as_dict(), "stopping": stopping.as_dict(),
                    "profile": profile.seconds(),
                },
            )  # fmt: skip
        profile.begins(OTHER)

    stop = stop or StopSignal()
    profile.begins(COMPILING)
    with wrapped(network, train, config=config, team=team, stage=stage, warn=warn) as model, stop.listening():
        profile.begins(OTHER)
        learner = Learner(
            model=model, optimiser=optimiser, scaler=scaler, objective=Objective(config.loss, totals.numpy(), device),
            config=config, size=stage.size, classes=classes, team=team, level=level, teacher=teacher,
            profile=profile,
        )  # fmt: skip
        stopped = False
        while state.step < state.total_steps and not stopped and stopping.reason is None:
            epoch, offset = divmod(state.step, per_epoch)
            if offset == 0:
                state.sums.zero_()
            training_mode(network, fixed_statistics=stage.fixed_statistics)
            pace.start()
            entered, images_before = time.monotonic(), state.images
            for batch in train.shuffled(order, epoch=epoch, first=offset):
                factor = rate_factor(config.schedule, state.step, state.total_steps, per_epoch) * plateau.factor
                loss = train_step(learner, train, batch, state.step, factor, state.sums)
                if average:
                    average.update(network, state.step)
                profile.begins(OTHER)
                state.step += 1
                state.images += len(batch.targets)
                state.learning_rate = stage.learning_rate * factor
                state.total_steps = pace.total_steps(state.step, state.total_steps)
                state.seconds = before + time.monotonic() - began
                if state.step % _CHECK_STEPS == 0:
                    check_finite(loss, state.step)
                for hook in hooks if team.leads else ():
                    hook.on_step_end(state)
                due = _save_due(state.step, time.monotonic() - saved, config)
                stopped, leaving, due, state.total_steps = _agreed(team, stop, due, state.total_steps)
                last = stopped or state.step >= state.total_steps
                if leaving or (due and not last):
                    check_finite(loss, state.step)  # a checkpoint only ever holds good weights
                    save()
                    saved = time.monotonic()
                if leaving:
                    raise Preempted(f"the process was asked to end; step {state.step} of {stage.name!r} is saved")
                if last:
                    break
            profile.begins(OTHER)
            check_finite(loss, state.step)
            speed = (state.images - images_before) / (time.monotonic() - entered)
            sums = team.sum(state.sums)
            record: dict[str, Any] = {
                "stage": stage.name, "epoch": epoch + 1, "step": state.step, "train_loss": float(sums[0] / sums[1]),
                "train_accuracy": float(sums[2] / sums[3]), "learning_rate": state.learning_rate, "size": stage.size,
            }  # fmt: skip
            if stopped or state.step >= state.total_steps or pace.evaluation_due(state.step):
                profile.begins(EVALUATION)
                started = time.monotonic()
                result = score(
                    candidate, val, size=stage.size, precision=config.compute.precision, level=level, team=team
                )
                pace.evaluated(time.monotonic() - started)
                profile.begins(OTHER)
                record |= result.record()
                stopping.observe(record)
                if config.schedule.name == "plateau":
                    plateau.observe(metric_value(record, config.schedule.metric))
                record["new_best"] = stopping.keeps(record, state.best)
                if record["new_best"]:
                    state.best = {**result.record(), "step": state.step}
                    best = {key: value.detach().clone() for key, value in candidate.state_dict().items()}
            save()
            saved = time.monotonic()
            facts = {"images_per_second": round(speed, 1), "seconds": round(state.seconds, 3)}
            for hook in hooks if team.leads else ():
                hook.on_epoch_end(state, record | facts)
    assert state.best is not None, "at least one step was planned"
    network.load_state_dict(best)
    return Fitted(
        state=state, val_accuracy=state.best["val_accuracy"], val_loss=state.best["val_loss"], stopped=stopped,
        reason=stopping.reason,
    )  # fmt: skip


def _needed(config: TrainConfig, team: Team) -> Callable[[int], slice]:
    """The rows of a batch that this process must have: its own, or all when those are mixed with the others'."""
    mixes = (config.augment.mixup or 0.0) > 0 or config.augment.cutmix > 0
    return lambda count: slice(0, count) if mixes else team_part(team, count)


def _agreed(team: Team, stop: StopSignal, due: bool, total_steps: int) -> tuple[bool, bool, bool, int]:
    """Whether to stop, to leave, and to save, and how many steps to make: the same in every process of the team."""
    wishes = (stop.requested, stop.leaving, due and team.leads)
    if team.size == 1:
        return *wishes, total_steps
    heard = team.sum(torch.tensor([*map(float, wishes), float(total_steps if team.leads else 0)], dtype=torch.float64))
    stopped, leaving, save = (value > 0 for value in heard[:3].tolist())
    return stopped, leaving, save, int(heard[3])


def _save_due(step: int, seconds: float, config: TrainConfig) -> bool:
    by_steps = config.checkpoint_steps is not None and step % config.checkpoint_steps == 0
    return by_steps or seconds > config.checkpoint_seconds


def _saved(state: LoopState, stage: Stage, device: torch.device) -> dict[str, Any]:
    """The plain values of a checkpoint."""
    return {
        "step": state.step, "total_steps": state.total_steps, "steps_per_epoch": state.steps_per_epoch,
        "best": state.best, "seconds": state.seconds, "batch_size": stage.batch_size, "device": device.type,
    }  # fmt: skip


def _restore(
    state: LoopState, values: dict[str, Any], stage: Stage, device: torch.device, warn: Callable[[str], None] | None
) -> None:
    """Go on from a checkpoint; with another batch size, from the same share of the same epoch."""
    state.best, state.seconds = values["best"], values["seconds"]
    state.step, state.total_steps = values["step"], values["total_steps"]
    if values["device"] != device.type:
        _say(warn, f"resumed on {device.type} after {values['device']}: rounding differs, so the bits will differ too")
    if values["steps_per_epoch"] != state.steps_per_epoch:
        epoch, offset = divmod(state.step, values["steps_per_epoch"])
        within = offset * state.steps_per_epoch // values["steps_per_epoch"]
        state.step = epoch * state.steps_per_epoch + within
        state.total_steps = max(
            state.step, round(state.total_steps / values["steps_per_epoch"] * state.steps_per_epoch)
        )
        _say(
            warn,
            f"resumed with batches of {stage.batch_size} instead of {values['batch_size']} images: training goes on "
            f"from the same place of epoch {epoch + 1}, but batches, steps and weights differ from those of a run "
            "that was never stopped, and the learning rate is not scaled",
        )


def _say(warn: Callable[[str], None] | None, text: str) -> None:
    if warn is not None:
        warn(text)
