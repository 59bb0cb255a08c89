"""`cifar10net-v2` and `cifar10net-v3` on the whole of CIFAR-10, beside a plain PyTorch loop with the network of v2.

    python benchmarks/cifar10net.py --data ../shared/data/cifar10 --epochs 3 --rounds 1 --results runs/cifar10.jsonl
    python benchmarks/cifar10net.py --data ../shared/data/cifar10 --device cuda --results runs/cifar10-gpu.jsonl

With `--epochs` the programs take turns for so many epochs, for the seconds of an epoch. Without it each trains as its
recipe says: v2 and the plain loop until 85 % on validation (50 epochs at most), v3 to its end. Ours is the command
`eyebright train DATA --recipe NAME` from a cold cache; the plain loop (peer_torch_cifar10.py) has as many training and
validation images. An epoch's seconds include the scoring of the validation images; the test images are scored once.
"""

from __future__ import annotations

import argparse
import statistics
import sys
from pathlib import Path
from typing import Any

from machine import describe
from turns import Ledger, Measurement, eyebright, interval_of, markdown, median_and_range, peer, with_interval

RECIPES = ("cifar10net-v2", "cifar10net-v3")
PLAIN = "plain loop"
PLAIN_EPOCHS = 50


def write_images(data: str, path: Path) -> None:
    """All images as arrays, in the order of their source."""
    import numpy as np

    from eyebright.data.sources import open_source
    from eyebright.decode import decode_image

    source = open_source(data)
    items = list(source.items())
    classes = list(source.class_names or sorted({item.label for item in items if item.label is not None}))
    arrays: dict[str, list[Any]] = {"x_train": [], "y_train": [], "x_test": [], "y_test": []}
    for item in items:
        assert item.split in ("train", "test"), item.split
        assert item.label is not None
        arrays[f"x_{item.split}"].append(np.asarray(decode_image(source.read(item.source))))
        arrays[f"y_{item.split}"].append(classes.index(item.label))
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez(path, **{name: np.asarray(values, dtype="uint8" if name[0] == "x" else "int64")
                      for name, values in arrays.items()})  # fmt: skip


def measure_ours(recipe: str, given: argparse.Namespace, seed: int) -> Measurement:
    """One run of our recipe."""
    length = ["--no-budget"] if given.epochs is None else ["--epochs", str(given.epochs)]
    settings = [word for setting in given.settings for word in ("--set", setting)]
    options = ["--recipe", recipe, "--seed", str(seed), "--device", given.device, *length, *settings]
    return eyebright(given.data, *options, output=given.output, name=f"{recipe}-{seed}")


def measure_plain(given: argparse.Namespace, seed: int, ours: Measurement) -> Measurement:
    """The network of v2 in the plain loop, with as many images as ours has."""
    options = {
        "--images": given.output / "cifar10.npz",
        "--epochs": given.epochs or PLAIN_EPOCHS,
        "--training-images": ours["images"]["train"],
        "--validation-images": ours["images"]["val"],
        "--device": given.device,
        "--seed": seed,
        **({"--target": given.target} if given.epochs is None else {}),
    }
    script = Path(__file__).with_name("peer_torch_cifar10.py")
    figures = peer(sys.executable, str(script), *(str(word) for pair in options.items() for word in pair))
    return figures | {"interval": interval_of(figures["accuracy"], figures["test_images"])}


def to_target(measured: Measurement, target: float) -> str:
    """Epochs and seconds until the validation accuracy first reached the target."""
    passed = 0.0
    accuracies, seconds = measured["val_accuracies"], measured["epoch_seconds"]
    for epoch, (accuracy, spent) in enumerate(zip(accuracies, seconds, strict=True), 1):
        passed += spent
        if accuracy is not None and accuracy >= target:
            return f"{epoch} epochs, {passed:.0f} s"
    return "not reached"


def rows_of(ledger: Ledger, length: str, programs: list[str], target: float) -> list[list[str]]:
    """One line for each program: accuracies and epochs of each round, seconds of all epochs."""
    rows = []
    for what in programs:
        found = ledger.select(what=what, length=length)
        seconds = [second for each in found for second in each["epoch_seconds"]]
        rows.append([
            what if what == PLAIN else f"`{what}`",
            f"{found[0]['parameters']:,}",
            "; ".join(f"{each['val_accuracy']:.3f}" for each in found),
            "; ".join(with_interval(each["accuracy"], each["interval"]) for each in found),
            ", ".join(str(each["epochs"]) for each in found),
            median_and_range(seconds),
            "; ".join(to_target(each, target) for each in found),
            f"{statistics.median(each['process_seconds'] for each in found):.0f} s",
            f"{max(each['peak_gib'] for each in found):.2f} GiB",
        ])  # fmt: skip
    return rows


def main() -> None:
    """Measure what is missing, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True, help="the folder of CIFAR-10 in Parquet")
    parser.add_argument("--recipes", nargs="+", default=list(RECIPES), help="the first one lends its split to the loop")
    parser.add_argument("--no-peer", action="store_true")
    parser.add_argument("--epochs", type=int, help="so many, for timing; left out, as the recipes say")
    parser.add_argument("--target", type=float, default=0.85)
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--set", action="append", default=[], dest="settings", metavar="KEY=VALUE", help="for ours")
    parser.add_argument("--output", type=Path, default=Path("runs/cifar10net"))
    parser.add_argument("--results", type=Path, help="keeps the measurements; those that it holds are not repeated")
    given = parser.parse_args()

    print(describe())
    given.output.mkdir(parents=True, exist_ok=True)
    ledger = Ledger(given.results)
    programs = [given.recipes[0], *([] if given.no_peer else [PLAIN]), *given.recipes[1:]]
    length = "as published" if given.epochs is None else f"{given.epochs} epochs"
    if PLAIN in programs and not (given.output / "cifar10.npz").exists():
        write_images(given.data, given.output / "cifar10.npz")
    for turn in range(given.rounds):
        ours: Measurement = {}
        for what in programs:
            key = {"what": what, "length": length, "seed": turn}
            found = ledger.find(**key)
            if found is None:
                measured = measure_plain(given, turn, ours) if what == PLAIN else measure_ours(what, given, turn)
                found = ledger.add(key | measured)
            ours = ours or found
    columns = (
        "program", "parameters", "validation accuracy", "test accuracy (95 %)", "epochs",
        "seconds an epoch, median (range)", f"to {given.target:.0%} on validation", "whole process", "peak memory",
    )  # fmt: skip
    print("\n".join(markdown(columns, rows_of(ledger, length, programs, given.target))))
    print("\n".join({f"{each['what']}: {each['versions']}" for each in ledger.measurements if "versions" in each}))
    print("device:", ", ".join(sorted({str(each["device"]) for each in ledger.measurements})))


if __name__ == "__main__":
    main()
