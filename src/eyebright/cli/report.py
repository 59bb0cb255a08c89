"""`eyebright report`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from eyebright.cli.shell import print_json


def command(
    run: Annotated[Path, typer.Argument(help="Folder of the run.", show_default=False)],
    json_: Annotated[bool, typer.Option("--json", help="Print the path as JSON.")] = False,
) -> None:
    """Write the report of a run again, from what lies in its folder.

    \b
    Example:
      eyebright report runs/NAME
    """
    from eyebright.jobs.reporting import make_report
    from eyebright.run import open_run

    path = make_report(open_run(run))
    if json_:
        print_json({"report": str(path)})
    else:
        print(path)
