"""`eyebright lr-find`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from eyebright.cli.shell import print_json, progress_on_screen


def command(
    data: Annotated[str, typer.Argument(help="Your images, as for `eyebright train`.", show_default=False)],
    recipe: Annotated[str | None, typer.Option(help="How you are going to train. Default: fine-tune.")] = None,
    model: Annotated[str | None, typer.Option(help="Network, by any timm name. Default: the recipe chooses.")] = None,
    stage: Annotated[str | None, typer.Option(help="Stage of the recipe. Default: the first.")] = None,
    steps: Annotated[int, typer.Option(help="Steps of the test.")] = 100,
    lowest: Annotated[float, typer.Option(help="Learning rate of the first step.")] = 1e-7,
    highest: Annotated[float, typer.Option(help="Learning rate of the last step.")] = 10.0,
    size: Annotated[int | None, typer.Option(help="Side of the input in pixels. Default: the recipe chooses.")] = None,
    batch_size: Annotated[int | None, typer.Option(help="Images in a step. Default: the recipe chooses.")] = None,
    seed: Annotated[int | None, typer.Option(help="Seed of everything random. Default: 0.")] = None,
    device: Annotated[str | None, typer.Option(help="auto, cpu, cuda or mps. Default: auto.")] = None,
    config: Annotated[Path | None, typer.Option(help="YAML file with settings.", show_default=False)] = None,
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", help="One setting, as loss.label_smoothing=0; may be repeated.", metavar="KEY=VALUE"),
    ] = None,
    output: Annotated[Path, typer.Option(help="Folder for the plot and the figures.")] = Path("lr-find"),
    download: Annotated[bool, typer.Option("--download", help="Allow a named data set to be downloaded.")] = False,
    json_: Annotated[bool, typer.Option("--json", help="Print the result as JSON, and nothing else.")] = False,
) -> None:
    """Find a learning rate for your images and a recipe. Nothing is trained that stays.

    \b
    Examples:
      eyebright lr-find photos/
      eyebright lr-find photos/ --recipe deep-v1
      eyebright lr-find photos/ --recipe fine-tune --model resnet18 --stage all
    """
    from eyebright.jobs.lr_find import find_learning_rate

    with progress_on_screen(quiet=json_) as progress:
        found = find_learning_rate(
            data, output=output, stage=stage, steps=steps, lowest=lowest, highest=highest, progress=progress,
            consent_download=download, recipe=recipe, model=model, size=size, batch_size=batch_size, seed=seed,
            device=device, file=config, settings=settings or (),
        )  # fmt: skip
    if json_:
        print_json({**found.as_dict(), "folder": str(found.folder)})
        return
    print(f"{found.network}, stage {found.stage}: {found.curve.reason}")
    if found.curve.ended is not None:
        print(f"the test ended early: {found.curve.ended}")
    if found.curve.suggestion is not None:
        print(f"use it with --set optim.learning_rate={found.curve.suggestion:.2g}")
    print(f"plot: {found.folder / 'rates.html'}")
