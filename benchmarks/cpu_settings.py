"""What each CPU setting brings: lite0 training at 128 px, features at 128 and 224 px, images a second.

    python benchmarks/cpu_settings.py --rounds 3 --output cpu_settings.json

Every setting is a process of its own, because the allocator can only be set before the first tensor. The processes take
turns, round after round; the median and the range over the rounds are printed, and the minor page faults of a step,
which do not depend on how busy the machine is. Under 4 minutes on two quiet cores.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

BATCH = 32
NETWORK = "tf_efficientnet_lite0"
SECONDS = 0.8  # of each measurement, after the steps that warm up
TRAINING = {
    "as everyone runs it": set(),
    "+ channels-last": {"channels-last"},
    "+ kept memory (mallopt): what Eyebright does": {"channels-last", "kept"},
    "the same on one thread": {"channels-last", "kept", "one thread"},
    "the same with THP_MEM_ALLOC_ENABLE=1": {"channels-last", "kept", "thp"},
    "the same in bfloat16": {"channels-last", "kept", "bfloat16"},
}
FEATURES = {
    "torch as everyone runs it": set(),
    "torch, channels-last": {"channels-last"},
    "torch, channels-last, kept memory": {"channels-last", "kept"},
    "ONNX Runtime": {"kept", "onnx"},
    "OpenVINO": {"kept", "openvino"},
}


def main() -> None:
    """Measure and print, or measure one setting when called for that."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--output", type=Path, help="a JSON file for the figures")
    parser.add_argument("--graphs", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--one", nargs="*", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.one is not None:
        print(json.dumps(measure(set(given.one[1:]), given.one[0], given.graphs)))
        return
    from tempfile import TemporaryDirectory

    from machine import describe

    print(describe())
    found: dict[str, list[dict[str, float]]] = {}
    with TemporaryDirectory() as folder:
        export(Path(folder))
        for number in range(given.rounds):
            for row, (work, settings) in rows().items():
                found.setdefault(row, []).append(in_its_own_process(settings, work, Path(folder)))
            print(f"round {number + 1} of {given.rounds} is done", file=sys.stderr)
    table = {row: summary(measured) for row, measured in found.items()}
    print(f"{'':70}{'images/s':>10}{'range':>16}{'faults':>10}")
    for row, figures in table.items():
        span = f"{figures['least']:.0f} to {figures['most']:.0f}"
        print(f"{row:70}{figures['median']:10.0f}{span:>16}{figures['faults']:10.0f}")
    if given.output:
        given.output.write_text(json.dumps({"machine": describe(), "rows": table}, indent=2))


def rows() -> dict[str, tuple[str, set[str]]]:
    """Work and settings by the name of the row; OpenVINO only where it is installed."""
    from eyebright.runtimes.runners import openvino_is_here

    made = {f"train 128 px: {name}": ("train-128", settings) for name, settings in TRAINING.items()}
    for size in (128, 224):
        made |= {
            f"features {size} px: {name}": (f"features-{size}", settings)
            for name, settings in FEATURES.items()
            if "openvino" not in settings or openvino_is_here()
        }
    return made


def in_its_own_process(settings: set[str], work: str, graphs: Path) -> dict[str, float]:
    """The figures of one setting."""
    environment = {**os.environ, "THP_MEM_ALLOC_ENABLE": "1" if "thp" in settings else "0"}
    command = [sys.executable, __file__, "--graphs", str(graphs), "--one", work, *sorted(settings)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(done.stderr)
    figures: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return figures


def measure(settings: set[str], work: str, graphs: Path) -> dict[str, float]:
    """Images a second, and minor page faults of a step."""
    from eyebright.allocator import keep_freed_memory

    if "kept" in settings and not keep_freed_memory():
        raise SystemExit("this C library takes no mallopt settings")
    import torch

    kind, size = work.split("-")
    if "one thread" in settings:
        torch.set_num_threads(1)
    run = training(settings, int(size)) if kind == "train" else features(settings, int(size), graphs)
    for _ in range(2):
        run()
    steps, began, faults = 0, time.perf_counter(), resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    while time.perf_counter() - began < SECONDS or steps < 2:
        run()
        steps += 1
    seconds = time.perf_counter() - began
    faults = resource.getrusage(resource.RUSAGE_SELF).ru_minflt - faults
    return {"speed": steps * BATCH / seconds, "faults": faults / steps}


def training(settings: set[str], size: int) -> Callable[[], Any]:
    """A step of AdamW."""
    import torch
    import torch.nn.functional as F

    order = torch.channels_last if "channels-last" in settings else torch.contiguous_format
    network = plain_network().to(memory_format=order).train()
    images = torch.randn(BATCH, 3, size, size).contiguous(memory_format=order)
    targets = torch.zeros(BATCH, dtype=torch.long)
    fused = True if "kept" in settings else None
    optimiser = torch.optim.AdamW(network.parameters(), lr=1e-4, fused=fused)

    def step() -> None:
        optimiser.zero_grad(set_to_none=True)
        with torch.autocast("cpu", torch.bfloat16, enabled="bfloat16" in settings):
            loss = F.cross_entropy(network(images).float(), targets)
        loss.backward()
        optimiser.step()

    return step


def features(settings: set[str], size: int, graphs: Path) -> Callable[[], Any]:
    """One batch of features."""
    import numpy as np
    import torch

    from eyebright.runtimes.runners import onnx_runner, openvino_runner

    pixels = np.random.default_rng(0).integers(0, 256, (BATCH, size, size, 3), dtype=np.uint8)
    make = {"onnx": onnx_runner, "openvino": openvino_runner}
    for name in settings & make.keys():
        run = make[name]((graphs / f"{size}.onnx").read_bytes(), threads=torch.get_num_threads())
        return lambda: run(pixels)
    order = torch.channels_last if "channels-last" in settings else torch.contiguous_format
    network = plain_network().to(memory_format=order).eval()

    @torch.inference_mode()
    def look() -> Any:
        images = torch.from_numpy(pixels).permute(0, 3, 1, 2).float().div_(255).contiguous(memory_format=order)
        return network.forward_head(network.forward_features(images), pre_logits=True)

    return look


def plain_network() -> Any:
    """As timm makes it."""
    import timm

    return timm.create_model(NETWORK, num_classes=5)


def export(folder: Path) -> None:
    """The graphs of the features."""
    from eyebright.preprocess import Preprocess
    from eyebright.runtimes.graph import kept_graph

    for size in (128, 224):
        preprocess = Preprocess(size=size, resize="squash", mean=(0.5,) * 3, std=(0.5,) * 3)
        kept_graph(plain_network().eval(), preprocess, folder / f"{size}.onnx")


def summary(measured: list[dict[str, float]]) -> dict[str, float]:
    """Median and range of the speed, median of the faults."""
    speeds = [one["speed"] for one in measured]
    faults = statistics.median(one["faults"] for one in measured)
    return {"median": statistics.median(speeds), "least": min(speeds), "most": max(speeds), "faults": faults}


if __name__ == "__main__":
    main()
