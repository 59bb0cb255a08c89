"""Which runtime computes the features of a frozen network on this machine: a measured trial on real images.

On a CPU, ONNX Runtime and OpenVINO are often faster than torch, by how much depends on network and machine. Exporting
the graph for them takes seconds, so a small set is left to torch. Where there is a choice, all runtimes compute the
same images in turn; the fastest whose features are those of torch is taken.
"""

from __future__ import annotations

import dataclasses
import functools
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import nn

from eyebright.cores import available_cores
from eyebright.errors import EyebrightError, StorageError, UsageError
from eyebright.preprocess import Preprocess
from eyebright.runtimes.graph import kept_graph
from eyebright.runtimes.race import Clock, race
from eyebright.runtimes.runners import (
    Features,
    Pixels,
    Run,
    onnx_runner,
    openvino_is_here,
    openvino_runner,
    require_openvino,
    torch_runner,
)

Runtime = Literal["torch", "onnx", "openvino"]

TOLERANCE = 1e-3
"""Largest difference of a feature from torch's, over the root mean square of torch's features."""
EXPECTED_SAVING = 0.3
"""Share of torch's time that another runtime is expected to save, for weighing whether a trial pays for itself."""
EXPORT_SECONDS, EXPORT_SECONDS_PER_MODULE = 1.5, 0.015  # two cores: 5.4 s for lite0 (273 modules), 1.9 s for resnet18
TRIAL_SHARE = 0.03
_LABELS = {"torch": "torch", "onnx": "ONNX Runtime", "openvino": "OpenVINO"}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Tried:
    """How a runtime did.

    Attributes:
        speed: images a second, median over the rounds.
        difference: largest difference from torch's features, over their root mean square.
    """

    speed: float
    difference: float

    @property
    def agrees(self) -> bool:
        """Whether it gives the same features as torch."""
        return self.difference <= TOLERANCE


@dataclasses.dataclass(frozen=True, kw_only=True)
class Chosen:
    """The runtime that was chosen.

    Attributes:
        runtime: its name.
        run: computes features, float32 (N, F), from uint8 pixels (N, H, W, C).
        tried: how each runtime did; empty without a trial.
        sentence: for the user: what was chosen, and why.
    """

    runtime: Runtime
    run: Run
    tried: Mapping[str, Tried]
    sentence: str

    def record(self) -> dict[str, Any]:
        """The facts for a file."""
        return {
            "runtime": self.runtime,
            "tried": {name: dataclasses.asdict(tried) for name, tried in self.tried.items()},
            "sentence": self.sentence,
        }


def choose_runtime(
    network: nn.Module,
    preprocess: Preprocess,
    *,
    device: torch.device,
    samples: Sequence[Pixels],
    images: int,
    graph: Callable[[], Path],
    wanted: str = "auto",
    threads: int | None = None,
) -> Chosen:
    """The fastest runtime whose features are those of torch in float32; torch on everything but a CPU.

    Args:
        network: in evaluation mode, with features that `PixelsToFeatures` can take.
        preprocess: its normalisation and input size.
        device: where torch computes.
        samples: batches of real images, uint8 (N, size, size, C), as they will come; at least one.
        images: how many images there are to run. A trial is made only where it can save more time than it takes.
        graph: called when another runtime than torch may pay: the file that keeps the exported graph.
        wanted: `compute.features`: `auto`, or the name of a runtime to take without a trial.
        threads: for the other runtimes; the cores that this process may use when None. torch keeps its own number.

    Raises:
        UsageError: `wanted` cannot compute on this device, or does not give torch's features.
        MissingDependencyError: `wanted` is not installed.
        EyebrightError: `wanted` needs a graph, and the network cannot be exported.
    """
    on_torch = torch_runner(network, preprocess, device)

    def chosen(why: str) -> Chosen:
        return Chosen(runtime="torch", run=on_torch, tried={}, sentence=f"features by torch: {why}")

    if device.type != "cpu":
        if wanted not in ("auto", "torch"):
            raise UsageError(
                f"compute.features={wanted} computes on the CPU, and the device is {device.type}",
                expected="compute.features=auto or torch on this device",
                remedy="leave compute.features out, or set device=cpu",
            )
        return chosen(f"the device is {device.type}")
    if wanted == "torch":
        return chosen("as asked")
    threads = threads or available_cores()
    if wanted != "auto":
        return _forced(wanted, network, preprocess, on_torch, samples[0], graph(), threads)
    torch_seconds = images / _speed(on_torch, samples[0])
    if torch_seconds * EXPECTED_SAVING < _export_seconds(network, None):
        return chosen(f"{images} images are too few for a trial of other runtimes to pay")
    path = graph()
    if torch_seconds * EXPECTED_SAVING < _export_seconds(network, path):
        return chosen(f"{images} images are too few for an export to other runtimes to pay")
    runners: dict[str, Run] = {"torch": on_torch}
    try:
        content = kept_graph(network, preprocess, path)
        runners["onnx"] = onnx_runner(content, threads=threads)
    except StorageError:
        raise
    except EyebrightError as error:
        return chosen(error.problem)
    if openvino_is_here():
        runners["openvino"] = openvino_runner(content, threads=threads)
    tried = compare(runners, samples, seconds=TRIAL_SHARE * torch_seconds)
    return decide(runners, tried)


