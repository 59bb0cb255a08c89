"""Which of several ways to do the same work is the fastest: they take turns, so that a busy machine slows all alike."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from statistics import median

Clock = Callable[[], float]
FEWEST_ROUNDS, MOST_ROUNDS = 3, 9


def race(
    ways: Mapping[str, Callable[[int], None]], seconds: float, *, clock: Clock = time.perf_counter
) -> dict[str, float]:
    """Median seconds of each way over the rounds, which go on for about `seconds`: 3 rounds at least, 9 at most.

    Args:
        ways: called with the number of the round; warmed up already. Each round begins with another one.
        seconds: time for all of them together.
        clock: what tells the time.
    """
    names, times = list(ways), {name: list[float]() for name in ways}
    began = clock()
    for number in range(MOST_ROUNDS):
        if number >= FEWEST_ROUNDS and clock() - began > seconds:
            break
        first = number % len(names)
        for name in (*names[first:], *names[:first]):
            started = clock()
            ways[name](number)
            times[name].append(clock() - started)
    return {name: median(taken) for name, taken in times.items()}
