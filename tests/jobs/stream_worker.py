"""Trains on streamed images, as it is told to, and notes which images each epoch reads; started by test_streaming.py.

    python stream_worker.py DATA OUTPUT               whole, and again with a kill and a resume within an epoch
    torchrun ... stream_worker.py DATA OUTPUT team    together with others

`OUTPUT/reads-WHO.jsonl` gets a line for every sequence of parts that is read: the rows of each part.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

import eyebright
import eyebright.jobs.train
import eyebright.recipes.staged
from eyebright.data.store import Reading, Rows
from eyebright.data.stream import StreamStore
from eyebright.training.hooks import BaseHook, LoopState

KILLED_AT = 8
SETTINGS = [
    "data.stream=true", "data.shuffle_window=40", "data.audit=off", "data.drop_last=false", "optim.batch_size=18",
    "checkpoint_steps=1", "model.dropout=0.2", "augment.mixup=0", "augment.flip=false",
]  # fmt: skip


class Kill(BaseHook):
    """Ends this process at once after a step."""

    def on_step_end(self, state: LoopState) -> None:
        if state.step == KILLED_AT:
            os.kill(os.getpid(), signal.SIGKILL)


def note_reads(path: Path) -> None:
    """From now on, write down what this process reads."""
    reading = StreamStore.reading

    def noted(store: StreamStore, parts: Sequence[Rows]) -> Reading:
        with open(path, "a", encoding="ascii") as lines:
            lines.write(json.dumps([part.tolist() for part in parts]) + "\n")
        return reading(store, parts)

    StreamStore.reading = noted  # type: ignore[method-assign]


def train(data: Path, output: Path, name: str, epochs: int, hooks: Sequence[Any] = ()) -> None:
    eyebright.train(
        data, output=output, name=name, recipe="scratch", epochs=epochs, size=16, hooks=hooks, settings=SETTINGS
    )


def sitting(data: Path, output: Path, who: str) -> int:
    """One child; the number of the signal that ended it."""
    child = os.fork()
    if child == 0:
        code = 1
        try:
            torch.set_num_threads(1)
            note_reads(output / f"reads-{who}.jsonl")
            if who == "resumed":
                eyebright.resume(output / "killed")
            else:
                train(data, output, who, epochs=3, hooks=[Kill()] if who == "killed" else [])
            code = 0
        finally:
            os._exit(code)
    _, status = os.waitpid(child, 0)
    assert not os.WIFEXITED(status) or os.WEXITSTATUS(status) == 0, who
    return os.WTERMSIG(status) if os.WIFSIGNALED(status) else 0


def main() -> None:
    data, output = Path(sys.argv[1]), Path(sys.argv[2])
    if sys.argv[3:] == ["team"]:
        note_reads(output / f"reads-{os.environ['RANK']}.jsonl")
        train(data, output, "team", epochs=2)
        return
    assert [sitting(data, output, who) for who in ("whole", "killed", "resumed")] == [0, signal.SIGKILL, 0]


if __name__ == "__main__":
    main()
