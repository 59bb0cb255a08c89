"""What mistakes cost, when some are worse than others: the user's table, the mean cost, the cheapest decision."""

from __future__ import annotations

import csv
import dataclasses
import io
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import yaml

from eyebright.errors import DataError, did_you_mean
from eyebright.evaluation.estimate import HALL_WILSON, Estimate
from eyebright.evaluation.intervals import Floats, Integers, effective_wilson, mean_limits

_FORMS = "a CSV or TSV file with predicted classes in the header and true classes in the first column, or a YAML file "
_FORMS += "`true class: {predicted class: cost}`"
_SEPARATORS = {".csv": ",", ".tsv": "\t"}
_YAML = (".yaml", ".yml")


@dataclasses.dataclass(frozen=True, eq=False)
class CostMatrix:
    """The cost of each prediction for each true class.

    Attributes:
        classes: K names.
        costs: float64 (K, K), true classes in rows, finite and not negative. The diagonal need not be zero: a right
            answer can cost something too.
    """

    classes: tuple[str, ...]
    costs: Floats

    def __post_init__(self) -> None:
        if self.costs.shape != (len(self.classes), len(self.classes)):
            raise DataError(
                f"costs of shape {self.costs.shape} for {len(self.classes)} classes",
                expected="a row and a column for each class",
            )
        for row, column in np.argwhere(~(np.isfinite(self.costs) & (self.costs >= 0))):
            raise DataError(
                f"{self.classes[row]!r} predicted as {self.classes[column]!r} costs {self.costs[row, column]}",
                expected="finite costs from 0 upwards",
            )
        if not (self.costs > 0).any():
            raise DataError("all costs are 0", expected="a cost above 0 for at least one mistake")

    def for_classes(self, classes: Sequence[str]) -> CostMatrix:
        """The same costs with the classes in this order.

        Raises:
            DataError: the classes are not the same.
        """
        _check_names(self.classes, classes, "the costs")
        order = [self.classes.index(name) for name in classes]
        return CostMatrix(tuple(classes), self.costs[np.ix_(order, order)])

    def cheapest(self, probabilities: npt.ArrayLike) -> Integers:
        """The decision with the least expected cost for each image: class indices (N,), the first of equal ones.

        Bayes' rule (R. O. Duda, P. E. Hart, Pattern Classification, 1973): as good as the probabilities are calibrated.

        Args:
            probabilities: calibrated, (N, K).
        """
        expected = np.asarray(probabilities, dtype=np.float64) @ self.costs
        return np.asarray(expected.argmin(axis=1), dtype=np.int64)


def make_costs(costs: Mapping[tuple[str, str], float], classes: Sequence[str], *, default: float = 1.0) -> CostMatrix:
    """Costs by (true class, predicted class); other mistakes cost `default`, other right answers nothing.

    Raises:
        DataError: a class is unknown, or a cost is negative or not finite.
    """
    matrix = default * (1 - np.eye(len(classes)))
    position = {name: index for index, name in enumerate(classes)}
    for (true, predicted), cost in costs.items():
        for name in (true, predicted):
            if name not in position:
                raise DataError(
                    f"the costs name the class {name!r}, which there is not{did_you_mean(name, position)}",
                    expected=f"classes among {', '.join(map(repr, classes))}",
                )
        matrix[position[true], position[predicted]] = cost
    return CostMatrix(tuple(classes), matrix)


def read_costs(path: str | os.PathLike[str], classes: Sequence[str] | None = None) -> CostMatrix:
    """Read a table of costs.

    Args:
        path: a CSV or TSV file with the predicted classes in the header and the true class in the first column, or a
            YAML file `true: {predicted: cost}`, in which right answers may be left out and then cost nothing.
        classes: in index order; those of the file in its order unless given.

    Raises:
        DataError: there is no such file, or it is no such table; a class is missing, unknown or named twice; a cost is
            no number, negative or not finite.
    """
    file = Path(path)
    try:
        text = file.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"the costs {file} cannot be read: {error}", expected=_FORMS) from error
    if file.suffix.lower() in _SEPARATORS:
        found = _from_rows(text, _SEPARATORS[file.suffix.lower()], file)
    elif file.suffix.lower() in _YAML:
        found = _from_yaml(text, file)
    else:
        raise DataError(f"the costs {file} end in {file.suffix!r}", expected=_FORMS)
    return found if classes is None else found.for_classes(classes)


