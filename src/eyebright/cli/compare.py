"""`eyebright compare`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from eyebright.cli.shell import print_json, progress_on_screen

if TYPE_CHECKING:
    from collections.abc import Sequence

    from eyebright.jobs.compare import Comparison
    from eyebright.report.compare_content import Group


def command(
    runs: Annotated[
        list[Path],
        typer.Argument(
            help="Runs, their evaluations (RUN/evaluations/NAME) or tables of predictions.", show_default=False
        ),
    ],
    across: Annotated[
        bool, typer.Option("--across", help="The runs belong to several data sets: rank their models over all.")
    ] = False,
    common: Annotated[
        bool, typer.Option("--common", help="Where the test images differ, compare on those that all have.")
    ] = False,
    split: Annotated[str, typer.Option(help="Predictions of which split of the runs: test or val.")] = "test",
    measure: Annotated[bool, typer.Option("--measure", help="Time all classifiers in turns on this machine.")] = False,
    output: Annotated[
        Path | None, typer.Option(help="Folder for table and page; comparison/ beside the runs by default.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Of the resampling behind some intervals.")] = 0,
    json_: Annotated[bool, typer.Option("--json", help="Print everything as JSON.")] = False,
) -> None:
    """Compare classifiers on the same images: who is better, who is tied, and what that costs.

    Images are matched by their content. Two classifiers are called different only where a paired test says so.

    \b
    Examples:
      eyebright compare runs/a runs/b runs/c
      eyebright compare runs/*-flowers runs/*-trashnet --across
      eyebright compare runs/a others/predictions.csv
    """
    from eyebright.jobs.compare import compare

    with progress_on_screen(quiet=json_) as progress:
        found = compare(
            runs,
            split=split,
            across=across,
            common=common,
            measure=measure,
            output=output,
            seed=seed,
            progress=progress,
        )
    if json_:
        print_json({**found.as_dict(), "page": str(found.page), "csv": str(found.table)})
        return
    for note in found.notes:
        print(f"note: {note}")
    for group in found.groups:
        print_group(group)
    if found.across is not None:
        _print_across(found)
    print(f"\npage   {found.page}\ntable  {found.table}")


def print_group(group: Group) -> None:
    """A table of the classifiers on one set of images, and what the tests say in words."""
    from eyebright.report.compare_words import p_value, points, points_range, verdict
    from eyebright.report.wording import percent, percent_range, plural

    contest = group.contest
    print(f"\n{group.data_set}: {plural(len(contest), 'image')}")
    for note in group.notes:
        print(f"note: {note}")
    rows = [("", "classifier", "accuracy", "95 % interval", "to the best", "95 % interval", "tie", "macro F1")]
    for rank, name in enumerate(contest.names, 1):
        metrics = contest.metrics[name]
        pair = None if name == contest.best else contest.pair(name, contest.best)
        rows.append((
            str(rank), name, percent(metrics.accuracy.value), percent_range(metrics.accuracy),
            "" if pair is None else points(pair.accuracy.value),
            "" if pair is None else f"{points_range(pair.accuracy)}, {p_value(pair.adjusted_p)}",
            contest.letters[name], f"{metrics.macro_f1.value:.3f}",
        ))  # fmt: skip
    print_table(rows)
    print()
    for line in verdict(contest):
        print(line)


def _print_across(found: Comparison) -> None:
    from eyebright.report.wording import percent

    across = found.across
    assert across is not None
    rows = [("model", "mean rank", *across.data_sets)]
    for model in across.models:
        cells: list[str] = []
        for data_set in across.data_sets:
            cell = across.cells[model].get(data_set)
            mark = "" if cell is None or not cell.tied_with_best else " *"
            cells.append("" if cell is None else f"{percent(cell.accuracy)}{mark}")
        rank = across.mean_ranks.get(model)
        rows.append((model, "" if rank is None else f"{rank:.2f}", *cells))
    print("\nacross data sets")
    print_table(rows)
    print("* the best on its data set, or not told apart from it")


def print_table(rows: Sequence[Sequence[Any]]) -> None:
    """Rows with their columns below each other; a column without any value is left out."""
    kept = [index for index in range(len(rows[0])) if any(row[index] for row in rows[1:])]
    widths = {index: max(len(str(row[index])) for row in rows) for index in kept}
    for row in rows:
        print("  ".join(f"{row[index]:<{widths[index]}}" for index in kept).rstrip())
