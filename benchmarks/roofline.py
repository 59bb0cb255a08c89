"""How far training and feature extraction are from what this machine can do at most (Williams et al. 2009, roofline).

    python benchmarks/roofline.py [--json FILE]

Measured are the ceilings of the machine (matrix product, a typical and a depthwise convolution, memory copy, JPEG
decoding), then steps of the training loop as it is, augmentation and optimiser included, on random images, with the
seconds of each part of a step from the profiler. Counted are the operations and the bytes of a step:

- operations: those of convolutions and matrix products forward, by torch's FlopCounterMode (a multiplication with its
  addition is two), times three for forward and backward. The counter's own count of the backward pass is not used: it
  takes a depthwise convolution for a dense one.
- bytes: an estimate of what must move between memory and processor when nothing stays in a cache from one layer to the
  next. Every layer reads its input and writes its output; backward it reads its input and the gradient of its output,
  and writes the gradient of its input. Weights are read twice, their gradients written, and the optimiser (Adam) reads
  four arrays of their size and writes three. In ONNX Runtime, norms and activations are part of the convolution
  before them, so only convolutions and matrix products count there.

The ceiling of a setting is the lower of operations at the rate of the matrix product or of the 3 x 3 convolution,
whichever is faster, and bytes at the rate of the copy. A setting may exceed a ceiling by memory, because layers do find
their input in a cache.

Takes less than three minutes on two quiet cores.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import io
import itertools
import json
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from eyebright.allocator import keep_freed_memory
from eyebright.config import TrainConfig, build_config
from eyebright.cores import available_cores
from eyebright.data.batches import Order, PixelSet
from eyebright.decode import decode_image
from eyebright.models.catalog import create_network
from eyebright.preprocess import Preprocess
from eyebright.recipes import get_recipe
from eyebright.training.freezing import training_mode
from eyebright.training.loss import Objective
from eyebright.training.optim import Average, make_optimiser
from eyebright.training.profile import HostProfile
from eyebright.training.step import Learner, train_step
from eyebright.training.team import ALONE
from machine import describe

CPU = torch.device("cpu")
CLASSES = 10
MEASURED_SECONDS = 8.0
"""Of each setting, after two steps that are not counted."""
CEILING_SECONDS = 1.5
"""Of each ceiling."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Ceilings:
    """What this machine does at most.

    Attributes:
        matmul, convolution, depthwise: 10^9 operations a second.
        copy: GiB a second, read and written together.
        decode_one, decode_all: JPEG photos of 512 x 384 px a second, on one thread and on all.
    """

    matmul: float
    convolution: float
    depthwise: float
    copy: float
    decode_one: float
    decode_all: float


@dataclasses.dataclass(frozen=True, kw_only=True)
class Row:
    """One setting.

    Attributes:
        setting: its name.
        batch: images in a step.
        gflop, megabytes: of a step.
        by_compute, by_memory: steps a second that the two ceilings allow.
        measured: steps a second.
        spans: seconds of each part of a step.
    """

    setting: str
    batch: int
    gflop: float
    megabytes: float
    by_compute: float
    by_memory: float
    measured: float
    spans: dict[str, float]

    @property
    def ceiling(self) -> float:
        """Steps a second at most."""
        return min(self.by_compute, self.by_memory)


def per_second(work: Callable[[], Any], seconds: float = CEILING_SECONDS) -> float:
    """Calls a second at best: the fastest one, because a pause of the machine only ever adds time."""
    work()
    fastest, end = float("inf"), time.perf_counter() + seconds
    while time.perf_counter() < end:
        began = time.perf_counter()
        work()
        fastest = min(fastest, time.perf_counter() - began)
    return 1 / fastest


def convolution_gflops(channels: int, groups: int) -> float:
    """Rate of a 3 x 3 convolution of 32 images of 56 px, channels-last: 10^9 operations a second."""
    layer = nn.Conv2d(channels, channels, 3, padding=1, groups=groups, bias=False).to(memory_format=torch.channels_last)
    images = torch.rand(32, channels, 56, 56).contiguous(memory_format=torch.channels_last)
    with torch.inference_mode():
        rate = per_second(lambda: layer(images))
    return rate * 2 * images.numel() * 9 * channels / groups / 1e9


def photo() -> bytes:
    """A JPEG of 512 x 384 px with as much detail as a photo has: smooth forms and fine noise."""
    random = np.random.default_rng(0)
    coarse = Image.fromarray(random.integers(0, 256, (24, 32, 3), dtype=np.uint8)).resize((512, 384), Image.BICUBIC)
    noisy = np.asarray(coarse, dtype=np.float32) + random.normal(0, 12, (384, 512, 3))
    content = io.BytesIO()
    Image.fromarray(noisy.clip(0, 255).astype(np.uint8)).save(content, "JPEG", quality=85)
    return content.getvalue()


