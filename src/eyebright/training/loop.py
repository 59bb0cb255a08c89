"""The training loop: forward, loss, backward, step, on one screen.

`fit` knows nothing of recipes, files or budgets in minutes: it takes a network, images, an optimiser and a number of
steps, and calls plain functions. A deadline, when there is one, moves the planned number of steps so that the
learning rate always reaches zero at the end.
"""

from __future__ import annotations

import contextlib
import dataclasses
import math
import time
from collections.abc import Sequence
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import nn

from eyebright.config import TrainConfig
from eyebright.data.augment import augment, mixup, step_generator
from eyebright.data.batches import Batch, PixelSet
from eyebright.errors import NonFiniteLossError
from eyebright.training.budget import Pace
from eyebright.training.checkpoint import load_checkpoint, save_checkpoint
from eyebright.training.device import autocast, needs_scaling, training_mode
from eyebright.training.hooks import Hook, LoopState, StopSignal
from eyebright.training.optim import Average, make_optimiser
from eyebright.training.schedule import warmup_cosine

_CHECK_STEPS = 50


@dataclasses.dataclass(frozen=True, kw_only=True)
class Fitted:
    """What the loop leaves: the network holds the weights that were best on validation.

    Attributes:
        state: the final counters.
        val_accuracy, val_loss: of the weights that are kept.
        stopped: training was stopped before its last planned step.
    """

    state: LoopState
    val_accuracy: float
    val_loss: float
    stopped: bool


@dataclasses.dataclass(frozen=True)
class Score:
    """Mean cross-entropy and accuracy on a set of images."""

    loss: float
    accuracy: float


def predict_logits(network: nn.Module, images: PixelSet, batch_size: int = 64, *, exact: bool = False) -> torch.Tensor:
    """Logits of every image in order: float32 (N, K), on the CPU. The network is left in evaluation mode.

    `exact` computes in float32 throughout, also where a GPU would take a shorter type.
    """
    network.eval()
    precision = contextlib.nullcontext() if exact else autocast(images.device)
    with torch.inference_mode(), precision:
        return torch.cat([network(batch.images).float().cpu() for batch in images.in_order(batch_size)])


def score(network: nn.Module, images: PixelSet, batch_size: int = 64) -> Score:
    """Evaluate on a set; the loss has no label smoothing."""
    logits = predict_logits(network, images, batch_size)
    targets = torch.from_numpy(images.targets)
    return Score(float(F.cross_entropy(logits, targets)), float((logits.argmax(1) == targets).float().mean()))


def soft_cross_entropy(
    logits: torch.Tensor, targets: torch.Tensor, weights: torch.Tensor, smoothing: float
) -> torch.Tensor:
    """Mean over the batch of weighted cross-entropy against soft targets (B, K) with label smoothing."""
    losses = F.cross_entropy(logits.float(), targets, label_smoothing=smoothing, reduction="none")
    # A batch whose images all have weight zero teaches nothing; dividing by zero would make it NaN.
    return (losses * weights).sum() / weights.sum().clamp(min=1e-12)


def train_step(
    network: nn.Module, batch: Batch, optimiser: torch.optim.Optimizer, scaler: torch.amp.GradScaler,
    config: TrainConfig, size: int, step: int, factor: float,
) -> torch.Tensor:  # fmt: skip
    """One step: augment, forward, loss, backward, clip, update. Returns the loss, still on the device; NaN also when a
    gradient is not finite.

    On a CPU a loss or gradient that is not finite raises before any weight moves.
    """
    torch.manual_seed(config.seed * 1_000_003 + step)  # dropout and stochastic depth repeat after a resume
    generator = step_generator(config.seed, step)
    images = augment(batch.images, size, config.augment, generator)
    with autocast(images.device):
        classes = network.num_classes
        targets = F.one_hot(batch.targets, int(classes)).float()  # type: ignore[arg-type]
        images, targets = mixup(images, targets, config.augment.mixup or 0.0, generator)
        loss = soft_cross_entropy(network(images), targets, batch.weights, config.loss.label_smoothing)
    optimiser.zero_grad(set_to_none=True)
    torch.autograd.backward(scaler.scale(loss))
    scaler.unscale_(optimiser)
    trained = [parameter for group in optimiser.param_groups for parameter in group["params"]]
    norm = nn.utils.clip_grad_norm_(trained, config.optim.clip_norm)
    if images.device.type != "cuda" and not math.isfinite(float(loss.detach()) + float(norm)):
        raise _non_finite(step)
    for group in optimiser.param_groups:
        group["lr"] = group["peak"] * factor
    scaler.step(optimiser)
    scaler.update()
    if scaler.is_enabled():
        return loss.detach()  # the scaler leaves out steps whose gradients overflow, as it should
    # A gradient that is not finite shows in the returned value too, without waiting for the device here.
    return loss.detach() + 0.0 * norm.detach()


