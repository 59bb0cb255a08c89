"""Decoding once against decoding every epoch, and what of it is hidden behind the first epoch.

    python benchmarks/packing.py ../shared/data/trashnet --size 224
    python benchmarks/packing.py ../shared/data/trashnet --overlap --rounds 5
    python benchmarks/packing.py ../shared/data/trashnet --overlap --network lite0

Without `--overlap`: images a second of the pack, and of a plain PIL + torchvision loader. Both read the same files and
end with uint8 or float tensors of the same size. The two take turns; the median and the range are printed. After that,
epochs a second over the finished pack.

With it: one epoch of training from a cold cache, with `data.overlap` on and off in turn, each in a process of its own.
Seconds from the beginning of decoding to the first step and to the end of the epoch (validation included), and the
share of decoding that training did not have to wait for: what the epoch ended earlier, over the seconds of decoding.
The files are in the system's cache from the first round on, which is not counted.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from machine import describe

NETWORKS = {
    "smallnet": ["recipe=scratch", "model.name=smallnet", "image.size=128"],
    "lite0": ["recipe=fine-tune", "image.size=128"],
}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--overlap", action="store_true", help="the first epoch instead of the rates of decoding")
    parser.add_argument("--network", choices=list(NETWORKS), action="append")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--images", type=int, help="so many images of each class")
    parser.add_argument("--one", metavar="SETTINGS", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.one:
        print(json.dumps(one_epoch(given.data, json.loads(given.one))))
        return
    print(describe())
    if given.overlap:
        with tempfile.TemporaryDirectory() as folder:
            data = given.data if given.images is None else some(given.data, given.images, Path(folder) / "images")
            for network in given.network or NETWORKS:
                compare_epochs(network, data, given.device, given.rounds)
    else:
        compare_rates(given.data, given.size, given.rounds)


def some(data: Path, images: int, folder: Path) -> Path:
    """A folder with links to the first images of each class."""
    for group in sorted(path for path in data.iterdir() if path.is_dir()):
        (folder / group.name).mkdir(parents=True)
        for image in sorted(group.iterdir())[:images]:
            (folder / group.name / image.name).symlink_to(image.resolve())
    return folder


def compare_epochs(network: str, data: Path, device: str, rounds: int) -> None:
    """The first epoch with and without overlap, in turn."""
    found: dict[bool, list[dict[str, float]]] = {True: [], False: []}
    for number in range(rounds + 1):
        for overlap in (True, False) if number % 2 else (False, True):
            settings = [*NETWORKS[network], "epochs=1", f"data.overlap={str(overlap).lower()}", f"device={device}"]
            command = [sys.executable, __file__, str(data), "--one", json.dumps(settings)]
            with tempfile.TemporaryDirectory() as cache:
                said = subprocess.run(
                    command, check=True, stdout=subprocess.PIPE, text=True, env={**os.environ, "EYEBRIGHT_CACHE": cache}
                )
            if number:
                found[overlap].append(json.loads(said.stdout.splitlines()[-1]))
    print(f"{network}, {device}, {data.name}: median (range) of {rounds} in turn")
    for figure in ("first step", "epoch", "decoding", "CPU"):
        line = f"  {figure:<12}"
        for overlap in (True, False):
            values = [one[figure] for one in found[overlap]]
            line += f" {'overlap' if overlap else 'before'} {statistics.median(values):7.2f} s"
            line += f" ({min(values):.2f} to {max(values):.2f})"
        print(line)
    earlier = [off["epoch"] - on["epoch"] for on, off in zip(found[True], found[False], strict=True)]
    shares = [gain / off["decoding"] for gain, off in zip(earlier, found[False], strict=True)]
    print(
        f"  hidden       {statistics.median(shares):7.0%} of decoding ({min(shares):.0%} to {max(shares):.0%}): "
        f"the epoch ended {statistics.median(earlier):.2f} s earlier ({min(earlier):.2f} to {max(earlier):.2f})"
    )


def one_epoch(data: Path, settings: list[str]) -> dict[str, float]:
    """Train for an epoch from a cold cache; seconds from the beginning of decoding."""
    import torch

    from eyebright.data import packing
    from eyebright.jobs.train import train
    from eyebright.training.hooks import BaseHook, LoopState

    seen: dict[str, float] = {}
    run_build = packing.Build.run

    class Enough(Exception):  # noqa: N818  (no error)
        """The epoch is over."""

    def timed(*arguments: Any) -> bool:
        seen["began"], seen["CPU began"] = time.monotonic(), time.process_time()
        try:
            return run_build(*arguments)
        finally:
            seen["decoded"] = time.monotonic()

    class Watch(BaseHook):
        def on_step_end(self, state: LoopState) -> None:
            if torch.cuda.is_available():
                torch.cuda.synchronize()
            seen.setdefault("first", time.monotonic())

        def on_epoch_end(self, state: LoopState, record: dict[str, Any]) -> None:
            seen["end"], seen["CPU end"] = time.monotonic(), time.process_time()
            raise Enough

    packing.Build.run = timed  # type: ignore[method-assign]
    with tempfile.TemporaryDirectory() as folder, contextlib.suppress(Enough):
        train(data, output=folder, no_budget=True, settings=["data.audit=off", *settings], hooks=[Watch()])
    return {
        "first step": seen["first"] - seen["began"],
        "epoch": seen["end"] - seen["began"],
        "decoding": seen["decoded"] - seen["began"],
        "CPU": seen["CPU end"] - seen["CPU began"],
    }


def compare_rates(data: Path, size: int, rounds: int) -> None:
    """Images a second: a plain loader, scanning, packing, and epochs over the pack."""
    import numpy as np
    import torch
    from torch.utils.data import DataLoader
    from torchvision import datasets, transforms

    from eyebright.config import DataConfig
    from eyebright.data.batches import Order, PixelSet
    from eyebright.data.manifest import Manifest
    from eyebright.data.pack import pack_images
    from eyebright.data.sources import open_source
    from eyebright.preprocess import Preprocess

    look = transforms.Compose([transforms.Resize((size, size)), transforms.ToTensor()])
    loader = DataLoader(datasets.ImageFolder(str(data), look), batch_size=32, num_workers=2)
    source = open_source(data)
    preprocess = Preprocess(size=size)
    order = Order(seed=0, batch_size=32, settings=DataConfig())
    rates: dict[str, list[float]] = {"plain loader": [], "scan": [], "pack": [], "epochs from the pack (images)": []}
    for _ in range(rounds):
        began = time.perf_counter()
        count = sum(len(targets) for _, targets in loader)
        rates["plain loader"].append(count / (time.perf_counter() - began))
        began = time.perf_counter()
        manifest = Manifest.scan(source)
        rates["scan"].append(manifest.table.num_rows / (time.perf_counter() - began))
        with tempfile.TemporaryDirectory() as cache:
            began = time.perf_counter()
            pack = pack_images(manifest, source, preprocess, cache=Path(cache))
            rates["pack"].append(len(pack.ids) / (time.perf_counter() - began))
            rows = np.arange(len(pack.ids))
            images = PixelSet(pack.pixels, rows, rows * 0, preprocess=preprocess, device=torch.device("cpu"))
            began = time.perf_counter()
            epochs = 3
            for epoch in range(epochs):
                for _batch in images.shuffled(order, epoch=epoch):
                    pass
            rates["epochs from the pack (images)"].append(epochs * len(rows) / (time.perf_counter() - began))
    for name, values in rates.items():
        print(f"{name:<32} {statistics.median(values):9.0f} images/s ({min(values):.0f} to {max(values):.0f})")
    epoch_rate = statistics.median(rates["epochs from the pack (images)"]) / len(rows)
    print(
        f"epochs from the pack             {epoch_rate:9.2f} epochs/s of {len(rows)} images, normalised float32 batches"
    )


if __name__ == "__main__":
    main()
