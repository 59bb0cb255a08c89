"""Peak memory of training and predicting over shards that are ten times larger than the memory allowed for them.

    nice python benchmarks/memory.py [--limit-mib 64] [--shards tar parquet] [--size 224]

CIFAR-10 photos are enlarged to `--size` pixels, noise that no two images share is laid over them, and they are stored
as PNG in WebDataset tar shards and in Parquet, sorted by class: as many as make both the encoded and the decoded images
ten times the limit. Every run is a process of its own. First it does everything on a set of 300 such images: this is
what imports, network, export and report take whatever the data holds. The limit is on what the large set may take
beyond that, in anonymous memory that is resident, of the process and all of its children: this program looks fifty
times a second, and kills the run when there is more. Files that are mapped or cached are not counted: the kernel drops
them as it likes; the peak with mapped files is printed too. What counts beside facts of each image (one to two
kilobytes): two windows of 128 encoded images.

`train`: scan, near-duplicates (the short audit; `--audit off` leaves it out), one epoch with `data.stream`, scores of
validation and test images, bundle, report. `predict`: the bundle of it over the same shards into a Parquet file.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import signal
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from machine import describe

SHARED = Path(__file__).resolve().parents[2] / "shared" / "data"
TIMES = 10
SMALL = 300
PER_SHARD = 2000
ROW_GROUP = 100
CLASSES = 4
MIB = 2**20


def encoded(task: tuple[bytes, int, int]) -> bytes:
    """One photo, enlarged, with noise of its own, as PNG."""
    pixels, seed, size = task
    photo = Image.fromarray(np.frombuffer(pixels, np.uint8).reshape(32, 32, 3)).resize((size, size))
    noise = np.random.default_rng(seed).integers(-32, 32, (size, size, 3), dtype=np.int16)
    stream = io.BytesIO()
    noisy = (np.asarray(photo, dtype=np.int16) + noise).clip(0, 255).astype(np.uint8)
    Image.fromarray(noisy).save(stream, "PNG", compress_level=1)
    return stream.getvalue()


def photos(count: int, size: int) -> Iterator[tuple[bytes, int]]:
    """Encoded images with their class numbers, sorted by class."""
    from eyebright.data.sources import open_source

    source = open_source(SHARED / "cifar10")
    items = sorted(source.items(), key=lambda item: str(item.label))
    labels = sorted({str(item.label) for item in items})[:CLASSES]
    by_class = {label: [item.source for item in items if item.label == label] for label in labels}
    tasks, numbers = [], []
    for number, label in enumerate(labels):
        for place in range(count * number // CLASSES, count * (number + 1) // CLASSES):
            tasks.append((by_class[label][place % len(by_class[label])], place))
            numbers.append(number)
    with ProcessPoolExecutor(os.cpu_count()) as pool:
        for first in range(0, len(tasks), PER_SHARD):
            part = tasks[first : first + PER_SHARD]
            raw = [(pixels_of(source, name), seed, size) for name, seed in part]
            yield from zip(pool.map(encoded, raw, chunksize=50), numbers[first : first + PER_SHARD], strict=True)


def pixels_of(source: Any, name: str) -> bytes:
    content = source.read(name)
    if isinstance(content, bytes):
        content = np.asarray(Image.open(io.BytesIO(content)).convert("RGB"))
    return np.ascontiguousarray(content).tobytes()


def write_sets(folder: Path, count: int, size: int, kinds: list[str]) -> int:
    """The same images as shards of each kind; bytes of all encoded images."""
    total, part, shard = 0, [], 0
    for image in photos(count, size):
        total += len(image[0])
        part.append(image)
        if len(part) == PER_SHARD:
            write_shard(folder, shard, part, kinds)
            part, shard = [], shard + 1
    if part:
        write_shard(folder, shard, part, kinds)
    return total


def write_shard(folder: Path, shard: int, images: list[tuple[bytes, int]], kinds: list[str]) -> None:
    for kind in kinds:
        (folder / kind).mkdir(parents=True, exist_ok=True)
    if "tar" in kinds:
        with tarfile.open(folder / "tar" / f"set-{shard:06d}.tar", "w") as archive:
            for number, (content, label) in enumerate(images):
                name = f"{shard * PER_SHARD + number:08d}"
                for member, data in ((f"{name}.png", content), (f"{name}.cls", str(label).encode())):
                    info = tarfile.TarInfo(member)
                    info.size = len(data)
                    archive.addfile(info, io.BytesIO(data))
    if "parquet" in kinds:
        features = {"image": {"_type": "Image"}, "label": {"names": list("abcd"), "_type": "ClassLabel"}}
        kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
        cells = pa.array([{"bytes": content, "path": None} for content, _ in images], kind)
        table = pa.table({"image": cells, "label": pa.array([label for _, label in images])})
        table = table.replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features}})})
        pq.write_table(table, folder / "parquet" / f"set-{shard:06d}.parquet", row_group_size=ROW_GROUP)


def work(step: str, data: Path, output: Path, size: int, audit: str) -> None:
    """What is measured, in a process of its own."""
    import eyebright
    from eyebright.jobs.predict_to_file import predict_to_file

    if step == "train":
        # Decoded at the full size; the network is narrow and sees a small one: its speed is not the question here.
        settings = [
            "data.stream=true", "data.shuffle_window=128", "data.split={train: 0.96, val: 0.02, test: 0.02}",
            f"data.audit={audit}", "optim.batch_size=64", "augment.flip=true", "augment.min_area=1",
            "model.name=smallnet", "model.arguments={width: 4}", "compute.precision=float32",
            "stages=[{name: main, epochs: 1, size: 8}]",
        ]  # fmt: skip
        eyebright.train(data, output=output, name="run", recipe="scratch", size=size, settings=settings)
    else:
        from eyebright import load

        predict_to_file(load(output / "run"), [data], output / "predictions.parquet")


def anonymous_bytes(process: int) -> tuple[int, int]:
    """Resident anonymous memory of a process and its children, and the same with mapped files."""
    anonymous = mapped = 0
    for number in (process, *children(process)):
        try:
            lines = Path(f"/proc/{number}/status").read_text().splitlines()
        except OSError:
            continue
        facts = {name: value.split() for name, _, value in (line.partition(":") for line in lines)}
        if "RssAnon" in facts:
            anonymous += int(facts["RssAnon"][0]) * 1024
            mapped += int(facts["VmRSS"][0]) * 1024
    return anonymous, mapped


def children(process: int) -> Iterator[int]:
    try:
        for task in Path(f"/proc/{process}/task").iterdir():
            for child in (task / "children").read_text().split():
                yield int(child)
                yield from children(int(child))
    except OSError:
        return


def watched(arguments: list[str], limit: int | None, environment: dict[str, str]) -> dict[str, float]:
    """Run this program with these arguments; its peaks in bytes, and its seconds. Killed above `limit`."""
    started = time.monotonic()
    process = subprocess.Popen([sys.executable, __file__, *arguments], env=environment, stdout=subprocess.DEVNULL)
    peak = peak_mapped = 0
    while process.poll() is None:
        anonymous, mapped = anonymous_bytes(process.pid)
        peak, peak_mapped = max(peak, anonymous), max(peak_mapped, mapped)
        if limit is not None and anonymous > limit:
            process.send_signal(signal.SIGKILL)
            process.wait()
            raise SystemExit(f"{arguments}: {anonymous / MIB:,.0f} MiB, above the limit of {limit / MIB:,.0f}: killed")
        time.sleep(0.02)
    if process.returncode:
        raise SystemExit(f"{arguments} ended with exit code {process.returncode}")
    return {"anonymous": peak, "mapped": peak_mapped, "seconds": time.monotonic() - started}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--limit-mib", type=int, default=64)
    parser.add_argument("--shards", nargs="+", default=["tar", "parquet"], choices=["tar", "parquet"])
    parser.add_argument("--steps", nargs="+", default=["train", "predict"], choices=["train", "predict"])
    parser.add_argument("--size", type=int, default=224, help="side of the images in pixels")
    parser.add_argument("--audit", default="short", choices=["short", "off"])
    parser.add_argument("--work", nargs=3, metavar=("STEP", "DATA", "OUTPUT"), help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.work:
        step, data, output = given.work
        work(step, Path(data), Path(output), given.size, given.audit)
        return
    print(describe())
    limit = given.limit_mib * MIB
    with tempfile.TemporaryDirectory(prefix="eyebright-memory-") as name:
        root = Path(name)
        one = write_sets(root / "small", SMALL, given.size, given.shards) / SMALL
        decoded = 3 * given.size**2
        count = int(np.ceil(TIMES * limit / min(one, decoded)))
        started = time.monotonic()
        total = write_sets(root / "large", count, given.size, given.shards)
        print(
            f"{count:,} images of {given.size} px, sorted by class: {total / MIB:,.0f} MiB encoded, "
            f"{count * decoded / MIB:,.0f} MiB decoded; made in {time.monotonic() - started:.0f} s"
        )
        print(f"limit: {given.limit_mib} MiB of anonymous memory more than with {SMALL} images")
        environment = {**os.environ, "EYEBRIGHT_CACHE": str(root / "cache"), "OMP_NUM_THREADS": "2"}
        for kind in given.shards:
            for step in given.steps:
                shared = ["--size", str(given.size), "--audit", given.audit, "--work", step]
                small = watched([*shared, str(root / "small" / kind), str(root / f"{kind}-small")], None, environment)
                arguments = [*shared, str(root / "large" / kind), str(root / f"{kind}-large")]
                large = watched(arguments, int(small["anonymous"]) + limit, environment)
                more = large["anonymous"] - small["anonymous"]
                print(
                    f"{kind:8}{step:8} peak {large['anonymous'] / MIB:6,.0f} MiB anonymous "
                    f"({large['mapped'] / MIB:,.0f} with mapped files), "
                    f"with {SMALL} images {small['anonymous'] / MIB:,.0f}: {more / MIB:+,.0f} MiB; "
                    f"{large['seconds']:.0f} s"
                )


if __name__ == "__main__":
    main()
