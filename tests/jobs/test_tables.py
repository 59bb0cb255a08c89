"""Tables of predictions: every form that is taken, and what is said of every fault, with its row."""

from __future__ import annotations

import contextlib
import csv
import io
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import accuracy_score, log_loss

from eyebright.cli.main import main
from eyebright.errors import DataError, EyebrightError
from eyebright.evaluation.metrics import evaluate
from eyebright.evaluation.predictions import Predictions, make_predictions
from eyebright.identity import content_id
from eyebright.jobs.tables import read_predictions, user_column
from eyebright.jobs.text_table import is_prediction_table
from eyebright.progress import Silent

CLASSES = ("cat", "dog", "eel")
ROWS = [("1", "cat", 0.7, 0.2, 0.1), ("2", "dog", 0.3, 0.3, 0.4), ("3", "eel", 0.05, 0.05, 0.9)]


class Told(Silent):
    """Keeps what it is told."""

    def __init__(self) -> None:
        self.notes: list[str] = []

    def note(self, text: str) -> None:
        self.notes.append(text)

    def warn(self, text: str) -> None:
        self.notes.append(text)


def write(path: Path, header: Sequence[str], rows: Sequence[Sequence[Any]], delimiter: str = ",") -> Path:
    with path.open("w", newline="", encoding="utf-8") as handle:
        writer = csv.writer(handle, delimiter=delimiter)
        writer.writerow(header)
        writer.writerows(rows)
    return path


def assert_same(read: Predictions) -> None:
    assert read.classes == CLASSES
    assert read.column("id") == ["1", "2", "3"]
    assert read.column("label") == ["cat", "dog", "eel"]
    assert np.allclose(read.probabilities(), [row[2:] for row in ROWS], atol=1e-6)
    assert read.calibration.method == "none"


@pytest.mark.parametrize(
    "header",
    [
        ("id", "label", "cat", "dog", "eel"),
        ("ID", "true", "prob_cat", "prob_dog", "prob_eel"),
        ("id", "target", "probability_cat", "probability_dog", "probability_eel"),
        ("image", "true_label", "prob.cat", "prob.dog", "prob.eel"),
    ],
)
@pytest.mark.parametrize(("name", "delimiter"), [("a.csv", ","), ("a.csv", ";"), ("a.tsv", "\t")])
def test_probabilities_in_columns(header: Sequence[str], name: str, delimiter: str, tmp_path: Path) -> None:
    assert_same(read_predictions(write(tmp_path / name, header, ROWS, delimiter)))


def test_logits_in_columns(tmp_path: Path) -> None:
    rows = [(*row[:2], *(3 + np.log(row[2:]))) for row in ROWS]
    path = write(tmp_path / "a.csv", ("id", "label", "logit_cat", "logit_dog", "logit_eel"), rows)
    assert_same(read_predictions(path))


@pytest.mark.parametrize("kind", ["csv", "parquet"])
@pytest.mark.parametrize("column", ["probabilities", "logits"])
def test_lists_beside_the_names_of_the_classes(kind: str, column: str, tmp_path: Path) -> None:
    lists = [list(row[2:] if column == "probabilities" else np.log(row[2:])) for row in ROWS]
    if kind == "csv":
        told = [(*row[:2], str([float(value) for value in one])) for row, one in zip(ROWS, lists, strict=True)]
        path = write(tmp_path / "a.csv", ("id", "label", column), told)
    else:
        path = tmp_path / "a.parquet"
        pq.write_table(
            pa.table({"id": [row[0] for row in ROWS], "label": [row[1] for row in ROWS], column: lists}), path
        )
    assert_same(read_predictions(path, classes=CLASSES))
    with pytest.raises(DataError, match="does not say which class is which"):
        read_predictions(path)
    with pytest.raises(DataError, match="2 classes were named"):
        read_predictions(path, classes=CLASSES[:2])


def test_numbered_classes_need_no_names(tmp_path: Path) -> None:
    table = pa.table({"id": ["a", "b"], "label": [1, 0], "logits": [[0.0, 2.0, 1.0], [1.0, 0.0, 0.0]]})
    pq.write_table(table, tmp_path / "a.parquet")
    read = read_predictions(tmp_path / "a.parquet")
    assert read.classes == ("0", "1", "2")
    assert read.predicted_index().tolist() == [1, 0]


