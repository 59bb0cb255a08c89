"""The predictions table: round trip, joining by id, refusals."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from scipy.special import softmax as scipy_softmax

from eyebright.errors import CorruptBundleError, DataError, ForeignBundleError
from eyebright.evaluation.predictions import PREDICTIONS_SCHEMA, Predictions, make_predictions

CLASSES = ("ant", "bee", "cat")


def _predictions(count: int = 12, seed: int = 0, prefix: str = "id") -> Predictions:
    generator = np.random.default_rng(seed)
    labels: list[str | None] = [CLASSES[index % 3] for index in range(count)]
    labels[-1] = None
    return make_predictions(
        [f"{prefix}{index}" for index in range(count)],
        [f"{index}.png" for index in range(count)],
        labels,
        ["val" if index % 2 else "test" for index in range(count)],
        generator.normal(size=(count, 3)) * 4,
        1.7,
        CLASSES,
    )


def test_probabilities_are_the_softmax_of_tempered_logits() -> None:
    predictions = _predictions()
    np.testing.assert_allclose(
        predictions.probabilities(), scipy_softmax(predictions.logits() / 1.7, axis=1), atol=1e-7
    )
    np.testing.assert_allclose(predictions.probabilities().sum(axis=1), 1, rtol=0, atol=1e-15)
    assert predictions.column("predicted") == [CLASSES[index] for index in predictions.logits().argmax(axis=1)]
    np.testing.assert_allclose(
        np.asarray(predictions.table["confidence"]), predictions.probabilities().max(axis=1), rtol=1e-6
    )


def test_huge_logits_stay_finite() -> None:
    predictions = make_predictions(["a"], ["a"], ["ant"], [None], [[1e30, -1e30, 0.0]], 0.05, CLASSES)
    assert predictions.probabilities().tolist() == [[1.0, 0.0, 0.0]]


def test_written_table_reads_back_equal(tmp_path: Path) -> None:
    predictions = _predictions()
    predictions.write(tmp_path / "predictions.parquet")
    back = Predictions.read(tmp_path / "predictions.parquet")
    assert back.table.schema.equals(PREDICTIONS_SCHEMA)
    assert back.table.equals(predictions.table)
    assert (back.classes, back.calibration.temperature) == (CLASSES, 1.7)


def test_select_and_labels() -> None:
    predictions = _predictions()
    test = predictions.select("test")
    assert test.column("id") == [f"id{index}" for index in range(0, 12, 2)]
    assert predictions.labels_index().tolist() == [0, 1, 2, 0, 1, 2, 0, 1, 2, 0, 1, -1]
    assert len(predictions.labelled()) == 11
    assert predictions.select("absent").probabilities().shape == (0, 3)


def test_join_matches_by_id_whatever_the_order() -> None:
    left = _predictions()
    order = np.random.default_rng(1).permutation(10) + 1
    right = Predictions(left.table.take(pa.array(order)), CLASSES)
    one, two = left.join(right)
    assert one.column("id") == two.column("id") == [f"id{index}" for index in range(1, 11)]
    np.testing.assert_array_equal(one.logits(), two.logits())


def test_join_refuses_what_cannot_be_matched() -> None:
    with pytest.raises(DataError, match="share no image"):
        _predictions().join(_predictions(prefix="other"))
    twice = Predictions(pa.concat_tables([_predictions().table] * 2), CLASSES)
    with pytest.raises(DataError, match="more than once"):
        _predictions().join(twice)


@pytest.mark.parametrize(
    ("labels", "logits", "message"),
    [
        (["ant", "beee"], [[0, 1, 2], [0, 1, 2]], "did you mean 'bee'"),
        (["ant", "bee"], [[0, 1, 2], [0, float("nan"), 2]], "not finite for two.png"),
        (["ant", "bee"], [[0, 1], [0, 1]], "one column a class"),
        (["ant"], [[0, 1, 2], [0, 1, 2]], "one row an image"),
    ],
)
def test_wrong_rows_are_refused(labels: list[str], logits: list[list[float]], message: str) -> None:
    with pytest.raises(DataError, match=message):
        make_predictions(["1", "2"], ["one.png", "two.png"], labels, ["test", "test"], logits, 1.0, CLASSES)


def test_the_same_image_twice_in_a_split_is_refused_but_not_across_splits() -> None:
    rows = (["1", "1"], ["a", "b"], ["ant", "ant"])
    make_predictions(*rows, ["train", "test"], np.zeros((2, 3)), 1.0, CLASSES)
    with pytest.raises(DataError, match="twice"):
        make_predictions(*rows, ["test", "test"], np.zeros((2, 3)), 1.0, CLASSES)


def test_foreign_truncated_and_missing_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(ForeignBundleError, match="does not exist"):
        Predictions.read(tmp_path / "none.parquet")
    pq.write_table(pa.table({"a": [1]}), tmp_path / "foreign.parquet")
    with pytest.raises(ForeignBundleError, match="not a predictions table"):
        Predictions.read(tmp_path / "foreign.parquet")
    _predictions().write(tmp_path / "cut.parquet")
    content = (tmp_path / "cut.parquet").read_bytes()
    (tmp_path / "cut.parquet").write_bytes(content[: len(content) // 2])
    with pytest.raises(CorruptBundleError, match="cannot be read"):
        Predictions.read(tmp_path / "cut.parquet")


def test_superclasses_of_label_and_prediction_are_told(tmp_path: Path) -> None:
    above = {"ant": "insect", "bee": "insect", "cat": "mammal"}
    rows = (["1", "2", "3"], ["a", "b", "c"], ["ant", "cat", None], ["test"] * 3)
    predictions = make_predictions(*rows, [[0, 1, 0], [1, 0, 0], [0, 0, 1]], 1.0, CLASSES, above)
    assert predictions.column("superclass") == ["insect", "mammal", None]
    assert predictions.column("predicted_superclass") == ["insect", "insect", "mammal"]
    predictions.write(tmp_path / "predictions.parquet")
    assert Predictions.read(tmp_path / "predictions.parquet").table.equals(predictions.table)
    plain = make_predictions(*rows, np.zeros((3, 3)), 1.0, CLASSES)
    assert plain.column("superclass") == plain.column("predicted_superclass") == [None] * 3


def test_a_table_of_before_superclasses_is_read(tmp_path: Path) -> None:
    predictions = _predictions()
    predictions.write(tmp_path / "new.parquet")
    old = pq.read_table(tmp_path / "new.parquet").drop_columns(["superclass", "predicted_superclass"])
    pq.write_table(old, tmp_path / "old.parquet")
    assert Predictions.read(tmp_path / "old.parquet").table.equals(predictions.table)


def test_an_empty_table_round_trips(tmp_path: Path) -> None:
    empty = make_predictions([], [], [], [], np.zeros((0, 3)), 1.0, CLASSES)
    empty.write(tmp_path / "empty.parquet")
    assert Predictions.read(tmp_path / "empty.parquet").logits().shape == (0, 3)
