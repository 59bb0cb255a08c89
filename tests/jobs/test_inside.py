"""A look into a run: filters, maps and neighbours as pictures."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from eyebright.bundle import read_bundle
from eyebright.classifier import Classifier
from eyebright.data.manifest import Manifest
from eyebright.errors import BundleError, UsageError
from eyebright.jobs.inside import EMBEDDING_FILE, make_map, show_filters, show_maps, show_neighbours


@pytest.fixture
def run(trained_run: Path, tmp_path: Path) -> Path:
    """A copy of a run that may be written into."""
    return Path(shutil.copytree(trained_run, tmp_path / "run"))


def photos(run: Path, split: str, count: int = 3) -> list[Path]:
    manifest = Manifest.read(run / "manifest.parquet")
    rows = zip(manifest.ok["source"].to_pylist(), manifest.ok["split"].to_pylist(), strict=True)
    return [Path(manifest.spec) / source for source, where in rows if where == split][:count]


def size_of(path: Path | None) -> tuple[int, int]:
    assert path is not None
    with Image.open(path) as picture:
        picture.load()
        return picture.size


def test_filters_and_maps_become_pictures(run: Path, tmp_path: Path) -> None:
    shown = show_filters(run, tmp_path / "out")
    assert "filters of 3x3" in shown.says
    assert min(size_of(shown.path)) > 100
    (one, missing) = show_maps(run, [*photos(run, "test", 1), tmp_path / "none.png"], None, tmp_path / "out")
    assert min(size_of(one.path)) > 100
    assert (missing.path, missing.status) == (None, "missing")
    with pytest.raises(UsageError, match="there is no layer"):
        list(show_maps(run, photos(run, "test", 1), "nonsense", tmp_path / "out"))


def test_a_training_image_is_most_like_itself(run: Path, tmp_path: Path) -> None:
    for shown, photo in zip(
        show_neighbours(run, photos(run, "train"), 4, tmp_path / "out"), photos(run, "train"), strict=True
    ):
        assert shown.neighbours[0].similarity == pytest.approx(1, abs=1e-3)
        assert shown.neighbours[0].label == read_bundle(run).record.classes.index(photo.parent.name)
        assert size_of(shown.path)[0] > 300


def test_all_training_images_are_looked_at_once_and_kept(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    list(show_neighbours(run, photos(run, "test", 1), 2, tmp_path / "out"))
    manifest = Manifest.read(run / "manifest.parquet")
    trained = [
        image
        for image, split in zip(manifest.ok["id"].to_pylist(), manifest.ok["split"].to_pylist(), strict=True)
        if split == "train"
    ]
    from eyebright.evaluation.features import Features

    assert Features.read(run / "train_features.npz").ids.tolist() == trained
    calls = []
    original = Classifier.run_pixels_all
    monkeypatch.setattr(
        Classifier, "run_pixels_all", lambda self, pixels: calls.append(len(pixels)) or original(self, pixels)
    )
    list(show_neighbours(run, photos(run, "test", 1), 2, tmp_path / "out"))
    assert calls == [1]


def test_a_bundle_without_its_run_has_no_neighbours(run: Path, tmp_path: Path) -> None:
    bundle = shutil.copytree(run / "bundle", tmp_path / "alone")
    with pytest.raises(BundleError, match="without its run"):
        list(show_neighbours(bundle, photos(run, "test", 1), 2, tmp_path / "out"))


def test_the_map_is_written_into_the_run(run: Path) -> None:
    found = make_map(run)
    assert (run / EMBEDDING_FILE).is_file()
    assert {image.split for image in found.images} == {"test"}
    assert np.isfinite([[image.x, image.y] for image in found.images]).all()
