"""`eyebright train`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from eyebright.cli.main import STARTED
from eyebright.cli.shell import leads, print_json, progress_on_screen


def command(
    data: Annotated[
        str,
        typer.Argument(
            help="Your images: a folder, a table, a Parquet or IDX file, or a name (see `eyebright datasets`).",
            show_default=False,
        ),
    ],
    budget: Annotated[
        str | None, typer.Option(help="Time for everything, report included: 90s, 10m, 1h30m. Default: 10m.")
    ] = None,
    no_budget: Annotated[bool, typer.Option("--no-budget", help="Take the time that the epochs need.")] = False,
    recipe: Annotated[str | None, typer.Option(help="How to train; see `eyebright recipes`. Default: auto.")] = None,
    model: Annotated[str | None, typer.Option(help="Network, by any timm name. Default: the recipe chooses.")] = None,
    epochs: Annotated[
        int | None, typer.Option(help="Epochs of training; without a --budget they take what they need.")
    ] = None,
    size: Annotated[int | None, typer.Option(help="Side of the input in pixels. Default: the recipe chooses.")] = None,
    split: Annotated[
        str | None, typer.Option(help="Shares of train/val/test where the data has none. Default: 70/15/15.")
    ] = None,
    allow_bad: Annotated[
        str | None, typer.Option(help="Share of unreadable images to go on without. Default: 1%.")
    ] = None,
    superclass: Annotated[
        str | None,
        typer.Option(help="Second level of classes: folders (animal/dog/1.jpg), column:NAME, or a YAML file."),
    ] = None,
    seed: Annotated[int | None, typer.Option(help="Seed of everything random. Default: 0.")] = None,
    device: Annotated[str | None, typer.Option(help="auto, cpu, cuda or mps. Default: auto.")] = None,
    batch_size: Annotated[int | None, typer.Option(help="Images in a step. Default: the recipe chooses.")] = None,
    deterministic: Annotated[
        bool | None, typer.Option("--deterministic", help="The same bits every time on CUDA too; slower there.")
    ] = None,
    tensorboard: Annotated[
        bool, typer.Option("--tensorboard", help="Also write event files for TensorBoard into the run.")
    ] = False,
    profile: Annotated[
        bool, typer.Option("--profile", help="Say where the time went; also in profile.json of the run.")
    ] = False,
    config: Annotated[Path | None, typer.Option(help="YAML file with settings.", show_default=False)] = None,
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", help="One setting, as optim.learning_rate=3e-4; may be repeated.", metavar="KEY=VALUE"),
    ] = None,
    output: Annotated[Path, typer.Option(help="Folder for runs.")] = Path("runs"),
    name: Annotated[
        str | None, typer.Option(help="Name of the run. Default: made from the data, the recipe and the time.")
    ] = None,
    download: Annotated[bool, typer.Option("--download", help="Allow a named data set to be downloaded.")] = False,
    json_: Annotated[bool, typer.Option("--json", help="Print the result as JSON, and nothing else.")] = False,
) -> None:
    """Train a classifier on your images, within a time budget.

    Finds broken images, splits the rest, trains, calibrates, scores the test images once, and writes the classifier
    and a report into a folder of runs.

    \b
    Examples:
      eyebright train photos/ --budget 5m
      eyebright train labels.csv --split 80/10/10 --seed 7
      eyebright train photos/ --recipe scratch --model resnet18 --epochs 20
      eyebright train animals/ --superclass folders
      torchrun --nproc-per-node 2 -m eyebright train photos/ --recipe fine-tune
    """
    from eyebright.jobs.train import train

    with progress_on_screen(quiet=json_) as progress:
        run = train(
            data, output=output, name=name, progress=progress, consent_download=download, started=STARTED,
            budget=budget, no_budget=no_budget, recipe=recipe, model=model, epochs=epochs, size=size, split=split,
            allow_bad=allow_bad, superclass=superclass, seed=seed, device=device, batch_size=batch_size,
            deterministic=deterministic, file=config,
            settings=[
                *(settings or ()),
                *(["log.tensorboard=true"] if tensorboard else ()),
                *(["compute.profile=true"] if profile else ()),
            ],
        )  # fmt: skip
    if not leads():
        return  # the first process of a team speaks for all
    from eyebright.cli.summary import describe_run, run_facts

    if json_:
        print_json(run_facts(run))
    else:
        print(describe_run(run))
