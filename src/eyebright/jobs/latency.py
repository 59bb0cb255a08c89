"""The latency of several classifiers, taken in turns."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np

from eyebright.classifier import Classifier
from eyebright.data.probing import available_cores
from eyebright.jobs.entrants import Entrant
from eyebright.jobs.timing import latencies_ms
from eyebright.progress import Progress

ROUNDS, MOST_SECONDS = 60, 20.0


def measured(entrants: Sequence[Entrant], progress: Progress) -> list[Entrant]:
    """The classifiers with their latency on this machine, taken in turns so that all meet the same disturbances."""
    runs = {entrant.run.path: entrant.run for entrant in entrants if entrant.run is not None}
    loaded = {path: Classifier(run.bundle) for path, run in runs.items()}
    times = latencies_ms(loaded, rounds=ROUNDS, most_seconds=MOST_SECONDS, progress=progress)
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
