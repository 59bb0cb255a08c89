"""`eyebright datasets`."""

from __future__ import annotations

from typing import Annotated

import typer

from eyebright.cli.shell import print_json


def command(json_: Annotated[bool, typer.Option("--json", help="Print as JSON.")] = False) -> None:
    """Data sets that have a name.

    \b
    Examples:
      eyebright datasets
      eyebright train digits --budget 1m
    """
    from eyebright.data.sources.named import NAMES

    if json_:
        print_json(dict(NAMES) if isinstance(NAMES, dict) else list(NAMES))
        return
    for name in NAMES:
        print(f"{name:<16} {NAMES[name]}" if isinstance(NAMES, dict) else name)
