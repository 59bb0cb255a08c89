"""How long each command takes to start, what it loads, and the memory that it needs at most.

    python benchmarks/startup.py --rounds 7 --save startup.json

`import eyebright`, the help of every verb, light verbs, one prediction, a comparison, a report, and training on the
built-in digits up to its first step and to its end. Every call is a process of its own; the calls take turns, and the
median and the range of the wall seconds are printed. One further round, not timed, asks each process for its modules.
The first reading of a file from the disk is not part of it: a round that is not counted comes first.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from machine import describe

PACKAGES = (
    "numpy", "PIL", "pyarrow", "onnxruntime", "scipy", "sklearn", "pandas", "matplotlib", "onnx", "torch",
    "torch._dynamo", "torchvision", "timm",
)  # fmt: skip
SHARED = Path(__file__).resolve().parents[2] / "shared" / "data"
MAIN = "import sys; from eyebright.cli.main import entry; entry()"
# Tells on standard error, at its end, what the process has loaded: standard output belongs to the command.
ASKED = """\
import atexit, json, sys
packages = json.loads(sys.argv.pop(1))
atexit.register(lambda: print("loaded", json.dumps([len(sys.modules), [n for n in packages if n in sys.modules]]),
    file=sys.stderr))
"""
# Ends the process when the first step is done, as a hook of the loop would see it.
FIRST_STEP = """\
import os, sys, time
import eyebright.training.loop
from torch.optim.optimizer import register_optimizer_step_post_hook
def stop(optimizer, arguments, keywords):
    sys.stderr.flush()
    os._exit(0)
register_optimizer_step_post_hook(stop)
from eyebright.cli.main import entry
entry()
"""


def calls_to_measure(folder: Path, image: Path) -> dict[str, list[str]]:
    """Command line after `python` of each call, by its name in the table."""
    from eyebright.cli.main import VERBS

    def verb(*arguments: str | Path) -> list[str]:
        return ["-c", MAIN, *map(str, arguments)]

    run, other = folder / "runs" / "one", folder / "runs" / "two"
    train = ["train", "digits", "--recipe", "scratch", "--epochs", "1", "--output", str(folder / "more"), "--json"]
    return {
        "import eyebright": ["-c", "import eyebright"],
        "import eyebright.load": ["-c", "from eyebright import load"],
        "eyebright --help": verb("--help"),
        **{f"{name} --help": verb(name, "--help") for name in VERBS},
        "cache": verb("cache"),
        "recipes": verb("recipes"),
        "recipes show auto": verb("recipes", "show", "auto"),
        "datasets": verb("datasets"),
        "models list": verb("models", "list"),
        "predict, one image": verb("predict", run, image),
        "verify": verb("verify", run),
        "evaluate, 270 digits": verb("evaluate", run),
        "compare, two runs": verb("compare", run, other, "--output", folder / "comparison"),
        "report": verb("report", run),
        "train digits, to the first step": ["-c", FIRST_STEP, *train],
        "train digits, one epoch": verb(*train),
    }


def measure(arguments: list[str], environment: dict[str, str]) -> tuple[float, float]:
    """Wall seconds of a process and its largest resident memory in MiB."""
    began = time.perf_counter()
    process = subprocess.Popen(
        [sys.executable, *arguments], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=environment
    )
    _, status, usage = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - began
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode != 0:
        raise SystemExit(f"{arguments} ended with exit code {process.returncode}")
    return seconds, usage.ru_maxrss / 1024  # Linux counts in KiB


def what_is_loaded(arguments: list[str], environment: dict[str, str]) -> tuple[int, list[str]]:
    """Number of modules at the end of the call, and which of `PACKAGES` are among them."""
    code = ASKED + arguments[1].replace("os._exit(0)", "atexit._run_exitfuncs(); os._exit(0)")
    done = subprocess.run(
        [sys.executable, "-c", code, json.dumps(PACKAGES), *arguments[2:]],
        stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, env=environment, check=False,
    )  # fmt: skip
    line = next(line for line in reversed(done.stderr.splitlines()) if line.startswith("loaded "))
    count, names = json.loads(line.removeprefix("loaded "))
    return count, names


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--only", nargs="+", default=[], help="calls whose name contains one of these words")
    parser.add_argument("--image", type=Path, help="for `predict`; a photo of the flowers when left out")
    parser.add_argument("--save", type=Path, help="all readings as JSON")
    given = parser.parse_args()
    image = given.image or min((SHARED / "flowers" / "daisy").iterdir())
    print(describe())
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        environment = os.environ | {"EYEBRIGHT_CACHE": str(folder / "cache")}
        for name in ("one", "two"):
            options = ["--recipe", "scratch", "--epochs", "1", "--output", str(folder / "runs"), "--name", name]
            measure(["-c", MAIN, "train", "digits", *options, "--set", f"seed={len(name)}"], environment)
        calls = calls_to_measure(folder, image)
        if given.only:
            calls = {name: call for name, call in calls.items() if any(word in name for word in given.only)}
        rows: dict[str, dict[str, Any]] = {name: {"seconds": [], "mebibytes": []} for name in calls}
        for round_ in range(given.rounds + 1):
            for name, call in calls.items():
                seconds, mebibytes = measure(call, environment)
                if round_:  # the first round fills the cache of the file system
                    rows[name]["seconds"].append(seconds)
                    rows[name]["mebibytes"].append(mebibytes)
        for name, call in calls.items():
            rows[name]["modules"], rows[name]["packages"] = what_is_loaded(call, environment)
    print(f"| call | seconds, median of {given.rounds} (range) | peak MiB | modules | of the heavy packages |")
    print("|---|---|---|---|---|")
    for name, row in rows.items():
        times = row["seconds"]
        print(
            f"| {name} | {statistics.median(times):.2f} ({min(times):.2f} to {max(times):.2f}) "
            f"| {max(row['mebibytes']):.0f} | {row['modules']} | {', '.join(row['packages']) or 'none'} |"
        )
    if given.save:
        given.save.write_text(json.dumps({"machine": describe(), "calls": rows}, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
