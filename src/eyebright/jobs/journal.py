"""What a run has told so far: for the user at once, and for the report at the end."""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Iterator, Mapping
from typing import Any

from eyebright.atomic import write_text
from eyebright.progress import Progress
from eyebright.run import Run


class Journal:
    """What a run has told so far: passes everything on to the user and keeps warnings and timings for the report."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self.warnings: list[str] = []
        self.seconds: dict[str, float] = {}

    def task(self, description: str, total: int, unit: str = "images") -> Any:
        """As `Progress.task`."""
        return self._progress.task(description, total, unit)

    def note(self, text: str) -> None:
        """As `Progress.note`."""
        self._progress.note(text)

    def warn(self, text: str) -> None:
        """As `Progress.warn`; kept for the report."""
        self.warnings.append(text)
        self._progress.warn(text)

    @contextlib.contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Time what happens inside under this name."""
        began = time.monotonic()
        try:
            yield
        finally:
            self.seconds[name] = round(self.seconds.get(name, 0.0) + time.monotonic() - began, 2)


def append_history(run: Run, line: Mapping[str, Any]) -> None:
    """Add one line to `history.jsonl`; a resumed run replaces the lines that it repeats."""
    path = run.file("history.jsonl")

    def place(entry: Mapping[str, Any]) -> tuple[Any, Any]:
        return entry.get("stage"), entry.get("epoch")

    entries = {place(entry): entry for entry in run.history()}
    entries[place(line)] = dict(line)  # a line that is replaced keeps its place
    write_text(path, "".join(json.dumps(entry) + "\n" for entry in entries.values()))
