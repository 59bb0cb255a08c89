"""Trains as one of several processes, of which the second is killed on the way; test_torchrun.py starts it.

torchrun --nproc-per-node 2 torchrun_worker.py DATA OUTPUT [OPTION ...]
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from pathlib import Path

from eyebright.cli.main import main


def die_after_a_checkpoint(run: Path) -> None:
    """Kill this process, in the middle of whatever it does, soon after the first process has saved."""
    while not any(run.rglob("step-*/manifest.json")):
        time.sleep(0.01)
    time.sleep(0.2)
    os.kill(os.getpid(), signal.SIGKILL)


if __name__ == "__main__":
    if os.environ["RANK"] == "1":
        threading.Thread(target=die_after_a_checkpoint, args=[Path(sys.argv[2]) / "run"], daemon=True).start()
    sys.exit(main(["train", sys.argv[1], "--output", sys.argv[2], *sys.argv[3:]]))
