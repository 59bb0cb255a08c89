"""Compiling the network: how, and whether it pays for itself.

Compiling takes half a minute to two minutes, and makes a step faster by a share that depends on network and machine,
so that `compute.compile=auto` measures where enough time is planned, and leaves it out where not. The choice is made
once, while planning; a resumed run keeps it, because compiled steps round otherwise.
"""

from __future__ import annotations

import dataclasses
import math
import shutil
import time
from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from eyebright.config import TrainConfig
from eyebright.errors import MissingDependencyError
from eyebright.training.device import autocast
from eyebright.training.freezing import freeze, training_mode
from eyebright.training.stage import Stage
from eyebright.training.untouched import leaving_untouched

SHORTEST_SECONDS = {"cpu": 20 * 60, "cuda": 2 * 60}
"""With less training than this planned, nothing is tried: the trial itself takes up to a minute or two."""
PIXELS_A_SECOND = 1e5
"""Slower than nearly every network trains on a CPU: trainings that are short even at this rate are not measured."""
SMALLEST_GAIN = 0.05
"""Share of a step that compiling must save: less may be noise of the measurement."""
_COMPILERS = ("g++", "c++", "clang++")
_RUNS = {"cpu": 1, "cuda": 3}  # a CUDA graph is captured in the second run, and replayed from the third


@dataclasses.dataclass(frozen=True, kw_only=True)
class Trial:
    """What compiling did to a step (forward and backward) of a network.

    Attributes:
        compiling_seconds: until the first compiled step was done.
        eager_seconds, compiled_seconds: the fastest step.
    """

    compiling_seconds: float
    eager_seconds: float
    compiled_seconds: float


def can_compile(device: torch.device) -> bool:
    """Whether a network can be compiled for this device here: on a CPU that needs a C++ compiler."""
    return device.type == "cuda" or (device.type == "cpu" and any(map(shutil.which, _COMPILERS)))


def compiled(network: nn.Module, device: torch.device, *, graphs: bool = True) -> nn.Module:
    """The network, compiled when it is first called; it shares its weights.

    Shapes are those of the batches, of which there are few, so each gets code of its own. On CUDA, the work of a step
    is captured as a graph and replayed, unless `graphs` is off.

    Raises:
        MissingDependencyError: compiling for the CPU needs a C++ compiler, and there is none.
    """
    if device.type == "cpu" and not can_compile(device):
        raise MissingDependencyError(
            "compiling for the CPU needs a C++ compiler, and there is none",
            remedy="install g++, or leave compute.compile out",
        )
    mode = "reduce-overhead" if graphs and device.type == "cuda" else None
    result: nn.Module = torch.compile(network, mode=mode, dynamic=False)  # type: ignore[assignment]
    return result


def warm_up(
    model: nn.Module, network: nn.Module, *, shape: Sequence[int], config: TrainConfig, device: torch.device
) -> None:
    """Run a step that changes nothing, so that whatever is wrong with compiling shows before training begins.

    Args:
        model: compiled.
        network: what it was made of, in the mode that it will train in; its weights and statistics stay.
        shape: (b, C, size, size) of what a step computes at a time.
        config: for the precision.
        device: where the network is.
    """
    with leaving_untouched(network):
        for _ in range(_RUNS.get(device.type, 1)):
            _step(model, _images(shape, device), config, device)


def try_compiling(
    network: nn.Module, *, shape: Sequence[int], config: TrainConfig, device: torch.device, repeats: int = 3
) -> Trial:
    """Time a step before and after compiling; weights, statistics and randomness are left as they were.

    Whatever compiling raises is passed on.
    """
    images = _images(shape, device)
    with leaving_untouched(network):
        eager = _fastest(lambda: _step(network, images, config, device), device, repeats)
        began = time.perf_counter()
        model = compiled(network, device)
        try:
            for _ in range(_RUNS.get(device.type, 1)):
                _step(model, images, config, device)
            _wait(device)
            compiling = time.perf_counter() - began
            fast = _fastest(lambda: _step(model, images, config, device), device, repeats)
        finally:
            torch._dynamo.reset()
    return Trial(compiling_seconds=compiling, eager_seconds=eager, compiled_seconds=fast)


