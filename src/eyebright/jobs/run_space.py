"""What runs take on the disk, and what of it nobody needs any more."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import shutil
from collections.abc import Sequence
from pathlib import Path

from eyebright.atomic import explained
from eyebright.data.cache_contents import BLOCK_BYTES
from eyebright.errors import BundleError, DataError
from eyebright.run import STATES, Run

SHARES = ("checkpoint", "bundle", "report", "tables", "other")

_SHARE_OF = {"checkpoint": "checkpoint", "bundle": "bundle", "report.html": "report", "figures": "report"}
_TABLES = (".parquet", ".jsonl", ".csv", ".npz", ".npy")


@dataclasses.dataclass(frozen=True, kw_only=True)
class RunSpace:
    """One run.

    Attributes:
        path: its folder.
        state: what its `state.json` says.
        bytes: by share, a key of `SHARES`.
    """

    path: Path
    state: str
    bytes: dict[str, int]

    @property
    def total(self) -> int:
        """All bytes of the run."""
        return sum(self.bytes.values())

    @property
    def spare(self) -> bool:
        """Whether its checkpoint serves only to go on with a run that was stopped early and finished all the same."""
        return self.state == "complete" and self.bytes["checkpoint"] > 0


def run_spaces(folder: Path) -> list[RunSpace]:
    """The run in this folder, or the runs that lie in it, the largest first.

    Raises:
        DataError: the folder is not there or has no run.
    """
    if not folder.is_dir():
        raise DataError(f"{folder} is not a folder", expected="a run, or a folder of runs", remedy="check the path")
    found = [_space(path) for path in (folder, *sorted(folder.iterdir())) if _is_run(path)]
    if not found:
        raise DataError(f"{folder} has no run", expected="a run, or a folder of runs such as runs/")
    return sorted(found, key=lambda space: (-space.total, space.path.name))


def remove_checkpoints(spaces: Sequence[RunSpace]) -> list[RunSpace]:
    """Remove the checkpoints of complete runs; returns the runs that had one. A state is read again before.

    Raises:
        StorageError: a folder may not be changed.
    """
    removed = []
    for space in spaces:
        run = Run(space.path)
        if space.spare and _state(run) == "complete" and not run.checkpoint.is_symlink():
            with explained(run.checkpoint):
                shutil.rmtree(run.checkpoint)
            removed.append(space)
    return removed


def _is_run(path: Path) -> bool:
    return not path.is_symlink() and (path / "state.json").is_file()


def _state(run: Run) -> str:
    with contextlib.suppress(BundleError):
        state = run.state.get("state")
        if state in STATES:
            return str(state)
    return "unreadable"


def _space(path: Path) -> RunSpace:
    sizes = dict.fromkeys(SHARES, 0)
    for entry in os.scandir(path):
        share = _SHARE_OF.get(entry.name) or ("tables" if entry.name.endswith(_TABLES) else "other")
        sizes[share] += _bytes(entry)
    return RunSpace(path=path, state=_state(Run(path)), bytes=sizes)


def _bytes(entry: os.DirEntry[str]) -> int:
    """On the disk, with all below it; links count as links."""
    try:
        total = entry.stat(follow_symlinks=False).st_blocks * BLOCK_BYTES
        if entry.is_dir(follow_symlinks=False):
            total += sum(_bytes(inner) for inner in os.scandir(entry.path))
    except OSError:  # a run that works may remove a file meanwhile
        return 0
    return total
