"""One step of training, on one screen: augment, mix, forward, loss, backward, clip, update.

Nothing in it waits for a GPU: what the step needs from the CPU is sent from pinned memory, and what it finds stays on
the device until somebody asks. On a CPU, where asking costs nothing, a loss that is not finite stops it at once.
"""

from __future__ import annotations

import dataclasses
import itertools
import math

import torch
import torch.nn.functional as F
from torch import nn

from eyebright.config import TrainConfig
from eyebright.data.augment import augment, augments, draw, draw_mixing, mix, mix_targets, step_generator
from eyebright.data.batches import PixelSet, TrainingBatch, resized
from eyebright.data.moving import moved
from eyebright.errors import NonFiniteLossError
from eyebright.training.device import autocast
from eyebright.training.level import Level
from eyebright.training.loss import Objective, distillation_losses
from eyebright.training.profile import AUGMENT, BACKWARD, FORWARD, OFF, OPTIMISER, Profile
from eyebright.training.teacher import Teacher
from eyebright.training.team import Team
from eyebright.training.wrapping import exchanging


@dataclasses.dataclass(frozen=True, kw_only=True)
class Learner:
    """All that a step needs besides its images; the same throughout a stage.

    Attributes:
        model: the network as it is trained: compiled, or wrapped for several processes.
        classes: number of classes.
        level: the superclasses to learn, or None for the classes.
        profile: told what the step does.
    """

    model: nn.Module
    optimiser: torch.optim.Optimizer
    scaler: torch.amp.GradScaler
    objective: Objective
    config: TrainConfig
    size: int
    classes: int
    team: Team
    level: Level | None
    teacher: Teacher | None
    profile: Profile = OFF


