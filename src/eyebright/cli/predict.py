"""`eyebright predict`."""

from __future__ import annotations

import csv
import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from eyebright.cli.shell import print_json, progress_on_screen

if TYPE_CHECKING:
    from eyebright.classifier import Classifier
    from eyebright.jobs.predict_to_file import Part, Written


def command(
    run: Annotated[Path, typer.Argument(help="Folder of a run or a bundle.", show_default=False)],
    images: Annotated[
        list[str], typer.Argument(help="Images, folders, tables or named data sets.", show_default=False)
    ],
    top: Annotated[int, typer.Option(help="How many classes to show for each image.", min=1)] = 3,
    json_: Annotated[
        bool, typer.Option("--json", help="Print a JSON list with all probabilities; with --output, the facts.")
    ] = False,
    csv_: Annotated[bool, typer.Option("--csv", help="Print a CSV table with all probabilities.")] = False,
    output: Annotated[
        Path | None,
        typer.Option(help="Write a .parquet, .csv or .jsonl file; after a kill, go on.", show_default=False),
    ] = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace the file, or partial results of other work.")
    ] = False,
    part: Annotated[
        str | None, typer.Option(help="One of several processes that share the images, as 2/8.", show_default=False)
    ] = None,
    merge: Annotated[bool, typer.Option("--merge", help="Put the files of all parts together.")] = False,
    runtime: Annotated[str, typer.Option(help="onnx, openvino, or auto for the faster one.")] = "onnx",
    device: Annotated[str, typer.Option(help="cpu or cuda.")] = "cpu",
    latency: Annotated[
        int | None,
        typer.Option(min=1, metavar="CALLS", help="Time one image: p50 and p99 of so many calls.", show_default=False),
    ] = None,
) -> None:
    """Classify images, folders or tables.

    Beside the classes it says when the image may be several of them ("may be"), when no answer keeps to the promised
    error rate ("unsure"), and when the image is unlike those that the classifier learnt from. An image that cannot be
    read is listed with the reason; the exit code is then 3.

    With --output, any number of images goes into one file. The same command goes on where a former one was killed.
    Several processes or machines share the images with --part 1/2 and --part 2/2, or are started by torchrun.

    \b
    Examples:
      eyebright predict runs/NAME photo.jpg
      eyebright predict runs/NAME folder/ more/*.png --json
      eyebright predict runs/NAME folder/ --csv > predictions.csv
      eyebright predict runs/NAME folder/ --output results.parquet
      eyebright predict runs/NAME shards/ --output results.parquet --part 2/8
      eyebright predict runs/NAME photo.jpg --latency 200
    """
    from eyebright.errors import UsageError

    if json_ and csv_:
        raise UsageError("both --json and --csv were given", expected="one of them")
    if output is None:
        for given, name in ((overwrite, "--overwrite"), (part, "--part"), (merge, "--merge")):
            if given:
                raise UsageError(f"{name} was given without --output", expected="--output FILE")
    elif csv_ or latency is not None:
        other = "--csv" if csv_ else "--latency"
        raise UsageError(f"both --output and {other} were given", expected="one of them")
    if output is not None:
        _to_file(run, images, output, overwrite, part, merge, runtime, device, json_)
        return
    from eyebright.jobs.open_classifier import open_classifier

    with progress_on_screen(quiet=json_ or csv_ or not sys.stdout.isatty()) as progress:
        classifier = open_classifier(run, runtime=runtime, device=device, progress=progress)
    if latency is not None:
        _print_latency(classifier, images, latency, json_)
    else:
        _print_answers(classifier, images, top, json_, csv_)


