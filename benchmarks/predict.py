"""Prediction over a folder beside a plain torchvision and timm script: images a second, the limit, memory, latency.

    python benchmarks/predict.py runs/trashnet ../shared/data/trashnet --repeats 3

Both sides run as processes of their own, in turns: `eyebright predict ... --output`, and `peer_torch_predict.py` (a
DataLoader with 2 workers) at the size of the bundle. Rates are given with the start of the process and without it (the
time that 32 images take is taken off). The limit is decoding alone, in as many threads as there are cores, and what the
network takes alone. Memory is the largest resident size of the process for the folder, and for the folder given ten
times. Latency is one image from its bytes to the answer.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from machine import describe
from turns import median_and_range

FEW = 32
HERE = Path(__file__).resolve().parent


def measure(bundle: Path, data: Path, repeats: int = 3, *, memory: bool = True) -> dict[str, Any]:
    """All figures: lists hold one value a repeat.

    Args:
        bundle: a run or a bundle.
        data: a folder of images.
        repeats: of every process, in turns.
        memory: also predict over the folder given ten times.
    """
    from eyebright.classifier import load

    classifier = load(bundle)
    paths = sorted(path for path in data.rglob("*") if path.suffix.lower() in (".jpg", ".jpeg", ".png"))
    figures: dict[str, Any] = {"images": len(paths), "size": classifier.record.preprocess.size}
    rates: dict[str, list[float]] = {}
    with tempfile.TemporaryDirectory() as folder:
        few = Path(folder) / "few"
        few.mkdir()
        for number, path in enumerate(paths[:: max(1, len(paths) // FEW)][:FEW]):
            (few / f"{number}{path.suffix}").symlink_to(path.resolve())
        peaks: dict[str, float] = {}
        for _ in range(repeats):
            for name, command in _commands(bundle, classifier, Path(folder)).items():
                start, _peak = _run(command(few))
                whole, peaks[name] = _run(command(data))
                rates.setdefault(name, []).append(len(paths) / whole)
                rates.setdefault(f"{name}, without start", []).append((len(paths) - FEW) / (whole - start))
                rates.setdefault(f"{name}, seconds of start", []).append(start)
            for name, rate in _limits(classifier, paths).items():
                rates.setdefault(name, []).append(rate)
        if memory:
            ours = _commands(bundle, classifier, Path(folder))["eyebright"]
            peaks["eyebright, folder ten times"] = _run(ours(*[data] * 10))[1]
    latency = classifier.latency(paths[0], calls=200)
    return figures | {"rates": rates, "peak_gib": peaks, "p50_ms": latency.p50_ms, "p99_ms": latency.p99_ms}


def _commands(bundle: Path, classifier: Any, folder: Path) -> dict[str, Any]:
    record = classifier.record

    def ours(*data: Path) -> list[str]:
        output = ["--output", str(folder / "ours.csv"), "--overwrite", "--json"]
        return [sys.executable, "-m", "eyebright", "predict", str(bundle), *map(str, data), *output]

    def plain(*data: Path) -> list[str]:
        options = ["--size", str(record.preprocess.size), "--classes", str(len(record.classes))]
        return [sys.executable, str(HERE / "peer_torch_predict.py"), *map(str, data), *options,
                "--output", str(folder / "plain.csv")]  # fmt: skip

    return {"eyebright": ours, "torchvision and timm": plain}


def _run(command: Sequence[str]) -> tuple[float, float]:
    """Seconds from the start of a process to its end, and its largest resident size in GiB, without its workers."""
    with tempfile.TemporaryFile("w+") as told:
        began = time.monotonic()
        process = subprocess.Popen(command, stdout=told, stderr=told)
        _, status, used = os.wait4(process.pid, 0)
        seconds = time.monotonic() - began
        process.returncode = os.waitstatus_to_exitcode(status)
        told.seek(0)
        if process.returncode not in (0, 3):  # 3: some images could not be read
            raise SystemExit(f"{' '.join(command)}\n{told.read()}")
    return seconds, used.ru_maxrss / 2**20


def _limits(classifier: Any, paths: Sequence[Path]) -> dict[str, float]:
    """Images a second of decoding alone on all cores, of the network alone, and of both one after the other."""
    import numpy as np

    from eyebright.data.probing import available_cores
    from eyebright.decode import UndecodableImage

    def decode(path: Path) -> Any:
        try:
            return classifier.record.preprocess.pixels(path.read_bytes())
        except UndecodableImage:
            return None

    with ThreadPoolExecutor(available_cores()) as pool:
        began = time.monotonic()
        kept: list[Any] = []
        for found in pool.map(decode, paths):
            if found is not None and len(kept) < 256:
                kept.append(found)
        decoding = (time.monotonic() - began) / len(paths)
    pixels = np.resize(np.stack(kept), (256, *kept[0].shape))
    began = time.monotonic()
    for first in range(0, 256, FEW):
        classifier.run_pixels_all(pixels[first : first + FEW])
    network = (time.monotonic() - began) / 256
    return {"limit: decode alone": 1 / decoding, "limit: network alone": 1 / network,
            "limit: both, sharing the cores": 1 / (decoding + network)}  # fmt: skip


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundle", type=Path)
    parser.add_argument("data", type=Path)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--without-memory", action="store_true", help="leave out the folder given ten times")
    parser.add_argument("--json", type=Path, help="also write the figures there")
    given = parser.parse_args()
    print(describe())
    figures = measure(given.bundle, given.data, given.repeats, memory=not given.without_memory)
    print(f"{figures['images']} images at {figures['size']} px; images/s unless said otherwise")
    for name, values in figures["rates"].items():
        print(f"{name:<46} {median_and_range(values)}")
    for name, peak in figures["peak_gib"].items():
        print(f"{'peak GiB, ' + name:<46} {peak:.2f}")
    ratio = statistics.median(figures["rates"]["eyebright"]) / statistics.median(
        figures["rates"]["torchvision and timm"]
    )
    print(f"{'ratio, whole processes':<46} {ratio:.2f}")
    print(f"one image: p50 {figures['p50_ms']:.2f} ms, p99 {figures['p99_ms']:.2f} ms")
    if given.json is not None:
        given.json.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
