"""Ctrl-C: once asks training to end after the step in hand, twice ends the process."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Iterator
from types import FrameType

from eyebright.progress import Progress
from eyebright.training.hooks import StopSignal


@contextlib.contextmanager
def stop_on_interrupt(stop: StopSignal, progress: Progress) -> Iterator[None]:
    """While the context is open, the first Ctrl-C requests a stop and the second raises `KeyboardInterrupt`.

    Signals reach the main thread only; in another thread nothing changes.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def handle(number: int, frame: FrameType | None) -> None:
        if stop.requested:
            raise KeyboardInterrupt
        stop.request()
        progress.warn("stopping after this step; the best weights are kept and reported (Ctrl-C again quits at once)")

    former = signal.signal(signal.SIGINT, handle)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, former)
