"""`make bench`: Eyebright on the CPU beside its peers, in one table, in less than half an hour.

    .venv/bin/python packaging/peers.py .venv-peers
    .venv/bin/python benchmarks/bench.py --peers .venv-peers --data ../shared/data
    .venv/bin/python benchmarks/bench.py --rows predict packing --quick

The programs of all rows take turns (comparison.py). The table is printed and saved as Markdown and JSON under
`--output`. What has been measured is kept there at once: a bench that was stopped goes on where it was, and `--fresh`
starts again. No figure depends on a test score. What each row measures: docs/speed.md.
"""

from __future__ import annotations

import argparse
import shutil
from pathlib import Path

import cpu_rows
from comparison import TimeLimit, measure, save, table
from machine import describe
from turns import Ledger

# `make bench` is to end within 30 minutes; the last row may take longer than it did before.
LIMIT_MINUTES = 28.0


def main() -> None:
    """Measure what is missing, print the table, save it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", nargs="+", metavar="NAME", help="only these; left out, all")
    length = parser.add_mutually_exclusive_group()
    length.add_argument("--quick", action="store_true", help="half as many repeats")
    length.add_argument("--tiny", action="store_true", help="to see whether it runs; the figures mean nothing")
    parser.add_argument("--minutes", type=float, default=LIMIT_MINUTES, help="for all measurements together")
    parser.add_argument("--data", type=Path, default=Path("../shared/data"), help="holds flowers, trashnet and cifar10")
    parser.add_argument("--peers", type=Path, default=Path(".venv-peers"), help="made by packaging/peers.py")
    parser.add_argument("--output", type=Path, default=Path("runs/bench"))
    parser.add_argument("--fresh", action="store_true", help="forget what an interrupted bench has measured")
    given = parser.parse_args()

    place = cpu_rows.Place(
        data=given.data.resolve(), work=(given.output / "work").resolve(), peers=given.peers.absolute()
    )
    if not Path(place.peer_python).exists():
        parser.error(f"no peers in {given.peers}: make them with `python packaging/peers.py {given.peers}`")
    rows = cpu_rows.rows(place, cpu_rows.TINY if given.tiny else cpu_rows.QUICK if given.quick else cpu_rows.Sizes())
    known = [row.name for row in rows]
    if unknown := set(given.rows or ()) - set(known):
        parser.error(f"no row is called {', '.join(sorted(unknown))}; there are {', '.join(known)}")
    rows = [row for row in rows if not given.rows or row.name in given.rows]

    ledger_file = given.output / "unfinished.jsonl"
    if given.fresh:
        ledger_file.unlink(missing_ok=True)
    if not ledger_file.exists():
        shutil.rmtree(place.work, ignore_errors=True)
    machine = describe()
    print(machine, flush=True)
    ledger = Ledger(ledger_file)
    spent = sum(each["took_seconds"] for each in ledger.measurements if each["row"] in {row.name for row in rows})
    limit = TimeLimit(given.minutes * 60, spent)
    remarks = measure(rows, ledger, limit)
    page = "\n".join(
        table(rows, ledger, machine=machine, title="Eyebright beside its peers, on a CPU", remarks=remarks,
              seconds=limit.spent)
    )  # fmt: skip
    print(page)
    for path in save(given.output, "bench", page, rows, ledger, machine=machine, remarks=remarks):
        print(f"saved {path}")
    shutil.rmtree(place.work, ignore_errors=True)


if __name__ == "__main__":
    main()
