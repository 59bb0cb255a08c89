"""What corruptions cost, and how long the whole sweep over a run's test images takes.

    python benchmarks/robustness.py                            # each corruption at 32, 128 and 224 pixels
    python benchmarks/robustness.py --run RUN [--images all]   # and the sweep of `eyebright evaluate --robustness`

The first part gives milliseconds for one image and one severity on one thread, the median and the range of several
rounds; the images are noise, whose pixels cost what any others do (JPEG somewhat more). The second part works on a copy
of the run's small files and leaves the run as it is.
"""

from __future__ import annotations

import argparse
import shutil
import statistics
import tempfile
import time
from pathlib import Path

from machine import describe


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--run", type=Path)
    parser.add_argument("--images", help="a number or all; left out, as many as fit into about three minutes")
    parser.add_argument("--sides", type=int, nargs="*", default=[32, 128, 224])
    parser.add_argument("--rounds", type=int, default=5)
    given = parser.parse_args()
    print(describe())
    if given.sides:
        corruptions(given.sides, given.rounds)
    if given.run is not None:
        sweep(given.run, given.images)


def corruptions(sides: list[int], rounds: int) -> None:
    """Milliseconds of each corruption."""
    import torch

    from eyebright.allocator import keep_freed_memory
    from eyebright.robustness import CORRUPTIONS, SEVERITIES, severities

    keep_freed_memory()
    torch.set_num_threads(1)
    ids = [str(number) for number in range(8)]
    batches = {side: torch.randint(0, 256, (len(ids), side, side, 3), dtype=torch.uint8) for side in sides}
    print(f"{'ms an image and severity':<26}" + "".join(f"{f'{side} px':>24}" for side in sides))
    medians: dict[int, list[float]] = {side: [] for side in sides}
    for name, one in CORRUPTIONS.items():
        cells = []
        for side, batch in batches.items():
            times = []
            for _ in range(rounds + 1):
                began = time.perf_counter()
                for _result in severities(batch, ids, name):
                    pass
                times.append(1000 * (time.perf_counter() - began) / (len(ids) * SEVERITIES))
            del times[0]  # which also builds tables
            medians[side].append(statistics.median(times))
            cells.append(f"{medians[side][-1]:.2f} ({min(times):.2f} to {max(times):.2f})")
        print(f"{one.title:<26}" + "".join(f"{cell:>24}" for cell in cells))
    print(f"{'mean':<26}" + "".join(f"{statistics.mean(values):>24.2f}" for values in medians.values()))


def sweep(run: Path, images: str | None) -> None:
    """The whole measurement of a run, from opening it to its table."""
    from eyebright.jobs.robustness import measure_robustness

    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / run.name
        shutil.copytree(run, copy, ignore=shutil.ignore_patterns("checkpoint", "figures", "report.html"))
        began = time.perf_counter()
        found = measure_robustness(copy, images=images)
        seconds = time.perf_counter() - began
    cells = 1 + sum(len(curve.cells) for curve in found.curves)
    print(f"\n{run.name}: {found.images} images of {found.side} px x {cells} cells in {seconds:.0f} s "
          f"({found.images * cells / seconds:.0f} answers/s)")  # fmt: skip
    print("\n".join(found.lines()))


if __name__ == "__main__":
    main()