def _print_answers(classifier: Classifier, images: list[str], top: int, as_json: bool, as_csv: bool) -> None:
    from eyebright.cli.predict_text import header, row, told
    from eyebright.jobs.predict import predict

    count = bad = 0
    writer = csv.writer(sys.stdout)
    if as_csv:
        writer.writerow(header(classifier))
    with progress_on_screen(quiet=as_json or as_csv or not sys.stdout.isatty()) as progress:
        for answer in predict(classifier, images, progress=progress):
            count += 1
            bad += answer.status != "ok"
            if as_json:
                print("[" if count == 1 else ",", end="\n" if count == 1 else "")
                print(json.dumps(answer.as_dict(), ensure_ascii=False))
            elif as_csv:
                writer.writerow(row(answer, classifier))
            elif answer.prediction is None:
                print(f"{answer.source}: {answer.status}: {answer.reason}")
            else:
                print(f"{answer.source}: {told(answer.prediction, top)}")
    if as_json:
        print("]" if count else "[]")
    _tell_bad(bad, count)


def _tell_bad(bad: int, count: int) -> None:
    """Exit code 3 where some images could not be classified."""
    if bad:
        print(
            f"eyebright: {bad} of {count} images could not be classified\n"
            "  to fix it: correct, repair or leave out those that are listed with a reason",
            file=sys.stderr,
        )
        raise typer.Exit(3)


def _to_file(
    run: Path, images: list[str], output: Path, overwrite: bool, part: str | None, merge: bool,
    runtime: str, device: str, as_json: bool,
) -> None:  # fmt: skip
    from eyebright.errors import UsageError
    from eyebright.jobs.merge_predictions import merge_parts
    from eyebright.jobs.open_classifier import CPU_BATCH, CUDA_BATCH, open_classifier
    from eyebright.jobs.predict_to_file import Part, check_output, predict_to_file

    if merge and part is not None:
        raise UsageError("both --part and --merge were given", expected="one of them")
    share = Part.parse(part) if part is not None else Part() if merge else _part_of_team()
    check_output(share.path(output), overwrite=overwrite)
    with progress_on_screen(quiet=as_json) as progress:
        if merge:
            written = merge_parts(run, images, output, progress=progress)
        else:
            classifier = open_classifier(run, runtime=runtime, device=device, beside_decoding=True, progress=progress)
            written = predict_to_file(
                classifier, images, output, part=share, overwrite=overwrite, device=device, progress=progress,
                batch_size=CUDA_BATCH if device == "cuda" else CPU_BATCH,
            )  # fmt: skip
    _tell_written(written, as_json)
    _tell_bad(written.bad, written.images)


def _part_of_team() -> Part:
    """The share of this process where torchrun has started several, else everything."""
    from eyebright.jobs.predict_to_file import Part

    return Part(number=int(os.environ.get("RANK") or 0) + 1, count=int(os.environ.get("WORLD_SIZE") or 1))


def _tell_written(written: Written, as_json: bool) -> None:
    done = written.images - written.continued
    rate = done / written.seconds if written.seconds > 0 else 0.0
    if as_json:
        facts = {"output": str(written.path), "images": written.images, "bad": written.bad}
        print_json({**facts, "continued": written.continued, "seconds": written.seconds, "images_per_second": rate})
    else:
        speed = f" in {written.seconds:.1f} s ({rate:,.0f} images/s)" if done else ""
        print(f"{written.path}: {written.images:,} images{speed}")


def _print_latency(classifier: Classifier, images: list[str], calls: int, as_json: bool) -> None:
    from eyebright.data.probing import available_cores
    from eyebright.errors import UsageError
    from eyebright.jobs.inputs import open_input

    opened = open_input(images[0])
    if len(images) > 1 or len(opened.names) != 1:
        raise UsageError("several images were given to --latency", expected="one image")
    found = classifier.latency(opened.read(opened.names[0]), calls=calls)
    cores = available_cores()
    if as_json:
        facts = {"p50_ms": found.p50_ms, "p99_ms": found.p99_ms, "calls": found.calls}
        print_json({**facts, "cores": cores, "runtime": classifier.runtime})
    else:
        print(
            f"one image, from its bytes to the answer: p50 {found.p50_ms:.2f} ms, p99 {found.p99_ms:.2f} ms "
            f"({found.calls} calls, {cores} cores, {classifier.runtime})"
        )
