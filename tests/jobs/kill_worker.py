"""Trains and resumes in child processes that are killed; started by test_kill.py.

    python kill_worker.py DATA OUTPUT MODE SEED

torch is imported once; every sitting is a fork of this process, so a kill costs no second import. A child is killed
with SIGKILL by a thread of its own, some random milliseconds after a random step: in the middle of a step, of writing a
checkpoint or of writing the history, as it happens.
"""

from __future__ import annotations

import json
import os
import random
import signal
import sys
import threading
import time
from pathlib import Path
from typing import Any

import torch

import eyebright
import eyebright.jobs.train
import eyebright.recipes.staged
from eyebright.errors import EyebrightError
from eyebright.training.hooks import BaseHook, LoopState

EPOCHS = 3
SETTINGS = [
    "optim.batch_size=8", "checkpoint_steps=3", "augment.mixup=0.2", "augment.rotation=15", "model.dropout=0.2",
    "schedule.name=plateau", "schedule.patience=0", "stop.patience=20", "data.audit=off",
]  # fmt: skip


class End(BaseHook):
    """Sends this process a signal soon after it has reached a step."""

    def __init__(self, step: int, number: int, latest_milliseconds: float) -> None:
        self.step, self.number = step, number
        self.wait_seconds = random.uniform(0, latest_milliseconds) / 1000
        self.asked = False

    def on_step_end(self, state: LoopState) -> None:
        if state.step >= self.step and not self.asked:
            self.asked = True
            threading.Thread(target=self._end, daemon=True).start()

    def _end(self) -> None:
        time.sleep(self.wait_seconds)
        os.kill(os.getpid(), self.number)


def sitting(data: Path, output: Path, hooks: list[BaseHook]) -> dict[str, Any]:
    """One child that trains, or resumes what a former one has left; how it ended."""
    child = os.fork()
    if child == 0:
        code = 0
        try:
            torch.set_num_threads(1)
            run = output / "run"
            if run.exists():
                eyebright.resume(run, hooks=hooks)
            else:
                eyebright.train(
                    data, output=output, name="run", recipe="scratch", epochs=EPOCHS, size=16, hooks=hooks,
                    settings=SETTINGS,
                )  # fmt: skip
        except EyebrightError as error:
            print(error, file=sys.stderr)
            code = error.exit_code
        finally:
            os._exit(code)
    _, status = os.waitpid(child, 0)
    return {"signal": os.WTERMSIG(status) if os.WIFSIGNALED(status) else None,
            "code": os.WEXITSTATUS(status) if os.WIFEXITED(status) else None}  # fmt: skip


def main() -> None:
    """Uninterrupted, or with 20 kills, or with a SIGTERM; prints how each sitting ended as JSON."""
    data, output, mode = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3]
    random.seed(int(sys.argv[4]))
    ends: list[dict[str, Any]] = []
    if mode == "kill":
        steps = EPOCHS * 10
        for step in sorted(random.choices(range(1, steps), k=20)):
            ends.append(sitting(data, output, [End(step, signal.SIGKILL, 25.0)]))
    elif mode == "terminate":
        ends.append(sitting(data, output, [End(13, signal.SIGTERM, 0.0)]))
        ends[-1]["state"] = json.loads((output / "run" / "state.json").read_text())["state"]
    ends.append(sitting(data, output, []))
    print(json.dumps(ends))


if __name__ == "__main__":
    main()
