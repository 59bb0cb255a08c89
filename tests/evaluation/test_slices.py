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
from eyebright.evaluation.slices import (
    NO_VALUE,
    OTHER,
    accuracy_by,
    accuracy_of_parts,
    bin_shares,
    column_values,
    make_column,
    number_column,
    quantile_cuts,
)

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


@settings(max_examples=150, deadline=None)
@given(st.lists(st.one_of(st.integers(-5, 5).map(float), st.floats(-1e6, 1e6)), min_size=2, max_size=80))
def test_cuts_separate_values_and_equal_numbers_share_a_bin(values: list[float]) -> None:
    numbers = np.array(values)
    cuts = quantile_cuts(numbers, [0.25, 0.5, 0.75])
    assert cuts == sorted(set(cuts))
    assert len(cuts) <= 3
    assert (len(cuts) == 0) == (len(set(values)) == 1)
    bins = np.searchsorted(cuts, numbers, side="right")
    assert set(bins.tolist()) == set(range(len(cuts) + 1)) or not cuts  # no bin is empty
    for value in set(values):
        assert len(set(bins[numbers == value].tolist())) == 1


def test_bins_hold_about_equally_many_images_with_round_limits() -> None:
    numbers = np.random.default_rng(0).gamma(2, 0.1, 1000)
    column = number_column("light", numbers, unit="lux")
    assert column is not None
    counts = np.bincount(column.codes)
    assert len(counts) == 5
    assert np.abs(counts / 1000 - 0.2).max() <= 0.0401  # each cut may be two in a hundred off
    reference = np.quantile(numbers, [0.2, 0.4, 0.6, 0.8])
    cuts = quantile_cuts(numbers, bin_shares(1000))
    assert np.allclose(cuts, reference, rtol=0.1)
    assert all(len(f"{cut:g}") <= 5 for cut in cuts)
    assert column.parts[0] == f"under {cuts[0]:g} lux"
    assert column.parts[1] == f"{cuts[0]:g} to {cuts[1]:g} lux"
    assert column.parts[-1] == f"{cuts[-1]:g} lux or more"


def test_few_values_are_parts_of_their_own_and_what_is_constant_is_left_out() -> None:
    column = number_column("side", [240.0] * 30 + [320.0] * 10 + [np.nan] * 5, unit="pixels")
    assert column is not None
    assert column.parts == ("240 pixels", "320 pixels", NO_VALUE)
    assert np.bincount(column.codes).tolist() == [30, 10, 5]
    assert number_column("side", [240.0] * 30) is None
    assert number_column("side", [np.nan] * 30) is None
    tied = number_column("side", [100.0, 150.0] * 4 + [240.0] * 80 + [float(n) for n in range(300, 312)])
    assert tied is not None
    assert "240" in tied.parts  # most images, and nothing else in their bin


def test_a_column_of_text_that_holds_numbers_is_cut_by_size() -> None:
    column = make_column("age", [str(number) for number in range(100)])
    assert column is not None
    assert column.numbers is not None
    assert len(column.parts) == 4
    assert make_column("age", ["1", "2", "old"] * 9).numbers is None  # type: ignore[union-attr]


def test_rare_values_are_joined_and_names_of_single_images_are_no_column() -> None:
    values = [f"camera {number}" for number in range(30) for _ in range(40 - number)]
    column = make_column("camera", [*values, "", None])
    assert column is not None
    assert column.parts == (*(f"camera {number}" for number in range(20)), OTHER, NO_VALUE)
    assert np.bincount(column.codes)[-2:].tolist() == [sum(40 - number for number in range(20, 30)), 2]
    names = [f"photo {number}" for number in range(100)]
    assert make_column("name", names) is None
    assert make_column("name", ["same"] * 100) is None
    asked_for = make_column("name", names, always=True)
    assert asked_for is not None
    assert asked_for.parts[-1] == OTHER


def test_truth_values_are_values_not_numbers() -> None:
    column = make_column("indoors", [True, False] * 10)
    assert column is not None
    assert column.parts == ("False", "True")


def test_parts_say_what_their_classes_alone_would_give() -> None:
    labels = ["ant"] * 8 + ["bee"] * 8
    said = ["ant"] * 6 + ["bee"] * 2 + ["bee"] * 4 + ["ant"] * 4
    table = predictions([*labels, None], [*said, "ant"])
    column = make_column("half", ["left"] * 10 + ["right"] * 6 + ["left"])
    assert column is not None
    parts = accuracy_of_parts(table, column)
    assert {name: part.images for name, part in parts.items()} == {"left": 10, "right": 6}
    assert parts["left"].accuracy.value == pytest.approx((6 + 2) / 10)
    assert parts["left"].expected == pytest.approx((8 * 0.75 + 2 * 0.5) / 10)
    assert parts["right"].as_dict()["expected"] == pytest.approx(0.5)
