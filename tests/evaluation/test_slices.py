"""Accuracy for each value of a column, matched by content id."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binomtest
from sklearn.metrics import accuracy_score

from eyebright.data.manifest import Manifest
from eyebright.data.sources import open_source
from eyebright.evaluation.predictions import Predictions, make_predictions
from eyebright.evaluation.slices import NO_VALUE, accuracy_by, column_values

CLASSES = ("ant", "bee")


def predictions(labels: list[str | None], said: list[str], splits: list[str] | None = None) -> Predictions:
    ids = [f"id{number}" for number in range(len(labels))]
    logits = [[1.0, 0.0] if name == "ant" else [0.0, 1.0] for name in said]
    return make_predictions(ids, ids, labels, splits or ["test"] * len(ids), np.array(logits), 1.0, CLASSES)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.sampled_from(CLASSES), st.sampled_from(CLASSES), st.sampled_from("xyz")), min_size=1))
def test_every_slice_has_the_accuracy_and_interval_of_its_images(rows: list[tuple[str, str, str]]) -> None:
    labels, said, values = (list(column) for column in zip(*rows, strict=True))
    found = accuracy_by(
        predictions(list(labels), said), {(f"id{number}", "test"): value for number, value in enumerate(values)}
    )
    assert set(found) == set(values)
    for value, part in found.items():
        rows_of_it = [number for number, other in enumerate(values) if other == value]
        truth, answers = [labels[row] for row in rows_of_it], [said[row] for row in rows_of_it]
        assert part.images == len(rows_of_it)
        assert part.accuracy.value == pytest.approx(accuracy_score(truth, answers))
        hits = sum(one == other for one, other in zip(truth, answers, strict=True))
        interval = binomtest(hits, len(rows_of_it)).proportion_ci(method="wilson")
        assert (part.accuracy.low, part.accuracy.high) == pytest.approx((interval.low, interval.high), abs=1e-12)


def test_the_largest_slice_comes_first_and_order_of_rows_does_not_matter() -> None:
    table = predictions(["ant", "bee", "ant", "bee"], ["ant", "ant", "ant", "bee"])
    values = {("id0", "test"): "small", **{(f"id{n}", "test"): "large" for n in (1, 2, 3)}}
    found = accuracy_by(table, values)
    assert list(found) == ["large", "small"]
    assert accuracy_by(table.rows([3, 1, 0, 2]), values) == found


def test_rows_without_a_label_or_of_another_split_are_left_out() -> None:
    table = predictions(["ant", None, "bee"], ["ant", "ant", "bee"], ["test", "test", "val"])
    found = accuracy_by(table, {(f"id{number}", "test"): "x" for number in range(3)})
    assert {value: part.images for value, part in found.items()} == {"x": 1}
    assert accuracy_by(table, {}) == {}


def test_values_come_from_the_used_rows_of_a_manifest(tmp_path: Path, flowers_sample: Path) -> None:
    rows = []
    for label in ("daisy", "rose"):
        for number, photo in enumerate(sorted((flowers_sample / label).iterdir())[:3]):
            rows.append(f"{photo},{label},{('left', 'right', '')[number]}")
    (tmp_path / "t.csv").write_text("image_path,label,camera\n" + "\n".join([*rows, "gone.jpg,daisy,left\n"]))
    manifest = Manifest.scan(open_source(tmp_path / "t.csv"))
    values = column_values(manifest, "camera")
    assert sorted(values.values()) == [NO_VALUE, NO_VALUE, "left", "left", "right", "right"]
    assert set(values) == {(image, None) for image in manifest.ok["id"].to_pylist()}
    assert column_values(manifest, "dataset") == {}
