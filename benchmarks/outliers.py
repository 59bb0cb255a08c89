"""Does a classifier notice images of something else? Each outlier score, on whole data sets that it never saw.

    nice python benchmarks/outliers.py RUN [RUN ...] [--data ../shared/data/trashnet ../shared/data/cifar10]

A finished run (of flowers, say) is shown so many images of each data set, taken by chance with a fixed seed, through
its bundle on ONNX Runtime, and scores them beside its own test images. AUROC: how often an image of something else
scores as stranger than a test image. Detected: the share of such images above the bundle's threshold, which 5 % of
images like the validation images exceed; false alarms: the share of test images that are. The last column detects at a
threshold that exactly 5 % of the test images exceed. Other scores from the literature are computed beside those of the
bundle, for the choice between them: the largest softmax probability (Hendrycks and Gimpel 2017, arXiv 1610.02136), the
largest logit (Hendrycks et al. 2022, arXiv 1911.11132), and the distance in fewer or more directions.
"""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import numpy.typing as npt

from eyebright.classifier import Classifier, load
from eyebright.data.sources import open_source
from eyebright.decisions import Outliers, softmax
from eyebright.decode import UndecodableImage
from eyebright.evaluation.features import Features
from eyebright.evaluation.outliers import area_under_roc, fit_distance, threshold_at
from eyebright.evaluation.predictions import Predictions
from machine import describe

SHARED = Path(__file__).resolve().parents[2] / "shared" / "data"
FALSE_ALARMS = 0.05
DIRECTIONS = (32, 64, 128, 256, 10_000)

Floats = npt.NDArray[np.float64]
Outputs = tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]
"""Logits (N, K) and features (N, F)."""


def run_on(classifier: Classifier, data: Path, number: int) -> Outputs:
    """Outputs for so many images of a data set, taken by chance."""
    source = open_source(data)
    names = [item.source for item in source.items()]
    order = np.random.default_rng(0).permutation(len(names))[:number]

    def look(name: str) -> npt.NDArray[np.uint8] | None:
        try:
            return classifier.record.preprocess.pixels(source.read(name))
        except UndecodableImage:
            return None

    logits, features = [], []
    with ThreadPoolExecutor(4) as pool:
        for first in range(0, len(order), 32):
            pixels = [
                one for one in pool.map(look, [names[row] for row in order[first : first + 32]]) if one is not None
            ]
            _, some_logits, some_features = classifier.run_pixels_all(np.stack(pixels))
            assert some_features is not None, "a bundle without features"
            logits.append(some_logits)
            features.append(some_features)
    return np.concatenate(logits), np.concatenate(features)


def scores_to_compare(outliers: Outliers, train: Features, classes: int) -> dict[str, Callable[[Outputs], Floats]]:
    """Every score by name; those of the bundle first."""
    found: dict[str, Callable[[Outputs], Floats]] = {"energy": lambda outputs: outliers.energy.scores(outputs[0])}
    distance = outliers.distance
    if distance is not None:
        kept = distance.basis.shape[1]
        found[f"distance ({kept} directions)"] = lambda outputs: distance.scores(outputs[1])
    found["largest softmax"] = lambda outputs: -softmax(outputs[0]).max(axis=1)
    found["largest logit"] = lambda outputs: -outputs[0].max(axis=1).astype(np.float64)
    for most in DIRECTIONS:
        fitted = fit_distance(train.values, train.labels, classes, most_directions=most)
        name = f"distance ({fitted.basis.shape[1]} directions)"
        if name not in found:
            found[name] = lambda outputs, fitted=fitted: fitted.scores(outputs[1])  # type: ignore[misc]
    return found


def measure_run(run: Path, data: list[Path], number: int) -> None:
    """Print the table of one run."""
    classifier = load(run)
    outliers = classifier.record.decisions.outliers
    assert outliers is not None, "a bundle without outlier scores"
    predictions, features = Predictions.read(run / "predictions.parquet"), Features.read(run / "features.npz")
    own: dict[str, Outputs] = {}
    for split in ("val", "test"):
        part, vectors = predictions.select(split), features.select(split)
        row_of = {str(image): row for row, image in enumerate(vectors.ids)}
        rows = [row_of[str(image)] for image in part.column("id")]
        own[split] = (part.logits().astype(np.float32), vectors.values[rows])
    compared = scores_to_compare(outliers, features.select("train"), len(classifier.classes))
    accuracy = classifier.record.metrics["accuracy"]["value"]
    sys.stdout.write(
        f"\n{run.name}: {classifier.record.architecture}, test accuracy {accuracy:.1%}, "
        f"{len(own['val'][0])} validation and {len(own['test'][0])} test images, flags by {outliers.used}\n\n"
        "| shown | score | AUROC | detected | false alarms | detected at 5 % of test |\n|---|---|---|---|---|---|\n"
    )
    for place in data:
        others = run_on(classifier, place, number)
        for name, score in compared.items():
            known, new, strange = (score(outputs) for outputs in (own["val"], own["test"], others))
            threshold, area = threshold_at(known, FALSE_ALARMS), area_under_roc(new, strange)
            exact = np.quantile(new, 1 - FALSE_ALARMS)
            alarms = f"{(new > threshold).mean():.1%}" if math.isfinite(threshold) else "–"
            sys.stdout.write(
                f"| {place.name} ({len(strange)}) | {name} | {area.value:.3f} ({area.low:.3f}–{area.high:.3f}) "
                f"| {(strange > threshold).mean():.1%} | {alarms} | {(strange > exact).mean():.1%} |\n"
            )


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs="+", type=Path, metavar="RUN")
    parser.add_argument("--data", nargs="+", type=Path, default=[SHARED / "trashnet", SHARED / "cifar10"])
    parser.add_argument("--images", type=int, default=1000, help="of each data set")
    options = parser.parse_args()
    sys.stdout.write(f"{describe()}\n")
    for run in options.runs:
        measure_run(run, options.data, options.images)


if __name__ == "__main__":
    main()
