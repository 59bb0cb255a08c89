"""Cost matrices: reading them, refusing wrong ones, mean costs and cheapest decisions."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from sklearn.metrics import confusion_matrix

from eyebright.errors import DataError
from eyebright.evaluation.costs import CostMatrix, cost_scores, make_costs, read_costs
from eyebright.evaluation.metrics import Metrics, evaluate
from eyebright.evaluation.predictions import make_predictions

NAMES = ("healthy", "mild", "grave")
TABLE = "true,healthy,mild,grave\nhealthy,0,1,2\nmild,3,0,1\ngrave,20,5,0.5\n"
COSTS = [[0, 1, 2], [3, 0, 1], [20, 5, 0.5]]


def _write(folder: Path, text: str, name: str = "costs.csv") -> Path:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


def test_csv_tsv_and_yaml_say_the_same(tmp_path: Path) -> None:
    nested = "healthy: {mild: 1, grave: 2}\nmild: {healthy: 3, grave: 1}\ngrave: {healthy: 20, mild: 5, grave: 0.5}\n"
    files = [
        _write(tmp_path, "\ufeff" + TABLE),
        _write(tmp_path, TABLE.replace(",", "\t"), "costs.tsv"),
        _write(tmp_path, nested, "costs.yaml"),
    ]
    for file in files:
        found = read_costs(file, NAMES)
        assert found.classes == NAMES
        np.testing.assert_array_equal(found.costs, COSTS)


def test_rows_and_columns_may_come_in_any_order(tmp_path: Path) -> None:
    shuffled = "true,mild,healthy,grave\ngrave,5,20,0.5\nhealthy,1,0,2\nmild,0,3,1\n"
    path = _write(tmp_path, shuffled)
    np.testing.assert_array_equal(read_costs(path, NAMES).costs, COSTS)
    assert read_costs(path).classes == ("mild", "healthy", "grave")
    assert read_costs(path).costs[0].tolist() == [0, 3, 1]


def test_names_in_yaml_may_be_numbers(tmp_path: Path) -> None:
    found = read_costs(_write(tmp_path, "0: {1: 2}\n1: {0: 7}\n", "costs.yml"), ("0", "1"))
    assert found.costs.tolist() == [[0, 2], [7, 0]]


@pytest.mark.parametrize(
    ("text", "name", "problem"),
    [
        (TABLE.replace("grave,20", "severe,20"), "costs.csv", "'severe', which there is not"),
        (TABLE.replace("mild,3,0,1\n", ""), "costs.csv", "lack the class 'mild'"),
        (TABLE.replace("20", "-1"), "costs.csv", "'grave' predicted as 'healthy' costs -1"),
        (TABLE.replace("20", "nan"), "costs.csv", "costs nan"),
        (TABLE.replace("20", "inf"), "costs.csv", "costs inf"),
        (TABLE.replace("20", "much"), "costs.csv", "costs 'much'"),
        (TABLE.replace("20,", ""), "costs.csv", "has 2 costs"),
        (TABLE + "mild,3,0,1\n", "costs.csv", "two rows for the class 'mild'"),
        (TABLE.replace("healthy,mild,grave", "mild,mild,grave"), "costs.csv", "two columns for the class 'mild'"),
        ("", "costs.csv", "no row or no column"),
        (TABLE, "costs.txt", "end in '.txt'"),
        ("a: {b: 1\n", "costs.yaml", "no YAML"),
        ("- 1\n- 2\n", "costs.yaml", "not a mapping of mappings"),
        ("healthy: {mild: yes}\nmild: {healthy: 1}\n", "costs.yaml", "costs True"),
        ("healthy: {}\nmild: {healthy: 1}\n", "costs.yaml", "lack the class 'mild'"),
        ("healthy: {mild: 0}\nmild: {healthy: 0}\n", "costs.yaml", "all costs are 0"),
    ],
)
def test_wrong_tables_are_refused(tmp_path: Path, text: str, name: str, problem: str) -> None:
    with pytest.raises(DataError, match=problem):
        read_costs(_write(tmp_path, text, name), None if name == "costs.yaml" else NAMES)


def test_costs_of_other_classes_are_refused(tmp_path: Path) -> None:
    path = _write(tmp_path, TABLE)
    with pytest.raises(DataError, match=r"'mild', which there is not \(did you mean 'wild'"):
        read_costs(path, ("healthy", "wild", "grave"))
    with pytest.raises(DataError, match="lack the class 'dead'"):
        read_costs(path, (*NAMES, "dead"))
    with pytest.raises(DataError, match="cannot be read"):
        read_costs(tmp_path / "absent.csv")


def test_a_mapping_names_what_is_not_usual() -> None:
    found = make_costs({("grave", "healthy"): 20, ("mild", "mild"): 0.1}, NAMES)
    assert found.costs.tolist() == [[0, 1, 1], [1, 0.1, 1], [20, 1, 0]]
    with pytest.raises(DataError, match="'gave'"):
        make_costs({("gave", "healthy"): 2}, NAMES)


@settings(max_examples=40, deadline=None)
@given(costs=arrays(np.float64, (3, 3), elements=st.floats(0.01, 50)), seed=st.integers(0, 2**31))
def test_the_mean_cost_is_the_confusion_matrix_times_the_costs(costs: np.ndarray, seed: int) -> None:
    generator = np.random.default_rng(seed)
    truth, predicted = generator.integers(0, 3, (2, 50))
    probabilities = generator.dirichlet(np.ones(3), size=50)
    found = cost_scores(CostMatrix(NAMES, costs), truth, predicted, probabilities)
    counts = confusion_matrix(truth, predicted, labels=range(3))
    assert found["cost"].value == pytest.approx((counts * costs).sum() / 50, abs=1e-9)
    for estimate in found.values():
        assert 0 <= estimate.low <= estimate.value + 1e-12
        assert estimate.value - 1e-12 <= estimate.high <= costs.max() + 1e-9


def test_the_cheapest_decision_has_the_least_expected_cost() -> None:
    matrix = CostMatrix(NAMES, np.array(COSTS, dtype=np.float64))
    probabilities = np.random.default_rng(0).dirichlet(np.ones(3), size=200)
    decided = matrix.cheapest(probabilities)
    for row, choice in zip(probabilities, decided, strict=True):
        expected = [sum(row[true] * COSTS[true][said] for true in range(3)) for said in range(3)]
        assert expected[choice] == pytest.approx(min(expected))
    # A ten per cent chance of something grave is enough not to say healthy.
    assert matrix.cheapest([[0.85, 0.05, 0.1]])[0] != 0


def test_deciding_by_cost_is_cheaper_when_probabilities_are_calibrated() -> None:
    generator = np.random.default_rng(1)
    probabilities = generator.dirichlet(np.ones(3), size=4000)
    labels = [NAMES[(row.cumsum() < generator.random()).sum()] for row in probabilities]
    ids = [str(number) for number in range(4000)]
    predictions = make_predictions(ids, ids, labels, ["test"] * 4000, np.log(probabilities), 1.0, NAMES)
    matrix = CostMatrix(NAMES, np.array(COSTS, dtype=np.float64))
    metrics = evaluate(predictions, costs=matrix.for_classes(NAMES[::-1]))
    assert metrics.cost is not None
    assert metrics.optimal_cost is not None
    assert metrics.optimal_cost.high < metrics.cost.low
    assert Metrics.from_dict(metrics.as_dict()) == metrics
    assert "cost" not in evaluate(predictions).as_dict()


def test_a_dear_mistake_that_was_not_seen_is_not_taken_to_be_impossible() -> None:
    matrix = make_costs({("grave", "healthy"): 100}, NAMES)
    truth = np.arange(60) % 3
    found = cost_scores(matrix, truth, truth, np.eye(3)[truth])["cost"]
    assert (found.value, found.low) == (0, 0)
    assert found.high > 1
