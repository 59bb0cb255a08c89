"""`eyebright predict`."""

from __future__ import annotations

import csv
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from eyebright.cli.shell import progress_on_screen

if TYPE_CHECKING:
    from eyebright.classifier import Classifier, Prediction
    from eyebright.jobs.predict import Answer


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

    Beside the classes it says when the image may be several of them ("may be"), when no answer keeps to the promised
    error rate ("unsure"), and when the image is unlike those that the classifier learnt from. An image that cannot be
    read is listed with the reason; the exit code is then 3.

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
    writer = csv.writer(sys.stdout)
    if csv_:
        writer.writerow(_header(classifier))
    with progress_on_screen(quiet=json_ or csv_ or not sys.stdout.isatty()) as progress:
        for answer in predict(classifier, images, progress=progress):
            count += 1
            bad += answer.status != "ok"
            if json_:
                print("[" if count == 1 else ",", end="\n" if count == 1 else "")
                print(json.dumps(answer.as_dict(), ensure_ascii=False))
            elif csv_:
                writer.writerow(_row(answer, classifier))
            elif answer.prediction is None:
                print(f"{answer.source}: {answer.status}: {answer.reason}")
            else:
                print(f"{answer.source}: {_told(answer.prediction, top)}")
    if json_:
        print("]" if count else "[]")
    if bad:
        print(
            f"eyebright: {bad} of {count} images could not be classified\n"
            "  to fix it: correct, repair or leave out those that are listed with a reason",
            file=sys.stderr,
        )
        raise typer.Exit(3)


def _told(prediction: Prediction, top: int) -> str:
    """The most probable classes, and what a reader should know before relying on them."""
    told = [", ".join(f"{name} {value:.1%}" for name, value in prediction.top(top))]
    if prediction.superclass is not None:
        told.append(f"{prediction.superclass} {prediction.superclass_probability:.1%}")
    if prediction.prediction_set is not None and len(prediction.prediction_set) > 1:
        told.append(f"may be {_listed(prediction.prediction_set)}")
    if prediction.answer_level == "superclass":
        told.append(f"{prediction.answer}, kind unsure")
    elif prediction.answer_level == "none":
        told.append("unsure")
    if prediction.outlier:
        told.append("unlike the training images")
    return "; ".join(told)


def _listed(names: Sequence[str], most: int = 5) -> str:
    shown = ", ".join(names[:most])
    return f"{shown} or {len(names) - most} more" if len(names) > most else shown


def _concluded(classifier: Classifier) -> list[str]:
    """Fields of a prediction that this classifier fills, beside the label and its probability."""
    decisions = classifier.record.decisions
    found = ["superclass", "superclass_probability"] if classifier.record.superclasses else []
    if decisions.sets is not None:
        found.append("prediction_set")
    if decisions.selection is not None:
        found += ["answer", "answer_level"]
    if decisions.outliers is not None:
        found += ["outlier", "outlier_score"]
    return found


def _header(classifier: Classifier) -> list[str]:
    return ["source", "id", "status", "reason", "label", "probability", *_concluded(classifier), *classifier.classes]


def _row(answer: Answer, classifier: Classifier) -> list[str | None]:
    start = [answer.source, answer.id, answer.status, answer.reason]
    said = answer.prediction
    if said is None:
        return [*start, *[""] * (len(_header(classifier)) - len(start))]
    outliers = classifier.record.decisions.outliers
    score = None if outliers is None else said.outlier_scores.get(outliers.used)
    cells = {
        "superclass": said.superclass,
        "superclass_probability": _number(said.superclass_probability),
        "prediction_set": "|".join(said.prediction_set or ()),
        "answer": said.answer or "",
        "answer_level": said.answer_level,
        "outlier": "" if said.outlier is None else str(said.outlier).lower(),
        "outlier_score": _number(score),
    }
    probabilities = [_number(said.probabilities[name]) for name in classifier.classes]
    return [*start, said.label, _number(said.probability), *(cells[key] for key in _concluded(classifier)),
            *probabilities]  # fmt: skip


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.6f}"
