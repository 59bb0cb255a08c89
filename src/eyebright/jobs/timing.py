"""How long classifiers take for one image, from pixels to answer. No torch."""

from __future__ import annotations

import time
from collections.abc import Hashable, Mapping
from typing import TypeVar

from eyebright.classifier import Classifier
from eyebright.progress import Progress

WARM_UP = 3

_Key = TypeVar("_Key", bound=Hashable)


def latencies_ms(
    classifiers: Mapping[_Key, Classifier], *, rounds: int, most_seconds: float, progress: Progress
) -> dict[_Key, list[float]]:
    """Milliseconds of each call, classifiers taken in turns so that all meet the same disturbances.

    Args:
        rounds: calls of each, after three that do not count.
        most_seconds: fewer rounds when the time is up, but at least one.
    """
    pixels = {key: classifier.bundle.golden().pixels[:1] for key, classifier in classifiers.items()}
    times: dict[_Key, list[float]] = {key: [] for key in classifiers}
    started = time.perf_counter()
    with progress.task("timing", WARM_UP + rounds, unit="rounds") as task:
        for turn in range(WARM_UP + rounds):
            for key, classifier in classifiers.items():
                begun = time.perf_counter()
                classifier.predict_pixels(pixels[key])
                if turn >= WARM_UP:
                    times[key].append(1000 * (time.perf_counter() - begun))
            task.advance()
            if turn >= WARM_UP and time.perf_counter() - started > most_seconds:
                break
    return times
