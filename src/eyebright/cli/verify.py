"""`eyebright verify`."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Annotated

import typer

from eyebright.cli.shell import print_json


def command(
    run: Annotated[Path, typer.Argument(help="Folder of a run or a bundle.", show_default=False)],
    json_: Annotated[bool, typer.Option("--json", help="Print the comparison as JSON.")] = False,
) -> None:
    """Check that a classifier still says what it said when it was made.

    Hashes of all files, then the golden samples through the preprocessing, ONNX Runtime and torch. Exit code 4 when a
    file is damaged, 5 when an answer differs.

    \b
    Example:
      eyebright verify runs/NAME
    """
    from eyebright.jobs.verify import verify

    replays = verify(run)
    if json_:
        print_json([dataclasses.asdict(replay) | {"passed": replay.passed} for replay in replays])
        return
    print("all files have the hashes that were recorded")
    for replay in replays:
        unit = "of 255" if replay.runtime == "preprocessing" else "in probability"
        if replay.runtime.endswith("conclusions"):
            unit = "of the outlier score, the same prediction sets"
        difference = f"largest difference {replay.largest_difference:.2g} {unit}"
        print(f"{replay.runtime:<24} {replay.samples} golden samples, {difference}: passed")
