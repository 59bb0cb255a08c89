"""Which precision a CPU trains in, and on how many threads, where that is open: decided once, by a measured trial.

bfloat16 halves the bytes that are moved, and CPUs with AVX512_BF16, AMX or Arm's bf16 multiply it faster. Networks of
large matrix products gain much (a ViT-Ti twofold), depthwise convolutions lose (EfficientNet-Lite0 is slower by half):
only a measurement tells. Weights, gradients and sums stay float32 (mixed precision, Micikevicius et al. 2018,
arXiv:1710.03740; bfloat16: Kalamkar et al. 2019, arXiv:1905.12322).
"""

from __future__ import annotations

from collections.abc import Mapping

from torch import nn

from eyebright.cores import has_bfloat16
from eyebright.training.budget import compare_steps
from eyebright.training.threads import threads_in_question

ADVANTAGE = 1.15
"""How many times as fast another way must be to be taken: within that, the clock decides nothing."""
TRIAL_IMAGES = 8
TRIAL_SECONDS = 1.0


def precision_in_question(precision: str) -> bool:
    """Whether the CPU could train in bfloat16 as well: `auto` was asked for, and it has that."""
    return precision == "auto" and has_bfloat16()


def choose_precision(
    network: nn.Module, *, size: int, channels: int, batch_size: int, threads: int | None
) -> tuple[str, str]:
    """`bfloat16` where a training step is clearly faster in it, else `float32`; and a sentence that says why."""
    ways = {"float32": ("float32", threads), "bfloat16": ("bfloat16", threads)}
    taken = compare_steps(
        network, ways, size=size, channels=channels, batch_size=min(batch_size, TRIAL_IMAGES), seconds=TRIAL_SECONDS
    )
    best = fastest(taken, usual="float32")
    ratio = taken["bfloat16"] / taken["float32"]
    return best, (
        f"trains in {best}: in bfloat16 this CPU takes {ratio:.2f} times as long for a step as in float32 "
        "(compute.precision forces one)"
    )


def choose_threads(network: nn.Module, *, size: int, channels: int, batch_size: int) -> tuple[int, str]:
    """One thread for each physical core or for each hyperthread, whichever is clearly faster; and why.

    Call it only where `threads_in_question()` gives two numbers.
    """
    physical, logical = threads_in_question()
    ways = {str(threads): ("float32", threads) for threads in (physical, logical)}
    taken = compare_steps(
        network, ways, size=size, channels=channels, batch_size=min(batch_size, TRIAL_IMAGES), seconds=TRIAL_SECONDS
    )
    best = fastest(taken, usual=str(physical))
    ratio = taken[str(logical)] / taken[str(physical)]
    return int(best), (
        f"computes with {best} threads: with {logical}, one for each hyperthread, a step takes "
        f"{ratio:.2f} times as long as with {physical} (compute.threads forces one)"
    )


def fastest(seconds: Mapping[str, float], *, usual: str) -> str:
    """The way that took least time, where it is clearly faster than the usual one; else the usual one."""
    best = min(seconds, key=lambda name: seconds[name])
    return best if seconds[best] * ADVANTAGE <= seconds[usual] else usual
