"""Progress for people: bars with the time left on a terminal, plain lines in a log."""

from __future__ import annotations

import contextlib
import sys
import threading
import time
from collections.abc import Iterator
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.progress import Progress as RichProgress

from eyebright.progress import Task

LINE_SECONDS = 10.0


class _Bar:
    def __init__(self, bars: RichProgress, number: int) -> None:
        self._bars = bars
        self._number = number

    def advance(self, units: int = 1) -> None:
        self._bars.advance(self._number, units)  # type: ignore[arg-type]

    def describe(self, text: str) -> None:
        self._bars.update(self._number, description=text)  # type: ignore[arg-type]

    def resize(self, total: int) -> None:
        self._bars.update(self._number, total=total)  # type: ignore[arg-type]


class Screen:
    """Bars and notes on a terminal."""

    def __init__(self) -> None:
        self._console = Console(stderr=True, highlight=False)
        self._bars = RichProgress(
            TextColumn("{task.description}"), BarColumn(bar_width=30), MofNCompleteColumn(),
            TextColumn("{task.fields[unit]}"), TimeElapsedColumn(), TextColumn("left"), TimeRemainingColumn(),
            console=self._console, transient=True,
        )  # fmt: skip

    def __enter__(self) -> Screen:
        self._bars.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bars.stop()

    @contextlib.contextmanager
    def task(self, description: str, total: int, unit: str = "images") -> Iterator[Task]:
        """A bar that disappears when its work is done."""
        number = self._bars.add_task(description, total=total, unit=unit)
        try:
            yield _Bar(self._bars, number)
        finally:
            self._bars.remove_task(number)

    def note(self, text: str) -> None:
        """A line above the bars."""
        self._console.print(text, markup=False)

    def warn(self, text: str) -> None:
        """A line above the bars that stands out."""
        self._console.print(f"warning: {text}", style="yellow", markup=False)


class _LineTask:
    """A line now and then, for logs."""

    def __init__(self, description: str, total: int, unit: str) -> None:
        self._description = description
        self._total = total
        self._unit = unit
        self._done = 0
        self._began = self._told = time.monotonic()
        self._lock = threading.Lock()

    def advance(self, units: int = 1) -> None:
        with self._lock:
            self._done += units
            now = time.monotonic()
            if now - self._told < LINE_SECONDS or self._done >= self._total:
                return
            self._told = now
            left = (now - self._began) / self._done * (self._total - self._done)
        print(
            f"{self._description}: {self._done}/{self._total} {self._unit}, about {left:.0f} s left",
            file=sys.stderr,
            flush=True,
        )

    def describe(self, text: str) -> None:
        self._description = text

    def resize(self, total: int) -> None:
        self._total = total


class Lines:
    """Plain lines on standard error."""

    @contextlib.contextmanager
    def task(self, description: str, total: int, unit: str = "images") -> Iterator[Task]:
        """A line every ten seconds while the work lasts."""
        yield _LineTask(description, total, unit)

    def note(self, text: str) -> None:
        """A line."""
        print(text, file=sys.stderr, flush=True)

    def warn(self, text: str) -> None:
        """A line that stands out."""
        print(f"warning: {text}", file=sys.stderr, flush=True)
