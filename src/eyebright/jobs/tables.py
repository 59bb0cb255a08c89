"""Predictions of any model, as a table: CSV, TSV or Parquet with an image, a true class and numbers for every class.

Columns, in any order and in upper or lower case:

- the image: `id` (a content id or any name of its own), or `source` or `path` and the like; files that are there give
  their content ids, so that the table can be compared with runs on the same images;
- the true class: `label`, `true`, `true_label` or `target`; empty where it is not known;
- `split`, where there are several: train, val or test;
- the answers: a column of probabilities for each class, named like the class or `prob_CLASS`, or of logits, named
  `logit_CLASS`; or one list column `probabilities` or `logits` (in CSV as JSON) beside the names of the classes.

The predictions of a run (`predictions.parquet`) and the output of `eyebright predict --csv` are recognised.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from eyebright.decisions import Calibration
from eyebright.errors import DataError, ForeignBundleError, did_you_mean, did_you_mean_beside
from eyebright.evaluation.intervals import Floats
from eyebright.evaluation.predictions import Predictions, make_predictions
from eyebright.jobs.table_images import (
    IMAGE_COLUMNS,
    TRUTH_COLUMNS,
    images_of,
    splits_of,
    truth_elsewhere,
    without_copies,
)
from eyebright.jobs.text_table import TABLE_SUFFIXES, TextTable, listed, read_table
from eyebright.progress import Progress, Silent

SUM_TOLERANCE = 1e-3
_OWN_START = ("source", "id", "status", "reason", "label", "probability")
_OWN_MORE = (
    "superclass", "superclass_probability", "prediction_set", "answer", "answer_level", "outlier", "outlier_score",
)  # fmt: skip
_OTHERS = ("predicted", "prediction", "confidence", "group", "weight", "status", "reason", "probability", *_OWN_MORE)
_PREFIX = re.compile(r"^(prob|probability|logit)[_ :.-]", re.IGNORECASE)
# What becomes of a probability of zero, whose logarithm is no number; log-loss is cut off at the same place.
_FLOOR = float(np.finfo(np.float64).eps)


class _Answers(NamedTuple):
    """What the model said: names of K classes, numbers (N, K), and whether they are logits."""

    classes: tuple[str, ...]
    values: Floats
    logits: bool


def read_predictions(
    path: str | Path,
    *,
    classes: Sequence[str] | None = None,
    labels: str | Path | None = None,
    progress: Progress | None = None,
) -> Predictions:
    """Read the predictions of an outside model.

    Probabilities become logits by the logarithm; nothing is calibrated.

    Args:
        path: the table; see the head of this module.
        classes: class names in index order: needed for list columns, and to tell classes from other columns.
        labels: where the true classes are, when the table has none: a table with `id` or a path and `label`, or images
            in any form that `train` takes.
        progress: told what serves as ids, and what was left out.

    Raises:
        DataError: the table cannot be read, lacks a column, or has a value that means nothing, with its row.
    """
    progress, path = progress or Silent(), Path(path)
    if not path.is_file():
        raise DataError(
            f"there is no table {path}{did_you_mean_beside(path)}", expected=f"a {listed(TABLE_SUFFIXES)} file"
        )
    if path.suffix.lower() == ".parquet":
        with contextlib.suppress(ForeignBundleError):  # a table of somebody else's
            return Predictions.read(path)
    table = read_table(path)
    own = table.names[: len(_OWN_START)] == list(_OWN_START)
    if own:
        table = _answered(table, progress)
    truth = _truth_column(table, classes, own=own)
    if truth is None and labels is None:
        raise _no_truth(table, own=own)
    answers = _answers(table, classes, truth, own=own)
    ids, sources = images_of(table, path, progress)
    found = truth_elsewhere(Path(labels), ids, sources) if labels is not None else table.texts(str(truth))
    _check_labels(found, answers.classes, table, truth or str(labels))
    splits = splits_of(table)
    kept = without_copies(ids, splits, found, table, progress)
    values = answers.values if answers.logits else np.log(np.maximum(answers.values, _FLOOR))
    return make_predictions(
        [ids[row] for row in kept], [sources[row] for row in kept], [found[row] for row in kept],
        [splits[row] for row in kept], values[kept], Calibration(method="none"), answers.classes,
    )  # fmt: skip


def user_column(path: str | Path, column: str, predictions: Predictions) -> list[str | None] | None:
    """A further column of the table for each row of what was read from it; None when there is no such column."""
    table = read_table(Path(path))
    if not table.has(column):
        return None
    named = next((name for name in (*IMAGE_COLUMNS, "id") if table.has(name)), "id")
    keys = zip(table.texts(named), splits_of(table), strict=True)
    values = dict(zip(keys, table.texts(column), strict=True))
    return [values.get(key) for key in zip(predictions.column("source"), predictions.column("split"), strict=True)]


def _answered(table: TextTable, progress: Progress) -> TextTable:
    """The rows of `predict --csv` with an answer; the others say why they have none."""
    status = table.texts("status")
    answered = [row for row, value in enumerate(status) if value == "ok"]
    if len(answered) < len(status):
        progress.warn(f"{len(status) - len(answered)} rows of {table.name} have no answer and are left out")
    return table.take(answered)


def _truth_column(table: TextTable, classes: Sequence[str] | None, *, own: bool) -> str | None:
    """The column of the true class; in the output of `predict --csv`, `label` is the prediction."""
    candidates = [name for name in TRUTH_COLUMNS if table.has(name) and not (own and name == "label")]
    if len(candidates) > 1 and candidates[-1] == "label":
        # A class may be called `true` itself, and then its column holds probabilities.
        of_classes = set(classes or ()) | set(table.texts("label"))
        candidates = [name for name in candidates if table.spelled(name) not in of_classes]
    return candidates[0] if candidates else None


def _no_truth(table: TextTable, *, own: bool) -> DataError:
    remedy = "add a column `true` with the true classes, or pass `--labels` with a table or the folder of the images"
    if own:
        return DataError(
            f"{table.name} is the output of `eyebright predict --csv`, whose column label is the prediction: "
            "the true classes are not in it",
            expected="a column `true`",
            remedy=remedy,
        )
    return DataError(
        f"{table.name} has no column with the true class: its columns are {listed(table.names)}",
        expected=f"a column named {listed(TRUTH_COLUMNS, 'or')}",
        remedy=remedy,
    )


def _answers(table: TextTable, classes: Sequence[str] | None, truth: str | None, *, own: bool) -> _Answers:
    prefixed = {name: match for name in table.names if (match := _PREFIX.match(name)) and not own}
    prefixed = {name: match for name, match in prefixed.items() if name.lower() not in _OTHERS}
    chances = [name for name, match in prefixed.items() if match[1].lower() != "logit"]
    logits = [name for name, match in prefixed.items() if match[1].lower() == "logit"]
    if chances or logits:
        columns = {name[prefixed[name].end() :]: name for name in chances or logits}
        return _from_columns(table, columns, classes, logits=not chances)
    for name in ("probabilities", "logits"):
        if table.has(name):
            return _from_lists(table, name, classes, truth)
    if own:
        start = len(_OWN_START)
        while start < len(table.names) and table.names[start] in _OWN_MORE:
            start += 1
        rest = table.names[start:]
    else:
        rest = table.names
    taken = {"split", *TRUTH_COLUMNS, *(() if own else ("id", *IMAGE_COLUMNS, *_OTHERS))}
    if classes is None:
        named = {label for label in table.texts(truth) if label is not None} if truth is not None else set()
        rest = [name for name in rest if name in named or name.lower() not in taken]
        rest = [name for name in rest if name in named or own or table.is_numeric(name)]
        rest = _those_that_sum_to_one(table, rest, named)
    columns = {name: name for name in (rest if classes is None else classes) if table.has(name)}
    return _from_columns(table, columns, classes, logits=False)


def _those_that_sum_to_one(table: TextTable, names: list[str], named: set[str]) -> list[str]:
    """All numeric columns, or those that are labels where only these sum to one: the others are the user's."""
    labels = [name for name in names if name in named]
    if 2 <= len(labels) < len(names):
        totals = [sum(table.numbers(name, f"the probability of {name!r}") for name in some) for some in (names, labels)]
        beyond = [float(np.abs(total - 1).max(initial=0.0)) > SUM_TOLERANCE for total in totals]
        if beyond == [True, False]:
            return labels
    return names


