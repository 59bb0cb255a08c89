"""`eyebright report`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from eyebright.cli.shell import print_json, progress_on_screen

if TYPE_CHECKING:
    from eyebright.jobs.leaderboard import Leaderboard


def command(
    runs: Annotated[
        list[Path],
        typer.Argument(help="A run; several runs or a folder of runs; or a table of predictions.", show_default=False),
    ],
    card: Annotated[bool, typer.Option("--card", help="Write the model card of a run again instead.")] = False,
    output: Annotated[Path | None, typer.Option(help="Folder for a page of many runs, or for that of a table.")] = None,
    json_: Annotated[bool, typer.Option("--json", help="Print the paths and numbers as JSON.")] = False,
) -> None:
    """Write the report of a run again, a leaderboard of many runs, or the report of a table of predictions.

    Runs with the same test images are ranked and tested against each other; the others stand in groups of their own.

    \b
    Examples:
      eyebright report runs/NAME
      eyebright report runs/NAME --card
      eyebright report runs/
      eyebright report predictions.csv
    """
    from eyebright.errors import UsageError
    from eyebright.jobs.entrants import is_run
    from eyebright.jobs.text_table import is_prediction_table

    one = runs[0] if len(runs) == 1 else None
    table = one is not None and is_prediction_table(one)
    if card and (one is None or table):
        received = "a table" if table else f"{len(runs)} runs"
        raise UsageError(f"--card was given with {received}", expected="one run", remedy="name the folder of one run")
    if one is not None and table:
        _report_of_table(one, output=output, json_=json_)
    elif one is not None and (card or not one.is_dir() or is_run(one)):
        _report_of_run(one, card=card, output=output, json_=json_)
    else:
        from eyebright.jobs.leaderboard import leaderboard

        with progress_on_screen(quiet=json_) as progress:
            found = leaderboard(runs, output=output, progress=progress)
        if json_:
            print_json(found.as_dict())
        else:
            _print_leaderboard(found)


def _report_of_run(run: Path, *, card: bool, output: Path | None, json_: bool) -> None:
    from eyebright.errors import UsageError
    from eyebright.run import open_run

    opened = open_run(run)
    if output is not None:
        raise UsageError(
            "--output was given with one run",
            expected="several runs, a folder of runs or a table",
            remedy=f"leave --output out: the page of a run lies in its folder, {run}",
        )
    if card:
        from eyebright.jobs.card import write_card

        path = write_card(opened)
    else:
        from eyebright.jobs.reporting import make_report

        path = make_report(opened)
    if json_:
        print_json({"card" if card else "report": str(path)})
    else:
        print(path)


def _report_of_table(table: Path, *, output: Path | None, json_: bool) -> None:
    from eyebright.jobs.table_report import report_of_table

    with progress_on_screen(quiet=json_) as progress:
        path = report_of_table(table, output=output, progress=progress)
    if json_:
        print_json({"report": str(path)})
    else:
        print(path)


def _print_leaderboard(found: Leaderboard) -> None:
    from eyebright.cli.compare import print_group, print_table
    from eyebright.report.wording import count, percent, percent_range

    single = [group for group in found.groups if len(group.contest.names) == 1]
    for group in found.groups:
        if group not in single:
            print_group(group)
    if single:
        rows = [("run", "data", "images", "accuracy", "95 % interval", "macro F1")]
        for group in single:
            metrics = group.contest.metrics[group.contest.best]
            rows.append((
                group.contest.best, group.data_set, count(len(group.contest)), percent(metrics.accuracy.value),
                percent_range(metrics.accuracy), f"{metrics.macro_f1.value:.3f}",
            ))  # fmt: skip
        print("\nwithout a rival on the same images")
        print_table(rows)
    for name, problem, remedy in found.unfinished:
        print(f"\nnot ranked: {name}: {problem}" + (f"\n  to fix it: {remedy}" if remedy else ""))
    print(f"\npage   {found.page}\ntable  {found.table}")