def fit(
    network: nn.Module, train: PixelSet, val: PixelSet, *,
    config: TrainConfig, steps: int, pace: Pace, size: int, fixed_statistics: bool, stage: str,
    checkpoint: Path, stop: StopSignal | None = None, hooks: Sequence[Hook] = (),
) -> Fitted:  # fmt: skip
    """Train `network` in place and leave the weights that were best on validation (by loss) in it.

    Args:
        network: on its device; frozen weights have `requires_grad` off.
        train, val: the images.
        config: rates, augmentation, seed.
        steps: planned number of optimiser steps.
        pace: moves that number to keep a deadline, and says how often to evaluate.
        size: side of the input in pixels.
        fixed_statistics: keep the running statistics of batch norms.
        stage: name for the history.
        checkpoint: folder of the checkpoint; continues from it when it exists.
        stop: asked after every step.
        hooks: told of every step and epoch.

    Raises:
        NonFiniteLossError: the loss or a gradient became NaN or infinite; the last checkpoint is untouched.
    """
    optimiser = make_optimiser(network, config.optim)
    average = Average(network, config.optim.ema_decay) if config.optim.ema_decay > 0 else None
    modules = {"network": network} | ({"average": average.network} if average else {})
    candidate = average.network if average else network
    scaler = torch.amp.GradScaler(train.device.type, enabled=needs_scaling(train.device))
    state, best = LoopState(total_steps=steps), {}
    former = load_checkpoint(checkpoint, modules=modules, optimiser=optimiser)
    if former is not None:
        state, best = LoopState(**former[0]["loop"]), former[1].get("best", {})
    before, began = state.seconds, time.monotonic()
    saved = began

    def save() -> None:
        save_checkpoint(checkpoint, modules=modules, optimiser=optimiser, tensors={"best": best},
                        state={"loop": dataclasses.asdict(state)})  # fmt: skip

    stopped = False
    per_epoch = train.steps_per_epoch(config.optim.batch_size)
    while state.step < state.total_steps and not stopped:
        epoch, offset = divmod(state.step, per_epoch)
        training_mode(network, fixed_statistics=fixed_statistics)
        losses: list[torch.Tensor] = []
        pace.start()
        for batch in train.shuffled(config.optim.batch_size, seed=config.seed, epoch=epoch, first=offset):
            factor = warmup_cosine(state.step / state.total_steps, config.schedule.warmup_share)
            losses.append(train_step(network, batch, optimiser, scaler, config, size, state.step, factor))
            if average:
                average.update(network, state.step)
            state.step += 1
            state.total_steps = pace.total_steps(state.step, state.total_steps)
            state.seconds = before + time.monotonic() - began
            if state.step % _CHECK_STEPS == 0:
                check_finite(losses[-1], state.step)
            for hook in hooks:
                hook.on_step_end(state)
            stopped = stop is not None and stop.requested
            if stopped or state.step >= state.total_steps:
                break
            if time.monotonic() - saved > config.checkpoint_seconds:
                check_finite(losses[-1], state.step)  # a checkpoint only ever holds good weights
                save()
                saved = time.monotonic()
        train_loss = torch.stack(losses).mean()
        check_finite(train_loss, state.step)
        record = {"stage": stage, "epoch": epoch + 1, "step": state.step, "train_loss": float(train_loss),
                  "learning_rate": config.optim.learning_rate * factor}  # fmt: skip
        if stopped or state.step >= state.total_steps or pace.evaluation_due(state.step):
            started = time.monotonic()
            result = score(candidate, val)
            pace.evaluated(time.monotonic() - started)
            record |= {"val_loss": result.loss, "val_accuracy": result.accuracy}
            if state.best is None or result.loss < state.best["loss"]:
                state.best = {"loss": result.loss, "accuracy": result.accuracy, "step": state.step}
                best = {key: value.detach().cpu().clone() for key, value in candidate.state_dict().items()}
        state.seconds = before + time.monotonic() - began
        save()
        saved = time.monotonic()
        for hook in hooks:
            hook.on_epoch_end(state, record | {"seconds": round(state.seconds, 3)})
    assert state.best is not None, "at least one step was planned"
    network.load_state_dict(best)
    return Fitted(state=state, val_accuracy=state.best["accuracy"], val_loss=state.best["loss"], stopped=stopped)


def check_finite(loss: torch.Tensor, step: int) -> None:
    """Raise when a loss is NaN or infinite; on a GPU this waits for the device, so it is asked now and then only."""
    if not bool(torch.isfinite(loss)):
        raise _non_finite(step)


def _non_finite(step: int) -> NonFiniteLossError:
    return NonFiniteLossError(
        f"the loss or a gradient became NaN or infinite at step {step}",
        expected="finite numbers",
        remedy="lower the learning rate (--set optim.learning_rate=...); the weights of the last checkpoint are kept",
    )