def decode_rate(content: bytes, threads: int) -> float:
    """Whole photos decoded a second by so many threads."""
    together = 16 * threads
    with ThreadPoolExecutor(threads) as pool:
        return together * per_second(lambda: list(pool.map(lambda _: decode_image(content), range(together))))


def ceilings() -> Ceilings:
    """Measure them."""
    one, other = torch.rand(1536, 1536), torch.rand(1536, 1536)
    source = torch.zeros(256 * 1024**2, dtype=torch.uint8)
    target = torch.empty_like(source)
    content = photo()
    return Ceilings(
        matmul=per_second(lambda: one @ other) * 2 * 1536**3 / 1e9,
        convolution=convolution_gflops(64, 1),
        depthwise=convolution_gflops(96, 96),
        copy=per_second(lambda: target.copy_(source)) * 2 * source.numel() / 1024**3,
        decode_one=decode_rate(content, 1),
        decode_all=decode_rate(content, available_cores()),
    )


def forward_flop(network: nn.Module, images: torch.Tensor) -> int:
    """Operations of a forward pass."""
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        network(images)
    return counter.get_total_flops()


def moved_bytes(network: nn.Module, images: torch.Tensor, *, training: bool) -> int:
    """The estimate that stands at the head of this file."""
    total = 0

    def count(layer: nn.Module, inputs: tuple[Any, ...], output: Any) -> None:
        nonlocal total
        counts = training or isinstance(layer, (nn.Conv2d, nn.Linear))
        if counts and isinstance(output, torch.Tensor) and isinstance(inputs[0], torch.Tensor):
            read, written = inputs[0].nbytes, output.nbytes
            total += 3 * read + 2 * written if training else read + written

    leaves = [layer for layer in network.modules() if not list(layer.children())]
    handles = [layer.register_forward_hook(count) for layer in leaves]
    with torch.no_grad():
        network(images)
    for handle in handles:
        handle.remove()
    weights = sum(parameter.nbytes for parameter in network.parameters())
    return total + weights * (10 if training else 1)


def training_row(setting: str, config: TrainConfig, *, name: str, size: int, batch: int, limits: Ceilings) -> Row:
    """Steps of the training loop on random images."""
    channels = config.image.channels or 3
    torch.manual_seed(0)
    network = create_network(name, classes=CLASSES, channels=channels, pretrained=False)
    training_mode(network, fixed_statistics=False)
    preprocess = Preprocess(size=size, channels=channels, mean=(0.5,) * channels, std=(0.5,) * channels)
    random, count = np.random.default_rng(0), 8 * batch
    pixels = random.integers(0, 256, (count, size, size, channels), dtype=np.uint8)
    targets = np.arange(count) % CLASSES
    images = PixelSet(pixels, np.arange(count), targets, preprocess=preprocess, device=CPU)
    example = next(images.in_order(batch)).images
    gflop, megabytes = 3 * forward_flop(network, example) / 1e9, moved_bytes(network, example, training=True) / 1e6
    profile = HostProfile()
    learner = Learner(
        model=network, optimiser=make_optimiser(network, config.optim),
        scaler=torch.amp.GradScaler("cpu", enabled=False),
        objective=Objective(config.loss, images.class_totals(CLASSES), CPU), config=config, size=size, classes=CLASSES,
        team=ALONE, level=None, teacher=None, profile=profile,
    )  # fmt: skip
    average = Average(network, config.optim.ema_decay) if config.optim.ema_decay > 0 else None
    order = Order(
        seed=0, batch_size=batch, settings=config.data, workers=config.compute.workers,
        doing=profile.begins,
    )  # fmt: skip
    sums = torch.zeros(4, dtype=torch.float64)
    batches = itertools.chain.from_iterable(images.shuffled(order, epoch=epoch) for epoch in itertools.count())
    before: dict[str, float] = {}
    began = end = 0.0
    for number, one in enumerate(batches):
        if number == 2:
            before, began = profile.seconds(), time.perf_counter()
            end = began + MEASURED_SECONDS
        train_step(learner, images, one, number, 1.0, sums)
        if average is not None:
            average.update(network, number)
        if number >= 4 and time.perf_counter() >= end:
            break
    took, steps = time.perf_counter() - began, number - 1
    spans = {part: (spent - before.get(part, 0.0)) / steps for part, spent in profile.seconds().items()}
    return _row(setting, batch, gflop, megabytes, steps / took, spans, limits)