def compare(
    runners: Mapping[str, Run], samples: Sequence[Pixels], *, seconds: float, clock: Clock = time.perf_counter
) -> dict[str, Tried]:
    """Run all on the same batches in turn for about `seconds`; `torch` is the reference.

    A first round, which is not timed, warms up and compares the features.
    """
    samples = [batch for batch in samples if len(batch) == len(samples[0])]  # a last one may be shorter
    reference = [runners["torch"](batch) for batch in samples]
    found = {name: [run(batch) for batch in samples] for name, run in runners.items()}
    differences = {
        name: max(relative_difference(one, other) for one, other in zip(features, reference, strict=True))
        for name, features in found.items()
    }
    times = race({name: functools.partial(_turn, run, samples) for name, run in runners.items()}, seconds, clock=clock)
    return {
        name: Tried(
            speed=len(samples[0]) / max(times[name], 1e-9), difference=0.0 if name == "torch" else differences[name]
        )
        for name in runners
    }


def _turn(run: Run, samples: Sequence[Pixels], number: int) -> None:
    """One turn of a runner: batches of the first one's size, one after the other."""
    run(samples[number % len(samples)])


def decide(runners: Mapping[str, Run], tried: Mapping[str, Tried]) -> Chosen:
    """The fastest of those that agree with torch, and a sentence with all speeds."""
    agreeing = {name: one for name, one in tried.items() if one.agrees}
    best = max(agreeing, key=lambda name: agreeing[name].speed)
    others = [
        f"{one.speed:.0f} by {_LABELS[name]}"
        + ("" if one.agrees else f" (not taken: its features differ by {one.difference:.1g} of their size)")
        for name, one in tried.items()
        if name != best
    ]
    sentence = f"features by {_LABELS[best]}: {tried[best].speed:.0f} images a second, against {' and '.join(others)}"
    if best != "torch":
        sentence += f"; they differ from torch's by {tried[best].difference:.1g} of their size at most"
    runtime: Runtime = best  # type: ignore[assignment]
    return Chosen(runtime=runtime, run=runners[best], tried=tried, sentence=sentence)


def relative_difference(features: Features, reference: Features) -> float:
    """Largest difference over the root mean square of the reference; infinite where one is not finite."""
    if features.shape != reference.shape or not np.isfinite(features).all():
        return float("inf")
    size = float(np.sqrt(np.mean(np.square(reference, dtype=np.float64))))
    return float(np.abs(features - reference).max()) / max(size, 1e-12)


def _forced(
    wanted: str, network: nn.Module, preprocess: Preprocess, on_torch: Run, sample: Pixels, graph: Path, threads: int
) -> Chosen:
    if wanted == "openvino":
        require_openvino()  # before seconds of export
    make = {"onnx": onnx_runner, "openvino": openvino_runner}[wanted]
    run = make(kept_graph(network, preprocess, graph), threads=threads)
    difference = relative_difference(run(sample), on_torch(sample))
    if difference > TOLERANCE:
        raise UsageError(
            f"{_LABELS[wanted]} gives other features than torch: they differ by {difference:.1g} of their size",
            expected=f"a difference of at most {TOLERANCE:g}",
            remedy="leave compute.features out, or set compute.features=torch",
        )
    runtime: Runtime = wanted  # type: ignore[assignment]
    sentence = f"features by {_LABELS[wanted]}, as asked; they differ from torch's by {difference:.1g} of their size"
    return Chosen(runtime=runtime, run=run, tried={}, sentence=sentence)


def _speed(run: Run, batch: Pixels) -> float:
    """Images a second, from a second look at a few images: the first one warms up."""
    few = batch[: max(1, len(batch) // 2)]
    run(few)
    started = time.perf_counter()
    run(few)
    return len(few) / max(time.perf_counter() - started, 1e-9)


def _export_seconds(network: nn.Module, kept: Path | None) -> float:
    """What the graph will cost: little when it is there already (or may be: `kept` is None while nobody has looked)."""
    if kept is None or kept.is_file():
        return 1.0  # the trial itself
    return EXPORT_SECONDS + EXPORT_SECONDS_PER_MODULE * sum(1 for _ in network.modules())
