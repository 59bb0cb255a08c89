"""What a run or an evaluation is cut by, from the manifest and the images themselves."""

from __future__ import annotations

import csv
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageFilter

from eyebright.data.manifest import Manifest
from eyebright.data.sources import Source, open_source
from eyebright.errors import DataError
from eyebright.evaluation.image_properties import ImageProperties
from eyebright.evaluation.predictions import Predictions, make_predictions
from eyebright.jobs import slices as module
from eyebright.jobs.slices import chosen_columns, measure_properties, run_slices

CLASSES = ("daisy", "rose", "tulip")


def scored(manifest: Manifest, wrong: Callable[[dict[str, object]], bool], split: str = "test") -> Predictions:
    """Predictions for every image of a manifest that are wrong where `wrong` says so of its row."""
    rows = manifest.ok.to_pylist()
    labels = [CLASSES.index(row["label"]) for row in rows]
    said = [(label + wrong(row)) % 3 for label, row in zip(labels, rows, strict=True)]
    return make_predictions(
        [row["id"] for row in rows], [row["source"] for row in rows], [row["label"] for row in rows],
        [split] * len(rows), np.eye(3)[said] * 4, 1.0, CLASSES,
    )  # fmt: skip


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory, flowers_sample: Path) -> Path:
    """120 photos, a third of them blurred, with a camera, a time of day as text, and a name for each."""
    root = tmp_path_factory.mktemp("table")
    with (root / "photos.csv").open("w", newline="") as handle:
        writer = csv.writer(handle)
        writer.writerow(("image_path", "label", "camera", "hour", "title"))
        for label in CLASSES:
            for number, photo in enumerate(sorted((flowers_sample / label).iterdir())):
                image = Image.open(photo).convert("RGB")
                if number % 3 == 0:
                    image = image.filter(ImageFilter.GaussianBlur(3))
                path = root / f"site {number % 2}" / label / f"{photo.stem}.jpg"
                path.parent.mkdir(parents=True, exist_ok=True)
                image.save(path, quality=95)
                camera = ("one", "two", "")[number % 3]
                writer.writerow((path.relative_to(root), label, camera, number / 2, f"photo {number} of {label}"))
    return root / "photos.csv"


def source_and_manifest(path: Path) -> tuple[Source, Manifest]:
    source = open_source(path)
    return source, Manifest.scan(source)


def test_slices_come_from_properties_origin_and_columns(table: Path, tmp_path: Path) -> None:
    source, manifest = source_and_manifest(table)
    blurred = {row["id"] for number, row in enumerate(manifest.ok.to_pylist()) if number % 40 % 3 == 0}
    predictions = scored(manifest, lambda row: row["id"] in blurred)
    found = run_slices(manifest, source, predictions, keep=tmp_path / "properties.parquet")
    slices = found["slices"]
    assert {"camera", "hour", "folder", "sharpness", "brightness", "saturation", "bytes_per_pixel"} <= set(slices)
    assert "title" not in slices  # different for each image
    assert "jpeg_quality" not in slices  # the same for all
    assert "format" not in slices
    assert "dataset" not in slices
    assert set(slices["camera"]) == {"one", "two", "(none)"}
    assert slices["camera"]["one"]["accuracy"]["value"] == 0.0
    assert set(slices["folder"]) == {"site 0", "site 1"}
    sharpness = list(slices["sharpness"].values())
    assert sharpness[0]["accuracy"]["value"] < 0.2 < 0.8 < sharpness[-1]["accuracy"]["value"]
    assert sum(part["images"] for part in sharpness) == 120
    assert 0.6 < sharpness[0]["expected"] < 0.72
    worst = found["worst_slices"]
    assert worst[0]["conditions"] == ["camera one"]
    assert worst[0]["images"] == len(blurred)
    assert set(worst[0]["mistakes"]) <= blurred
    assert len(ImageProperties.read(tmp_path / "properties.parquet")) == 120