def features_row(size: int, *, batch: int, limits: Ceilings) -> Row:
    """Features of lite0 in ONNX Runtime, as `auto` computes them."""
    from eyebright.runtimes.graph import export_features
    from eyebright.runtimes.runners import onnx_runner

    network = create_network("tf_efficientnet_lite0", classes=CLASSES, pretrained=False).eval()
    preprocess = Preprocess(size=size, mean=(0.5,) * 3, std=(0.5,) * 3)
    example = torch.zeros(batch, 3, size, size)
    gflop, megabytes = forward_flop(network, example) / 1e9, moved_bytes(network, example, training=False) / 1e6
    with contextlib.redirect_stdout(io.StringIO()):  # the exporter's progress
        graph = export_features(network, preprocess).SerializeToString()
    run = onnx_runner(graph, threads=available_cores())
    pixels = np.zeros((batch, size, size, 3), dtype=np.uint8)
    rate = per_second(lambda: run(pixels), 4.0)
    name = f"lite0 features {size} px, ONNX Runtime"
    return _row(name, batch, gflop, megabytes, rate, {"forward": 1 / rate}, limits)


def _row(
    setting: str, batch: int, gflop: float, megabytes: float, rate: float, spans: dict[str, float], limits: Ceilings
) -> Row:
    by_memory = limits.copy * 1024**3 / (megabytes * 1e6)
    return Row(
        setting=setting, batch=batch, gflop=gflop, megabytes=megabytes,
        by_compute=max(limits.matmul, limits.convolution) / gflop, by_memory=by_memory,
        measured=rate, spans=spans,
    )  # fmt: skip


def recipe_config(name: str) -> TrainConfig:
    """The configuration of a recipe; an Albumentations pipeline is left for the batch augmentation beside it."""
    return build_config(get_recipe(name).defaults, {"augment": {"albumentations": []}})


def settings(limits: Ceilings) -> Iterator[Row]:
    """All settings, one after the other."""
    networks = {"fashion-cnn": ("fashion_cnn", 28), "cifar10net-v2": ("cifar10net_v2", 32)}
    for recipe, (name, size) in networks.items():
        config = recipe_config(recipe)
        yield training_row(f"{recipe} {size} px", config, name=name, size=size, batch=128, limits=limits)
    lite0 = build_config({"optim": {"batch_size": 32}, "augment": {"flip": True}})
    for size in (128, 224):
        setting = f"lite0 training {size} px"
        yield training_row(setting, lite0, name="tf_efficientnet_lite0", size=size, batch=32, limits=limits)
    for size in (128, 224):
        yield features_row(size, batch=32, limits=limits)


def described(row: Row) -> str:
    """A row of the table."""
    spans = sorted(row.spans.items(), key=lambda item: -item[1])
    told = ", ".join(f"{part} {1000 * spent:.1f}" for part, spent in spans if 1000 * spent >= 0.05)
    return (
        f"| {row.setting} | {row.batch} | {row.gflop:.2f} | {row.megabytes:.0f} | "
        f"{1000 * row.gflop / row.megabytes:.1f} | {row.by_compute:.2f} | {row.by_memory:.2f} | "
        f"{row.measured:.2f} | {row.measured * row.batch:.0f} | {row.measured / row.ceiling:.0%} | {told} |"
    )


def main() -> None:
    """Measure, print, save."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, help="also save the figures there")
    given = parser.parse_args()
    print(describe())
    keep_freed_memory()
    torch.set_num_threads(available_cores())
    began = time.perf_counter()
    limits = ceilings()
    print(
        f"matrix product {limits.matmul:.0f} GFLOP/s, 3 x 3 convolution {limits.convolution:.0f} GFLOP/s, depthwise "
        f"{limits.depthwise:.1f} GFLOP/s, memory copy {limits.copy:.1f} GiB/s, JPEG of 512 x 384 px "
        f"{limits.decode_one:.0f} images/s on one thread, {limits.decode_all:.0f} on {available_cores()}"
    )
    print()
    print("| setting | batch | GFLOP/step | MB/step | FLOP/byte | steps/s by compute | by memory | measured | images/s "
          "| share of the ceiling | where a step's time goes, ms |")  # fmt: skip
    print("|---|---|---|---|---|---|---|---|---|---|---|", flush=True)
    rows = []
    for row in settings(limits):
        rows.append(row)
        print(described(row), flush=True)
    print(f"\ntook {time.perf_counter() - began:.0f} s")
    if given.json:
        content = {
            "machine": describe(),
            "ceilings": dataclasses.asdict(limits),
            "rows": [dataclasses.asdict(row) | {"ceiling": row.ceiling} for row in rows],
        }
        given.json.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
