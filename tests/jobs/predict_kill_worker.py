"""Predicts into a file in child processes that are killed at random moments; started by test_predict_kill.py.

    python predict_kill_worker.py RUN DATA OUTPUT KILLS SEED

Everything is imported once; every sitting is a fork of this process.
"""

from __future__ import annotations

import json
import os
import random
import signal
import sys
import time

from eyebright.classifier import load
from eyebright.jobs.predict_to_file import predict_to_file


def sit(run: str, data: str, output: str) -> None:
    written = predict_to_file(load(run, threads=1), [data], output, batch_size=4, save_seconds=0.0)
    os._exit(0 if written.images else 1)


def main() -> None:
    run, data, output, kills, seed = *sys.argv[1:4], int(sys.argv[4]), int(sys.argv[5])
    random.seed(seed)
    killed = 0
    while True:
        child = os.fork()
        if child == 0:
            sit(run, data, output)
        if killed < kills:
            time.sleep(random.uniform(0.0, 0.25))
            os.kill(child, signal.SIGKILL)
        _, status = os.waitpid(child, 0)
        if os.WIFSIGNALED(status):
            killed += 1
            continue
        print(json.dumps({"killed": killed, "code": os.WEXITSTATUS(status)}))
        return


if __name__ == "__main__":
    main()
