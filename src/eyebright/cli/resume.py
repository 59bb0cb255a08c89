"""`eyebright resume`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from eyebright.cli.main import STARTED
from eyebright.cli.shell import print_json, progress_on_screen


def command(
    run: Annotated[Path, typer.Argument(help="Folder of the run.", show_default=False)],
    json_: Annotated[bool, typer.Option("--json", help="Print the result as JSON, and nothing else.")] = False,
) -> None:
    """Continue a run that was interrupted or killed, from its last checkpoint.

    \b
    Example:
      eyebright resume runs/flowers-auto-20261123-101500
    """
    from eyebright.jobs.train import resume

    with progress_on_screen(quiet=json_) as progress:
        finished = resume(run, progress=progress, started=STARTED)
    from eyebright.cli.summary import describe_run, run_facts

    if json_:
        print_json(run_facts(finished))
    else:
        print(describe_run(finished))
