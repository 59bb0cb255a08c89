"""Images of something else, shown to a trained classifier: scores, what is left out, what is written."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from sklearn.metrics import roc_auc_score

from eyebright.classifier import load
from eyebright.data.manifest import Manifest
from eyebright.errors import BundleError, DataError
from eyebright.evaluation.features import Features
from eyebright.evaluation.predictions import Predictions
from eyebright.jobs.outliers import measure_outliers
from eyebright.run import open_run


@pytest.fixture
def run(trained_run: Path, tmp_path: Path) -> Path:
    """A copy that may be written into."""
    return Path(shutil.copytree(trained_run, tmp_path / "run", ignore=shutil.ignore_patterns("checkpoint")))


@pytest.fixture
def strange(tmp_path: Path) -> Path:
    """Flat colours: nothing like stripes; one of them twice, and a file that is no image."""
    folder = tmp_path / "strange"
    folder.mkdir()
    generator = np.random.default_rng(0)
    for number in range(24):
        pixels = np.full((20, 20, 3), generator.integers(0, 256, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{number}.png")
    shutil.copyfile(folder / "3.png", folder / "again.png")
    (folder / "broken.png").write_bytes((folder / "5.png").read_bytes()[:40])
    return folder


def test_scores_are_compared_with_those_of_the_own_test_images(run: Path, strange: Path) -> None:
    found = measure_outliers(run, strange)
    json.dumps(found, allow_nan=False)
    assert found["images"] == 24
    assert [entry["source"].rsplit("/", 1)[-1] for entry in found["ledger"]] == ["broken.png"]
    stored = json.loads((Path(found["folder"]) / "outliers.json").read_text())
    assert stored == {key: value for key, value in found.items() if key != "folder"}
    assert Path(found["folder"]).parent == run / "evaluations"

    classifier = load(run)
    outliers = classifier.record.decisions.outliers
    assert outliers is not None
    test = Predictions.read(run / "predictions.parquet").select("test")
    features = Features.read(run / "features.npz").select("test")
    rows = [features.ids.tolist().index(name) for name in test.column("id")]
    own = outliers.scores(test.logits(), features.values[rows])
    said = classifier.predict([strange / f"{number}.png" for number in range(24)])
    for name, part in found["scores"].items():
        others = np.array([one.outlier_scores[name] for one in said])
        truth = [0] * len(test) + [1] * 24
        assert part["auroc"]["value"] == pytest.approx(roc_auc_score(truth, np.concatenate([own[name], others])))
    flagged = sum(bool(one.outlier) for one in said)
    assert found["scores"][found["used"]]["detected"]["count"] == flagged
    assert set(found["scores"]) == {"energy", "distance"}


def test_images_of_the_run_itself_are_no_outliers(run: Path, strange: Path) -> None:
    manifest = Manifest.read(run / "manifest.parquet")
    for source in manifest.ok["source"].to_pylist()[:5]:
        shutil.copyfile(Path(manifest.spec) / source, strange / Path(source).name.replace(".png", "-own.png"))
    found = measure_outliers(run / "bundle", strange)
    assert (found["images"], found["own_left_out"]) == (24, 5)
    with pytest.raises(DataError, match="belong to the run itself"):
        measure_outliers(run, manifest.spec)


def test_without_features_the_energy_is_left(run: Path, strange: Path) -> None:
    (run / "features.npz").unlink()
    assert set(measure_outliers(run, strange)["scores"]) == {"energy"}


def test_a_bundle_that_left_its_run_is_told_what_is_missing(run: Path, strange: Path, tmp_path: Path) -> None:
    alone = shutil.copytree(run / "bundle", tmp_path / "elsewhere" / "bundle")
    with pytest.raises(BundleError, match="not a run"):
        measure_outliers(alone, strange)
    assert open_run(run).state["state"] == "complete"
