"""Programs measured in turn, each in a process of its own, and what a finished run says of itself.

A measurement is a mapping of plain values. Each is added to a file of JSON lines as soon as it is there, so that a
benchmark that was stopped goes on where it was, and its table can be printed again without measuring again.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

Measurement = dict[str, Any]


class Ledger:
    """Measurements in a file of JSON lines; with `path` None they live in memory only."""

    def __init__(self, path: Path | None) -> None:
        self.path = path
        lines = path.read_text(encoding="utf-8").splitlines() if path is not None and path.exists() else []
        self.measurements: list[Measurement] = [json.loads(line) for line in lines if line.strip()]

    def find(self, **key: Any) -> Measurement | None:
        """The measurement that has these values, if there is one."""
        return next((each for each in self.measurements if key.items() <= each.items()), None)

    def select(self, **key: Any) -> list[Measurement]:
        """All measurements that have these values."""
        return [each for each in self.measurements if key.items() <= each.items()]

    def add(self, measurement: Measurement) -> Measurement:
        """Keep a measurement, and print it in short."""
        self.measurements.append(measurement)
        if self.path is not None:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with self.path.open("a", encoding="utf-8") as handle:
                handle.write(json.dumps(measurement) + "\n")
        shown = {key: value for key, value in measurement.items() if not isinstance(value, dict)}
        print(json.dumps(shown), file=sys.stderr, flush=True)
        return measurement


def eyebright(data: str, *options: str, output: Path, name: str) -> Measurement:
    """Train by the command line, from a cold cache; the facts of the run, and the wall time of the whole process."""
    load = os.getloadavg()[0]
    output.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=output, prefix="cache-") as cache:
        command = [
            str(Path(sys.executable).with_name("eyebright")), "train", data, *options,
            "--output", str(output), "--name", name, "--json",
        ]  # fmt: skip
        began = time.monotonic()
        done = subprocess.run(command, capture_output=True, text=True, env=os.environ | {"EYEBRIGHT_CACHE": cache})
        seconds = time.monotonic() - began
    if done.returncode:
        raise SystemExit(f"{' '.join(command)}\n{done.stdout}{done.stderr}")
    return facts_of_run(Path(json.loads(done.stdout)["run"])) | {"process_seconds": seconds, "load": load}


def peer(*command: str) -> Measurement:
    """Run a peer's program; it prints its figures as JSON in its last line."""
    load = os.getloadavg()[0]
    began = time.monotonic()
    done = subprocess.run(command, capture_output=True, text=True)
    seconds = time.monotonic() - began
    if done.returncode:
        raise SystemExit(f"{' '.join(command)}\n{done.stdout}{done.stderr}")
    figures: Measurement = json.loads(done.stdout.strip().splitlines()[-1])
    return figures | {"process_seconds": seconds, "load": load}


def facts_of_run(path: Path) -> Measurement:
    """What the folder of a finished run says: settings, accuracy with its interval, parameters, epochs, seconds."""
    from eyebright.config import read_yaml
    from eyebright.data.manifest import Manifest
    from eyebright.models.catalog import count_parameters, restore_network
    from eyebright.run import open_run

    run = open_run(path)
    config, test, bundle = read_yaml(run.file("config.yaml")), run.metrics["test"], run.bundle
    counts = Manifest.read(run.file("manifest.parquet")).counts()
    outcome = run.environment.get("outcome", {})
    history = [line for line in run.history() if "epoch" in line]
    return {
        "run": run.name,
        "recipe": config["recipe"],
        "data": Path(config["source"]).name,
        "network": json.loads(run.file("plan.json").read_text(encoding="utf-8"))["network"],
        "size": bundle.record.preprocess.size,
        "images": {split: sum(classes.values()) for split, classes in counts.items()},
        "accuracy": test["accuracy"]["value"],
        "interval": [test["accuracy"]["low"], test["accuracy"]["high"]],
        "macro_f1": test["macro_f1"]["value"],
        "macro_f1_interval": [test["macro_f1"]["low"], test["macro_f1"]["high"]],
        "top5_accuracy": test.get("top5_accuracy", {}).get("value"),
        "val_accuracy": run.metrics["val"]["accuracy"]["value"],
        "parameters": count_parameters(restore_network(bundle)),
        "epochs": len(history),
        "stage_seconds": stage_seconds(history),
        "epoch_seconds": [seconds for stage in stage_seconds(history).values() for seconds in stage],
        "val_accuracies": [line.get("val_accuracy") for line in history],
        "wall_seconds": outcome.get("wall_seconds"),
        "peak_gib": outcome.get("peak_memory_bytes", 0) / 2**30,
        "device": run.environment.get("device"),
    }


def stage_seconds(history: Sequence[Mapping[str, Any]]) -> dict[str, list[float]]:
    """Seconds of every epoch, its scoring of the validation images included, by stage.

    The field `seconds` of a line counts from the start of its stage.
    """
    stages: dict[str, list[float]] = {}
    for line in history:
        durations = stages.setdefault(line["stage"], [])
        durations.append(float(line["seconds"]) - sum(durations))
    return stages


def interval_of(accuracy: float, images: int) -> list[float]:
    """95 % interval (Wilson 1927) of an accuracy on so many images."""
    from eyebright.evaluation.intervals import wilson

    low, high = wilson(round(accuracy * images), images)
    return [float(low), float(high)]


def median_and_range(values: Sequence[float], digits: int = 1) -> str:
    """`12.3 (11.9 to 14.0)`."""
    if not values:
        return "-"
    return f"{statistics.median(values):.{digits}f} ({min(values):.{digits}f} to {max(values):.{digits}f})"


def with_interval(value: float, interval: Sequence[float]) -> str:
    """`0.912 (0.906 to 0.917)`."""
    return f"{value:.3f} ({interval[0]:.3f} to {interval[1]:.3f})"


def markdown(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterator[str]:
    """The lines of a Markdown table."""
    yield "| " + " | ".join(columns) + " |"
    yield "|" + "---|" * len(columns)
    for row in rows:
        yield "| " + " | ".join(row) + " |"