def test_metrics_of_a_table_are_those_of_scikit_learn(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    probabilities = random.dirichlet([0.5, 0.5, 0.5], 200)
    labels = random.integers(0, 3, 200)
    rows = [
        (f"image {number}", CLASSES[label], *map(repr, one.tolist()))
        for number, (label, one) in enumerate(zip(labels, probabilities, strict=True))
    ]
    metrics = evaluate(read_predictions(write(tmp_path / "a.csv", ("id", "label", *CLASSES), rows)))
    assert metrics.accuracy.value == pytest.approx(accuracy_score(labels, probabilities.argmax(axis=1)))
    # Stored as float32.
    assert metrics.log_loss.value == pytest.approx(log_loss(labels, probabilities), rel=1e-5)


def test_a_probability_of_zero_is_taken(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", ("id", "label", *CLASSES), [("1", "cat", 1, 0, 0), ("2", "dog", 1, 0, 0)])
    read = read_predictions(path)
    assert read.predicted_index().tolist() == [0, 0]
    reference = log_loss([0, 1], [[1, 0, 0], [1, 0, 0]], labels=[0, 1, 2])
    assert evaluate(read).log_loss.value == pytest.approx(reference, rel=1e-3)


def test_other_columns_are_told_from_classes(tmp_path: Path) -> None:
    rows = [(*row, 30 + number, "left") for number, row in enumerate(ROWS)]
    path = write(tmp_path / "a.csv", ("id", "label", *CLASSES, "age", "side"), rows)
    read = read_predictions(path)
    assert_same(read)
    assert user_column(path, "age", read) == ["30", "31", "32"]
    assert user_column(path, "height", read) is None
    fewer = write(tmp_path / "b.csv", ("id", "label", *CLASSES, "age"), [(*row, 9) for row in ROWS[:2]])
    with pytest.raises(
        DataError, match="probability of 'age' is 9"
    ):  # no label says that eel is a class and age is none
        read_predictions(fewer)
    assert len(read_predictions(fewer, classes=CLASSES)) == 2


def test_a_class_may_be_called_true(tmp_path: Path) -> None:
    path = write(
        tmp_path / "a.csv", ("id", "label", "false", "true"), [("1", "true", 0.2, 0.8), ("2", "false", 0.9, 0.1)]
    )
    read = read_predictions(path)
    assert read.classes == ("false", "true")
    assert read.labels_index().tolist() == [1, 0]


def test_splits_and_missing_labels_are_kept(tmp_path: Path) -> None:
    rows = [
        ("1", "cat", "test", 0.7, 0.2, 0.1),
        ("2", "", "validation", 0.3, 0.3, 0.4),
        ("1", "cat", "val", 0.7, 0.2, 0.1),
    ]
    read = read_predictions(write(tmp_path / "a.csv", ("id", "label", "split", *CLASSES), rows))
    assert read.column("split") == ["test", "val", "val"]
    assert read.column("label") == ["cat", None, "cat"]


def test_files_that_are_there_give_their_content_ids(tmp_path: Path, flowers_sample: Path) -> None:
    photos = sorted((flowers_sample / "rose").iterdir())[:3]
    for photo in photos:
        shutil.copyfile(photo, tmp_path / photo.name)
    shutil.copyfile(photos[0], tmp_path / "copy.jpg")
    names = [photos[0].name, str(photos[1]), "gone.jpg", "copy.jpg"]
    rows = [(name, "cat", 0.7, 0.2, 0.1) for name in names]
    told = Told()
    read = read_predictions(write(tmp_path / "a.csv", ("path", "label", *CLASSES), rows), progress=told)
    assert read.column("id") == [content_id(photos[0].read_bytes()), content_id(photos[1].read_bytes()), "gone.jpg"]
    assert read.column("source") == names[:3]
    assert any("3 of 4 image files are here" in note for note in told.notes)
    assert any("1 images are not at their paths" in note for note in told.notes)
    assert any("same bytes as another one" in note for note in told.notes)
    rows[3] = ("copy.jpg", "dog", 0.7, 0.2, 0.1)
    with pytest.raises(DataError, match=r"row 2 of a.csv and row 5 of a.csv have the same bytes"):
        read_predictions(write(tmp_path / "a.csv", ("path", "label", *CLASSES), rows))


def test_our_own_predictions_are_recognised(tmp_path: Path) -> None:
    ours = make_predictions(["a", "b"], ["x", "y"], ["cat", None], ["test", "val"], np.eye(3)[:2] * 4, 2.0, CLASSES)
    ours.write(tmp_path / "predictions.parquet")
    read = read_predictions(tmp_path / "predictions.parquet")
    assert read.table.equals(ours.table)
    assert read.calibration == ours.calibration


def test_the_output_of_predict_needs_the_truth_which_its_label_is_not(
    trained_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = tmp_path / "photos"
    for name in ("angle-0", "angle-1", "angle-2"):
        (data / name).mkdir(parents=True)
        for number in range(6):
            shutil.copyfile(
                trained_run.parents[1] / "stripes" / name / f"{number + 5}.png", data / name / f"{number}.png"
            )
    (data / "angle-0" / "broken.png").write_bytes(b"no image")
    capsys.readouterr()
    assert main(["predict", str(trained_run), str(data), "--csv"]) == 3
    text = capsys.readouterr().out
    path = tmp_path / "said.csv"
    path.write_text(text)
    with pytest.raises(DataError, match="whose column label is the prediction"):
        read_predictions(path)
    by_folder = read_predictions(path, labels=data)
    assert len(by_folder) == 18
    assert by_folder.column("label") == [Path(str(source)).parent.name for source in by_folder.column("source")]
    lines = list(csv.DictReader(io.StringIO(text)))
    write(tmp_path / "truth.csv", ("id", "label"), [(row["id"], Path(row["source"]).parent.name) for row in lines])
    assert read_predictions(path, labels=tmp_path / "truth.csv").table.equals(by_folder.table)
    rows = [[*row.values(), Path(row["source"]).parent.name] for row in lines]
    with_truth = write(tmp_path / "both.csv", [*lines[0], "true"], rows)
    assert read_predictions(with_truth).table.equals(by_folder.table)
    # What the classifier said is what the table says.
    assert by_folder.column("predicted") == [row["label"] for row in lines if row["status"] == "ok"]


def test_labels_elsewhere_must_be_about_the_same_images(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", ("id", *CLASSES), [(row[0], *row[2:]) for row in ROWS])
    truth = write(tmp_path / "truth.csv", ("id", "label"), [(row[0], row[1]) for row in ROWS])
    assert_same(read_predictions(path, labels=truth))
    other = write(tmp_path / "other.csv", ("id", "label"), [("x", "cat")])
    with pytest.raises(DataError, match="no label for any of the 3 images"):
        read_predictions(path, labels=other)
    with pytest.raises(DataError, match="has the columns name"):
        read_predictions(path, labels=write(tmp_path / "t.csv", ("name", "kind"), [("x", "cat")]))


GOOD = ("1", "cat", "0.7", "0.2", "0.1")
FAULTS: dict[str, tuple[Sequence[str], Sequence[Sequence[str]], str]] = {
    "an unknown label": (
        ("id", "label", *CLASSES),
        [GOOD, ("2", "dgo", ".3", ".3", ".4")],
        r"row 3 of t.csv: the label 'dgo' .*did you mean 'dog'",
    ),
    "a label in another case": (
        ("id", "label", *CLASSES),
        [("2", "Dog", ".3", ".3", ".4")],
        r"row 2 of t.csv: the label 'Dog'",
    ),
    "NaN": (
        ("id", "label", *CLASSES),
        [GOOD, ("2", "dog", "nan", ".3", ".4")],
        r"row 3 of t.csv: the probability of 'cat' is nan",
    ),
    "a word": (
        ("id", "label", *CLASSES),
        [GOOD, ("2", "dog", "high", ".3", ".4")],
        r"row 3 of t.csv: the probability of 'cat' is 'high'",
    ),
    "an empty cell": (
        ("id", "label", *CLASSES),
        [GOOD, ("2", "dog", ".3", "", ".4")],
        r"row 3 of t.csv: the probability of 'dog' is empty",
    ),
    "a negative probability": (
        ("id", "label", *CLASSES),
        [GOOD, ("2", "dog", "-.3", ".9", ".4")],
        r"row 3 of t.csv: the probability of 'cat' is -0.3",
    ),
    "a sum that is not one": (
        ("id", "label", *CLASSES),
        [GOOD, ("2", "dog", ".3", ".3", ".3")],
        r"row 3 of t.csv: .* sum to 0.9 \(1 of 2 rows",
    ),
    "an infinite logit": (
        ("id", "label", "logit_a", "logit_b"),
        [("1", "a", "inf", "0")],
        r"row 2 of t.csv: the logit of 'a' is inf",
    ),
    "the same image twice": (
        ("id", "label", *CLASSES),
        [GOOD, GOOD],
        r"row 3 of t.csv is about the same image as row 2 of t.csv: 1",
    ),
    "the same path twice": (
        ("path", "label", *CLASSES),
        [GOOD, GOOD],
        r"row 3 of t.csv is about the same image as row 2",
    ),
    "no name of an image": (("id", "label", *CLASSES), [GOOD, ("", *GOOD[1:])], r"row 3 of t.csv names no image"),
    "no column of images": (("label", *CLASSES), [GOOD[1:]], "does not say which image"),
    "no column of labels": (("id", *CLASSES), [("1", *GOOD[2:])], "no column with the true class"),
    "one class": (("id", "label", "cat"), [("1", "cat", "1")], "too few classes: one, 'cat'"),
    "no class": (("id", "label"), [("1", "cat")], "too few classes: none"),
    "an unknown split": (
        ("id", "label", "split", *CLASSES),
        [("1", "cat", "tset", *GOOD[2:])],
        r"row 2 of t.csv has the split 'tset' \(did you mean 'test'",
    ),
    "a long row": (("id", "label", *CLASSES), [GOOD, (*GOOD, "7")], "Row #3: Expected 5 columns, got 6"),
    "two columns of a name": (("id", "label", "cat", "dog", "dog"), [GOOD], "two columns named 'dog'"),
    "no rows": (("id", "label", *CLASSES), [], "has no rows"),
    "an empty file": ((), [], "is empty"),
    "a list that is none": (
        ("id", "label", "logits"),
        [("1", "cat", "3, 4")],
        r"row 2 of t.csv: the column 'logits' holds '3, 4'",
    ),
    "lists of two lengths": (
        ("id", "label", "logits"),
        [("1", "cat", "[1, 2]"), ("2", "cat", "[1, 2, 3]")],
        r"row 3 of t.csv: the column 'logits' holds 3 numbers",
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_what_is_wrong_is_said_with_its_row(fault: str, tmp_path: Path) -> None:
    header, rows, problem = FAULTS[fault]
    with pytest.raises(DataError, match=problem) as raised:
        read_predictions(write(tmp_path / "t.csv", header, rows))
    assert raised.value.expected


def test_rows_of_parquet_count_from_zero(tmp_path: Path) -> None:
    table = pa.table({"id": ["a", "b"], "label": ["cat", "dog"], "cat": [0.5, 0.7], "dog": [0.5, 0.7]})
    pq.write_table(table, tmp_path / "t.parquet")
    with pytest.raises(DataError, match=r"row 1 of t.parquet: .* sum to 1.4"):
        read_predictions(tmp_path / "t.parquet")
    (tmp_path / "t.parquet").write_bytes(b"PAR1 cut off")
    with pytest.raises(Exception, match="cannot be read"):
        read_predictions(tmp_path / "t.parquet")
    with pytest.raises(DataError, match="there is no table"):
        read_predictions(tmp_path / "u.parquet")


def test_a_missing_class_is_named(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", ("id", "label", *CLASSES), ROWS)
    with pytest.raises(DataError, match=r"no column for the class 'eels' \(did you mean 'eel'"):
        read_predictions(path, classes=("cat", "dog", "eels"))


def test_tables_are_told_from_runs(tmp_path: Path) -> None:
    (tmp_path / "run.csv").mkdir()
    assert not is_prediction_table(tmp_path / "run.csv")
    assert not is_prediction_table(tmp_path / "runs" / "flowers")
    assert is_prediction_table(tmp_path / "nowhere.TSV")


@settings(max_examples=60, deadline=None)
@given(content=st.binary(max_size=200), suffix=st.sampled_from([".csv", ".tsv", ".parquet"]))
def test_any_bytes_are_read_or_refused(content: bytes, suffix: str, tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.mktemp("any") / f"t{suffix}"
    path.write_bytes(content)
    with pytest.raises(EyebrightError):
        read_predictions(path)


@settings(max_examples=60, deadline=None)
@given(
    cells=st.lists(st.tuples(st.text(max_size=6), st.text(max_size=6), st.text(max_size=6)), max_size=5),
    delimiter=st.sampled_from([",", ";"]),
)
def test_any_cells_are_read_or_refused(
    cells: list[tuple[str, str, str]], delimiter: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.mktemp("any") / "t.csv"
    text = io.StringIO()
    writer = csv.writer(text, delimiter=delimiter)
    writer.writerow(("id", "label", "cat", "dog"))
    writer.writerows((*row, "1") for row in cells)
    path.write_bytes(text.getvalue().encode("utf-8", "replace"))
    with contextlib.suppress(EyebrightError):
        read_predictions(path)
