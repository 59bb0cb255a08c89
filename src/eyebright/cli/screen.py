"""Progress for people: bars with the time left on a terminal, plain lines in a log.

Of several processes that train together (`torchrun` numbers them in RANK), the first alone speaks.
"""

from __future__ import annotations

import contextlib
import os
import sys
import threading
import time
from collections.abc import Iterable, Iterator, Mapping
from types import TracebackType

from rich.console import Console, RenderableType
from rich.constrain import Constrain
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.progress import Progress as RichProgress
from rich.text import Text

from eyebright.progress import Task

LINE_SECONDS = 10.0
WIDEST = 110
"""Columns of the terminal that a bar fills at most."""


def speaks() -> bool:
    """Whether this process tells the user anything: false in all but the first of a team."""
    return os.environ.get("RANK", "0") in ("", "0")


class _Bars(RichProgress):
    """Bars, each with a line of figures below it where the work tells any."""

    def get_renderables(self) -> Iterable[RenderableType]:
        for task in self.tasks:
            yield Constrain(self.make_tasks_table([task]), WIDEST)
            figures: Mapping[str, str] = task.fields["figures"]
            if figures:
                yield figure_line(figures)


def figure_line(figures: Mapping[str, str]) -> Text:
    """Figures by name in one line: the names in the background, the values in front."""
    line = Text("  ", overflow="ellipsis", no_wrap=True)
    for index, (name, value) in enumerate(figures.items()):
        line.append("   " if index else "")
        line.append(f"{name} ", style="dim")
        line.append(value, style="bold green" if name == "best" else "bold")
    return line


class _Bar:
    def __init__(self, bars: RichProgress, number: int) -> None:
        self._bars = bars
        self._number = number

    def advance(self, units: int = 1) -> None:
        self._bars.advance(self._number, units)  # type: ignore[arg-type]

    def describe(self, text: str) -> None:
        self._bars.update(self._number, description=text)  # type: ignore[arg-type]

    def detail(self, figures: Mapping[str, str]) -> None:
        self._bars.update(self._number, figures=dict(figures))  # type: ignore[arg-type]

    def resize(self, total: int) -> None:
        self._bars.update(self._number, total=total)  # type: ignore[arg-type]


class Screen:
    """Bars and notes on a terminal.

    Args:
        console: where to; the terminal behind standard error when left out.
    """

    def __init__(self, console: Console | None = None) -> None:
        self._console = console or Console(stderr=True, highlight=False, quiet=not speaks())
        self._bars = _Bars(
            TextColumn("{task.description}", markup=False), BarColumn(bar_width=None), MofNCompleteColumn(),
            TextColumn("{task.fields[unit]}", markup=False), TimeElapsedColumn(), TextColumn("left"),
            TimeRemainingColumn(), console=self._console, transient=True, expand=True,
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
        number = self._bars.add_task(description, total=total, unit=unit, figures={})
        try:
            yield _Bar(self._bars, number)
        finally:
            self._bars.remove_task(number)

    def note(self, text: str) -> None:
        """A line above the bars."""
        line = Text(text)
        line.highlight_words(["new best"], style="green")
        self._console.print(line)

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
        self._figures: Mapping[str, str] = {}
        self._told = time.monotonic()
        self._first: tuple[float, int] | None = None  # when the first units came, and how many
        self._lock = threading.Lock()

    def advance(self, units: int = 1) -> None:
        with self._lock:
            self._done += units
            now = time.monotonic()
            if self._first is None:
                self._first = (now, units)  # resumed work begins with all that was done before
            began, before = self._first
            if now - self._told < LINE_SECONDS or self._done >= self._total:
                return
            self._told = now
            since = self._done - before
            left = f", about {(now - began) / since * (self._total - self._done):.0f} s left" if since else ""
        figures = "".join(f", {name} {value}" for name, value in self._figures.items())
        _say(f"{self._description}: {self._done}/{self._total} {self._unit}{left}{figures}")

    def describe(self, text: str) -> None:
        self._description = text

    def detail(self, figures: Mapping[str, str]) -> None:
        self._figures = dict(figures)

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
        _say(text)

    def warn(self, text: str) -> None:
        """A line that stands out."""
        _say(f"warning: {text}")


def _say(text: str) -> None:
    if speaks():
        print(text, file=sys.stderr, flush=True)