def _from_columns(
    table: TextTable, columns: dict[str, str], classes: Sequence[str] | None, *, logits: bool
) -> _Answers:
    names = tuple(columns if classes is None else classes)
    missing = [name for name in names if name not in columns]
    if missing:
        raise DataError(
            f"{table.name} has no column for the class {missing[0]!r}{did_you_mean(missing[0], table.names)}",
            expected=f"a column for each of {listed(names)}",
            remedy=f"add it, named {missing[0]!r} or 'prob_{missing[0]}'",
        )
    _check_class_count(names, table)
    what = "logit" if logits else "probability"
    matrix = np.column_stack([table.numbers(columns[name], f"the {what} of {name!r}") for name in names])
    return _checked(table, _Answers(names, matrix, logits))


def _from_lists(table: TextTable, column: str, classes: Sequence[str] | None, truth: str | None) -> _Answers:
    matrix = table.lists(column)
    width = matrix.shape[1]
    if classes is None:
        labels = {label for label in table.texts(truth) if label is not None} if truth is not None else set()
        if not labels or not all(label.isdecimal() and int(label) < width for label in labels):
            raise DataError(
                f"{table.name} does not say which class is which in its column {column!r} of {width} numbers",
                expected="the names of the classes in the order of the list",
                remedy="pass `--classes a,b,c`, or give each class a column of its own, such as prob_a",
            )
        classes = [str(number) for number in range(width)]
    if len(classes) != width:
        raise DataError(
            f"{len(classes)} classes were named and the lists in the column {column!r} have {width} numbers",
            expected="one name for each number",
        )
    _check_class_count(tuple(classes), table)
    return _checked(table, _Answers(tuple(classes), matrix, column == "logits"))


