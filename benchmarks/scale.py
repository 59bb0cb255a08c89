"""What many images cost: seconds and memory by their number.

    nice python benchmarks/scale.py manifest --data ../shared/data/flowers --images 10000 100000 1000000

`manifest`: a real set is repeated until there are as many images as asked for. Every repetition of an image is read
from its file and gets other bytes at its end, so that it has another id; hash and header are read from all of them.
The manifest is built, divided (alone, and with near-duplicate links between 5 % of the images), fingerprinted, written
and read back. Images are read on each number of cores, on several in threads as well as in processes (Eyebright itself
takes threads below `PROCESSES_FROM_IMAGES` images). Every reading runs in a process of its own, which tells its peak
memory up to each step; the ways take turns. The median and the range are printed.
"""

from __future__ import annotations

import argparse
import functools
import json
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from machine import describe

SHARED = Path(__file__).resolve().parents[2] / "shared" / "data"
LINKED_SHARE = 0.05


class RepeatedSource:
    """The images of a folder source, over and over, each time with other bytes at the end."""

    kind = "folder"
    class_names = None

    def __init__(self, root: Path, images: int) -> None:
        from eyebright.data.sources import open_source

        self.spec = f"{images} images of {root.name}, repeated"
        self._root = root
        self._images = images
        self._base = [(item.source, item.label) for item in open_source(root).items()]

    def items(self) -> Iterator[Any]:
        from eyebright.data.sources import Item

        for number in range(self._images):
            repetition, place = divmod(number, len(self._base))
            path, label = self._base[place]
            yield Item(source=f"{repetition}/{path}", label=label)

    def strays(self) -> list[Any]:
        return []

    def read(self, source: str) -> bytes:
        return read_repeated(self._root, source)

    def reader(self) -> Callable[[str], bytes]:
        """What a worker process needs: the folder, not the list of images."""
        return functools.partial(read_repeated, self._root)


def read_repeated(root: Path, source: str) -> bytes:
    from eyebright.decode import read_image_file

    repetition, _, path = source.partition("/")
    return read_image_file(root / path) + repetition.encode()


def measure_manifest(root: str, images: int, workers: int, processes: bool) -> None:
    """Print seconds of each step, and peak memory so far of this process and of its largest worker, in MiB."""
    import numpy as np

    from eyebright.config import SplitShares
    from eyebright.data import probing
    from eyebright.data.manifest import Manifest
    from eyebright.data.split import assign_splits

    probing.PROCESSES_FROM_IMAGES = 0 if processes else sys.maxsize
    shares = SplitShares()
    seconds: dict[str, float] = {}
    peaks = {"start": _peak_mebibytes(resource.RUSAGE_SELF)}
    began = time.perf_counter()

    def lap(name: str) -> None:
        nonlocal began
        seconds[name] = time.perf_counter() - began
        peaks[name] = _peak_mebibytes(resource.RUSAGE_SELF)
        began = time.perf_counter()

    manifest = Manifest.scan(RepeatedSource(Path(root), images), workers=workers)
    lap("build")
    divided, _ = assign_splits(manifest, shares, 0)
    lap("split")
    ids = manifest.table["id"]
    pairs = np.random.default_rng(0).choice(images, size=(int(images * LINKED_SHARE / 2), 2), replace=False)
    links = np.stack([np.asarray(ids.take(column)) for column in pairs.T], axis=1)
    began = time.perf_counter()
    divided, _ = assign_splits(manifest, shares, 0, links=links)
    lap("split with links")
    fingerprint = divided.fingerprint()
    lap("fingerprint")
    with tempfile.TemporaryDirectory() as folder:
        divided.write(Path(folder) / "manifest.parquet")
        same = Manifest.read(Path(folder) / "manifest.parquet").table.equals(divided.table)
        lap("write and read")
    assert same
    peaks["largest worker"] = _peak_mebibytes(resource.RUSAGE_CHILDREN)
    used = int(np.count_nonzero(np.asarray(divided.table["status"]) == "ok"))
    print(json.dumps({"seconds": seconds, "peaks": peaks, "used": used, "fingerprint": fingerprint}))


