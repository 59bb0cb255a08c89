"""The recipe `fast`: accuracy in a given time on a CPU; on a GPU seconds and accuracy, beside airbench of PyPI.

    python benchmarks/fast.py --data ../shared/data/cifar10 --budget 10m --seeds 1
    python benchmarks/fast.py --data ../shared/data/cifar10 --budget 10m 30m --seeds 3 --results runs/fast.jsonl
    python benchmarks/fast.py --data ../shared/data/cifar10 --device cuda --epochs 8 --seeds 10 --airbench

Ours is the command `eyebright train DATA --recipe fast` from a cold cache, in a process of its own: its seconds count
from the start of the command to its end, with reading, packing, compiling, export, evaluation and report. The seconds
of training are those of its epochs, their validation included. Nothing is chosen on the test images: width, epochs and
views follow from the time, the recipe's settings were chosen on images held out from the training split, and the test
images are scored once, at the end.

airbench trains all its runs in one process, after a warm-up run that nobody counts; its whole process is given as well.
It learns from all training images, and it scores the test images after every epoch (under the name `val_acc`): no step
depends on them, but the settings of its recipe were found with them.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from cifar10net import write_images
from machine import describe
from turns import Ledger, Measurement, eyebright, interval_of, markdown, median_and_range, peer, with_interval

OURS, THEIRS = "fast", "airbench"
AS_PUBLISHED = ("--set", "data.split={train: 0.83, val: 0.02, test: 0.15}", "--set", "data.audit=off")
"""For the comparison on a GPU: airbench learns from all training images, and looks at none of them before."""


def measure_ours(given: argparse.Namespace, length: str, seed: int) -> Measurement:
    """One run of the recipe."""
    options = ["--recipe", "fast", "--seed", str(seed), "--device", given.device]
    options += ["--epochs", str(given.epochs), "--no-budget"] if given.epochs is not None else ["--budget", length]
    options += [word for setting in given.settings for word in ("--set", setting)]
    options += AS_PUBLISHED if given.airbench else ()
    found = eyebright(given.data, *options, output=given.output, name=f"fast-{length}-{seed}".replace(" ", "-"))
    return found | {"training_seconds": sum(found["epoch_seconds"]), "width": width_of(given.output / found["run"])}


def width_of(run: Path) -> int | None:
    """Channels of the first block, as planned."""
    arguments = json.loads((run / "plan.json").read_text(encoding="utf-8"))["architecture_arguments"]
    return arguments.get("width")


def measure_airbench(given: argparse.Namespace) -> list[Measurement]:
    """So many runs of the peer, in one process."""
    images = given.output / "cifar10.npz"
    if not images.exists():
        write_images(given.data, images)
    figures = peer(
        sys.executable, __file__, "--data", str(images), "--as-airbench", given.goal, "--seeds", str(given.seeds)
    )
    shared = {key: value for key, value in figures.items() if key != "runs"}
    return [shared | run | {"interval": interval_of(run["accuracy"], 10_000)} for run in figures["runs"]]


def run_airbench(images: str, goal: str, runs: int) -> dict[str, Any]:
    """The peer itself: called in a process of its own, in a folder where it finds its images."""
    import numpy as np
    import torch

    with tempfile.TemporaryDirectory() as folder, np.load(images) as arrays:
        (Path(folder) / "cifar10").mkdir()
        for split in ("train", "test"):
            torch.save(
                {
                    "images": torch.from_numpy(arrays[f"x_{split}"]),
                    "labels": torch.from_numpy(arrays[f"y_{split}"]),
                    "classes": [str(number) for number in range(10)],
                },
                Path(folder) / "cifar10" / f"{split}.pt",
            )
        os.chdir(folder)
        with contextlib.redirect_stdout(sys.stderr):
            import airbench  # reads the images when it is imported

            train = getattr(airbench, f"train{goal}")
            began = time.perf_counter()
            getattr(airbench, f"warmup{goal}")(verbose=False)
            torch.cuda.synchronize()
            warmup_seconds = time.perf_counter() - began
            found = []
            for _ in range(runs):
                began = time.perf_counter()
                accuracy = float(train(verbose=False))
                torch.cuda.synchronize()
                found.append({"accuracy": accuracy, "training_seconds": time.perf_counter() - began})
        os.chdir("/")
    return {"runs": found, "warmup_seconds": warmup_seconds, "device": torch.cuda.get_device_name()}


def row(what: str, length: str, found: list[Measurement]) -> list[str]:
    """One line of the table: mean accuracy over the seeds, and the 95 % interval of a single seed's test images."""
    accuracies = [each["accuracy"] for each in found]
    spread = f" ± {statistics.stdev(accuracies):.4f}" if len(accuracies) > 1 else ""
    validation = [each["val_accuracy"] for each in found if each.get("val_accuracy") is not None]
    return [
        what,
        length,
        ", ".join(sorted({str(each.get("width") or "-") for each in found})),
        ", ".join(sorted({str(each.get("epochs") or "-") for each in found})),
        str(len(found)),
        f"{statistics.mean(accuracies):.4f}{spread}",
        with_interval(found[0]["accuracy"], found[0]["interval"]),
        f"{statistics.mean(validation):.4f}" if validation else "-",
        median_and_range([each["training_seconds"] for each in found]),
        median_and_range([each["process_seconds"] for each in found]),
    ]