def _check_class_count(names: Sequence[str], table: TextTable) -> None:
    if len(names) < 2:
        found = f"one, {names[0]!r}" if names else f"none among the columns {listed(table.names)}"
        raise DataError(
            f"{table.name} has probabilities for too few classes: {found}",
            expected="a column of probabilities for each of two classes or more",
            remedy="name the columns like the classes, or prob_CLASS; give the other class its column, too",
        )


def _checked(table: TextTable, answers: _Answers) -> _Answers:
    values = answers.values
    what = "logit" if answers.logits else "probability"
    wrong = ~np.isfinite(values)
    if not answers.logits:
        wrong |= (values < 0) | (values > 1 + SUM_TOLERANCE)
    if wrong.any():
        row, column = np.argwhere(wrong)[0]
        raise DataError(
            f"{table.row(int(row))}: the {what} of {answers.classes[column]!r} is {values[row, column]:g}",
            expected="a finite number" if answers.logits else "a number from 0 to 1",
            remedy="correct the row" if answers.logits else "correct the row; name columns of logits logit_CLASS",
        )
    off = np.abs(values.sum(axis=1) - 1) > SUM_TOLERANCE
    if not answers.logits and off.any():
        row = int(np.flatnonzero(off)[0])
        raise DataError(
            f"{table.row(row)}: the probabilities of {listed(answers.classes)} sum to {values[row].sum():.6g} "
            f"({int(off.sum())} of {len(values)} rows do not sum to one)",
            expected="probabilities of all classes that sum to 1",
            remedy="give every class its column; name them prob_CLASS where other numbers stand beside them",
        )
    return answers


def _check_labels(labels: Sequence[str | None], classes: tuple[str, ...], table: TextTable, where: str) -> None:
    for row, label in enumerate(labels):
        if label is not None and label not in classes:
            raise DataError(
                f"{table.row(row)}: the label {label!r} in {where} is none of the classes"
                f"{did_you_mean(label, classes)}",
                expected=f"one of {listed(classes)}",
                remedy=f"correct the label, or add a column of probabilities for {label!r}",
            )
