"""How faithful each way to explain is, on several architectures.

    python benchmarks/explanations.py runs/NAME runs/NAME ... --images 48 --results runs/explanations.jsonl

Takes finished runs whose images are still at their place. For each, the methods that work for its network are scored on
validation images by deletion and insertion (Petsiuk et al. 2018) of the predicted class's calibrated probability; the
score in the table is insertion minus deletion, larger being better, with a 95 % bootstrap interval over the images.
Two rows are no methods but what a method must beat: cells in random order, and a spot in the centre. The last column
is the mean over the networks that a method works for of its score less that of the random order.

Results are kept in the file, one line a run: what is there is not run again. The six networks of docs/explain.md were
trained by the commands in its section "Which method is faithful".
"""

from __future__ import annotations

import argparse
import functools
import json
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from eyebright.explain.faithfulness import CENTRE, RANDOM, compare_methods
from eyebright.explain.methods import METHODS
from eyebright.jobs.explain_choice import validation_pixels
from eyebright.jobs.explainer import Explainer
from machine import describe

Result = dict[str, Any]


def measure(run: Path, images: int, layer: str | None) -> Result:
    """Score every method on a run."""
    explainer = Explainer(run, layer=layer)
    assert explainer.run is not None, f"{run} is a bundle without a run"
    pixels = validation_pixels(explainer.run, explainer.classifier, images)
    assert len(pixels), f"the images of {run} are no longer at their place"
    classes = explainer.classifier.probabilities_of_pixels(pixels).argmax(axis=1)
    begun = time.perf_counter()
    rows = compare_methods(
        explainer.classifier.probabilities_of_pixels,
        pixels,
        classes,
        {name: functools.partial(explainer.maps, name) for name in explainer.able()},
    )
    record = explainer.bundle.record
    inner = record.architecture_arguments.get("backbone")
    return {
        "run": str(run),
        "network": record.architecture + (f" ({inner})" if inner else ""),
        "size": record.preprocess.size,
        "layer": "" if explainer.layer is None else explainer.layer.name,
        "kind": "none" if explainer.layer is None else explainer.layer.kind,
        "grid": None if explainer.layer is None else explainer.layer.grid,
        "images": len(pixels),
        "seconds": time.perf_counter() - begun,
        "machine": describe(),
        "rows": [row.as_dict() for row in rows],
    }


def table(results: Sequence[Result]) -> str:
    """Scores as a Markdown table: methods down, networks across."""
    names = [*METHODS, RANDOM, CENTRE]
    found = [{row["method"]: row for row in result["rows"]} for result in results]
    lines = [
        "| method | " + " | ".join(_title(result) for result in results) + " | above random |",
        "|---|" + "---|" * (len(results) + 1),
    ]
    for name in names:
        if not any(name in rows for rows in found):
            continue
        gains = [_score(rows, name) - _score(rows, RANDOM) for rows in found if name in rows]
        cells = [_cell(rows, name) for rows in found]
        lines.append(f"| {name} | {' | '.join(cells)} | {np.mean(gains):+.3f} ({len(gains)}) |")
    return "\n".join(lines)


def times(results: Sequence[Result]) -> str:
    """Seconds for one map, as a Markdown table."""
    lines = ["| seconds an image | " + " | ".join(_title(result) for result in results) + " |"]
    lines.append("|---|" + "---|" * len(results))
    for name in METHODS:
        cells = []
        for result in results:
            row = next((row for row in result["rows"] if row["method"] == name), None)
            cells.append("" if row is None else f"{row['seconds_per_image']:.3f}")
        if any(cells):
            lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _title(result: Result) -> str:
    grid = "no map" if result["grid"] is None else f"{result['grid'][0]}x{result['grid'][1]}"
    return f"{result['network']}, {result['size']} px, {grid}, n={result['images']}"


def _score(rows: Mapping[str, Any], name: str) -> float:
    return float(rows[name]["difference"]["value"])


def _cell(rows: Mapping[str, Any], name: str) -> str:
    if name not in rows:
        return ""
    score = rows[name]["difference"]
    best = max(_score(rows, other) for other in rows if other in METHODS)
    mark = "**" if name in METHODS and score["value"] == best else ""
    return f"{mark}{score['value']:.3f}{mark} ({score['low']:.2f} to {score['high']:.2f})"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs="+", type=Path)
    parser.add_argument("--images", type=int, default=48)
    parser.add_argument("--layer", help="take maps from this layer of every network")
    parser.add_argument("--results", type=Path, help="keep results in this file")
    given = parser.parse_args()
    torch.set_num_threads(2)
    kept: list[Result] = []
    if given.results is not None and given.results.exists():
        kept = [json.loads(line) for line in given.results.read_text().splitlines()]
    results = []
    for run in given.runs:
        old = [line for line in kept if line["run"] == str(run) and given.layer in (None, line["layer"])]
        result = old[-1] if old else measure(run, given.images, given.layer)
        results.append(result)
        if not old and given.results is not None:
            with given.results.open("a") as handle:
                handle.write(json.dumps(result) + "\n")
        best = result["rows"][0]["method"]
        print(f"{run}: {best} is the most faithful one, {result['seconds']:.0f} s", flush=True)
    print(f"\n{results[-1]['machine']}\n\n{table(results)}\n\n{times(results)}")


if __name__ == "__main__":
    main()