def main() -> None:
    """Measure what is missing, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True, help="CIFAR-10 in Parquet, or any small images without --airbench")
    parser.add_argument("--budget", nargs="+", default=["10m"], help="time for the whole command; several are measured")
    parser.add_argument("--epochs", type=int, help="in place of a budget")
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--set", action="append", default=[], dest="settings", metavar="KEY=VALUE")
    parser.add_argument(
        "--airbench", action="store_true", help="the peer too, where it is installed and there is a GPU"
    )
    parser.add_argument("--goal", default="94", choices=["93", "94", "95", "96"], help="which recipe of the peer")
    parser.add_argument("--as-airbench", dest="as_airbench", help=argparse.SUPPRESS)
    parser.add_argument("--output", type=Path, default=Path("runs/fast"))
    parser.add_argument("--results", type=Path, help="keeps the measurements; those that it holds are not repeated")
    given = parser.parse_args()
    if given.as_airbench is not None:
        print(json.dumps(run_airbench(given.data, given.as_airbench, given.seeds)))
        return

    print(describe())
    given.output.mkdir(parents=True, exist_ok=True)
    ledger = Ledger(given.results)
    lengths = given.budget if given.epochs is None else [f"{given.epochs} epochs"]
    for seed in range(given.seeds):
        for length in lengths:
            key = {"what": OURS, "length": length, "seed": seed}
            if ledger.find(**key) is None:
                ledger.add(key | measure_ours(given, length, seed))
    if given.airbench and not ledger.select(what=THEIRS, length=given.goal):
        for seed, found in enumerate(measure_airbench(given)):
            ledger.add({"what": THEIRS, "length": given.goal, "seed": seed} | found)
    rows = [row(f"`{OURS}`", length, ledger.select(what=OURS, length=length)) for length in lengths]
    if given.airbench:
        theirs = ledger.select(what=THEIRS, length=given.goal)
        rows.append(row(f"`airbench{given.goal}` of PyPI", "its own", theirs))
        print(f"warm-up of the peer, in no figure but that of its whole process: {theirs[0]['warmup_seconds']:.0f} s")
    columns = (
        "program", "length", "width", "epochs", "seeds", "test accuracy, mean", "first seed (95 %)",
        "validation accuracy", "seconds of training", "seconds of the whole command",
    )  # fmt: skip
    print("\n".join(markdown(columns, rows)))
    print("test images: scored once at the end by ours, and no choice is made on them; after every epoch by airbench")


if __name__ == "__main__":
    main()
