"""What Ctrl-C and SIGTERM do while a run is worked on.

Ctrl-C once asks training to end after the step in hand, twice ends the process. SIGTERM is what a machine sends before
it is taken away: training saves a checkpoint after the step in hand and leaves; everything else can be done again.
"""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Iterator
from types import FrameType

from eyebright.errors import Preempted
from eyebright.progress import Progress
from eyebright.training.hooks import StopSignal


@contextlib.contextmanager
def heeding_signals(stop: StopSignal, progress: Progress) -> Iterator[None]:
    """While the context is open, both signals have the meaning above.

    Signals reach the main thread only; in another thread nothing changes.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def interrupt(number: int, frame: FrameType | None) -> None:
        if stop.requested or not stop.heard:
            raise KeyboardInterrupt
        stop.request()
        progress.warn("stopping after this step; the best weights are kept and reported (Ctrl-C again quits at once)")

    def terminate(number: int, frame: FrameType | None) -> None:
        if not stop.heard:
            raise Preempted("the process was asked to end (SIGTERM)")
        stop.leave()

    former = {number: signal.signal(number, handle) for number, handle in
              ((signal.SIGINT, interrupt), (signal.SIGTERM, terminate))}  # fmt: skip
    try:
        yield
    finally:
        for number, handle in former.items():
            signal.signal(number, handle)


def outlive_termination() -> None:
    """Leave SIGTERM unheard from now on: torchrun sends it when one process has died, while another still reports."""
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
