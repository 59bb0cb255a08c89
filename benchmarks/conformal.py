"""Do prediction sets and abstention keep their promises? Many new divisions of real runs' validation and test images.

    nice python benchmarks/conformal.py RUN [RUN ...] [--resplits 200]

Validation and test predictions of a finished run are thrown together and divided anew, by chance, into as many
validation and test images as the run has. Each time temperature, sets and selection are fitted on the one part and
measured on the other. The network has seen none of either part for its weights, but the run's own validation images
chose its epoch; thrown together, they make both parts a little easier, alike.

Sets: the mean coverage should be the promised one or a little more (nothing is drawn by chance, and every set holds the
most probable class); `in range` is the share of divisions whose coverage lies between the limits of
`expected_coverage` or above, which should be at least 97.5 %. Selection: `above` is the share of divisions in which the
error among the answered test images is above the rate; the promise is at most 10 % for the error of all images like
these, of which a small test part is itself a noisy measure. `none` is the share without any threshold.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt

from eyebright.evaluation.calibrate import fit_calibration
from eyebright.evaluation.conformal import expected_coverage, fit_sets, threshold_images
from eyebright.evaluation.predictions import Predictions
from eyebright.evaluation.selective import DELTA, fit_selection
from machine import describe

COVERAGES = (0.9, 0.95)
ERROR_RATES = (0.02, 0.05, 0.1)
METHODS: tuple[Literal["aps", "raps"], ...] = ("aps", "raps")

Part = tuple[npt.NDArray[np.float64], npt.NDArray[np.int64]]


def divisions(run: Path, number: int) -> Iterator[tuple[Part, Part]]:
    """Calibrated probabilities and labels of both parts, so many times."""
    predictions = Predictions.read(run / "predictions.parquet").labelled()
    parts = [predictions.select(split) for split in ("val", "test")]
    logits = np.concatenate([part.logits() for part in parts])
    labels = np.concatenate([part.labels_index() for part in parts])
    generator = np.random.default_rng(0)
    for _ in range(number):
        order = generator.permutation(len(labels))
        first, second = order[: len(parts[0])], order[len(parts[0]) :]
        calibration = fit_calibration(logits[first], labels[first], "temperature")
        yield tuple((calibration.probabilities(logits[rows]), labels[rows]) for rows in (first, second))  # type: ignore[misc]


def measure_run(run: Path, number: int) -> list[str]:
    """Rows of the two tables."""
    coverage: dict[tuple[str, float], list[float]] = {}
    sizes: dict[tuple[str, float], list[float]] = {}
    inside: dict[tuple[str, float], list[bool]] = {}
    errors: dict[float, list[float]] = {rate: [] for rate in ERROR_RATES}
    answered: dict[float, list[float]] = {rate: [] for rate in ERROR_RATES}
    for (values, labels), (new_values, new_labels) in divisions(run, number):
        rows = np.arange(len(new_labels))
        for promised in COVERAGES:
            for method in METHODS:
                low, _ = expected_coverage(threshold_images(len(labels), method), promised, len(new_labels))
                sets = fit_sets(values, labels, method=method, coverage=promised).sets(new_values)
                share = float(sets[rows, new_labels].mean())
                coverage.setdefault((method, promised), []).append(share)
                sizes.setdefault((method, promised), []).append(float(sets.sum(axis=1).mean()))
                inside.setdefault((method, promised), []).append(share >= low)
        for rate in ERROR_RATES:
            sure = fit_selection(values, labels, error_rate=rate).sure(new_values)
            answered[rate].append(float(sure.mean()))
            if sure.any():
                errors[rate].append(float((new_values.argmax(axis=1) != new_labels)[sure].mean()))
    lines = [f"| {run.name} | sets | promised | mean coverage | spread (sd) | least | in range | mean size |"]
    for (method, promised), shares in coverage.items():
        lines.append(
            f"| {run.name} | {method} | {promised:.0%} | {statistics.mean(shares):.2%} "
            f"| {statistics.stdev(shares):.2%} | {min(shares):.2%} | {np.mean(inside[method, promised]):.1%} "
            f"| {statistics.mean(sizes[method, promised]):.2f} |"
        )
    lines.append(f"| {run.name} | selection | asked | mean error | above | none | answered | |")
    for rate in ERROR_RATES:
        above = sum(error > rate for error in errors[rate]) / number
        mean = f"{statistics.mean(errors[rate]):.2%}" if errors[rate] else "–"
        lines.append(
            f"| {run.name} | delta {DELTA:g} | {rate:.0%} | {mean} | {above:.1%} "
            f"| {np.mean(np.equal(answered[rate], 0)):.1%} | {statistics.mean(answered[rate]):.1%} | |"
        )
    return lines


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs="+", type=Path, metavar="RUN")
    parser.add_argument("--resplits", type=int, default=200)
    options = parser.parse_args()
    sys.stdout.write(f"{describe()}\n")
    for run in options.runs:
        start = time.perf_counter()
        for line in measure_run(run, options.resplits):
            sys.stdout.write(line + "\n")
        sys.stdout.write(f"{options.resplits} divisions in {time.perf_counter() - start:.0f} s\n\n")


if __name__ == "__main__":
    main()
