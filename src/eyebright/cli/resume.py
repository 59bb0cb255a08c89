"""`eyebright resume`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from eyebright.cli.main import STARTED
from eyebright.cli.shell import leads, print_json, progress_on_screen


def command(
    run: Annotated[Path, typer.Argument(help="Folder of the run.", show_default=False)],
    device: Annotated[
        str | None, typer.Option(help="Another device than before: auto, cpu, cuda or mps.", show_default=False)
    ] = None,
    batch_size: Annotated[int | None, typer.Option(help="Another batch size from here on.", show_default=False)] = None,
    json_: Annotated[bool, typer.Option("--json", help="Print the result as JSON, and nothing else.")] = False,
) -> None:
    """Continue a run that was interrupted or killed, from its last checkpoint.

    On the same CPU the result is bit for bit that of a run that was never stopped. On another device or with another
    batch size it goes on from the same place, and says what differs.

    \b
    Examples:
      eyebright resume runs/flowers-auto-20261123-101500
      eyebright resume runs/flowers-auto-20261123-101500 --device cpu --batch-size 16
    """
    from eyebright.jobs.train import resume

    with progress_on_screen(quiet=json_) as progress:
        finished = resume(run, device=device, batch_size=batch_size, progress=progress, started=STARTED)
    if not leads():
        return  # the first process of a team speaks for all
    from eyebright.cli.summary import describe_run, run_facts

    if json_:
        print_json(run_facts(finished))
    else:
        print(describe_run(finished))
