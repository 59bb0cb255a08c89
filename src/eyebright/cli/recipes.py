"""`eyebright recipes`."""

from __future__ import annotations

from typing import Annotated

import typer

from eyebright.cli.shell import print_json


def command(json_: Annotated[bool, typer.Option("--json", help="Print as JSON.")] = False) -> None:
    """Ways to train.

    \b
    Examples:
      eyebright recipes
      eyebright train photos/ --recipe scratch --model resnet18
    """
    from eyebright.recipes import SUMMARIES

    if json_:
        print_json(SUMMARIES)
        return
    for name, line in SUMMARIES.items():
        print(f"{name:<10} {line}")