def train_step(
    learner: Learner, images: PixelSet, batch: TrainingBatch, step: int, factor: float, sums: torch.Tensor
) -> torch.Tensor:
    """One step: augment, mix, forward, loss, backward, clip, update. Adds to `sums` (see `LoopState`).

    Returns the loss of this process's part, still on the device; NaN also when a gradient is not finite. On a CPU a
    loss or gradient that is not finite raises before any weight moves.
    """
    config, team, profile = learner.config, learner.team, learner.profile
    profile.begins(AUGMENT)
    count, first = len(batch.targets), batch.rows.start or 0
    mine = team_part(team, count)
    repeated = 1 if count >= team.size else team.size  # how many processes compute the same images
    # Dropout and stochastic depth repeat after a resume, and differ between processes.
    seed_step((config.seed * 1_000_003 + step) * team.size + team.rank, batch.pixels.device)
    generator = step_generator(config.seed, step)
    side, device = batch.pixels.shape[-1], batch.pixels.device
    changes = augments(config.augment)
    draws = draw(config.augment, count, side=side, size=learner.size, generator=generator) if changes else None
    mixing = draw_mixing(config.augment, count, size=learner.size, generator=generator)

    def pixels(rows: slice | torch.Tensor) -> torch.Tensor:
        """Augmented images of these rows of the whole batch, float32 (b, C, size, size) on the scale from 0 to 1."""
        shifted = slice(rows.start - first, rows.stop - first) if isinstance(rows, slice) else rows - first
        taken = batch.pixels[shifted]
        if draws is None:
            return plain(taken, images, learner.size)
        return augment(taken.float().div_(255), draws.take(rows), size=learner.size, settings=config.augment)

    inputs = pixels(mine)
    targets = F.one_hot(batch.targets, learner.classes).float()
    if learner.level is not None:
        targets = F.one_hot(learner.level.targets(batch.targets), learner.level.superclasses).float()
    if mixing is not None:
        own = mixing.take(mine)
        partner = moved(mixing.partner, device)
        others = inputs[partner] if team.size == 1 else pixels(own.partner)
        inputs = mix(inputs, others, own)
        targets = mix_targets(targets, targets[partner], mixing)
    weights = learner.objective.weigh(targets, batch.weights)
    # A batch whose images all have weight zero teaches nothing; dividing by zero would make it NaN.
    total, targets, weights = weights.sum().clamp(min=1e-12), targets[mine], weights[mine]
    learner.optimiser.zero_grad(set_to_none=True)
    loss = torch.zeros((), device=device)
    # As many parts in every process, because batch norms meet in each.
    parts = divided(len(inputs), max(1, min(config.optim.accumulate, count // team.size)))
    for number, rows in enumerate(parts):
        profile.begins(FORWARD)
        with exchanging(learner.model, last=number == len(parts) - 1):
            with autocast(device, config.compute.precision):
                logits = learner.model(images.normalised(inputs[rows])).float()
                seen = logits if learner.level is None else learner.level.logits(logits)
                losses = learner.objective.losses(seen, targets[rows])
                if learner.teacher is not None:
                    told = distillation_losses(logits, learner.teacher(inputs[rows]), config.distil.temperature)
                    losses = losses.lerp(told, config.distil.weight)
            part_loss = (losses * weights[rows]).sum() / total / repeated
            profile.begins(BACKWARD)
            # Gradients are averaged over the processes, but each part is already divided by the whole weight.
            torch.autograd.backward(learner.scaler.scale(part_loss * team.size))
        profile.begins(FORWARD)
        loss += part_loss.detach()
        right = (seen.detach().argmax(1) == targets[rows].argmax(1)).sum()
        weighted = (losses.detach() * weights[rows]).sum()
        counted = torch.stack([weighted, weights[rows].sum(), right, weighted.new_full((), len(seen))])
        sums += counted.to(sums.dtype) / repeated
    profile.begins(OPTIMISER)
    learner.scaler.unscale_(learner.optimiser)
    trained = [parameter for group in learner.optimiser.param_groups for parameter in group["params"]]
    if config.optim.clip_norm is None:
        norm = nn.utils.get_total_norm([weight.grad for weight in trained if weight.grad is not None])
    else:
        norm = nn.utils.clip_grad_norm_(trained, config.optim.clip_norm)
    if device.type != "cuda" and not math.isfinite(float(loss) + float(norm)):
        raise _non_finite(step)
    for group in learner.optimiser.param_groups:
        group["lr"] = group["peak"] * factor
    learner.scaler.step(learner.optimiser)
    learner.scaler.update()
    # The scaler leaves out steps whose gradients overflow, as it should. Otherwise a gradient that is not finite shows
    # in the returned value too, without waiting for the device here.
    return loss if learner.scaler.is_enabled() else loss + 0.0 * norm.detach()


def divided(count: int, parts: int) -> list[slice]:
    """So many rows in contiguous parts whose lengths differ by one at most, the longer ones first."""
    length, longer = divmod(count, parts)
    starts = [number * length + min(number, longer) for number in range(parts + 1)]
    return [slice(start, stop) for start, stop in itertools.pairwise(starts)]


def seed_step(seed: int, device: torch.device) -> None:
    """Seed what dropout draws from. `torch.manual_seed` does more, and costs a tenth of a millisecond."""
    torch.default_generator.manual_seed(seed)
    if device.type == "cuda":
        torch.cuda.manual_seed(seed)
    elif device.type == "mps":
        torch.mps.manual_seed(seed)


def plain(pixels: torch.Tensor, images: PixelSet, size: int) -> torch.Tensor:
    """Images as evaluation sees them: the centre, resized when another size is wanted; float32 on the scale to 1."""
    margin = (pixels.shape[-1] - images.preprocess.size) // 2
    stop = margin + images.preprocess.size
    centre = pixels[:, :, margin:stop, margin:stop].float().div_(255)
    return centre if size == centre.shape[-1] else resized(centre, size)


def check_finite(loss: torch.Tensor, step: int) -> None:
    """Raise when a loss is NaN or infinite; on a GPU this waits for the device, so it is asked now and then only."""
    if not bool(torch.isfinite(loss)):
        raise _non_finite(step)


def team_part(team: Team, count: int) -> slice:
    """The rows of a batch that this process computes: a part of its own, or all of a batch too small to divide."""
    return team.slice_of(count) if count >= team.size else slice(0, count)


def _non_finite(step: int) -> NonFiniteLossError:
    return NonFiniteLossError(
        f"the loss or a gradient became NaN or infinite at step {step}",
        expected="finite numbers",
        remedy="lower the learning rate (--set optim.learning_rate=...); the weights of the last checkpoint are kept",
    )
