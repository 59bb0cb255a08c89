"""`eyebright evaluate`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from eyebright.cli.shell import print_json, progress_on_screen


def command(
    run: Annotated[
        Path,
        typer.Argument(
            help="Folder of a run or a bundle, or a table of predictions (CSV, TSV, Parquet).", show_default=False
        ),
    ],
    data: Annotated[
        str | None,
        typer.Argument(
            help="Labelled images, in any form that `train` takes. Left out, what the run said of its own "
            "test images is measured again.",
            show_default=False,
        ),
    ] = None,
    split: Annotated[
        str | None, typer.Option(help="Only this split, where the data has splits: train, val or test.")
    ] = None,
    by: Annotated[
        list[str] | None, typer.Option(help="Accuracy for each value of this column of the data; repeatable.")
    ] = None,
    slices: Annotated[
        bool, typer.Option("--slices", help="Accuracy by image property, and a search for the worst slices.")
    ] = False,
    costs: Annotated[Path | None, typer.Option(help="Table of what each mistake costs.", show_default=False)] = None,
    robustness: Annotated[
        bool, typer.Option("--robustness", help="Score the run's test images spoilt in many ways (minutes).")
    ] = False,
    images: Annotated[
        str | None, typer.Option(help="With --robustness: how many images, or `all`. Default: three minutes' worth.")
    ] = None,
    outliers: Annotated[
        str | None,
        typer.Option(help="Images of other things: how well the run tells them from its own.", show_default=False),
    ] = None,
    labels: Annotated[
        str | None,
        typer.Option(
            help="For a table of predictions without true classes: a table of labels, or the labelled images.",
            show_default=False,
        ),
    ] = None,
    classes: Annotated[
        str | None,
        typer.Option(
            help="For a table of predictions in lists: the class names in order, with commas.", show_default=False
        ),
    ] = None,
    include_seen: Annotated[
        bool, typer.Option("--include-seen", help="Score images that the classifier was trained on, too.")
    ] = False,
    superclass: Annotated[
        str | None,
        typer.Option(help="Where the data says its superclasses: folders, column:NAME, or a YAML file."),
    ] = None,
    allow_bad: Annotated[
        str | None, typer.Option(help="Share of unreadable images to go on without. Default: 1%.", show_default=False)
    ] = None,
    json_: Annotated[bool, typer.Option("--json", help="Print everything as JSON.")] = False,
) -> None:
    """Score a classifier on labelled images that it has not seen.

    Images that it was trained or calibrated on are recognised by their content and left out. A table holds the answers
    of any other model: an image, its true class, and a probability for each class (see the documentation).

    \b
    Examples:
      eyebright evaluate runs/NAME
      eyebright evaluate runs/NAME new_photos/ --slices --by camera
      eyebright evaluate other_model.csv
      eyebright evaluate runs/NAME --robustness
      eyebright evaluate runs/NAME --outliers holiday_photos/
    """  # fmt: skip
    from eyebright.cli.evaluate_text import describe_evaluation, describe_outliers
    from eyebright.config import parse_share
    from eyebright.errors import UsageError, did_you_mean
    from eyebright.jobs.evaluate import evaluate_on, evaluate_stored, evaluate_table
    from eyebright.jobs.text_table import is_prediction_table

    if split is not None and split not in ("train", "val", "test"):
        raise UsageError(
            f"unknown split {split!r}{did_you_mean(split, ('train', 'val', 'test'))}", expected="train, val or test"
        )
    table = is_prediction_table(run)
    scoring = {"--include-seen": include_seen, "--superclass": superclass, "--allow-bad": allow_bad}
    if table or data is None:
        _refuse(scoring, "images to score: `eyebright evaluate RUN DATA`")
    if table:
        _refuse({"--robustness": robustness, "--outliers": outliers}, "a run, whose network can be asked again")
    else:
        _refuse({"--labels": labels, "--classes": classes}, "a table of predictions")
    if not robustness:
        _refuse({"--images": images}, "--robustness")
    options: dict[str, Any] = {
        "split": split, "by": by or (), "slices": slices, "costs": None if costs is None else _read_costs(costs)
    }  # fmt: skip
    facts: dict[str, Any] = {}
    with progress_on_screen(quiet=json_) as progress:
        if table:
            named = None if classes is None else [name.strip() for name in classes.split(",")]
            result = evaluate_table(run, data, classes=named, labels=labels, progress=progress, **options)
        elif data is None:
            result = evaluate_stored(run, progress=progress, **options)
        else:
            result = evaluate_on(
                run, data, include_seen=include_seen, allow_bad=parse_share(allow_bad or "1%"),
                superclass=superclass, progress=progress, **options,
            )  # fmt: skip
        text = describe_evaluation(result)
        if robustness:
            from eyebright.jobs.reporting import make_report
            from eyebright.jobs.robustness import measure_robustness
            from eyebright.run import open_run

            measured = measure_robustness(run, images=images, progress=progress)
            facts["robustness"] = measured.as_dict()
            report = make_report(open_run(run))
            text += ["", "spoilt images", *measured.lines(), f"the report shows them: {report}"]
        if outliers is not None:
            from eyebright.jobs.outliers import measure_outliers

            facts["outliers"] = measure_outliers(run, outliers, progress=progress)
            text += ["", *describe_outliers(facts["outliers"])]
    if not json_:
        print("\n".join(text))
        return
    folder = None if result.folder is None else str(result.folder)
    facts |= {"seen_left_out": result.seen, "own_test_images": result.test_images, "ledger": result.ledger}
    if slices or by:
        facts["slices"] = result.slices
    if result.worst_slices is not None:
        facts["worst_slices"] = result.worst_slices
    print_json({"metrics": result.metrics.as_dict(), **facts, "folder": folder})


def _refuse(options: dict[str, Any], needed: str) -> None:
    from eyebright.errors import UsageError

    for name, value in options.items():
        if value:
            raise UsageError(f"{name} was given without what it is about", expected=f"{name} beside {needed}")


def _read_costs(path: Path) -> Any:
    from eyebright.evaluation.costs import read_costs

    return read_costs(path)
