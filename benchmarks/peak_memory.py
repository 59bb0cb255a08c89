"""Where the memory of a training goes: the largest resident size in each stage of a run, sampled from outside.

    python benchmarks/peak_memory.py ../shared/data/flowers -- --budget 2m
    python benchmarks/peak_memory.py digits -- --recipe scratch --epochs 1

The run is a process of its own that writes down when each stage of its journal, and each function of `--mark`, begins
and ends. This process reads its memory every 50 ms: what it has allocated (`RssAnon`) apart from files that are mapped
(`RssFile`: libraries, the pack), whose pages the kernel takes back when others need them. A time belongs to the
innermost stage or function that is under way; what lies before the first is `start and imports`. Shorter peaks than
the interval are seen in the last line only, which the kernel keeps.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable
from pathlib import Path

from machine import describe

INTERVAL_SECONDS = 0.05
MARKS = (
    "eyebright.data.pack:pack_images",
    "eyebright.export.onnx:export_onnx",
    "eyebright.export.onnx:export_features",
    "eyebright.export.verify:verify_bundle",
    "eyebright.training.score:predict_logits",
    "eyebright.training.probe:fit_probe",
    "eyebright.jobs.bundling:make_bundle",
    "eyebright.jobs.reporting:make_report",
    "eyebright.report.figures:write_figures",
)
START = "start and imports"
# Wraps the stages and functions before those who call them are imported, then is the command line.
CHILD = """\
import contextlib, functools, importlib, json, sys, time
events, marks = open(sys.argv.pop(1), "a", buffering=1), json.loads(sys.argv.pop(1))
def told(name):
    @contextlib.contextmanager
    def during():
        print(json.dumps([time.monotonic(), "begin", name]), file=events)
        try:
            yield
        finally:
            print(json.dumps([time.monotonic(), "end", name]), file=events)
    return during()
def wrapped(function, name):
    @functools.wraps(function)
    def call(*arguments, **keywords):
        with told(name):
            return function(*arguments, **keywords)
    return call
from eyebright.jobs.journal import Journal
stage = Journal.stage
@contextlib.contextmanager
def recorded(self, name):
    with told(name), stage(self, name):
        yield
Journal.stage = recorded
for mark in marks:
    module, _, name = mark.partition(":")
    try:
        place = importlib.import_module(module)
        setattr(place, name, wrapped(getattr(place, name), name))
    except (ImportError, AttributeError):
        print("not there: " + mark, file=sys.stderr)
from eyebright.cli.main import entry
entry()
"""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Sample:
    """Memory of the process at a time, in MiB."""

    moment: float
    allocated: float
    mapped: float


@dataclasses.dataclass(kw_only=True)
class Stage:
    """What was seen of one stage."""

    seconds: float = 0.0
    allocated: float = 0.0
    mapped: float = 0.0
    total: float = 0.0
    after: float = 0.0


def stages_of(samples: Iterable[Sample], events: list[tuple[float, str, str]]) -> dict[str, Stage]:
    """Peaks by stage, in the order in which the stages began; `after` is what was allocated when a stage was last seen.

    Args:
        samples: in the order of time.
        events: (moment, `begin` or `end`, name), in the order of time.
    """
    found: dict[str, Stage] = {}
    open_stages: list[str] = []
    number, before = 0, None
    for sample in samples:
        while number < len(events) and events[number][0] <= sample.moment:
            _, what, name = events[number]
            if what == "begin":
                open_stages.append(name)
            else:
                open_stages.pop()
            number += 1
        outside = START if number == 0 else "between the stages"
        stage = found.setdefault(" > ".join(open_stages) or outside, Stage())
        stage.seconds += 0.0 if before is None else sample.moment - before
        before = sample.moment
        stage.allocated = max(stage.allocated, sample.allocated)
        stage.mapped = max(stage.mapped, sample.mapped)
        stage.total = max(stage.total, sample.allocated + sample.mapped)
        stage.after = sample.allocated
    return found


def read_memory(process: int) -> Sample | None:
    """The memory of a process now; None when it has ended."""
    try:
        lines = Path(f"/proc/{process}/status").read_text(encoding="ascii", errors="replace").splitlines()
    except OSError:
        return None
    facts = dict(line.split(":", 1) for line in lines if line.startswith("Rss"))
    if "RssAnon" not in facts:
        return None
    shared = float(facts["RssShmem"].split()[0])
    allocated, mapped = (float(facts[name].split()[0]) for name in ("RssAnon", "RssFile"))
    return Sample(moment=time.monotonic(), allocated=(allocated + shared) / 1024, mapped=mapped / 1024)


def watch(arguments: list[str], marks: list[str]) -> tuple[dict[str, Stage], float]:
    """Run the command line and watch it; the stages, and the largest resident size that the kernel saw, in MiB."""
    with tempfile.TemporaryDirectory() as folder:
        events = Path(folder) / "events"
        events.touch()
        process = subprocess.Popen(
            [sys.executable, "-c", CHILD, str(events), json.dumps(marks), *arguments], stdout=subprocess.DEVNULL
        )
        samples = []
        while True:
            ended, status, usage = os.wait4(process.pid, os.WNOHANG)
            if ended:
                break
            sample = read_memory(process.pid)
            if sample is not None:
                samples.append(sample)
            time.sleep(INTERVAL_SECONDS)
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode != 0:
            raise SystemExit(f"the run ended with exit code {process.returncode}")
        lines = [json.loads(line) for line in events.read_text(encoding="utf-8").splitlines()]
    return stages_of(samples, [(moment, what, name) for moment, what, name in lines]), usage.ru_maxrss / 1024


def main() -> None:
    """Train, watch and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data")
    parser.add_argument("options", nargs="*", help="of `eyebright train`, after --")
    parser.add_argument("--mark", nargs="+", default=list(MARKS), metavar="MODULE:FUNCTION")
    given = parser.parse_args()
    print(describe())
    with tempfile.TemporaryDirectory() as output:
        stages, peak = watch(["train", given.data, "--output", output, *given.options], given.mark)
    print(
        "| stage | seconds | allocated, peak MiB | allocated at its end | mapped files, peak MiB | resident, peak MiB |"
    )
    print("|---|---|---|---|---|---|")
    for name, stage in stages.items():
        print(
            f"| {name} | {stage.seconds:.1f} | {stage.allocated:,.0f} | {stage.after:,.0f} | {stage.mapped:,.0f} "
            f"| {stage.total:,.0f} |"
        )
    print(f"| by the kernel's count | {sum(stage.seconds for stage in stages.values()):.1f} | | | | {peak:,.0f} |")


if __name__ == "__main__":
    main()
