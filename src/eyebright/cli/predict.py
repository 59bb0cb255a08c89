"""`eyebright predict`."""

from __future__ import annotations

import csv
import json
import sys
from pathlib import Path
from typing import Annotated

import typer

from eyebright.cli.shell import progress_on_screen


def command(
    run: Annotated[Path, typer.Argument(help="Folder of a run or a bundle.", show_default=False)],
    images: Annotated[
        list[str], typer.Argument(help="Images, folders, tables or named data sets.", show_default=False)
    ],
    top: Annotated[int, typer.Option(help="How many classes to show for each image.", min=1)] = 3,
    json_: Annotated[bool, typer.Option("--json", help="Print a JSON list with all probabilities.")] = False,
    csv_: Annotated[bool, typer.Option("--csv", help="Print a CSV table with all probabilities.")] = False,
) -> None:
    """Classify images, folders or tables.

    An image that cannot be read is listed with the reason; the exit code is then 3.

    \b
    Examples:
      eyebright predict runs/NAME photo.jpg
      eyebright predict runs/NAME folder/ more/*.png --json
      eyebright predict runs/NAME folder/ --csv > predictions.csv
    """
    from eyebright.classifier import load
    from eyebright.errors import UsageError
    from eyebright.jobs.predict import predict

    if json_ and csv_:
        raise UsageError("both --json and --csv were given", expected="one of them")
    classifier = load(run)
    count = bad = 0
    first = True
    writer = csv.writer(sys.stdout)
    above: list[str] = []
    if csv_:
        above = ["superclass", "superclass_probability"] if classifier.record.superclasses else []
        writer.writerow(["source", "id", "status", "reason", "label", "probability", *above, *classifier.classes])
    with progress_on_screen(quiet=json_ or csv_ or not sys.stdout.isatty()) as progress:
        for answer in predict(classifier, images, progress=progress):
            count += 1
            bad += answer.status != "ok"
            if json_:
                print(
                    "[" if first else ",",
                    json.dumps(answer.as_dict(), ensure_ascii=False),
                    sep="\n" if not first else "",
                )
            elif csv_:
                probabilities = (
                    [f"{answer.probabilities[name]:.6f}" for name in classifier.classes]
                    if answer.probabilities
                    else [""] * len(classifier.classes)
                )
                levels = [answer.label, _shown(answer.probability)]
                if above:
                    levels += [answer.superclass, _shown(answer.superclass_probability)]
                writer.writerow([answer.source, answer.id, answer.status, answer.reason, *levels, *probabilities])
            elif answer.probabilities is None:
                print(f"{answer.source}: {answer.status}: {answer.reason}")
            else:
                best = sorted(answer.probabilities.items(), key=lambda pair: -pair[1])[:top]
                line = f"{answer.source}: " + ", ".join(f"{name} {value:.1%}" for name, value in best)
                if answer.superclass is not None:
                    line += f"; {answer.superclass} {answer.superclass_probability:.1%}"
                print(line)
            first = False
    if json_:
        print("[]" if first else "]")
    if bad:
        print(
            f"eyebright: {bad} of {count} images could not be classified\n"
            "  to fix it: correct, repair or leave out those that are listed with a reason",
            file=sys.stderr,
        )
        raise typer.Exit(3)


def _shown(probability: float | None) -> str:
    return "" if probability is None else f"{probability:.6f}"
