"""Evaluation of a run by what it said, of a run on new images, and of a table of answers."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from eyebright.data.manifest import Manifest
from eyebright.errors import BundleError, DataError
from eyebright.evaluation.predictions import Predictions
from eyebright.jobs.evaluate import evaluate_on, evaluate_stored, evaluate_table
from eyebright.run import open_run


@pytest.fixture(scope="module")
def run(trained_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that may be written into."""
    return Path(shutil.copytree(trained_run, tmp_path_factory.mktemp("own") / "stripes"))


@pytest.fixture(scope="module")
def stripes(trained_run: Path) -> Path:
    return trained_run.parents[1] / "stripes"


def test_what_a_run_said_of_its_test_images_is_measured_again(run: Path) -> None:
    before = sorted(path.name for path in run.iterdir())
    result = evaluate_stored(run)
    assert result.metrics.as_dict() == open_run(run).metrics["test"]
    assert result.folder is None
    assert result.test_images == result.metrics.images
    assert sorted(path.name for path in run.iterdir()) == before
    validation = evaluate_stored(run, split="val")
    assert validation.metrics.accuracy == evaluate_stored(run / "bundle", split="val").metrics.accuracy
    assert validation.metrics.as_dict() == open_run(run).metrics["val"]
    with pytest.raises(DataError, match="no predictions of the split 'train'") as raised:
        evaluate_stored(run, split="train")
    assert "test, val" in str(raised.value.expected)


def test_a_run_without_an_end_cannot_be_measured(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="does not exist"):
        evaluate_stored(tmp_path / "nowhere")


def test_slices_of_a_run_are_kept_so_that_they_need_no_images(run: Path, tmp_path: Path) -> None:
    result = evaluate_stored(run, slices=True)
    assert "sharpness" in result.slices
    assert result.worst_slices is not None
    manifest = Manifest.read(run / "manifest.parquet")
    Manifest(manifest.table, classes=manifest.classes, spec="/nowhere/at/all", kind=manifest.kind).write(
        run / "manifest.parquet"
    )
    assert evaluate_stored(run, slices=True).slices == result.slices
    manifest.write(run / "manifest.parquet")


def test_new_images_get_slices_by_their_own_columns(run: Path, stripes: Path, tmp_path: Path) -> None:
    known = Manifest.read(run / "manifest.parquet").ok.to_pylist()
    new = [row for row in known if row["split"] == "test"]
    with (tmp_path / "new.csv").open("w", newline="") as handle:
        writer = csv.writer(handle)
        writer.writerow(("image_path", "label", "camera"))
        for number, row in enumerate(new):
            writer.writerow((stripes / row["source"], row["label"], ("left", "right")[number % 2]))
    result = evaluate_on(run, tmp_path / "new.csv", by=["camera"], slices=True)
    assert next(iter(result.slices)) == "camera"
    assert sum(part["images"] for part in result.slices["camera"].values()) == len(new)
    assert "brightness" in result.slices
    assert result.folder is not None
    written = json.loads((result.folder / "metrics.json").read_text())
    assert written["slices"] == result.slices
    assert written["worst_slices"] == result.worst_slices
    assert written["metrics"] == result.metrics.as_dict()
    assert Predictions.read(result.folder / "predictions.parquet").table.equals(result.predictions.table)
    with pytest.raises(DataError, match="no column 'lens'"):
        evaluate_on(run, tmp_path / "new.csv", by=["lens"])


def test_scores_in_threads_are_those_of_the_run(run: Path, stripes: Path) -> None:
    result = evaluate_on(run, stripes, allow_bad=0.05)
    stored = evaluate_stored(run)
    ours, theirs = result.predictions.join(stored.predictions)
    assert np.abs(ours.logits() - theirs.logits()).max() < 1e-4
    assert [row["source"] for row in result.ledger] == ["angle-0/broken.png"]


def table_of(predictions: Predictions, path: Path) -> Path:
    """The table that another program would write."""
    with path.open("w", newline="") as handle:
        writer = csv.writer(handle)
        writer.writerow(("id", "label", "split", "site", *(f"prob_{name}" for name in predictions.classes)))
        rows = zip(
            predictions.column("id"), predictions.column("label"), predictions.column("split"),
            predictions.probabilities(), strict=True,
        )  # fmt: skip
        for number, (image, label, split, shares) in enumerate(rows):
            writer.writerow((image, label, split, "ab"[number % 2], *(repr(float(share)) for share in shares)))
    return path


def test_a_table_gives_the_numbers_of_the_run_it_was_written_from(run: Path, stripes: Path, tmp_path: Path) -> None:
    ours = Predictions.read(run / "predictions.parquet")
    table = table_of(ours, tmp_path / "said.csv")
    result, stored = evaluate_table(table), evaluate_stored(run)
    for (name, one), (_, other) in zip(result.metrics.estimates(), stored.metrics.estimates(), strict=True):
        assert one.value == pytest.approx(other.value, abs=1e-5), name
    assert evaluate_table(table, split="val").metrics.images == evaluate_stored(run, split="val").metrics.images
    direct = evaluate_table(run / "predictions.parquet")
    assert direct.metrics.as_dict() == stored.metrics.as_dict()
    cut = evaluate_table(table, stripes, by=["site"], slices=True)
    assert set(cut.slices["site"]) == {"a", "b"}
    assert cut.slices["sharpness"] == evaluate_stored(run, slices=True).slices["sharpness"]


def test_a_table_is_refused_where_it_cannot_be_cut(run: Path, tmp_path: Path, flowers_sample: Path) -> None:
    table = table_of(Predictions.read(run / "predictions.parquet"), tmp_path / "said.csv")
    with pytest.raises(DataError, match=r"said.csv has no column 'lens'"):
        evaluate_table(table, by=["lens"])
    with pytest.raises(DataError, match="none of the 120 images of"):
        evaluate_table(table, flowers_sample, slices=True)
    with pytest.raises(DataError, match="no predictions of the split 'train'"):
        evaluate_table(table, split="train")
