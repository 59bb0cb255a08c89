"""`eyebright explain`."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from eyebright.cli.explain_inside import look_inside
from eyebright.cli.shell import print_json, progress_on_screen

if TYPE_CHECKING:
    from eyebright.explain.sanity import SanityCheck
    from eyebright.jobs.explain import Explained
    from eyebright.jobs.explainer import Explainer
    from eyebright.progress import Progress


def command(
    run: Annotated[Path, typer.Argument(help="Folder of a run or a bundle.", show_default=False)],
    images: Annotated[
        list[str] | None, typer.Argument(help="Images, folders, tables or named data sets.", show_default=False)
    ] = None,
    method: Annotated[
        str,
        typer.Option(
            help="How to explain: auto (the most faithful one, measured once for a run), all, or one of grad-cam, "
            "grad-cam++, hires-cam, layer-cam, eigen-cam, rollout, occlusion, integrated-gradients."
        ),
    ] = "auto",
    layer: Annotated[str | None, typer.Option(help="Layer to take maps from, instead of a sensible one.")] = None,
    class_: Annotated[
        str | None, typer.Option("--class", help="Class to explain, instead of the predicted one.")
    ] = None,
    output: Annotated[
        Path | None, typer.Option(help="Folder for the pictures; left out, `explanations` in the run's folder.")
    ] = None,
    top: Annotated[int, typer.Option(help="How many classes to show for each image.", min=1)] = 3,
    measure: Annotated[
        bool, typer.Option("--measure", help="Measure again how faithful each method is, and show it.")
    ] = False,
    check: Annotated[
        bool, typer.Option("--check", help="Compare the maps with those of the same network with random weights.")
    ] = False,
    filters: Annotated[bool, typer.Option("--filters", help="Show the filters of the first layer.")] = False,
    maps: Annotated[
        bool, typer.Option("--maps", help="Show feature maps of the images, of the layer given with --layer.")
    ] = False,
    neighbours: Annotated[
        int, typer.Option(help="Show so many training images that the network finds most like each image.", min=0)
    ] = 0,
    map_: Annotated[
        bool, typer.Option("--map", help="Lay the test images out by what the network sees in them; for the report.")
    ] = False,
    json_: Annotated[bool, typer.Option("--json", help="Print everything as JSON.")] = False,
) -> None:
    """Show what a classifier looks at in an image.

    Writes a picture for each image: the image, the image with what speaks for the class laid over it, and the heat
    alone. An image that cannot be read is listed with the reason; the exit code is then 3.

    \b
    Examples:
      eyebright explain runs/NAME photo.jpg
      eyebright explain runs/NAME photo.jpg --method all --class daisy
      eyebright explain runs/NAME photo.jpg --check
      eyebright explain runs/NAME --measure
      eyebright explain runs/NAME photo.jpg --neighbours 5
      eyebright explain runs/NAME photo.jpg --maps --layer blocks.2
      eyebright explain runs/NAME --filters --map
    """
    from eyebright.errors import UsageError
    from eyebright.jobs.explainer import Explainer

    inside = filters or maps or bool(neighbours) or map_
    if not (images or measure or check or inside):
        raise UsageError("no image was given", expected="one or more images, --measure, --check, --filters or --map")
    content: dict[str, Any] = {}
    bad, given = 0, len(images or [])
    with progress_on_screen(quiet=json_) as progress:
        if inside:
            content, bad = look_inside(
                run, images or [], filters=filters, maps=maps, neighbours=neighbours, map_=map_, layer=layer,
                output=output, progress=progress, show=not json_,
            )  # fmt: skip
            images = []  # these options take the place of the heat maps
        if images or measure or check:
            explainer = Explainer(run, layer=layer)
            if measure:
                content["faithfulness"] = _measured(explainer, progress, show=not json_)
            if check:
                content["check"] = _checked(explainer, method, images or [], progress, show=not json_)
            if images:
                content["images"], bad = _explained(
                    explainer, images, progress, top=top, show=not json_, method=method, class_name=class_,
                    output=output,
                )  # fmt: skip
    if json_:
        print_json(content)
    if bad:
        print(
            f"eyebright: {bad} of {given} images could not be explained\n"
            "  to fix it: correct, repair or leave out those that are listed with a reason",
            file=sys.stderr,
        )
        raise typer.Exit(3)


def _explained(
    explainer: Explainer, images: Sequence[str], progress: Progress, *, top: int, show: bool, **how: Any
) -> tuple[list[dict[str, Any]], int]:
    """Explain the images, a line each; what came of them, and how many could not be read."""
    from eyebright.jobs.explain import explain

    answers = []
    for answer in explain(explainer, images, progress=progress, **how):
        answers.append(answer)
        if show:
            print(_line(answer, top))
    return [answer.as_dict() for answer in answers], sum(answer.status != "ok" for answer in answers)


def _line(answer: Explained, top: int) -> str:
    if answer.probabilities is None:
        return f"{answer.source}: {answer.status}: {answer.reason}"
    best = sorted(answer.probabilities.items(), key=lambda pair: -pair[1])[:top]
    line = f"{answer.source}: " + ", ".join(f"{name} {value:.1%}" for name, value in best)
    if answer.class_name != answer.label:
        line += f"; why {answer.class_name}"
    return f"{line} -> {answer.panel}"


def _measured(explainer: Explainer, progress: Progress, *, show: bool) -> dict[str, Any]:
    """Measure how faithful the methods are, as a table; what was measured."""
    from eyebright.errors import UsageError

    if explainer.run is None:
        raise UsageError(
            f"{explainer.path} is a bundle without a run: it has no validation images to measure with",
            expected="the folder of a run",
            remedy="choose with --method",
        )
    choice = explainer.choice(measure=True, progress=progress)
    if show and choice.faithfulness:
        print(f"{'method':<22} {'insertion - deletion':>24} {'insertion':>10} {'deletion':>9} {'s/image':>8}")
        for row in choice.faithfulness:
            print(_row(row))
    if show:
        print(f"{choice.why}\n")
    return choice.as_dict()


def _row(row: Mapping[str, Any]) -> str:
    difference, seconds = row["difference"], row["seconds_per_image"]
    spread = f"{difference['value']:.3f} ({difference['low']:.3f} to {difference['high']:.3f})"
    return (
        f"{row['method']:<22} {spread:>24} {row['insertion']['value']:>10.3f} {row['deletion']['value']:>9.3f} "
        f"{'' if seconds is None else format(seconds, '.2f'):>8}"
    )


def _checked(
    explainer: Explainer, method: str, images: Sequence[str], progress: Progress, *, show: bool
) -> list[dict[str, Any]]:
    """Check methods against random weights, as a table; what was found."""
    from eyebright.explain.methods import check_method
    from eyebright.jobs.explain import ALL, AUTO
    from eyebright.jobs.explain_check import check, keep_check, pixels_to_check

    if method == AUTO:
        methods = [explainer.choice(measure=False, progress=progress).method]
    else:
        methods = explainer.able() if method == ALL else [check_method(method).name]
    pixels = pixels_to_check(explainer, images)
    rows = check(explainer, methods, pixels, progress=progress)
    keep_check(explainer, rows)
    if show:
        _print_checks(rows, len(pixels))
    return [row.as_dict() for row in rows]


def _print_checks(rows: Sequence[SanityCheck], images: int) -> None:
    stages = list(rows[0].rank_correlation)
    print(f"likeness of the maps of {images} images to those with random weights (1: the same, 0: unrelated)")
    print(
        f"{'rank correlation':<22} " + " ".join(f"{f'{stage} random':>18}" for stage in stages) + f" {'SSIM, all':>10}"
    )
    for row in rows:
        values = " ".join(f"{row.rank_correlation[stage]:>18.2f}" for stage in stages)
        print(f"{row.method:<22} {values} {row.structure[stages[-1]]:>10.2f}")
    ignoring = [row.method for row in rows if row.ignores_weights]
    if ignoring:
        print(f"do not trust {' or '.join(ignoring)} here: without all that was learnt the maps hardly change\n")
    else:
        print("every one of them depends on what was learnt\n" if len(rows) > 1 else "it depends on what was learnt\n")
