"""Three networks on the whole of Fashion-MNIST, each in Eyebright, a plain Keras `fit` and a plain PyTorch loop.

    python benchmarks/fashion_mnist.py --keras-python PEER/bin/python --epochs 3 --rounds 3 --results runs/timing.jsonl
    python benchmarks/fashion_mnist.py --keras-python PEER/bin/python --full --results runs/full.jsonl

With `--epochs` the three take turns for several rounds, for the seconds of an epoch; with `--full` each trains until
early stopping (patience 5 on the validation loss, best weights restored), for the accuracy. Ours is the command
`eyebright train fashion-mnist --recipe NAME` from a cold cache. The peers have the same network, optimiser, learning
rate, batch size, and as many training and validation images as ours. An epoch's seconds include the scoring of the
validation images; in all three the 10,000 test images are scored once, at the end. How the Keras environment is made
stands at the head of peer_keras_fashion.py.
"""

from __future__ import annotations

import argparse
import statistics
import sys
from pathlib import Path
from typing import Any

from machine import describe
from turns import Ledger, Measurement, eyebright, interval_of, markdown, median_and_range, peer, with_interval

NETWORKS = ("fashion-ann", "fashion-cnn", "fashion-deep-cnn")
# What the published versions reached, as shares.
PUBLISHED = {"fashion-ann": 0.88, "fashion-cnn": 0.91, "fashion-deep-cnn": 0.92}
OURS, KERAS, TORCH = "eyebright", "Keras", "PyTorch"
PATIENCE = 5
MOST_EPOCHS = 50


def write_images(path: Path) -> None:
    """The whole set as arrays, in the order of its files, found where `eyebright train fashion-mnist` finds it."""
    import numpy as np

    from eyebright.data.sources import open_source

    source = open_source("fashion-mnist")
    assert source.class_names is not None
    number = {name: index for index, name in enumerate(source.class_names)}
    arrays: dict[str, list[Any]] = {"x_train": [], "y_train": [], "x_test": [], "y_test": []}
    for item in source.items():
        assert item.split in ("train", "test"), item.split
        assert item.label is not None
        arrays[f"x_{item.split}"].append(source.read(item.source))
        arrays[f"y_{item.split}"].append(number[item.label])
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez(path, **{name: np.asarray(values, dtype="uint8" if name[0] == "x" else "int64")
                      for name, values in arrays.items()})  # fmt: skip


def recipe_settings(network: str) -> dict[str, Any]:
    """Batch size, learning rate and most epochs of our recipe, for the peers to have the same."""
    from eyebright.config import build_config
    from eyebright.recipes import get_recipe

    config = build_config(get_recipe(network).defaults)
    return {
        "batch_size": config.optim.batch_size,
        "learning_rate": config.optim.learning_rate,
        "epochs": config.epochs or MOST_EPOCHS,
    }


def measure_ours(network: str, given: argparse.Namespace, seed: int) -> Measurement:
    """One run of our recipe."""
    length = ["--no-budget"] if given.full else ["--epochs", str(given.epochs)]
    options = ["--recipe", network, "--seed", str(seed), "--device", "cpu", *length]
    return eyebright("fashion-mnist", *options, output=given.output, name=f"{network}-{seed}")


def measure_peer(what: str, network: str, given: argparse.Namespace, seed: int, ours: Measurement) -> Measurement:
    """The same network in a peer's program, with as many images as ours has."""
    python = given.keras_python if what == KERAS else sys.executable
    script = Path(__file__).with_name("peer_keras_fashion.py" if what == KERAS else "peer_torch_fashion.py")
    settings = recipe_settings(network)
    options = {
        "--images": given.output / "fashion.npz",
        "--network": network,
        "--epochs": settings["epochs"] if given.full else given.epochs,
        "--batch-size": settings["batch_size"],
        "--learning-rate": settings["learning_rate"],
        "--training-images": ours["images"]["train"],
        "--validation-images": ours["images"]["val"],
        "--seed": seed,
        **({"--patience": PATIENCE} if given.full else {}),
    }
    words = [str(word) for pair in options.items() for word in pair]
    figures = peer(python, str(script), *words)
    return figures | {"interval": interval_of(figures["accuracy"], figures["test_images"])}


