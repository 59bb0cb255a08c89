"""Time: how fast this machine trains a network, and how many steps still fit before a deadline."""

from __future__ import annotations

import dataclasses
import time
from collections import deque
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import nn

from eyebright.training.device import autocast
from eyebright.training.freezing import training_mode


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
    network: nn.Module, *, size: int, channels: int, batch_size: int, device: torch.device, repeats: int = 2
) -> Speed:
    """Time a few steps on random images; weights, gradients and statistics are left as they were.

    The first step warms caches and the allocator up and is not counted; the fastest of the others is, because a
    pause of the machine only ever adds time.
    """
    images = torch.randn(batch_size, channels, size, size, device=device).contiguous(memory_format=torch.channels_last)
    targets = torch.zeros(batch_size, dtype=torch.long, device=device)
    network.eval()

    def infer() -> None:
        with torch.inference_mode(), autocast(device):
            network(images)

    def train() -> None:
        with autocast(device):
            loss = F.cross_entropy(network(images).float(), targets)
        torch.autograd.backward(loss)
        network.zero_grad(set_to_none=True)

    infer_seconds = _fastest(infer, device, repeats)
    training_mode(network, fixed_statistics=True)
    train_seconds = _fastest(train, device, repeats)
    network.eval()
    return Speed(size, batch_size / infer_seconds, batch_size / train_seconds)


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
