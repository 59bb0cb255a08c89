"""Measuring a finished run: same images everywhere, nothing half-written, clear words when images are gone."""

from __future__ import annotations

import json
import shutil
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import eyebright
from eyebright.data.manifest import Manifest
from eyebright.errors import BundleError, DataError, UsageError
from eyebright.evaluation.predictions import Predictions
from eyebright.evaluation.robustness import Robustness
from eyebright.jobs import robustness as job
from eyebright.jobs.robustness import ROBUSTNESS_FILE, in_stratified_order, measure_robustness, read_robustness
from eyebright.progress import Silent
from eyebright.robustness import CORRUPTIONS, corrupt
from eyebright.run import open_run


@pytest.fixture
def run(trained_run: Path, tmp_path: Path) -> Path:
    shutil.copytree(trained_run, tmp_path / "run")
    return tmp_path / "run"


@pytest.fixture(scope="module")
def measured(trained_run: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Robustness]:
    folder = tmp_path_factory.mktemp("measured") / "run"
    shutil.copytree(trained_run, folder)
    return folder, measure_robustness(folder, images="all")


class Heard(Silent):
    """Keeps warnings."""

    def __init__(self) -> None:
        self.warnings: list[str] = []

    def warn(self, text: str) -> None:
        self.warnings.append(text)


def test_clean_accuracy_is_that_of_the_run_and_all_cells_are_there(measured: tuple[Path, Robustness]) -> None:
    folder, found = measured
    test = Predictions.read(folder / "predictions.parquet").select("test")
    assert found.images == len(test)
    assert found.clean.value == pytest.approx((test.predicted_index() == test.labels_index()).mean())
    assert [curve.name for curve in found.curves] == list(CORRUPTIONS)
    assert all(len(curve.cells) == 5 for curve in found.curves)
    assert found.choice == "all test images"
    assert found.mean_error is not None
    assert found.mean_error.value > 1 - found.clean.value  # stripes of 32 pixels do not bear everything
    assert read_robustness(open_run(folder)) == found


def test_a_cell_is_what_the_classifier_says_of_the_corrupted_pixels(measured: tuple[Path, Robustness]) -> None:
    import torch

    folder, found = measured
    manifest = Manifest.read(folder / "manifest.parquet")
    rows = in_stratified_order(manifest, 0)
    classifier = eyebright.load(folder)
    pixels = classifier.pixels([Path(manifest.spec) / name for _, name, _ in rows])
    spoilt = corrupt(torch.from_numpy(pixels), [row[0] for row in rows], "gaussian_noise", 4).numpy()
    probabilities = classifier.probabilities_of_pixels(spoilt)
    right = [classifier.classes[best] == row[2] for best, row in zip(probabilities.argmax(1), rows, strict=True)]
    cell = next(curve for curve in found.curves if curve.name == "gaussian_noise").cells[3]
    assert cell.accuracy.value == pytest.approx(np.mean(right))
    assert cell.confidence == pytest.approx(probabilities.max(1).mean(), abs=1e-6)


def test_examples_are_small_pictures_of_every_corruption(measured: tuple[Path, Robustness]) -> None:
    _, found = measured
    assert list(found.examples) == list(CORRUPTIONS)
    assert all(uri.startswith("data:image/png;base64,") for uri in found.examples.values())


def test_fewer_images_are_a_part_of_more_with_classes_in_their_shares(trained_run: Path) -> None:
    manifest = Manifest.read(trained_run / "manifest.parquet")
    order = in_stratified_order(manifest, seed=0)
    whole = Counter(row[2] for row in order)
    for number in (3, 9, 15):
        part = Counter(row[2] for row in order[:number])
        assert all(abs(part[name] - number * share / len(order)) <= 1 for name, share in whole.items())
    assert [row[0] for row in in_stratified_order(manifest, seed=1)] != [row[0] for row in order]
    assert sorted(in_stratified_order(manifest, seed=1)) == sorted(order)


def test_a_number_of_images_is_taken_and_said(run: Path) -> None:
    found = measure_robustness(run, images=5, seed=2)
    assert found.images == 5
    assert "5 of" in found.choice
    assert "as asked for" in found.choice
    again = measure_robustness(run, images="5", seed=2)
    assert again.curves == found.curves


def test_without_a_number_the_clock_decides(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(job, "SWEEP_SECONDS", 0.0)
    monkeypatch.setattr(job, "LEAST_IMAGES", 7)
    monkeypatch.setattr(job, "_TRIAL_IMAGES", 4)
    found = measure_robustness(run)
    assert found.images == 7
    assert "as many as fit" in found.choice


@pytest.mark.parametrize("wrong", [0, -3, "many", "1.5"])
def test_a_wrong_number_is_refused(run: Path, wrong: int | str) -> None:
    with pytest.raises(UsageError, match="a number of images from 1 on, or all"):
        measure_robustness(run, images=wrong)


def _own_images(run: Path, tmp_path: Path) -> Path:
    """A copy of the images that the run then points to."""
    manifest = Manifest.read(run / "manifest.parquet")
    folder = tmp_path / "images"
    shutil.copytree(manifest.spec, folder)
    Manifest(manifest.table, classes=manifest.classes, spec=str(folder), kind=manifest.kind).write(
        run / "manifest.parquet"
    )
    return folder


def test_images_that_are_gone_are_said_and_nothing_is_written(run: Path, tmp_path: Path) -> None:
    shutil.rmtree(_own_images(run, tmp_path))
    with pytest.raises(DataError, match=r"the images of the run .* cannot be opened"):
        measure_robustness(run)
    assert not (run / ROBUSTNESS_FILE).exists()


def test_damaged_missing_and_exchanged_images_are_skipped_and_counted(run: Path, tmp_path: Path) -> None:
    folder = _own_images(run, tmp_path)
    rows = in_stratified_order(Manifest.read(run / "manifest.parquet"), 0)[:8]
    (folder / rows[0][1]).unlink()
    (folder / rows[2][1]).write_bytes(b"no image")
    Image.new("RGB", (16, 16)).save(folder / rows[4][1])
    heard = Heard()
    found = measure_robustness(run, images=8, progress=heard)
    assert (found.images, found.unreadable) == (5, 3)
    assert any("3 test images could not be used" in text for text in heard.warnings)


def test_when_no_image_can_be_used_it_says_so(run: Path, tmp_path: Path) -> None:
    folder = _own_images(run, tmp_path)
    for _, name, _ in in_stratified_order(Manifest.read(run / "manifest.parquet"), 0)[:3]:
        (folder / name).write_bytes(b"no image")
    with pytest.raises(DataError, match="none of the 3 test images can be used"):
        measure_robustness(run, images=3)


def test_an_interrupt_leaves_what_was_there_before(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = measure_robustness(run, images=3)
    calls = []

    def interrupted(*_: object) -> None:
        calls.append(1)
        if len(calls) > 40:
            raise KeyboardInterrupt

    answer = job._Sweep._answer
    monkeypatch.setattr(job._Sweep, "_answer", lambda self, *given: (interrupted(), answer(self, *given))[1])
    with pytest.raises(KeyboardInterrupt):
        measure_robustness(run, images=6)
    assert Robustness.from_dict(json.loads((run / ROBUSTNESS_FILE).read_text())) == before
    assert [path.name for path in run.iterdir() if path.name.endswith(".partial")] == []


def test_the_number_of_torch_threads_is_put_back(run: Path) -> None:
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        measure_robustness(run, images=2)
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)


def test_a_folder_that_is_no_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BundleError):
        measure_robustness(tmp_path)
