"""`make bench-gpu`: Eyebright on one GPU beside its peers, in one table.

    .venv/bin/python benchmarks/bench_gpu.py --data ../shared/data --airbench-python .venv-peers/bin/python
    .venv/bin/python benchmarks/bench_gpu.py --device cpu --tiny --rows resnet50 lite0

Rows: CIFAR-10 by the recipe `fast` for 94 % and for 96 %, beside the PyPI package airbench where it is installed;
`cifar10net-v2` until 85 % on validation, beside the plain loop; ResNet-50 and EfficientNet-Lite0 at 224 px from packed
pixels, beside a compiled loop over random tensors that lie on the GPU, which is the limit. Without a GPU it says so and
ends with exit code 2; `--device cpu --tiny` tries what needs none. Interrupted, it goes on where it was.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import shutil
import statistics
import sys
import time
from pathlib import Path
from typing import Any

import cifar10net
import turns
from comparison import OURS, LeftOut, Program, Row, TimeLimit, measure, save, table
from cpu_rows import apart, of_ours, or_left_out, plain
from fast import AS_PUBLISHED
from machine import describe
from small_sets import cut_parquet
from turns import Ledger, Measurement

LIMIT_MINUTES = 25.0
# Of `fast` for each goal: the epochs after which networks of that width were published with it (docs/speed.md).
FAST = {94: ["--epochs", "8", *AS_PUBLISHED], 96: ["--epochs", "40", *AS_PUBLISHED]}
RATES = {"resnet50": "resnet50", "lite0": "tf_efficientnet_lite0"}


def fast(goal: int, given: argparse.Namespace) -> Row:
    """CIFAR-10 by `fast`, seconds of training; the accuracies stand below the table."""

    def ours(turn: int, before: list[Measurement]) -> Measurement:
        options = ["--recipe", "fast", "--seed", str(turn), "--device", given.device, "--no-budget",
                   *(given.options_94 if goal == 94 else given.options_96)]  # fmt: skip
        found = apart(turns.eyebright, str(cifar_folder(given)), *options, output=given.work / "runs",
                      name=f"fast-{goal}-{time.time_ns()}")  # fmt: skip
        return found | {"figures": [sum(found["epoch_seconds"])], "accuracies": [found["accuracy"]]}

    def airbench(turn: int, before: list[Measurement]) -> Measurement:
        if given.device == "cpu":
            raise LeftOut("airbench needs a CUDA device")
        python = given.airbench_python or (sys.executable if importlib.util.find_spec("airbench") else None)
        if python is None:
            raise LeftOut("airbench is not installed; give a Python that has it with --airbench-python")
        images = cifar_arrays(given)
        words = ("--images", images, "--goal", goal, "--runs", 1 if given.tiny else 5)
        return plain("airbench", str(python), "peer_airbench", *words).measure(turn, before)

    return Row(
        name=f"fast-{goal}", title=f"CIFAR-10 by `fast`, for {goal} %", unit="s",
        programs=(Program(name=OURS, measure=ours), Program(name=f"airbench, train{goal}", measure=airbench)),
        turns=given.turns, expected_seconds=120, settings={"device": given.device, "tiny": given.tiny},
        note="Seconds of training. Ours includes the scoring of validation images and whatever is compiled in the "
        "process; `whole process` is the whole command from a cold cache, packing and report included. airbench's "
        "leaves out scoring, warm-up and loading; its constants were chosen on the test images.",
        prepare=lambda: prepare_cifar(given),
    )  # fmt: skip


def cifar10net_v2(given: argparse.Namespace) -> Row:
    """Seconds until 85 % on validation."""
    settings = argparse.Namespace(
        data=str(cifar_folder(given)), output=given.work / "cifar10", device=given.device, settings=[], target=0.85,
        epochs=1 if given.tiny else None,
    )  # fmt: skip

    def ours(turn: int, before: list[Measurement]) -> Measurement:
        found = apart(cifar10net.measure_ours, "cifar10net-v2", settings, turn)
        return found | {"figures": [seconds_to(found, settings.target)]}

    def peer(turn: int, before: list[Measurement]) -> Measurement:
        cifar_arrays(given)
        found = or_left_out(lambda: apart(cifar10net.measure_plain, settings, turn, of_ours(before)))
        return found | {"figures": [seconds_to(found, settings.target)]}

    return Row(
        name="cifar10net-v2", title="CIFAR-10, `cifar10net-v2`, to 85 % on validation", unit="s",
        programs=(Program(name=OURS, measure=ours), Program(name="plain loop, Albumentations", measure=peer)),
        turns=given.turns, expected_seconds=400, settings={"device": given.device, "tiny": given.tiny},
        note="Seconds of training and validation until the validation accuracy is first 85 %; a run that does not "
        "reach it counts with all its seconds.",
        prepare=lambda: prepare_cifar(given),
    )  # fmt: skip


def training_rate(name: str, given: argparse.Namespace) -> Row:
    """Training images/s from the pack, beside the limit."""
    size, batch, steps = (64, 8, 4) if given.tiny else (224, 256, 30)
    images = batch * (steps if given.tiny else 24)
    pixels = given.work / f"random-{images}-{size}.npz"

    def ours(turn: int, before: list[Measurement]) -> Measurement:
        run = f"{name}-{time.time_ns()}"
        options = ["--recipe", "scratch", "--model", RATES[name], "--size", str(size), "--batch-size", str(batch),
                   "--epochs", "4", "--no-budget", "--device", given.device, "--seed", str(turn),
                   "--set", "optim.ema_decay=0", *given.options_rate]  # fmt: skip
        found = apart(turns.eyebright, str(pixels), *options, output=given.work / "runs", name=run)
        history = (given.work / "runs" / run / "history.jsonl").read_text(encoding="utf-8").splitlines()
        lines = [line for line in map(json.loads, history) if "epoch" in line]
        return found | {"figures": [line["images_per_second"] for line in lines[1:]]}

    words = ("--model", RATES[name], "--size", size, "--batch-size", batch, "--device", given.device, "--steps", steps)
    return Row(
        name=name, title=f"Training `{RATES[name]}`, {size} px, batch {batch}", unit="images/s",
        programs=(
            Program(name=OURS, measure=ours),
            plain("the limit: compiled loop on random tensors", sys.executable, "peer_torch_limit", *words,
                  *(["--no-compile"] if given.tiny else [])),
        ),
        turns=given.turns, expected_seconds=150, settings={"device": given.device, "tiny": given.tiny},
        note=f"Ours reads {images:,} packed images and augments them, without an average of the weights; the first of "
        "its epochs, which compiles, is left out. 0.95 in `ahead` is the aim.",
        prepare=lambda: apart(write_random_images, pixels, images, size, batch),
    )  # fmt: skip


def seconds_to(measured: Measurement, target: float) -> float:
    """Seconds of epochs until the validation accuracy first reached the target, or of all of them."""
    passed = 0.0
    for accuracy, spent in zip(measured["val_accuracies"], measured["epoch_seconds"], strict=True):
        passed += spent
        if accuracy is not None and accuracy >= target:
            break
    return passed


def cifar_folder(given: argparse.Namespace) -> Path:
    """The whole of CIFAR-10, or a little of it for trying."""
    folder: Path = given.work / "cifar10-tiny" if given.tiny else given.data / "cifar10"
    return folder


def prepare_cifar(given: argparse.Namespace) -> None:
    """See that the images are there."""
    if given.tiny:
        cut_parquet(given.data / "cifar10", cifar_folder(given), {"train": 600, "test": 100})
    elif not cifar_folder(given).is_dir():
        raise LeftOut("there is no cifar10 beside the checkout")


def cifar_arrays(given: argparse.Namespace) -> Path:
    """All images as arrays for the peers, written once."""
    path: Path = given.work / "cifar10" / "cifar10.npz"
    if not path.exists():
        apart(cifar10net.write_images, str(cifar_folder(given)), path)
    return path


def write_random_images(path: Path, images: int, size: int, batch: int) -> None:
    """Noise in 10 classes, as images that need no decoding; a batch of them for validation and one for the test."""
    if path.exists():
        return
    import numpy as np

    random = np.random.default_rng(0)
    arrays: dict[str, Any] = {}
    for split, count in (("train", images), ("val", max(batch, 20)), ("test", max(batch, 20))):
        arrays[f"x_{split}"] = random.integers(0, 256, (count, size, size, 3), dtype=np.uint8)
        arrays[f"y_{split}"] = np.arange(count) % 10
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez(path, **arrays)


def accuracy_lines(rows: list[Row], ledger: Ledger) -> list[str]:
    """Of the programs that report them: the test accuracies of all runs."""
    said = []
    for row in rows:
        for program in row.programs:
            found = ledger.select(row=row.name, what=program.name, settings=row.settings)
            values = [float(value) for each in found for value in each.get("accuracies", ())]
            if values:
                said.append(
                    f"{row.title}, {program.name}: test accuracy {statistics.mean(values):.4f} on average of "
                    f"{len(values)} runs ({min(values):.4f} to {max(values):.4f})."
                )
    return said


def main() -> None:
    """Measure what is missing, print the table, save it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    names = ["fast-94", "fast-96", "cifar10net-v2", *RATES]
    parser.add_argument("--rows", nargs="+", choices=names, default=names)
    length = parser.add_mutually_exclusive_group()
    length.add_argument("--quick", action="store_true", help="half as many repeats")
    length.add_argument("--tiny", action="store_true", help="to see whether it runs; the figures mean nothing")
    parser.add_argument("--minutes", type=float, default=LIMIT_MINUTES, help="for all measurements together")
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--data", type=Path, default=Path("../shared/data"), help="holds cifar10")
    parser.add_argument("--airbench-python", type=Path, help="a Python that has airbench; left out, this one if it has")
    parser.add_argument("--options-94", type=str.split, default=FAST[94], help="of `fast` for 94 %%, in one string")
    parser.add_argument("--options-96", type=str.split, default=FAST[96], help="of `fast` for 96 %%, in one string")
    parser.add_argument("--options-rate", type=str.split, default=[], help="more for ours in the rows of images/s")
    parser.add_argument("--output", type=Path, default=Path("runs/bench-gpu"))
    parser.add_argument("--fresh", action="store_true", help="forget what an interrupted bench has measured")
    given = parser.parse_args()
    if given.device != "cpu" and not apart(has_gpu):
        print("There is no GPU here that torch can use; `--device cpu --tiny` tries the plumbing.", file=sys.stderr)
        raise SystemExit(2)
    given.work, given.data = (given.output / "work").resolve(), given.data.resolve()
    given.turns = 1 if given.tiny else 2 if given.quick else 4
    if given.tiny:
        given.options_94 = given.options_96 = ["--epochs", "1"]

    every = {
        **{f"fast-{goal}": fast(goal, given) for goal in FAST},
        "cifar10net-v2": cifar10net_v2(given),
        **{name: training_rate(name, given) for name in RATES},
    }
    rows = [every[name] for name in given.rows]
    ledger_file = given.output / "unfinished.jsonl"
    if given.fresh:
        ledger_file.unlink(missing_ok=True)
    if not ledger_file.exists():
        shutil.rmtree(given.work, ignore_errors=True)
    machine = describe() + (f", {apart(gpu_name)}" if given.device != "cpu" else ", without a GPU")
    print(machine, flush=True)
    ledger = Ledger(ledger_file)
    limit = TimeLimit(given.minutes * 60, sum(each["took_seconds"] for each in ledger.measurements))
    remarks = measure(rows, ledger, limit)
    remarks += accuracy_lines(rows, ledger)
    page = "\n".join(
        table(rows, ledger, machine=machine, title="Eyebright beside its peers, on one GPU", remarks=remarks,
              seconds=limit.spent)
    )  # fmt: skip
    print(page)
    for path in save(given.output, "bench-gpu", page, rows, ledger, machine=machine, remarks=remarks):
        print(f"saved {path}")
    shutil.rmtree(given.work, ignore_errors=True)


def has_gpu() -> bool:
    """Whether torch sees one."""
    import torch

    return torch.cuda.is_available()


def gpu_name() -> str:
    """What the first one is called."""
    import torch

    return torch.cuda.get_device_name()


if __name__ == "__main__":
    main()