def rows_of(ledger: Ledger, network: str, length: str, programs: list[str]) -> list[list[str]]:
    """The lines of one network: over all rounds the seconds of every epoch, and of each round the accuracy."""
    seconds: dict[str, list[float]] = {}
    for what in programs:
        found = ledger.select(network_name=network, what=what, length=length)
        seconds[what] = [second for each in found for second in each["epoch_seconds"]]
    medians = {what: statistics.median(values) for what, values in seconds.items() if values}
    peers = [median for what, median in medians.items() if what != OURS]
    rows = []
    for what in medians:
        found = ledger.select(network_name=network, what=what, length=length)
        walls = [each["process_seconds"] for each in found]
        rows.append([
            f"`{network}`" + (f" (published: {PUBLISHED[network]:.0%})" if what == OURS else ""),
            what,
            "; ".join(with_interval(each["accuracy"], each["interval"]) for each in found),
            f"{found[0]['parameters']:,}",
            ", ".join(str(each["epochs"]) for each in found),
            median_and_range(seconds[what]),
            f"{medians[what] / min(peers):.2f}" if peers else "-",
            median_and_range(walls, 0) if len(walls) > 1 else f"{walls[0]:.0f}",
            f"{max(each['peak_gib'] for each in found):.2f} GiB",
        ])  # fmt: skip
    return rows


def main() -> None:
    """Measure what is missing, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--networks", nargs="+", default=list(NETWORKS), choices=NETWORKS)
    length = parser.add_mutually_exclusive_group(required=True)
    length.add_argument("--epochs", type=int, help="so many, for timing")
    length.add_argument("--full", action="store_true", help="until early stopping, for accuracy")
    parser.add_argument("--rounds", type=int, help="turns of each program; 3 for timing, else 1")
    parser.add_argument("--keras-python", help="a Python that has Keras; left out, Keras is not measured")
    parser.add_argument("--output", type=Path, default=Path("runs/fashion-mnist"))
    parser.add_argument("--results", type=Path, help="keeps the measurements; those that it holds are not repeated")
    given = parser.parse_args()

    print(describe())
    given.output.mkdir(parents=True, exist_ok=True)
    ledger = Ledger(given.results)
    programs = [OURS, *([KERAS] if given.keras_python else []), TORCH]
    length_name = "full" if given.full else f"{given.epochs} epochs"
    if not (given.output / "fashion.npz").exists():
        write_images(given.output / "fashion.npz")
    for network in given.networks:
        for turn in range(given.rounds or (1 if given.full else 3)):
            ours: Measurement = {}
            for what in programs:
                key = {"network_name": network, "what": what, "length": length_name, "seed": turn}
                found = ledger.find(**key)
                if found is None:
                    measured = (
                        measure_ours(network, given, turn)
                        if what == OURS
                        else measure_peer(what, network, given, turn, ours)
                    )
                    found = ledger.add(key | measured)
                ours = found if what == OURS else ours
    columns = (
        "network", "in", "test accuracy (95 %)", "parameters", "epochs", "seconds an epoch, median (range)",
        "of the faster peer's", "seconds of the whole process", "peak memory",
    )  # fmt: skip
    rows = [row for network in given.networks for row in rows_of(ledger, network, length_name, programs)]
    print("\n".join(markdown(columns, rows)))
    images = {str(each["images"]) for each in ledger.select(what=OURS, length=length_name)}
    print("images:", "; ".join(sorted(images)))
    versions = {each["what"]: each["versions"] for each in ledger.measurements if "versions" in each}
    print("\n".join(f"{what}: {text}" for what, text in versions.items()))


if __name__ == "__main__":
    main()