def measure_similar(images: int) -> None:
    """Search among made-up hashes and vectors; prints one JSON line."""
    import numpy as np

    from eyebright.data.audit.near_duplicates import LEAST_COSINE, MOST_HASH_BITS, NEIGHBOURS
    from eyebright.data.audit.similar import hash_candidates, neighbour_candidates

    random = np.random.default_rng(0)
    copies = int(images * LINKED_SHARE)
    originals = images - copies
    hashes = random.integers(0, 256, (images, 32), dtype=np.uint8)
    for row in range(copies):
        bits = random.choice(256, random.integers(0, 13), replace=False)
        hashes[originals + row] = hashes[row]
        np.bitwise_xor.at(hashes[originals + row], bits // 8, (1 << (bits % 8)).astype(np.uint8))
    vectors = np.empty((images, 256), dtype=np.float32)
    for start in range(0, images, 50_000):
        count = min(50_000, images - start)
        kinds = np.arange(start, start + count) // 50
        centres = {kind: np.random.default_rng(kind).normal(size=256) for kind in np.unique(kinds)}
        vectors[start : start + count] = np.stack([centres[kind] for kind in kinds]) * 0.6
        vectors[start : start + count] += random.normal(size=(count, 256))
    vectors[originals:] = vectors[:copies] + 0.55 * random.normal(size=(copies, 256)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    planted = np.stack([np.arange(copies), np.arange(originals, images)], axis=1)
    codes = planted[:, 0] * images + planted[:, 1]
    steps = [{"step": "start", "seconds": 0.0, "peak": _peak_mebibytes(resource.RUSAGE_SELF)}]
    for step, search in (
        ("hashes", lambda: hash_candidates(hashes, most_bits=MOST_HASH_BITS)),
        ("embeddings", lambda: neighbour_candidates(vectors, neighbours=NEIGHBOURS, least_cosine=LEAST_COSINE)),
    ):
        began = time.monotonic()
        pairs = search()
        seconds = time.monotonic() - began
        found = float(np.isin(codes, pairs[:, 0] * images + pairs[:, 1]).mean())
        steps.append(
            {"step": step, "seconds": seconds, "peak": _peak_mebibytes(resource.RUSAGE_SELF)}
            | {"found": found, "candidates": len(pairs) / images}
        )
    print(json.dumps(steps))


def report_similar(given: argparse.Namespace) -> None:
    """The table of the searches."""
    for images in given.images:
        print(f"\n{images:,} images")
        rounds = [_in_own_process("measure_similar", images) for _ in range(given.rounds)]
        for steps in zip(*rounds, strict=True):
            line = f"  {steps[0]['step']:<12}"
            if "found" in steps[0]:
                line += f"{_spread([step['seconds'] for step in steps], '.1f')} s   "
            line += f"peak {_spread([step['peak'] for step in steps], '.0f')} MiB"
            if "found" in steps[0]:
                line += f"   {steps[0]['found']:.1%} of the copies, {steps[0]['candidates']:.2f} candidates an image"
            print(line, flush=True)


def _peak_mebibytes(who: int) -> float:
    return resource.getrusage(who).ru_maxrss / 1024  # Linux counts in KiB


def _in_own_process(function: str, *arguments: object) -> dict[str, Any]:
    # As a module, not as a script: worker processes must be able to import the classes of this file.
    folder = str(Path(__file__).parent)
    code = f"import sys; sys.path.insert(0, {folder!r}); import scale; scale.{function}(*{arguments!r})"
    done = subprocess.run([sys.executable, "-c", code], stdout=subprocess.PIPE, check=True, text=True)
    answer: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return answer


def report_manifest(given: argparse.Namespace) -> None:
    """Measure and print."""
    ways = [
        (workers, processes) for workers in given.workers for processes in ((False, True) if workers > 1 else (False,))
    ]
    for images in given.images:
        answers: dict[tuple[int, bool], list[dict[str, Any]]] = {way: [] for way in ways}
        for _ in range(given.rounds):
            for way in ways:
                answers[way].append(_in_own_process("measure_manifest", str(given.data.resolve()), images, *way))
        fingerprints = {answer["fingerprint"] for several in answers.values() for answer in several}
        assert len(fingerprints) == 1, fingerprints
        print(f"\n{images:,} images, {answers[ways[0]][0]['used']:,} of them used, fingerprint {fingerprints.pop()}")
        for (workers, processes), several in answers.items():
            rate = [images / answer["seconds"]["build"] for answer in several]
            how = f"{workers} core{'s' * (workers > 1)}, {'processes' if processes else 'threads'}"
            print(f"  {how}: {_spread(rate, ',.0f')} images/s hashed and probed")
            for step in several[0]["peaks"]:
                peak = f"{_spread([answer['peaks'][step] for answer in several], ',.0f')} MiB"
                taken = [answer["seconds"].get(step) for answer in several]
                time_text = "" if None in taken else f"{_spread(taken, ',.2f')} s"
                print(f"    {step:<18} {time_text:>26}   peak {peak}")
        sys.stdout.flush()


def _spread(values: list[float], form: str) -> str:
    return f"{statistics.median(values):{form}} ({min(values):{form}} to {max(values):{form}})"


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parts = parser.add_subparsers(required=True, metavar="PART")
    manifest = parts.add_parser("manifest", help="list, hash, probe, divide and fingerprint")
    manifest.set_defaults(report=report_manifest)
    manifest.add_argument("--data", type=Path, default=SHARED / "flowers")
    manifest.add_argument("--images", type=int, nargs="+", default=[10_000, 100_000, 1_000_000])
    manifest.add_argument("--workers", type=int, nargs="+", default=[1, 2])
    manifest.add_argument("--rounds", type=int, default=3)
    similar = parts.add_parser("similar", help="search for candidates of near-duplicates")
    similar.set_defaults(report=report_similar)
    similar.add_argument("--images", type=int, nargs="+", default=[10_000, 100_000, 1_000_000])
    similar.add_argument("--rounds", type=int, default=3)
    given = parser.parse_args()
    print(describe())
    given.report(given)


if __name__ == "__main__":
    main()
