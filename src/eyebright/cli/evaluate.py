"""`eyebright evaluate`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from eyebright.cli.shell import print_json, progress_on_screen


def command(
    run: Annotated[Path, typer.Argument(help="Folder of a run or a bundle.", show_default=False)],
    data: Annotated[str, typer.Argument(help="Labelled images, in any form that `train` takes.", show_default=False)],
    split: Annotated[
        str | None, typer.Option(help="Score only this split, where the data has splits: train, val or test.")
    ] = None,
    include_seen: Annotated[
        bool, typer.Option("--include-seen", help="Score images that the classifier was trained on, too.")
    ] = False,
    superclass: Annotated[
        str | None,
        typer.Option(help="Where the data says its superclasses: folders, column:NAME, or a YAML file."),
    ] = None,
    allow_bad: Annotated[str, typer.Option(help="Share of unreadable images to go on without.")] = "1%",
    json_: Annotated[bool, typer.Option("--json", help="Print all metrics as JSON.")] = False,
) -> None:
    """Score a classifier on labelled images that it has not seen.

    Images that it was trained or calibrated on are recognised by their content and left out.

    \b
    Example:
      eyebright evaluate runs/NAME new_photos/
    """
    from eyebright.config import parse_share
    from eyebright.errors import UsageError, did_you_mean
    from eyebright.jobs.evaluate import evaluate_on

    if split is not None and split not in ("train", "val", "test"):
        raise UsageError(
            f"unknown split {split!r}{did_you_mean(split, ('train', 'val', 'test'))}", expected="train, val or test"
        )
    with progress_on_screen(quiet=json_) as progress:
        result = evaluate_on(
            run,
            data,
            split=split,
            include_seen=include_seen,
            allow_bad=parse_share(allow_bad),
            superclass=superclass,
            progress=progress,
        )
    if json_:
        facts = {"seen_left_out": result.seen, "own_test_images": result.test_images, "ledger": result.ledger}
        folder = None if result.folder is None else str(result.folder)
        print_json({"metrics": result.metrics.as_dict(), **facts, "folder": folder})
        return
    if result.seen:
        left_out = ", ".join(f"{count} from {name}" for name, count in result.seen.items())
        print(f"left out because the classifier was made with them: {left_out}")
    if result.test_images:
        print(f"{result.test_images} of the images belong to the run's own test split and have been scored before")
    for entry in result.ledger[:10]:
        print(f"not used: {entry['source']}: {entry['status']}: {entry['reason']}")
    if len(result.ledger) > 10:
        print(f"not used: {len(result.ledger) - 10} more")
    print(f"{result.metrics.images} images")
    for name, estimate in result.metrics.estimates():
        interval = f"{estimate.low:.4f} to {estimate.high:.4f}"
        print(f"{name.replace('_', ' '):<20} {estimate.value:.4f}   {interval}   ({estimate.method})")
    print(f"\n{'class':<24} {'precision':>9} {'recall':>9} {'F1':>9} {'images':>7}")
    for row in result.metrics.per_class:
        print(
            f"{row.name:<24} {row.precision.value:>9.3f} {row.recall.value:>9.3f} {row.f1.value:>9.3f} {row.support:>7}"
        )
    if result.folder is not None:
        print(f"\nwritten to {result.folder}")
