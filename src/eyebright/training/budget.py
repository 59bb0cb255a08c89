"""Time: how fast this machine trains a network, and how many steps still fit before a deadline."""

from __future__ import annotations

import dataclasses
import functools
import time
from collections import deque
from collections.abc import Callable, Mapping

import torch
import torch.nn.functional as F
from torch import nn

from eyebright.runtimes.race import race
from eyebright.training.device import autocast
from eyebright.training.freezing import training_mode
from eyebright.training.threads import arithmetic_threads


@dataclasses.dataclass(frozen=True)
class Speed:
    """Images a second at one input size.

    Attributes:
        size: side of the input in pixels.
        infer: forward passes.
        train: forward and backward passes with the share of layers frozen that was asked for.
    """

    size: int
    infer: float
    train: float


def measure_speed(
    network: nn.Module,
    *,
    size: int,
    channels: int,
    batch_size: int,
    device: torch.device,
    repeats: int = 2,
    precision: str = "auto",
) -> Speed:
    """Time a few steps on random images; weights, gradients and statistics are left as they were.

    The first step warms caches and the allocator up and is not counted; the fastest of the others is, because a
    pause of the machine only ever adds time.
    """
    images = _images(batch_size, channels, size, device)
    network.eval()

    def infer() -> None:
        with torch.inference_mode(), autocast(device, precision):
            network(images)

    infer_seconds = _fastest(infer, device, repeats)
    training_mode(network, fixed_statistics=True)
    train_seconds = _fastest(functools.partial(plain_step, network, images, precision), device, repeats)
    network.eval()
    return Speed(size, batch_size / infer_seconds, batch_size / train_seconds)


def compare_steps(
    network: nn.Module,
    ways: Mapping[str, tuple[str, int | None]],
    *,
    size: int,
    channels: int,
    batch_size: int,
    seconds: float,
) -> dict[str, float]:
    """Seconds of a training step on a CPU for each way to compute it, in turn, for about `seconds` in all.

    Args:
        network: on the CPU; weights, gradients and statistics are left as they were.
        ways: precision and number of threads (None for torch's present one), by name.
    """
    images = _images(batch_size, channels, size, torch.device("cpu"))
    training_mode(network, fixed_statistics=True)

    def step(precision: str, threads: int | None, number: int) -> None:
        with arithmetic_threads(threads):
            plain_step(network, images, precision)

    turns = {name: functools.partial(step, *way) for name, way in ways.items()}
    try:
        for turn in turns.values():
            turn(0)  # warms up
        return race(turns, seconds)
    finally:
        network.eval()


def plain_step(network: nn.Module, images: torch.Tensor, precision: str) -> None:
    """Forward and backward pass of a network in training mode, without a change of its weights."""
    targets = torch.zeros(len(images), dtype=torch.long, device=images.device)
    with autocast(images.device, precision):
        loss = F.cross_entropy(network(images).float(), targets)
    torch.autograd.backward(loss)
    network.zero_grad(set_to_none=True)


def _images(count: int, channels: int, size: int, device: torch.device) -> torch.Tensor:
    return torch.randn(count, channels, size, size, device=device).contiguous(memory_format=torch.channels_last)


def _fastest(work: Callable[[], None], device: torch.device, repeats: int) -> float:
    fastest = float("inf")
    for attempt in range(repeats + 1):
        started = time.perf_counter()
        work()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        elif device.type == "mps":
            torch.mps.synchronize()
        if attempt:
            fastest = min(fastest, time.perf_counter() - started)
    return fastest


class Pace:
    """Keeps the planned number of steps true to a deadline while training runs, and says when to evaluate.

    The time of a step is the mean over the last steps, so that a machine that becomes slower or faster on the way is
    noticed soon.

    Args:
        deadline: `time.monotonic()` by which training must be done, evaluation included; None changes no plan.
        most_steps: the most steps that a faster machine may make.
        steps_between: steps between two evaluations on validation.
        window: steps that the mean is taken over; nothing is changed before a quarter of them are done.
    """

    def __init__(self, *, deadline: float | None, most_steps: int, steps_between: int, window: int = 24) -> None:
        self.deadline = deadline
        self.most_steps = most_steps
        self.steps_between = steps_between
        self._recent: deque[float] = deque(maxlen=window)
        self._fewest = max(1, window // 4)
        self._last = time.monotonic()
        self._evaluation_seconds = 0.0

    def start(self) -> None:
        """Begin to count time: now, or again after an evaluation."""
        self._last = time.monotonic()

    def evaluation_due(self, step: int) -> bool:
        """Whether the end of the epoch at `step` is one to evaluate at."""
        return step % self.steps_between == 0

    def evaluated(self, seconds: float) -> None:
        """Take note of how long an evaluation took."""
        self._evaluation_seconds = seconds

    def total_steps(self, step: int, planned: int) -> int:
        """How many steps there will be in all, seen after `step`; `planned` while nothing has to change."""
        now = time.monotonic()
        self._recent.append(now - self._last)
        self._last = now
        if self.deadline is None or len(self._recent) < self._fewest:
            return planned
        left = self.deadline - now - self._evaluation_seconds
        per_step = sum(self._recent) / len(self._recent) + self._evaluation_seconds / self.steps_between
        return max(step, min(self.most_steps, step + int(left / per_step)))
