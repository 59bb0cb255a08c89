"""The latency of several classifiers, taken in turns."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from eyebright.classifier import Classifier
from eyebright.data.probing import available_cores
from eyebright.jobs.entrants import Entrant
from eyebright.progress import Progress

WARM_UP, ROUNDS, MOST_SECONDS = 3, 60, 20.0


def measured(entrants: Sequence[Entrant], progress: Progress) -> list[Entrant]:
    """The classifiers with their latency on this machine, taken in turns so that all meet the same disturbances."""
    runs = {entrant.run.path: entrant.run for entrant in entrants if entrant.run is not None}
    loaded = {path: Classifier(run.bundle) for path, run in runs.items()}
    pixels = {path: classifier.bundle.golden().pixels[:1] for path, classifier in loaded.items()}
    times: dict[Path, list[float]] = {path: [] for path in loaded}
    started = time.perf_counter()
    with progress.task("timing", WARM_UP + ROUNDS, unit="rounds") as task:
        for turn in range(WARM_UP + ROUNDS):
            for path, classifier in loaded.items():
                begun = time.perf_counter()
                classifier.predict_pixels(pixels[path])
                if turn >= WARM_UP:
                    times[path].append(1000 * (time.perf_counter() - begun))
            task.advance()
            if turn > WARM_UP and time.perf_counter() - started > MOST_SECONDS:
                break
    result = []
    for entrant in entrants:
        if entrant.run is not None:
            middle, high = np.percentile(times[entrant.run.path], [50, 99])
            facts = dataclasses.replace(
                entrant.facts, latency_ms=float(middle), latency_p99_ms=float(high),
                latency_threads=available_cores(), latency_measured_now=True,
            )  # fmt: skip
            entrant = dataclasses.replace(entrant, facts=facts)
        result.append(entrant)
    return result
