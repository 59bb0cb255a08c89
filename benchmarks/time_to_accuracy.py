"""Accuracy against seconds on flowers and trashnet: `eyebright train --budget` beside fastai's `fine_tune`, one plot.

    python benchmarks/time_to_accuracy.py --peers .venv-peers --save-docs

Seconds are those of the whole process: start, decoding, training, scoring, and with ours the report too, from a cold
cache. Ours runs with budgets of 1, 2 and 5 minutes and chooses all else itself; fastai fine-tunes EfficientNet-Lite0
at 128 px for 1, 2 and 4 epochs, after one of the head. Both have the same training, validation and test images, those
of our manifest, and score the test images once. Short programs come first; one that would pass `--minutes` is left out
and named. Interrupted, it goes on where it was. The bars are 95 % intervals (Wilson 1927) over the test images; every
program ran once, with one seed.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import turns
from comparison import TimeLimit
from cpu_rows import apart
from machine import describe
from turns import Ledger, Measurement, interval_of, markdown, with_interval

HERE = Path(__file__).parent
OURS, FASTAI = "eyebright train", "fastai fine_tune"
# Blue and vermilion of Okabe and Ito (2008), which keep apart for every kind of colour vision; the marks differ too.
LOOKS = {OURS: ("#0072B2", "o"), FASTAI: ("#D55E00", "s")}
PICTURE = Path("docs/images/time_to_accuracy.svg")
EXPECTED_EPOCH_SECONDS = 100.0


def measure_ours(data: str, seconds: int, work: Path) -> Measurement:
    """One run with a budget; its rows are kept for the peer."""
    from main_job import rows_of

    name = f"{Path(data).name}-{seconds}s"
    found = turns.eyebright(data, "--budget", f"{seconds}s", "--device", "cpu", output=work, name=name)
    rows = rows_of(work / found["run"])
    rows_file(data, work).write_text(json.dumps(rows), encoding="utf-8")
    return found | {"test_images": sum(split == "test" for _, _, split in rows)}


def measure_fastai(python: str, data: str, epochs: int, work: Path) -> Measurement:
    """One run of so many epochs on the rows of ours."""
    found = turns.peer(
        python, str(HERE / "peer_fastai_finetune.py"), str(rows_file(data, work).resolve()), "--epochs", str(epochs)
    )
    return found | {"interval": interval_of(found["accuracy"], found["test_images"])}


def rows_file(data: str, work: Path) -> Path:
    """Where the images of a set and their splits are kept."""
    return work / f"rows-{Path(data).name}.json"


def plan(given: argparse.Namespace) -> list[tuple[float, str, str, int]]:
    """(expected seconds, program, set, budget or epochs) of every run, short ones first and ours before its peer."""
    runs = [(float(budget), OURS, data, budget) for data in given.data for budget in given.budgets]
    shortest = min(given.budgets)  # the peer needs the rows of one of our runs
    runs += [
        (max(shortest + 1.0, (0.6 + epochs) * EXPECTED_EPOCH_SECONDS), FASTAI, data, epochs)
        for data in given.data
        for epochs in given.fastai_epochs
    ]
    return sorted(runs, key=lambda run: run[0])


def draw(measurements: Sequence[Measurement], paths: Sequence[Path], note: str) -> None:
    """Two panels, accuracy against seconds, each line named where it ends."""
    import matplotlib

    matplotlib.use("Agg")
    matplotlib.rcParams["svg.hashsalt"] = "eyebright"
    matplotlib.rcParams["svg.fonttype"] = "path"
    from matplotlib import pyplot

    sets = list(dict.fromkeys(each["set"] for each in measurements))
    figure, axes = pyplot.subplots(1, len(sets), figsize=(5.2 * len(sets), 4.4), squeeze=False, facecolor="white")
    for axis, name in zip(axes[0], sets, strict=True):
        axis.set_facecolor("white")
        longest = max(each["process_seconds"] for each in measurements if each["set"] == name)
        for program, (colour, mark) in LOOKS.items():
            found = sorted(
                (each for each in measurements if each["set"] == name and each["what"] == program),
                key=lambda each: each["process_seconds"],
            )
            if not found:
                continue
            x, y = [each["process_seconds"] for each in found], [each["accuracy"] for each in found]
            spread = [
                [value - each["interval"][0] for value, each in zip(y, found, strict=True)],
                [each["interval"][1] - value for value, each in zip(y, found, strict=True)],
            ]
            axis.errorbar(x, y, yerr=spread, color=colour, marker=mark, linewidth=2, markersize=7, elinewidth=1)
            axis.annotate(
                program, (x[-1], y[-1]), xytext=(-8, 20 if program == OURS else -42), textcoords="offset points",
                color=colour, ha="right", fontweight="bold",
                bbox={"facecolor": "white", "edgecolor": "none", "pad": 1, "alpha": 0.8},
            )  # fmt: skip
            for each, across, up in zip(found, x, y, strict=True):
                said = f"{each['length']} s" if program == OURS else f"{each['length']} ep."
                away = (-7, 5, "right") if program == OURS else (7, -12, "left")  # on the outer side of the line
                axis.annotate(said, (across, up), xytext=away[:2], ha=away[2], textcoords="offset points",
                              fontsize=9, color="#333333")  # fmt: skip
        axis.set(title=name, xlabel="seconds of the whole process", xlim=(0, longest * 1.12))
        axis.grid(color="#dddddd", linewidth=0.8)
        axis.spines[["top", "right"]].set_visible(False)
    axes[0][0].set_ylabel("test accuracy")
    figure.text(0.01, 0.01, note, fontsize=7, color="#444444")
    figure.tight_layout(rect=(0, 0.04, 1, 1))
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(path, dpi=150, metadata={"Date": None} if path.suffix == ".svg" else None)
    pyplot.close(figure)


def table(measurements: Sequence[Measurement]) -> str:
    """What was measured, as Markdown."""
    rows = [
        [
            each["set"],
            each["what"],
            f"{each['length']} s budget" if each["what"] == OURS else f"{each['length']} epochs",
            f"{each['process_seconds']:.0f}",
            with_interval(each["accuracy"], each["interval"]),
            f"{each['peak_gib']:.2f} GiB",
            f"{each['load']:.1f}",
        ]
        for each in sorted(measurements, key=lambda each: (each["set"], each["what"], each["length"]))
    ]
    columns = ("set", "program", "length", "seconds in all", "test accuracy (95 %)", "peak memory", "load at start")
    return "\n".join(markdown(columns, rows))


def main() -> None:
    """Measure what is missing, print the table, draw."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", nargs="*", default=["../shared/data/flowers", "../shared/data/trashnet"])
    parser.add_argument("--budgets", nargs="+", type=int, default=[60, 120, 300], help="of ours, in seconds")
    parser.add_argument("--fastai-epochs", nargs="+", type=int, default=[1, 2, 4])
    parser.add_argument("--minutes", type=float, default=26.0, help="for all measurements together")
    parser.add_argument("--peers", type=Path, default=Path(".venv-peers"), help="made by packaging/peers.py")
    parser.add_argument("--output", type=Path, default=Path("runs/time-to-accuracy"))
    parser.add_argument("--fresh", action="store_true", help="forget what was measured before")
    parser.add_argument("--save-docs", action="store_true", help=f"also write {PICTURE} and its PNG")
    given = parser.parse_args()

    machine = describe()
    print(machine, flush=True)
    ledger_file = given.output / "measurements.jsonl"
    if given.fresh:
        ledger_file.unlink(missing_ok=True)
    given.output.mkdir(parents=True, exist_ok=True)
    ledger = Ledger(ledger_file)
    limit = TimeLimit(given.minutes * 60, sum(each["process_seconds"] for each in ledger.measurements))
    for seconds, what, data, length in plan(given):
        key: dict[str, Any] = {"set": Path(data).name, "what": what, "length": length}
        if ledger.find(**key) is not None:
            continue
        if not limit.allows(seconds):
            print(f"{key['set']}, {what} {length}: left out, because {limit.spent:.0f} s are spent and it takes about "
                  f"{seconds:.0f} s; more --minutes would measure it", file=sys.stderr)  # fmt: skip
            continue
        if what == OURS:
            found = apart(measure_ours, data, length, given.output)
        else:
            found = apart(measure_fastai, str(given.peers / "bin" / "python"), data, length, given.output)
        ledger.add(key | found | {"machine": machine})
    print(table(ledger.measurements))
    note = f"One run of each, {os.cpu_count()} CPU cores; bars: 95 % intervals over the test images."
    paths = [given.output / f"time_to_accuracy{suffix}" for suffix in (".svg", ".png")]
    draw(ledger.measurements, paths, note)
    if given.save_docs:
        draw(ledger.measurements, [PICTURE, PICTURE.with_suffix(".png")], note)
        paths += [PICTURE, PICTURE.with_suffix(".png")]
    print("\n".join(f"saved {path}" for path in paths))


if __name__ == "__main__":
    main()
