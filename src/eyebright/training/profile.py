"""Where the time of training goes: a stopwatch that is told what begins, and credits the time to it until the next.

At any moment exactly one thing goes on, so that the parts add up to the whole. When nobody wants to know, `OFF` takes
the calls and does nothing.

The CPU runs ahead of a GPU, so its clock would say when work was asked for and not when it was done. There, marks are
events among the work of the GPU; their times are read where the loop waits for the GPU anyway. A GPU that has nothing
to do because no images have come shows as `WAITING`.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Mapping
from typing import Any, Protocol

import torch

from eyebright.data.batches import COPYING, WAITING

AUGMENT = "augment"
FORWARD = "forward"
"""With the loss, and with normalisation."""
BACKWARD = "backward"
OPTIMISER = "optimiser"
"""With clipping and the moving average."""
EVALUATION = "evaluation"
CHECKPOINT = "checkpoint"
COMPILING = "compiling"
OTHER = "other"
"""Hooks, counters, the learning rate, making the optimiser."""
PARTS = (WAITING, COPYING, AUGMENT, FORWARD, BACKWARD, OPTIMISER, EVALUATION, CHECKPOINT, COMPILING, OTHER)


class Profile:
    """Takes note of nothing: every method is a call that returns at once."""

    def begins(self, part: str) -> None:
        """From now on time is spent on `part`."""

    def seconds(self) -> dict[str, float]:
        """Time by part up to now; empty when nothing is taken note of. On a GPU this waits for it."""
        return {}

    def restore(self, seconds: Mapping[str, float]) -> None:
        """Add what former sittings of the same stage took."""


OFF = Profile()


class HostProfile(Profile):
    """By the clock of the CPU: for work that is done when the call returns."""

    def __init__(self) -> None:
        self._seconds: dict[str, float] = {}
        self._part: str | None = None
        self._since = 0.0

    def begins(self, part: str) -> None:
        """From now on time is spent on `part`."""
        now = time.perf_counter()
        if self._part is not None:
            self._seconds[self._part] = self._seconds.get(self._part, 0.0) + now - self._since
        self._part, self._since = part, now

    def seconds(self) -> dict[str, float]:
        """Time by part up to now."""
        if self._part is not None:
            self.begins(self._part)
        return dict(self._seconds)

    def restore(self, seconds: Mapping[str, float]) -> None:
        """Add what former sittings of the same stage took."""
        for part, spent in seconds.items():
            self._seconds[part] = self._seconds.get(part, 0.0) + spent


class Event(Protocol):
    """A mark among the work of a device, as `torch.cuda.Event` and `torch.mps.Event` are."""

    def record(self) -> None:
        """Put it behind everything that was asked for so far."""

    def synchronize(self) -> None:
        """Wait until the device has come to it."""

    def elapsed_time(self, end_event: Any) -> float:
        """Milliseconds from here to a later mark."""
        ...


class DeviceProfile(Profile):
    """By marks among the work of a device; `begins` never waits.

    Args:
        make_event: gives a mark that was not recorded yet.
    """

    def __init__(self, make_event: Callable[[], Event]) -> None:
        self._make_event = make_event
        self._marks: list[tuple[str, Event]] = []
        self._seconds: dict[str, float] = {}

    def begins(self, part: str) -> None:
        """From this place in the work of the device on, time is spent on `part`."""
        event = self._make_event()
        event.record()
        self._marks.append((part, event))

    def seconds(self) -> dict[str, float]:
        """Time by part up to now; waits for the device."""
        if self._marks:
            self.begins(self._marks[-1][0])
            self._marks[-1][1].synchronize()
            for (part, event), (_, following) in itertools.pairwise(self._marks):
                spent = event.elapsed_time(following) / 1000
                self._seconds[part] = self._seconds.get(part, 0.0) + spent
            del self._marks[:-1]
        return dict(self._seconds)

    def restore(self, seconds: Mapping[str, float]) -> None:
        """Add what former sittings of the same stage took."""
        for part, spent in seconds.items():
            self._seconds[part] = self._seconds.get(part, 0.0) + spent


def make_profile(device: torch.device) -> Profile:
    """A stopwatch for work on this device."""
    if device.type == "cuda":
        return DeviceProfile(lambda: torch.cuda.Event(enable_timing=True))  # type: ignore[no-untyped-call]
    if device.type == "mps":
        return DeviceProfile(lambda: torch.mps.Event(enable_timing=True))
    return HostProfile()
