"""Reading the history of a training: lines as a run leaves them, resumed or not, as stages and epochs in order."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from eyebright.evaluation.curve import Curve

Record = Mapping[str, Any]


def figure(record: Record | None, key: str) -> float | None:
    """A figure of a line; None where it is absent, null or not finite."""
    value = None if record is None else record.get(key)
    return None if value is None or not math.isfinite(value) else float(value)


def figures(records: Sequence[Record], key: str) -> Curve:
    """This figure of the lines that have it (N,)."""
    found = [value for record in records if (value := figure(record, key)) is not None]
    return np.array(found, dtype=np.float64)


def stage_of(record: Record) -> str:
    """The name of the stage of a line; empty where it has none."""
    return str(record.get("stage") or "")


def in_order(history: Sequence[Record], *, without_epoch: bool = False) -> list[list[Record]]:
    """The epochs of each stage in order, stages as they first appear; of two lines of one epoch the last counts.

    A line without an epoch, such as that of a linear probe, is left out; with `without_epoch` it is the first of its
    stage.
    """
    stages: dict[str, dict[int, Record]] = {}
    for record in history:
        epoch = figure(record, "epoch")
        if epoch is not None or without_epoch:
            stages.setdefault(stage_of(record), {})[int(epoch or 0)] = record
    return [[records[epoch] for epoch in sorted(records)] for records in stages.values()]


def comparable(history: Sequence[Record], config: Mapping[str, Any] | None, *, enough: int) -> list[Record]:
    """The epochs of the last stage, and of comparable ones before it while fewer than `enough` were validated.

    Stages compare when they have the same input size and learn the same classes.
    """
    levels = {stage["name"]: stage.get("level") for stage in (config or {}).get("stages") or () if "name" in stage}

    def task(record: Record) -> tuple[Any, Any]:
        return record.get("size"), levels.get(stage_of(record)) or "class"

    found: list[Record] = []
    for records in reversed(in_order(history)):
        if found and (len(figures(found, "val_loss")) >= enough or task(records[-1]) != task(found[0])):
            break
        found = [*records, *found]
    return found
