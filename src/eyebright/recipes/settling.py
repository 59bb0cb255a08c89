"""What a CPU leaves open about the arithmetic, settled while planning: written into the plan, so a resume keeps to it.

Nothing is tried without a budget, because then nothing may depend on the clock; nor where training is short, where
`compute.deterministic` asks for the same bits every time, in a team of several processes, or on another device.
"""

from __future__ import annotations

import torch
from torch import nn

from eyebright.config import TrainConfig
from eyebright.recipes.base import Context
from eyebright.training.precision import choose_precision, choose_threads, precision_in_question
from eyebright.training.threads import threads_in_question

LONG_SECONDS = 60.0
"""With less time than this, a trial is not worth its own."""


def settle(
    network: nn.Module, config: TrainConfig, context: Context, *, size: int, channels: int
) -> tuple[TrainConfig, list[str]]:
    """The configuration with number of threads and precision filled in where a trial decided, and sentences about it.

    Args:
        network: as it will be trained; left as it was.
        config: with what was asked for.
        context: device, team and budget.
        size, channels: of its input.
    """
    compute, left = config.compute, context.seconds_left()
    if context.device.type != "cpu" or context.team.size > 1 or compute.deterministic:
        return config, []
    if left is None or left < LONG_SECONDS:
        return config, []
    reasons, batch_size, threads = list[str](), config.optim.batch_size, compute.threads
    precision = compute.precision
    with torch.random.fork_rng(devices=[]):  # random images and dropout draw nothing from what comes later
        if threads is None and threads_in_question():
            threads, why = choose_threads(network, size=size, channels=channels, batch_size=batch_size)
            reasons.append(why)
        if precision_in_question(precision):
            precision, why = choose_precision(  # type: ignore[assignment]
                network, size=size, channels=channels, batch_size=batch_size, threads=threads
            )
            reasons.append(why)
    settled = compute.model_copy(update={"threads": threads, "precision": precision})
    return (config.model_copy(update={"compute": settled}) if reasons else config), reasons
