"""How long work reports itself, without knowing who listens.

Only the command line prints. Everything below it takes a `Progress` and tells it what happens; `Silent` listens
to nobody and is the default.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from typing import Protocol


class Task(Protocol):
    """One piece of work with a known number of units."""

    def advance(self, units: int = 1) -> None: ...

    def describe(self, text: str) -> None: ...

    def detail(self, figures: Mapping[str, str]) -> None:
        """What is known right now: figures by name, already as text; they replace those of the last call."""
        ...

    def resize(self, total: int) -> None: ...


class Progress(Protocol):
    """Where work reports itself."""

    def task(self, description: str, total: int, unit: str = "images") -> AbstractContextManager[Task]:
        """Open a bar (or lines) for `total` units; closed when the context ends."""
        ...

    def note(self, text: str) -> None:
        """A fact that the user should see (one line)."""
        ...

    def warn(self, text: str) -> None:
        """Something that is wrong or surprising but does not stop the work."""
        ...


class _SilentTask:
    def advance(self, units: int = 1) -> None:
        pass

    def describe(self, text: str) -> None:
        pass

    def detail(self, figures: Mapping[str, str]) -> None:
        pass

    def resize(self, total: int) -> None:
        pass


class Silent:
    """A `Progress` that tells nobody."""

    @contextmanager
    def task(self, description: str, total: int, unit: str = "images") -> Iterator[Task]:
        yield _SilentTask()

    def note(self, text: str) -> None:
        pass

    def warn(self, text: str) -> None:
        pass
