"""A run: the folder that holds one training and all that came of it.

    config.yaml environment.json state.json manifest.parquet history.jsonl predictions.parquet metrics.json
    report.html figures/ checkpoint/ bundle/

`state.json` says how far the run has come; only a run in the state `complete` has metrics that may be quoted.
"""

from __future__ import annotations

import dataclasses
import json
from importlib import import_module
from pathlib import Path
from typing import Any

from eyebright.atomic import explained, write_json
from eyebright.bundle import Bundle, read_bundle
from eyebright.errors import BundleError, StorageError, UsageError, did_you_mean_beside

_DAMAGED = "copy the run again from where it was made, or train again"
STATES = ("running", "interrupted", "failed", "complete")


@dataclasses.dataclass(frozen=True)
class Run:
    """A run on disk. The object holds its path only; everything else is read when asked for."""

    path: Path

    @property
    def name(self) -> str:
        """The folder's name."""
        return self.path.name

    def file(self, name: str) -> Path:
        """Path of one of the run's files."""
        return self.path / name

    @property
    def state(self) -> dict[str, Any]:
        """What `state.json` says: `state`, `stage`, and the time of the last change."""
        return self._json("state.json")

    @property
    def metrics(self) -> dict[str, Any]:
        """Metrics of the validation and test splits, each with its 95 % interval."""
        return self._json("metrics.json")

    @property
    def environment(self) -> dict[str, Any]:
        """Versions, hardware, command and git state of the run."""
        return self._json("environment.json")

    @property
    def report(self) -> Path:
        """Path of the report page."""
        return self.file("report.html")

    @property
    def checkpoint(self) -> Path:
        """Folder of the checkpoints."""
        return self.file("checkpoint")

    @property
    def bundle(self) -> Bundle:
        """The classifier that came of the run, checked."""
        return read_bundle(self.file("bundle"))

    def history(self) -> list[dict[str, Any]]:
        """One mapping an epoch."""
        path = self.file("history.jsonl")
        if not path.exists():
            return []
        return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]

    def set_state(self, state: str, **facts: Any) -> None:
        """Record how far the run has come."""
        assert state in STATES, state
        write_json(self.file("state.json"), {"state": state, **facts})

    def _repr_html_(self) -> str:
        """How a notebook shows the run; the report lies above this layer, so it is found by its name."""
        return str(import_module("eyebright.report.notebook").run_html(self))

    def _json(self, name: str) -> dict[str, Any]:
        path = self.file(name)
        try:
            values = json.loads(path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            raise BundleError(
                f"the run {self.path} has no {name}: it did not finish",
                expected="a run that finished",
                remedy=f"continue it with `eyebright resume {self.path}`",
            ) from None
        except (OSError, ValueError) as error:
            raise BundleError(f"{path} cannot be read: {error}", expected="a JSON object", remedy=_DAMAGED) from error
        if not isinstance(values, dict):
            raise BundleError(f"{path} holds {type(values).__name__}", expected="a JSON object", remedy=_DAMAGED)
        return values


def check_run_name(name: str) -> None:
    """Refuse what is not the name of a folder.

    Raises:
        UsageError: it holds a separator, is empty or means a folder above.
    """
    if not name or Path(name).name != name or name in (".", ".."):
        raise UsageError(f"{name!r} cannot name a run", expected="a plain folder name")


def create_run(output: Path, name: str) -> Run:
    """Make the folder of a new run; its name gets a number when it is taken.

    Raises:
        StorageError: the folder cannot be made.
        UsageError: the name is not the name of a folder.
    """
    check_run_name(name)
    if output.exists() and not output.is_dir():
        raise StorageError(
            f"{output} is a file", expected="a folder for runs", remedy="choose another one with --output DIR"
        )
    with explained(output):
        output.mkdir(parents=True, exist_ok=True)
        number = 1
        while True:
            path = output / (name if number == 1 else f"{name}-{number}")
            try:
                path.mkdir()
            except FileExistsError:
                number += 1
                continue
            return Run(path)


def open_run(path: str | Path) -> Run:
    """The run in a folder.

    Raises:
        BundleError: there is no run there.
    """
    folder = Path(path)
    if not folder.exists():
        raise BundleError(
            f"{folder} does not exist{did_you_mean_beside(folder)}",
            expected="the folder of a run",
            remedy="check the path; `ls runs` shows the runs of this folder",
        )
    if not (folder / "config.yaml").is_file() or not (folder / "state.json").is_file():
        raise BundleError(
            f"{folder} is not a run: it lacks config.yaml or state.json",
            expected="a folder that `eyebright train` made",
            remedy="check the path; `ls runs` shows the runs of this folder",
        )
    return Run(folder)
