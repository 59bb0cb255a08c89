"""The rows of `make bench`: what each measures, ours and the peers'.

The programs of the peers run in `.venv-peers` (packaging/peers.py), except where an older benchmark of this folder runs
them in our own environment with the same versions.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import multiprocessing
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import cifar10net
import fashion_mnist
import turns
from comparison import OURS, LeftOut, Program, Row
from small_sets import count_images, cut_folders, cut_parquet
from turns import Measurement

HERE = Path(__file__).parent
NETWORK = "tf_efficientnet_lite0"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Sizes:
    """How much of everything a row takes.

    Attributes:
        turns: of every row but the shortest, which has one more.
        epochs: of the training rows.
        fine_tune_images: a class of flowers for training; a fifth of it for validation and for the test.
        cifar_images: for training and validation together; a tenth of it for the test.
        predict_images: of trashnet.
        repeat_seconds: length of one repeat of the feature rows.
        repeats: of the feature rows, in one turn.
    """

    turns: int = 2
    epochs: int = 2
    fine_tune_images: int = 100
    cifar_images: int = 6_000
    predict_images: int = 1_000
    repeat_seconds: float = 4.0
    repeats: int = 3


QUICK = Sizes(turns=1)
# For trying whether everything runs: the figures mean nothing.
TINY = Sizes(
    turns=1, epochs=1, fine_tune_images=20, cifar_images=600, predict_images=60, repeat_seconds=0.5, repeats=2
)  # fmt: skip


@dataclasses.dataclass(frozen=True, kw_only=True)
class Place:
    """Where things are: the data sets, a folder for what the rows make, and the Pythons of the peers."""

    data: Path
    work: Path
    peers: Path

    @property
    def peer_python(self) -> str:
        return str(self.peers / "bin" / "python")

    @property
    def ultralytics_python(self) -> Path:
        return self.peers / "ultralytics" / "bin" / "python"


def rows(place: Place, sizes: Sizes) -> list[Row]:
    """All rows, in the order of the table."""
    return [
        fashion(place, sizes),
        *(features(place, sizes, side) for side in (128, 224)),
        fine_tune(place, sizes),
        cifar10(place, sizes),
        predict(place, sizes),
        packing(place, sizes),
    ]


def apart(function: Callable[..., Any], *arguments: Any, **options: Any) -> Any:
    """The result of a function, run in a fresh process.

    A child begins with its parent's peak memory, as Linux counts it, so this one must not load torch or arrays.
    """
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        return pool.submit(function, *arguments, **options).result()


def or_left_out(run: Callable[[], Measurement]) -> Measurement:
    """What a peer measured; one that fails is left out and says why, and the others go on."""
    try:
        return run()
    except (SystemExit, OSError, ValueError) as error:
        raise LeftOut(f"it failed: {(str(error).strip().splitlines() or ['no message'])[-1]}") from error


def script(python: str, name: str, *words: Any) -> Measurement:
    """Run a program of this folder that prints its figures."""
    return turns.peer(python, str(HERE / f"{name}.py"), *(str(word) for word in words))


def plain(name: str, python: str, file: str, *words: Any, footnote: str = "") -> Program:
    """A program that is the same in every turn and prints its figures itself; one of ours must not fail."""

    def measure(turn: int, before: list[Measurement]) -> Measurement:
        if name == OURS:
            return script(python, file, *words)
        return or_left_out(lambda: script(python, file, *words))

    return Program(name=name, measure=measure, footnote=footnote)


def fashion(place: Place, sizes: Sizes) -> Row:
    """`fashion-cnn` on all of Fashion-MNIST (fashion_mnist.py)."""
    given = argparse.Namespace(
        output=place.work / "fashion", full=False, epochs=sizes.epochs, keras_python=place.peer_python
    )

    def prepare() -> None:
        if (given.output / "fashion.npz").exists():
            return
        try:
            apart(fashion_mnist.write_images, given.output / "fashion.npz")
        except Exception as error:  # an error of ours that does not survive the way between processes, too
            raise LeftOut(f"Fashion-MNIST is not here (`eyebright datasets` says how to get it): {error}") from error

    def ours(turn: int, before: list[Measurement]) -> Measurement:
        measured = apart(fashion_mnist.measure_ours, "fashion-cnn", given, turn)
        return measured | {"figures": measured["epoch_seconds"]}

    def peer(what: str) -> Callable[[int, list[Measurement]], Measurement]:
        def run(turn: int, before: list[Measurement]) -> Measurement:
            found = or_left_out(
                lambda: apart(fashion_mnist.measure_peer, what, "fashion-cnn", given, turn, of_ours(before))
            )
            return found | {"figures": found["epoch_seconds"]}

        return run

    return Row(
        name="fashion-cnn", title="Fashion-MNIST, `fashion-cnn`", unit="s an epoch", prepare=prepare,
        programs=(
            Program(name=OURS, measure=ours),
            Program(name="Keras fit", measure=peer(fashion_mnist.KERAS)),
            Program(name="plain PyTorch loop", measure=peer(fashion_mnist.TORCH)),
        ),
        turns=sizes.turns, expected_seconds=150, settings={"epochs": sizes.epochs},
        note="51,000 images for training and 9,000 for validation, batch 128; an epoch includes the scoring of the "
        "validation images. Ours is the whole command from a cold cache, report included, in `whole process`.",
    )  # fmt: skip


def of_ours(before: list[Measurement]) -> Measurement:
    """What our program measured in this row, for the peers to have as many images."""
    for measured in before:
        if measured["what"] == OURS:
            return measured
    raise LeftOut("ours has not been measured, so the number of images is not known")


def features(place: Place, sizes: Sizes, side: int) -> Row:
    """Frozen features from pixels in memory."""
    words = ("--size", side, "--seconds", sizes.repeat_seconds, "--repeats", sizes.repeats)
    return Row(
        name=f"features-{side}", title=f"Features of EfficientNet-Lite0, {side} px", unit="images/s",
        programs=(
            plain(OURS, sys.executable, "our_features", *words),
            plain("timm", place.peer_python, "peer_torch_features", *words),
            plain("timm, channels-last", place.peer_python, "peer_torch_features", *words, "--channels-last"),
        ),
        turns=sizes.turns, expected_seconds=60,
        settings={"seconds": sizes.repeat_seconds, "repeats": sizes.repeats},
        note="Batches of 32 that stay in memory; ours starts from uint8 pixels and normalises them in the figure, "
        "timm gets normalised floats.",
    )  # fmt: skip


def fine_tune(place: Place, sizes: Sizes) -> Row:
    """The whole of EfficientNet-Lite0 trained at 128 px, the part of an epoch that trains."""
    folder = place.work / f"flowers-{sizes.fine_tune_images}"
    words = (folder, "--size", 128, "--epochs", sizes.epochs)

    def prepare() -> None:
        fifth = sizes.fine_tune_images // 5
        cut_folders(place.data / "flowers", folder, {"train": sizes.fine_tune_images, "val": fifth, "test": fifth})

    def ours(turn: int, before: list[Measurement]) -> Measurement:
        name = f"fine-tune-{time.time_ns()}"
        options = ["--recipe", "fine-tune", "--model", NETWORK, "--size", "128", "--epochs", str(sizes.epochs),
                   "--batch-size", "32", "--device", "cpu", "--seed", str(turn)]  # fmt: skip
        measured = apart(turns.eyebright, str(folder), *options, output=place.work / "runs", name=name)
        lines = [json.loads(line) for line in (place.work / "runs" / name / "history.jsonl").read_text().splitlines()]
        rates = [line["images_per_second"] for line in lines if "epoch" in line and line.get("stage") == "all"]
        return measured | {"figures": rates}

    return Row(
        name="fine-tune", title="Fine-tuning EfficientNet-Lite0, 128 px", unit="images/s", prepare=prepare,
        programs=(
            Program(name=OURS, measure=ours),
            plain("fastai fine_tune", place.peer_python, "peer_fastai_finetune", *words),
            plain("plain timm loop", place.peer_python, "peer_torch_finetune", *words),
        ),
        turns=sizes.turns, expected_seconds=180,
        settings={"epochs": sizes.epochs, "images": sizes.fine_tune_images},
        note=f"Flowers, {5 * sizes.fine_tune_images} training images, batch 32, after one epoch of the head alone; "
        "validation is not in the figure. Ours trains from pixels decoded once; the peers decode in 2 workers in every "
        "epoch: `whole process` has both.",
    )  # fmt: skip


def cifar10(place: Place, sizes: Sizes) -> Row:
    """`cifar10net-v2` on a part of CIFAR-10 (cifar10net.py)."""
    folder = place.work / f"cifar10-{sizes.cifar_images}"
    given = argparse.Namespace(
        data=str(folder), output=place.work / "cifar10", epochs=sizes.epochs, device="cpu", settings=[], target=1.0
    )

    def prepare() -> None:
        cut_parquet(place.data / "cifar10", folder, {"train": sizes.cifar_images, "test": sizes.cifar_images // 10})
        if not (given.output / "cifar10.npz").exists():
            apart(cifar10net.write_images, given.data, given.output / "cifar10.npz")

    def ours(turn: int, before: list[Measurement]) -> Measurement:
        measured = apart(cifar10net.measure_ours, "cifar10net-v2", given, turn)
        return measured | {"figures": measured["epoch_seconds"]}

    def peer(turn: int, before: list[Measurement]) -> Measurement:
        measured = or_left_out(lambda: apart(cifar10net.measure_plain, given, turn, of_ours(before)))
        return measured | {"figures": measured["epoch_seconds"]}

    return Row(
        name="cifar10net-v2", title=f"CIFAR-10, `cifar10net-v2`, {sizes.cifar_images:,} images", unit="s an epoch",
        programs=(Program(name=OURS, measure=ours), Program(name="plain loop, Albumentations", measure=peer)),
        turns=sizes.turns, expected_seconds=100, prepare=prepare,
        settings={"epochs": sizes.epochs, "images": sizes.cifar_images},
        note=f"The first {sizes.cifar_images:,} of the 50,000 training images, split into training and validation; "
        "an epoch includes the scoring of the validation images. The peer has 2 workers.",
    )  # fmt: skip


def predict(place: Place, sizes: Sizes) -> Row:
    """Classes of a folder of photographs, the whole command."""
    folder = place.work / f"trashnet-{sizes.predict_images}"
    run = place.work / "runs" / "classifier"
    made_of = place.work / "trashnet-to-learn"

    def prepare() -> None:
        cut_folders(place.data / "trashnet", folder, {"": sizes.predict_images // 6})
        cut_folders(place.data / "trashnet", made_of, {"train": 20, "val": 8, "test": 8})
        if not (run / "metrics.json").exists():
            apart(turns.eyebright, str(made_of), "--model", NETWORK, "--size", "224", "--budget", "90s",
                  "--device", "cpu", output=run.parent, name=run.name)  # fmt: skip

    def ours(turn: int, before: list[Measurement]) -> Measurement:
        with tempfile.TemporaryDirectory(dir=place.work) as made:
            command = [str(Path(sys.executable).with_name("eyebright")), "predict", str(run), str(folder)]
            command += ["--output", f"{made}/predictions.csv"]
            seconds, peak = timed(command, Path(made) / "printed", {"EYEBRIGHT_CACHE": f"{made}/cache"})
            with open(f"{made}/predictions.csv", encoding="utf-8") as handle:
                assert sum(1 for _ in handle) == count_images(folder) + 1, "ours has not written a line for each image"
        return {"figures": [count_images(folder) / seconds], "process_seconds": seconds, "peak_gib": peak}

    def peer(python: str, file: str) -> Callable[[int, list[Measurement]], Measurement]:
        def measure(turn: int, before: list[Measurement]) -> Measurement:
            with tempfile.TemporaryDirectory(dir=place.work) as made:
                output = Path(made) / "predictions.csv"
                found = or_left_out(lambda: script(python, file, folder, "--size", 224, "--output", output))
            assert found["images"] == count_images(folder), "a peer saw other images than ours"
            return found | {"figures": [found["images"] / found["process_seconds"]]}

        return measure

    def ultralytics(turn: int, before: list[Measurement]) -> Measurement:
        if not place.ultralytics_python.exists():
            raise LeftOut("it is not installed (packaging/peers-ultralytics.txt)")
        return peer(str(place.ultralytics_python), "peer_ultralytics_predict")(turn, before)

    return Row(
        name="predict", title="Predicting a folder, 224 px", unit="images/s", prepare=prepare,
        programs=(
            Program(name=OURS, measure=ours),
            Program(name="plain torchvision + timm", measure=peer(place.peer_python, "peer_torch_predict")),
            Program(name="Ultralytics yolo11n-cls", measure=ultralytics,
                    footnote="another network than EfficientNet-Lite0, with random weights."),
        ),
        turns=sizes.turns, expected_seconds=80, settings={"images": sizes.predict_images},
        note=f"About {sizes.predict_images:,} photographs of trashnet to a CSV file with EfficientNet-Lite0, start of "
        "the program included; ours from a cold cache, with calibrated probabilities, prediction sets and the test for "
        "unlike images.",
    )  # fmt: skip


def packing(place: Place, sizes: Sizes) -> Row:
    """All photographs of trashnet, decoded and resized."""
    folder = place.data / "trashnet"
    if sizes.predict_images < QUICK.predict_images:
        folder = place.work / f"trashnet-{sizes.predict_images}"

    def prepare() -> None:
        cut_folders(place.data / "trashnet", place.work / f"trashnet-{sizes.predict_images}",
                    {"": sizes.predict_images // 6})  # fmt: skip

    return Row(
        name="packing", title="Packing a folder, 224 px", unit="images/s", prepare=prepare,
        programs=(
            plain(OURS, sys.executable, "our_packing", folder, "--size", 224),
            plain("torchvision DataLoader", place.peer_python, "peer_torch_loader", folder, "--size", 224),
        ),
        turns=sizes.turns + 1, expected_seconds=30, settings={"folder": folder.name},
        note="Ours checks, hashes, decodes, resizes and writes every image; the peer decodes and resizes in 2 workers "
        "and keeps nothing, so it does the same again in the next epoch. Imports are not in the figure.",
    )  # fmt: skip


def timed(command: list[str], output: Path, environment: dict[str, str]) -> tuple[float, float]:
    """Seconds of a process from start to end, and the largest resident memory (GiB) of it or of one of its children."""
    began = time.monotonic()
    with output.open("w", encoding="utf-8") as handle:
        process = subprocess.Popen(command, stdout=handle, env=os.environ | environment)
        _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    seconds = time.monotonic() - began
    if process.returncode:
        raise SystemExit(f"{' '.join(command)} ended with exit code {process.returncode}")
    return seconds, used.ru_maxrss / 2**20
