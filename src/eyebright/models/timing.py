"""How long a network takes for one image on this machine."""

from __future__ import annotations

import dataclasses
import statistics
import time
from collections.abc import Sequence

import torch
from torch import nn

from eyebright.models.graph.trace import evaluating

WARM_UP_RUNS = 3
LEAST_RUNS, MOST_RUNS = 5, 30
SECONDS = 2.0


@dataclasses.dataclass(frozen=True, kw_only=True)
class Timing:
    """Milliseconds that a network takes for one image, on the CPU.

    Attributes:
        median: of all runs after the warm-up.
        low, high: the quartiles, between which half of the runs lie.
        runs: how many there were.
    """

    median: float
    low: float
    high: float
    runs: int


def time_one_image(network: nn.Module, input_size: Sequence[int], *, seconds: float = SECONDS) -> Timing:
    """Time the forward pass of one random image, as many threads as torch uses.

    Args:
        network: on the CPU; its weights do not matter.
        input_size: (C, H, W).
        seconds: about how long to measure; at least 5 runs and at most 30.
    """
    image = torch.randn((1, *input_size), generator=torch.Generator().manual_seed(0))
    taken: list[float] = []
    with evaluating(network), torch.inference_mode():
        for _ in range(WARM_UP_RUNS):
            network(image)
        began = time.perf_counter()
        while len(taken) < LEAST_RUNS or (len(taken) < MOST_RUNS and time.perf_counter() - began < seconds):
            start = time.perf_counter()
            network(image)
            taken.append((time.perf_counter() - start) * 1000)
    low, median, high = statistics.quantiles(taken, n=4, method="inclusive")
    return Timing(median=median, low=low, high=high, runs=len(taken))
