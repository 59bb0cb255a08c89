"""Predictions as lines of text and as rows of CSV on standard output."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from eyebright.classifier import Classifier, Prediction
    from eyebright.jobs.predict import Answer


def told(prediction: Prediction, top: int) -> str:
    """The most probable classes, and what a reader should know before relying on them."""
    said = [", ".join(f"{name} {value:.1%}" for name, value in prediction.top(top))]
    if prediction.superclass is not None:
        said.append(f"{prediction.superclass} {prediction.superclass_probability:.1%}")
    if prediction.prediction_set is not None and len(prediction.prediction_set) > 1:
        said.append(f"may be {_listed(prediction.prediction_set)}")
    if prediction.answer_level == "superclass":
        said.append(f"{prediction.answer}, kind unsure")
    elif prediction.answer_level == "none":
        said.append("unsure")
    if prediction.outlier:
        said.append("unlike the training images")
    return "; ".join(said)


def header(classifier: Classifier) -> list[str]:
    """Names of the columns of a CSV table."""
    from eyebright.jobs.prediction_table import concluded_columns

    concluded = concluded_columns(classifier.record)
    return ["source", "id", "status", "reason", "label", "probability", *concluded, *classifier.classes]


def row(answer: Answer, classifier: Classifier) -> list[str | None]:
    """One row of a CSV table, with the columns of `header`."""
    names = header(classifier)
    start = [answer.source, answer.id, answer.status, answer.reason]
    said = answer.prediction
    if said is None:
        return [*start, *[""] * (len(names) - len(start))]
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
    concluded = names[len(start) + 2 : len(names) - len(classifier.classes)]
    probabilities = [_number(said.probabilities[name]) for name in classifier.classes]
    return [*start, said.label, _number(said.probability), *(cells[name] for name in concluded), *probabilities]


def _listed(names: Sequence[str], most: int = 5) -> str:
    shown = ", ".join(names[:most])
    return f"{shown} or {len(names) - most} more" if len(names) > most else shown


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.6f}"