def cost_scores(
    matrix: CostMatrix, truth: Integers, predicted: Integers, probabilities: npt.ArrayLike
) -> dict[str, Estimate]:
    """`cost`, the mean cost of the predictions, and `optimal_cost`, that of the cheapest decisions.

    Args:
        matrix: of the same classes.
        truth, predicted: class indices (N,).
        probabilities: calibrated, (N, K).
    """
    decided = {"cost": predicted, "optimal_cost": matrix.cheapest(probabilities)}
    return {name: _mean_cost(matrix, truth, decisions) for name, decisions in decided.items()}


def _mean_cost(matrix: CostMatrix, truth: Integers, decisions: Integers) -> Estimate:
    """Hall's limits for the mean, and at least those that one more image would give which may be a mistake.

    The dearest mistakes are often the rarest. Where none of them was seen, the costs that were say nothing of them; so
    the variance is also measured with one image more, wrong with a chance of one half, at the mean cost of a mistake.
    """
    costs = matrix.costs[truth, decisions]
    images, mean = len(costs), float(costs.mean())
    lowest, highest = float(matrix.costs.min()), float(matrix.costs.max())
    low, high = mean_limits(costs, lowest=lowest, highest=highest)
    if lowest == highest:
        return Estimate(mean, mean, mean, HALL_WILSON)
    mistakes, right = matrix.costs[~np.eye(len(matrix.classes), dtype=bool)], np.diag(matrix.costs)
    first = (costs.sum() + (mistakes.mean() + right.mean()) / 2) / (images + 1)
    second = (np.square(costs).sum() + (np.square(mistakes).mean() + np.square(right).mean()) / 2) / (images + 1)
    variance = float(second - first**2) / images
    below, above = effective_wilson(mean, variance, mean, pivot=float(first), low=lowest, high=highest)
    return Estimate(mean, min(low, below), max(high, above), HALL_WILSON)


def _from_rows(text: str, separator: str, file: Path) -> CostMatrix:
    rows = [row for row in csv.reader(io.StringIO(text, newline=""), delimiter=separator) if any(map(str.strip, row))]
    if len(rows) < 2 or len(rows[0]) < 2:
        raise DataError(f"the costs {file} have no row or no column", expected=_FORMS)
    names = tuple(name.strip() for name in rows[0][1:])
    table: dict[str, dict[str, Any]] = {}
    for row in rows[1:]:
        true = row[0].strip()
        if true in table:
            raise DataError(f"{file} has two rows for the class {true!r}", expected="one row a class")
        if len(row) != len(names) + 1:
            raise DataError(
                f"the row {true!r} of {file} has {len(row) - 1} costs", expected=f"{len(names)}, as in the header"
            )
        table[true] = dict(zip(names, row[1:], strict=True))
    if len(set(names)) != len(names):
        repeated = next(name for name in names if names.count(name) > 1)
        raise DataError(f"{file} has two columns for the class {repeated!r}", expected="one column a class")
    return _from_table(table, names, file)


def _from_yaml(text: str, file: Path) -> CostMatrix:
    try:
        values = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise DataError(f"the costs {file} are no YAML: {error}", expected=_FORMS) from error
    if not isinstance(values, dict) or not values or not all(isinstance(row, dict) for row in values.values()):
        raise DataError(f"the costs {file} are not a mapping of mappings", expected=_FORMS)
    table = {str(true): {str(name): cost for name, cost in row.items()} for true, row in values.items()}
    for true, row in table.items():
        row.setdefault(true, 0.0)
    return _from_table(table, tuple(table), file)


def _from_table(table: Mapping[str, Mapping[str, Any]], names: tuple[str, ...], file: Path) -> CostMatrix:
    _check_names(tuple(table), names, f"the rows of {file}")
    for true, row in table.items():
        _check_names(tuple(row), names, f"the costs of {true!r} in {file}")
    costs = np.array([[_number(table[true][name], true, name, file) for name in names] for true in names])
    return CostMatrix(names, costs)


def _number(value: Any, true: str, predicted: str, file: Path) -> float:
    try:
        if isinstance(value, bool):
            raise TypeError("a truth value")
        return float(value)
    except (TypeError, ValueError):
        raise DataError(
            f"in {file}, {true!r} predicted as {predicted!r} costs {value!r}", expected="a number from 0 upwards"
        ) from None


def _check_names(received: Sequence[str], classes: Sequence[str], what: str) -> None:
    missing = [name for name in classes if name not in received]
    unknown = [name for name in received if name not in classes]
    if unknown:
        raise DataError(
            f"{what} name the class {unknown[0]!r}, which there is not{did_you_mean(unknown[0], classes)}",
            expected=f"the classes {', '.join(map(repr, classes))}",
        )
    if missing:
        raise DataError(
            f"{what} lack the class{'' if len(missing) == 1 else 'es'} {', '.join(map(repr, missing))}",
            expected=f"the classes {', '.join(map(repr, classes))}",
        )
