"""Predicted time and cost for 1.3 and for 100 million images on 1, 8 and 64 GPUs and on CPUs, from measured rates.

    python benchmarks/scale_cost.py --bench-gpu results/bench-gpu-DATE.json
    python benchmarks/scale_cost.py --gpu-rate resnet50=2400 "the maker's table" --gpu-price 3

Measured here, a few seconds each and three times: JPEG decoding and packing, hashing, reading of shards, and a CPU's
training and inference. Rates of GPUs come from what `make bench-gpu` saved, or from options with the name of their
source. The formulas are those of `scaling.py`; every assumption is an option, and is written below the table.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import tarfile
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from comparison import OURS
from machine import describe
from scaling import GIBIBYTE, HOUR_SECONDS, Machines, Prediction, Work, predict

SHARED = Path(__file__).resolve().parents[2] / "shared" / "data"
MILLIONS = (1.3, 100.0)
GPUS = (1, 8, 64)
BY_HAND = 970.0
BY_HAND_SOURCE = "measured elsewhere, by hand: an H100, a plain eager bf16 loop at 128 to 288 px, 970 to 1,600"
PARAMETERS = {"resnet50": 25.6e6, "lite0": 4.65e6}
GRADIENT_BYTES = 4  # float32 is what is exchanged
COLUMNS = (
    "work", "images", "on", "images/s", "of the devices' own", "time", "device hours", "cost", "first pass waits for",
    "others wait for", "pack", "storage must give", "cores a device to decode",
)  # fmt: skip


class Rate(NamedTuple):
    """A figure and where it comes from."""

    value: float
    source: str


def gpu_rates(path: Path) -> dict[str, Rate]:
    """Training images/s of one GPU by network, from a file that `make bench-gpu` saved."""
    saved = json.loads(path.read_text(encoding="utf-8"))
    return {
        line["row"]: Rate(line["median"], f"{path.name}: {saved['machine']}")
        for line in saved["lines"]
        if line["program"] == OURS and line["unit"] == "images/s" and line["row"] in PARAMETERS
    }


def works(given: argparse.Namespace) -> Iterator[tuple[str, Work]]:
    """Each work with the name of its rate, for each number of images."""
    for millions in given.millions:
        images = round(millions * 1e6)
        packed = 3 * given.pack_size**2
        shared = {"images": images, "stored_bytes": given.image_bytes, "packed_bytes": packed}
        pack = images * packed <= given.pack_limit_tib * 2**40
        for network, name, passes in (
            ("resnet50", f"ResNet-50 from scratch, 224 px, {given.epochs} epochs", given.epochs),
            ("lite0", f"lite0 fine-tuned, 224 px, {given.tune_epochs} epochs", given.tune_epochs),
        ):
            gradient = PARAMETERS[network] * GRADIENT_BYTES
            yield network, Work(
                name=name, passes=passes, batch=given.batch, gradient_bytes=gradient, pack=pack, **shared
            )  # fmt: skip
        yield "lite0 predict", Work(
            name="prediction by lite0, 224 px", passes=1, batch=given.batch, gradient_bytes=0, pack=False, **shared
        )  # fmt: skip


def table(rates: dict[str, Rate], given: argparse.Namespace) -> Iterator[str]:
    """The page: a table in Markdown, the rates with their sources, and the assumptions."""
    yield f"| {' | '.join(COLUMNS)} |"
    yield f"|{'---|' * len(COLUMNS)}"
    missing: dict[str, None] = {}
    for name, work in works(given):
        if name in rates:
            for gpus in given.gpus:
                machines = Machines(
                    devices=gpus, device_rate=rates[name].value, cores=given.cores_per_gpu,
                    decode_rate=rates["decode"].value, network_bytes=given.network_gib * GIBIBYTE,
                    overlap=given.overlap, storage_bytes=given.storage_gib * GIBIBYTE, price=given.gpu_price,
                )  # fmt: skip
                yield _line(work, f"{gpus} GPU{'s' * (gpus > 1)}", predict(work, machines), given)
        else:
            missing[name] = None
        core = rates.get(f"{name}, core")
        if core is None:
            missing[f"{name}, core"] = None
            continue
        # One machine whose cores compute and decode: what an image costs a core is the sum of both in every pass that
        # decodes. The pack spares all but the first; to be careful, no pass is spared here.
        both = 1 / (1 / core.value + 1 / rates["decode"].value)
        machines = Machines(
            devices=1, device_rate=both * given.cpu_cores, cores=given.cpu_cores, decode_rate=rates["decode"].value,
            network_bytes=given.network_gib * GIBIBYTE, overlap=given.overlap,
            storage_bytes=given.storage_gib * GIBIBYTE, price=given.core_price * given.cpu_cores,
        )  # fmt: skip
        yield _line(work, f"{given.cpu_cores} CPU cores", predict(work, machines), given)
    yield ""
    yield from (f"- {name}: {rate.value:,.1f}, {rate.source}" for name, rate in sorted(rates.items()))
    yield from (f"- no rate: {name}; its rows are left out" for name in missing)
    yield from _assumptions(given)


def _line(work: Work, where: str, told: Prediction, given: argparse.Namespace) -> str:
    hours = told.cost / given.gpu_price if "GPU" in where else told.seconds / HOUR_SECONDS
    cost = f"{told.cost:,.{0 if told.cost >= 10 else 2}f} {given.currency}"
    cells = (
        work.name, f"{work.images / 1e6:.1f} million", where, f"{told.rate:,.0f}", f"{told.efficiency:.0%}",
        time_text(told.seconds), f"{hours:,.1f}", cost, told.first_limit,
        told.limit if work.passes > 1 else "", f"{told.pack_bytes / 2**40:.2f} TiB" if told.pack_bytes else "none",
        f"{told.storage_bytes / GIBIBYTE:.2f} GiB/s", f"{told.cores:.1f}" if "GPU" in where else "",
    )  # fmt: skip
    return f"| {' | '.join(cells)} |"


def time_text(seconds: float) -> str:
    """Minutes, hours or days, whichever reads best."""
    for unit, unit_seconds in (("days", 86400.0), ("h", 3600.0)):
        if seconds >= 2 * unit_seconds:
            return f"{seconds / unit_seconds:,.1f} {unit}"
    return f"{seconds / 60:.1f} min"


def _assumptions(given: argparse.Namespace) -> Iterator[str]:
    yield (
        f"- Assumed: {given.gpu_price} {given.currency} an hour for a GPU with its {given.cores_per_gpu} cores, "
        f"{given.core_price} for a core without; {given.network_gib} GiB/s on the slowest link between GPUs, whose "
        f"traffic {given.overlap:.0%} of a step can hide; storage that gives {given.storage_gib} GiB/s to all; "
        f"{given.batch} images a step on each GPU; {given.image_bytes / 1000:.0f} kB a JPEG; a pack of "
        f"{given.pack_size} px images where it takes {given.pack_limit_tib} TiB at most, else decoding in every pass."
    )
    yield (
        "- Not in it: waiting for machines, failures, checkpoints (seconds each), validation (add its share of the "
        "images), transfer of the data to the storage, the price of the storage. A core of a rented machine is often "
        "half of a physical one: the rates of cores are those of this machine."
    )


def measured_here(given: argparse.Namespace) -> dict[str, Rate]:
    """Rates of this machine, medians of three rounds that take turns."""
    from eyebright.data.manifest import Manifest
    from eyebright.data.pack import pack_images
    from eyebright.data.probing import available_cores
    from eyebright.data.sources import open_source
    from eyebright.preprocess import Preprocess

    cores = available_cores()
    source = open_source(given.data)
    preprocess = Preprocess(size=224, resize="crop", resize_to=given.pack_size)
    readings: dict[str, list[float]] = {}

    def note(name: str, work: Callable[[], float]) -> None:
        began = time.perf_counter()
        done = work()
        readings.setdefault(name, []).append(done / (time.perf_counter() - began))

    manifest = Manifest.scan(source)
    contents = [source.read(name) for name in manifest.ok["source"].to_pylist()[: given.images]]
    contents = [content for content in contents if isinstance(content, bytes)]
    computing = {} if given.no_compute else _computing(given, cores)
    for _ in range(given.rounds):
        note("scan", lambda: manifest.table.num_rows if Manifest.scan(source) else 0)
        note("decode", lambda: sum(preprocess.margin_pixels(content).shape[2] // 3 for content in contents))
        with tempfile.TemporaryDirectory(dir=given.scratch) as folder:
            note(
                "packing", lambda folder=folder: len(pack_images(manifest, source, preprocess, cache=Path(folder)).ids)
            )
            shard = _write_shard(Path(folder) / "shard.tar", contents)
            note("shard", lambda shard=shard: _read_shard(shard))
        for name, work in computing.items():
            note(name, work)
    medians = {name: statistics.median(values) for name, values in readings.items()}
    here = f"measured here, median of {given.rounds}"
    rates = {
        "decode": Rate(
            medians["decode"], f"images/s a core, {here}: JPEG of {given.data.name} to {given.pack_size} px"
        ),
        "packing": Rate(medians["packing"] / cores, f"images/s a core, {here} on {cores} cores"),
        "scan": Rate(medians["scan"] / cores, f"images/s a core hashed and probed, {here} on {cores} cores"),
        "shard": Rate(medians["shard"] / 2**20, f"MiB/s of a tar read member by member, {here}, not from memory"),
    }
    for name in computing:
        rates[name] = Rate(medians[name] / cores, f"images/s a core, {here} on {cores} cores")
    return rates


def _write_shard(path: Path, contents: list[bytes]) -> Path:
    with tarfile.open(path, "w") as tar:
        for number, content in enumerate(contents):
            member = path.with_name("member")
            member.write_bytes(content)
            tar.add(member, arcname=f"{number:06}.jpg")
    with open(path, "rb") as handle:
        os.fsync(handle.fileno())
        os.posix_fadvise(handle.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)  # so that the disk is measured, not the memory
    return path


def _read_shard(path: Path) -> float:
    total = 0
    with tarfile.open(path, "r|") as tar:
        for member in tar:
            handle = tar.extractfile(member)
            total += len(handle.read()) if handle is not None else 0
    return float(total)


def _computing(given: argparse.Namespace, cores: int) -> dict[str, Callable[[], float]]:
    """Steps of training and of inference on this CPU, as functions that do a few and say how many images they were."""
    import timm
    import torch

    from eyebright.allocator import keep_freed_memory

    keep_freed_memory()
    torch.set_num_threads(cores)
    pixels = torch.randn(given.cpu_batch, 3, 224, 224).to(memory_format=torch.channels_last)
    targets = torch.arange(given.cpu_batch) % 10
    work: dict[str, Callable[[], float]] = {}
    for name, architecture in (("resnet50", "resnet50"), ("lite0", "tf_efficientnet_lite0")):
        network: Any = timm.create_model(architecture, num_classes=1000).to(memory_format=torch.channels_last)
        optimizer = torch.optim.SGD(network.parameters(), lr=0.0)

        def train(network: Any = network, optimizer: Any = optimizer) -> float:
            network.train()
            for _ in range(given.steps):
                optimizer.zero_grad()
                torch.nn.functional.cross_entropy(network(pixels), targets).backward()
                optimizer.step()
            return float(given.steps * given.cpu_batch)

        def infer(network: Any = network) -> float:
            network.eval()
            with torch.inference_mode():
                for _ in range(given.steps):
                    network(pixels)
            return float(given.steps * given.cpu_batch)

        train()  # warms up
        work[f"{name}, core"] = train
        if name == "lite0":
            work[f"{name} predict, core"] = infer
    return work


def options(arguments: list[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--data", type=Path, default=SHARED / "trashnet", help="JPEG files to decode")
    add("--images", type=int, default=400, help="of them for decoding and the shard")
    add("--rounds", type=int, default=3)
    add("--steps", type=int, default=3, help="of training and inference in each round")
    add("--cpu-batch", type=int, default=32)
    add("--no-compute", action="store_true", help="measure no network on this CPU")
    add("--scratch", type=Path, help="folder on the disk that is to be measured")
    add("--bench-gpu", type=Path, help="JSON that `make bench-gpu` saved")
    add("--gpu-rate", nargs=2, action="append", default=[], metavar=("NAME=RATE", "SOURCE"),
        help="images/s of one GPU: resnet50, lite0 (training) or `lite0 predict`")  # fmt: skip
    add("--millions", type=float, nargs="+", default=list(MILLIONS), help="of images")
    add("--gpus", type=int, nargs="+", default=list(GPUS))
    add("--epochs", type=int, default=90)
    add("--tune-epochs", type=int, default=10)
    add("--batch", type=int, default=256, help="images a step on each GPU")
    add("--cores-per-gpu", type=float, default=16.0)
    add("--cpu-cores", type=int, default=64)
    add("--gpu-price", type=float, default=3.0, help="an hour, with the cores beside it")
    add("--core-price", type=float, default=0.05, help="an hour")
    add("--currency", default="USD")
    add("--network-gib", type=float, default=25.0, help="GiB/s of the slowest link of the ring")
    add("--overlap", type=float, default=0.5, help="share of a step in which gradients can be exchanged")
    add("--storage-gib", type=float, default=10.0, help="GiB/s for all GPUs together")
    add("--image-bytes", type=float, default=110_000.0, help="of a JPEG; ImageNet's have about 110 kB")
    add("--pack-size", type=int, default=256, help="side of the packed squares in pixels")
    add("--pack-limit-tib", type=float, default=4.0, help="largest pack; above, every pass decodes")
    add("--save", type=Path, help="rates as JSON")
    return parser.parse_args(arguments)


def main() -> None:
    """Measure, compute and print."""
    given = options()
    print(describe(), end="\n\n")
    rates = {"lite0": Rate(BY_HAND, BY_HAND_SOURCE)}
    rates |= measured_here(given)
    if given.bench_gpu is not None:
        rates |= gpu_rates(given.bench_gpu)
    for assignment, source in given.gpu_rate:
        name, _, value = assignment.partition("=")
        rates[name] = Rate(float(value), source)
    print("\n".join(table(rates, given)))
    if given.save:
        given.save.write_text(json.dumps({name: rate._asdict() for name, rate in rates.items()}, indent=2) + "\n")


if __name__ == "__main__":
    main()