def compile_pays(
    network: Callable[[], nn.Module], stages: Sequence[Stage], *, config: TrainConfig, channels: int,
    device: torch.device, seconds_left: float | None,
) -> tuple[bool, str]:  # fmt: skip
    """Whether `compute.compile=auto` compiles, and why, in a sentence (empty where there is nothing to say).

    Nothing is measured where training is short for certain. Otherwise a step of the stage with the most work is timed,
    and when enough time is planned, it is compiled and timed again. A compiled step that was made once comes from the
    cache of torch when training begins, so that only the other stages have still to be compiled.

    Args:
        network: makes the network on its device; called when something is measured.
        stages: what is planned.
        config: its `optim.accumulate` and `compute.precision` are heeded.
        channels: of the input.
        device: where training will be.
        seconds_left: time to the deadline, or None; the plan may be cut short, and never lasts longer.
    """
    shortest = SHORTEST_SECONDS.get(device.type, math.inf)
    work = [stage.steps * stage.batch_size * stage.size**2 for stage in stages]
    if not can_compile(device) or not stages or (seconds_left is not None and seconds_left < shortest):
        return False, ""
    if device.type == "cpu" and (seconds_left is None or sum(work) / PIXELS_A_SECOND < shortest):
        return False, ""  # on a CPU nothing depends on the clock where there is no budget
    stage = max(zip(work, stages, strict=True), key=lambda pair: pair[0])[1]
    config = stage.applied_to(config)
    made = network()
    freeze(made, stage.frozen)
    training_mode(made, fixed_statistics=stage.fixed_statistics)
    shape = (largest_part(config), channels, stage.size, stage.size)
    with leaving_untouched(made):
        eager = _fastest(lambda: _step(made, _images(shape, device), config, device), device, 1)
    planned = eager / (shape[0] * stage.size**2) * sum(work)
    if planned < shortest:
        return False, f"not compiled: about {planned:.0f} s of training are too short for it"
    try:
        trial = try_compiling(made, shape=shape, config=config, device=device)
    except Exception as error:  # whatever the compiler raises: there is another way
        return False, f"not compiled: it was tried, and failed ({first_line(error)})"
    gain = 1 - trial.compiled_seconds / trial.eager_seconds
    still = trial.compiling_seconds * (len(stages) - 1)
    told = (
        f"a step takes {1000 * trial.eager_seconds:.1f} ms, and {1000 * trial.compiled_seconds:.1f} ms compiled, which "
        f"took {trial.compiling_seconds:.0f} s"
    )
    if gain >= SMALLEST_GAIN and planned * gain > still:
        return True, f"compiled: {told}"
    return False, f"not compiled: {told}"


def largest_part(config: TrainConfig, processes: int = 1) -> int:
    """Images that a process computes at a time: those of a batch, divided by `optim.accumulate`."""
    mine = max(1, config.optim.batch_size // processes)
    return -(-mine // min(config.optim.accumulate, mine))


def first_line(error: BaseException) -> str:
    """What an error says, in short: compilers say much."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return (lines[0] if lines else type(error).__name__)[:200]


def _images(shape: Sequence[int], device: torch.device) -> torch.Tensor:
    return torch.zeros(*shape, device=device).contiguous(memory_format=torch.channels_last)


def _step(model: Any, images: torch.Tensor, config: TrainConfig, device: torch.device) -> None:
    """Forward and backward, as training does them; gradients are dropped before."""
    for parameter in model.parameters():
        parameter.grad = None
    with autocast(device, config.compute.precision):
        logits = model(images).float()
    targets = torch.zeros(len(logits), dtype=torch.long, device=device)
    torch.autograd.backward(F.cross_entropy(logits, targets))


def _fastest(work: Callable[[], None], device: torch.device, repeats: int) -> float:
    """The fastest of some runs in seconds, the first one not counted: a pause of the machine only ever adds time."""
    seconds = []
    for _ in range(repeats + 1):
        began = time.perf_counter()
        work()
        _wait(device)
        seconds.append(time.perf_counter() - began)
    return min(seconds[1:])


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