def test_kept_properties_need_no_images(table: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source, manifest = source_and_manifest(table)
    predictions = scored(manifest, lambda row: False)
    keep = tmp_path / "properties.parquet"
    before = run_slices(manifest, source, predictions, keep=keep)
    monkeypatch.setattr(module, "probe_images", lambda *_, **__: pytest.fail("the images were read again"))
    assert run_slices(manifest, source, predictions, keep=keep) == before
    assert run_slices(manifest, None, predictions, keep=keep) == before
    without = run_slices(manifest, None, predictions)
    assert "sharpness" not in without["slices"]
    assert without["slices"]["camera"] == before["slices"]["camera"]


def test_damaged_properties_are_measured_again(table: Path, tmp_path: Path) -> None:
    source, manifest = source_and_manifest(table)
    keep = tmp_path / "properties.parquet"
    keep.write_bytes(b"PAR1 no more")
    ids = manifest.ok["id"].to_pylist()
    found = measure_properties(manifest, source, ids[:7], keep=keep)
    assert found is not None
    assert sorted(found.ids) == sorted(ids[:7])
    assert sorted(ImageProperties.read(keep).ids) == sorted(ids[:7])
    more = measure_properties(manifest, source, ids[:9], keep=keep)
    assert more is not None
    assert len(more) == 9


def test_images_that_are_gone_belong_to_no_part(table: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(table.parent, tmp_path / "copy")) / table.name
    source, manifest = source_and_manifest(copy)
    predictions = scored(manifest, lambda row: False)
    for row in manifest.ok.to_pylist()[:10]:
        (copy.parent / row["source"]).unlink()
    ids = predictions.column("id")
    found = measure_properties(manifest, source, [str(image) for image in ids], keep=tmp_path / "p.parquet")
    assert found is not None
    # What was measured before, in another test or run, is known by its content; the images need not be there.
    assert len(found) in (110, 120)


def test_the_headline_split_is_cut_and_the_others_are_only_compared(table: Path) -> None:
    source, manifest = source_and_manifest(table)
    rows = manifest.ok.to_pylist()
    splits = ["test" if number % 2 else "val" for number in range(len(rows))]
    predictions = make_predictions(
        [row["id"] for row in rows], [row["source"] for row in rows], [row["label"] for row in rows], splits,
        np.eye(3)[[CLASSES.index(row["label"]) for row in rows]], 1.0, CLASSES,
    )  # fmt: skip
    slices = run_slices(manifest, source, predictions)["slices"]
    assert sum(part["images"] for part in slices["camera"].values()) == 60
    assert {name: part["images"] for name, part in slices["split"].items()} == {"test": 60, "val": 60}


def test_the_data_set_of_a_combined_source_is_a_slice_even_where_it_settles_the_class(tmp_path: Path) -> None:
    from eyebright.data.sources.class_mapping import ClassMapping
    from eyebright.data.sources.combined import CombinedSource

    parts = {}
    for part, names in (("pets", ("daisy", "rose")), ("foods", ("tulip",))):
        for name in names:
            (tmp_path / part / name).mkdir(parents=True)
            for number in range(6):
                pixels = np.random.default_rng([len(part), len(name), number]).integers(0, 255, (12, 12, 3))
                Image.fromarray(pixels.astype(np.uint8)).save(tmp_path / part / name / f"{number}.png")
        parts[part] = open_source(tmp_path / part)
    source = CombinedSource(parts, ClassMapping(), "both")
    manifest = Manifest.scan(source)
    slices = run_slices(manifest, source, scored(manifest, lambda row: row["label"] == "rose"))["slices"]
    assert slices["dataset"]["pets"]["accuracy"]["value"] == 0.5
    assert slices["dataset"]["foods"]["accuracy"]["value"] == 1.0
    assert "folder" not in slices  # the same parts by another name


def test_a_folder_that_says_the_class_is_no_slice(flowers_sample: Path) -> None:
    source, manifest = source_and_manifest(flowers_sample)
    assert "folder" not in run_slices(manifest, source, scored(manifest, lambda row: False))["slices"]


def test_a_column_that_is_asked_for_is_there_or_named_as_missing(table: Path) -> None:
    _, manifest = source_and_manifest(table)
    predictions = scored(manifest, lambda row: False)
    (title,) = chosen_columns(manifest, predictions, ["title"])
    assert title.parts[-1] == "(other)"
    with pytest.raises(DataError, match=r"no column 'camra' \(did you mean 'camera'") as raised:
        chosen_columns(manifest, predictions, ["camra"])
    assert "'camera', 'hour', 'title'" in str(raised.value.expected)


def test_predictions_without_a_label_have_no_slices(table: Path) -> None:
    source, manifest = source_and_manifest(table)
    rows = manifest.ok.to_pylist()
    nothing = make_predictions(
        [row["id"] for row in rows], [row["source"] for row in rows], [None] * len(rows), ["test"] * len(rows),
        np.zeros((len(rows), 3)), 1.0, CLASSES,
    )  # fmt: skip
    assert run_slices(manifest, source, nothing) == {"slices": {}, "worst_slices": []}
