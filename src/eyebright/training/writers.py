"""Hooks that write the history where other tools look for it: a table for spreadsheets, event files for TensorBoard.

`history.jsonl` is the record of a run and is written elsewhere; what is written here can be made again from it.
"""

from __future__ import annotations

import csv
import io
import math
from pathlib import Path
from typing import Any, Protocol

from eyebright.atomic import explained, write_text
from eyebright.errors import DataError, MissingDependencyError
from eyebright.training.hooks import BaseHook, LoopState

# The columns of every history come first and in this order; others follow as they appear.
_FIRST_COLUMNS = ("stage", "epoch", "step", "train_loss", "train_accuracy", "val_loss", "val_accuracy", "learning_rate")
# What a line is known by; not figures.
_PLACE = ("stage", "epoch", "step")
_PARTS = ("train", "val")


class CsvWriter(BaseHook):
    """`history.csv`: a line an epoch, a column for everything that any epoch recorded.

    The file is written whole after every epoch. A resumed run goes on with the lines that are there; an epoch that it
    repeats replaces its former line, in its place.

    Args:
        path: the file; made when it is not there.

    Raises:
        DataError: the file is there, but is not a history.
        StorageError: the file cannot be read or written.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lines: dict[tuple[str, str], dict[str, str]] = {}
        self._columns: list[str] = []
        if path.exists():
            self._read()

    def on_epoch_end(self, state: LoopState, record: dict[str, Any]) -> None:
        """Write the line of this epoch."""
        self.write(record)

    def write(self, record: dict[str, Any]) -> None:
        """Add a line, or put it in the place of the former one of the same stage and epoch; also one without epoch."""
        line = {name: "" if value is None else str(value) for name, value in record.items()}
        self._lines[_place(line)] = line
        self._columns += [name for name in line if name not in self._columns]
        first = [name for name in _FIRST_COLUMNS if name in self._columns]
        text = io.StringIO()
        table = csv.DictWriter(text, list(dict.fromkeys([*first, *self._columns])), lineterminator="\n")
        table.writeheader()
        table.writerows(self._lines.values())
        write_text(self._path, text.getvalue())

    def _read(self) -> None:
        with explained(self._path):
            content = self._path.read_bytes()
        try:
            table = csv.DictReader(io.StringIO(content.decode("utf-8")), strict=True)
            lines = list(table)
        except (UnicodeDecodeError, csv.Error) as error:
            raise self._not_a_history(str(error)) from error
        self._columns = list(table.fieldnames or ())
        for line in lines:
            if not {"stage", "epoch"} <= line.keys() or None in line or None in line.values():
                raise self._not_a_history(f"line {table.line_num} has other columns")
            self._lines[_place(line)] = line

    def _not_a_history(self, why: str) -> DataError:
        return DataError(
            f"{self._path} is not the history of a run: {why}",
            expected="the table that a former part of this run wrote",
            remedy="remove or rename it, or leave the table out with --set log.csv=false",
        )


def _place(line: dict[str, str]) -> tuple[str, str]:
    return line.get("stage", ""), line.get("epoch", "")


class EventFile(Protocol):
    """What we use of `torch.utils.tensorboard.SummaryWriter`."""

    def add_scalar(self, tag: str, scalar_value: float, global_step: int) -> None:
        """Add a point to a curve."""

    def flush(self) -> None:
        """Write what was added."""

    def close(self) -> None:
        """Write and let go of the file."""


class TensorBoardWriter(BaseHook):
    """Event files for TensorBoard: a folder for each stage, which TensorBoard shows as a line of its own.

    The scalars are `train/loss`, `train/accuracy`, `val/loss`, `val/accuracy` and so on, `learning_rate`, `size`,
    `images_per_second` and whatever else an epoch records; the horizontal axis counts epochs within the stage. A
    resumed run adds a file which tells TensorBoard to forget the epochs that are repeated.

    Args:
        folder: where the event files go.

    Raises:
        MissingDependencyError: the extra `tensorboard` is not installed.
    """

    def __init__(self, folder: Path) -> None:
        try:
            import torch.utils.tensorboard  # noqa: F401
        except ImportError:
            raise MissingDependencyError(
                "tensorboard is not installed, which writes event files for TensorBoard",
                remedy="pip install 'eyebright[tensorboard]', or train without --set log.tensorboard=true",
            ) from None
        self._folder = folder
        self._files: dict[str, EventFile] = {}

    def on_epoch_end(self, state: LoopState, record: dict[str, Any]) -> None:
        """Write the scalars of this epoch."""
        file = self._file(str(record["stage"]), first_epoch=int(record["epoch"]))
        with explained(self._folder):
            for name, value in record.items():
                # bool is a number to Python, but "new best" is no curve.
                if name in _PLACE or isinstance(value, bool) or not isinstance(value, (int, float)):
                    continue
                if math.isfinite(value):
                    file.add_scalar(scalar_name(name), value, int(record["epoch"]))
            file.flush()

    def close(self) -> None:
        """Close the event files; a later epoch opens new ones."""
        while self._files:
            self._files.popitem()[1].close()

    def _file(self, stage: str, *, first_epoch: int) -> EventFile:
        if stage not in self._files:
            from torch.utils.tensorboard import SummaryWriter

            folder = self._folder / (stage.strip(".") or "stage")  # never the folder above
            with explained(folder):
                self._files[stage] = SummaryWriter(str(folder), purge_step=first_epoch)
        return self._files[stage]


def scalar_name(name: str) -> str:
    """The name of a figure in TensorBoard, which groups by what stands before the slash: `val_loss` is `val/loss`."""
    part, _, figure = name.partition("_")
    return f"{part}/{figure}" if part in _PARTS else name
