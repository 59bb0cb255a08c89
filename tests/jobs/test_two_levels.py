"""Two levels of classes, and several data sets in one, from the images to the answers."""

from __future__ import annotations

import csv
import io
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from sklearn.metrics import accuracy_score

import eyebright
from eyebright.cli.main import main
from eyebright.data.manifest import Manifest
from eyebright.data.sources.catalogue import CatalogueEntry, Reference, add_entry, remove_entry
from eyebright.errors import DataError
from eyebright.evaluation.predictions import Predictions
from eyebright.jobs.evaluate import evaluate_on
from eyebright.jobs.reporting import make_report
from eyebright.run import Run

ABOVE = {"daisy": "flat", "sunflower": "flat", "rose": "tall", "tulip": "tall"}
TINY: dict[str, Any] = {"recipe": "scratch", "model": "smallnet", "epochs": 1, "size": 16}


@pytest.fixture(scope="module")
def nested(shared_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """24 photos of four kinds of flowers at SUPERCLASS/CLASS/IMAGE."""
    root = tmp_path_factory.mktemp("nested")
    for name, above in ABOVE.items():
        (root / above / name).mkdir(parents=True)
        for photo in sorted((shared_data / "flowers" / name).iterdir())[:24]:
            shutil.copyfile(photo, root / above / name / photo.name)
    return root


@pytest.fixture(scope="module")
def catalogue(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("catalogue")


@pytest.fixture(autouse=True)
def own_catalogue(catalogue: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EYEBRIGHT_CATALOGUE", str(catalogue))


@pytest.fixture(scope="module")
def nested_run(nested: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("EYEBRIGHT_CACHE", str(tmp_path_factory.mktemp("cache")))
        return eyebright.train(nested, output=tmp_path_factory.mktemp("runs"), name="n", superclass="folders", **TINY)


@pytest.fixture(scope="module")
def combined_run(nested: Path, catalogue: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """On two parts that are combined by reference, with superclasses from a file that is gone afterwards."""
    file = tmp_path_factory.mktemp("file") / "above.yaml"
    file.write_text("flat: [daisy, sunflower]\ntall: [rose, tulip]\n")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("EYEBRIGHT_CACHE", str(tmp_path_factory.mktemp("cache")))
        patch.setenv("EYEBRIGHT_CATALOGUE", str(catalogue))
        patch.chdir(file.parent)
        parts = {above: Reference(path=str(nested / above)) for above in ("flat", "tall")}
        add_entry(CatalogueEntry(name="garden", parts=parts))
        run = eyebright.train(
            "garden", output=tmp_path_factory.mktemp("runs"), name="c", superclass="above.yaml", **TINY
        )
    file.unlink()
    return run


def test_superclasses_reach_manifest_bundle_and_predictions(nested_run: Run) -> None:
    ok = Manifest.read(nested_run.file("manifest.parquet")).ok
    assert dict(zip(ok["label"].to_pylist(), ok["superclass"].to_pylist(), strict=True)) == ABOVE
    assert nested_run.bundle.record.superclasses == ABOVE
    assert (
        "2 superclasses: flat (daisy, sunflower); tall (rose, tulip)."
        in nested_run.file("bundle/README.md").read_text()
    )
    predictions = Predictions.read(nested_run.file("predictions.parquet"))
    for label, true, said, predicted in zip(
        *(predictions.column(name) for name in ("label", "superclass", "predicted", "predicted_superclass")),
        strict=True,
    ):
        assert (ABOVE[str(label)], ABOVE[str(said)]) == (true, predicted)


def test_superclass_accuracy_is_measured_and_reported(nested_run: Run) -> None:
    test = Predictions.read(nested_run.file("predictions.parquet")).select("test")
    expected = accuracy_score(test.column("superclass"), test.column("predicted_superclass"))
    estimate = nested_run.metrics["test"]["superclass_accuracy"]
    assert estimate["value"] == pytest.approx(expected)
    assert estimate["low"] < estimate["value"] <= estimate["high"]
    assert "Superclass accuracy" in nested_run.report.read_text(encoding="utf-8")
    assert "dataset" not in nested_run.metrics["slices"]


def test_the_command_line_tells_the_superclass(
    nested_run: Run, nested: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    photo = next((nested / "tall" / "rose").iterdir())
    assert main(["predict", str(nested_run.path), str(photo), "--json"]) == 0
    (answer,) = json.loads(capsys.readouterr().out)
    assert answer["superclass"] == ABOVE[answer["label"]]
    members = [p for name, p in answer["probabilities"].items() if ABOVE[name] == answer["superclass"]]
    assert answer["superclass_probability"] == pytest.approx(sum(members), abs=1e-6)
    assert main(["predict", str(nested_run.path), str(photo), "--csv"]) == 0
    (row,) = csv.DictReader(io.StringIO(capsys.readouterr().out))
    assert row["superclass"] == answer["superclass"]
    assert float(row["superclass_probability"]) == pytest.approx(answer["superclass_probability"], abs=1e-6)
    assert main(["predict", str(nested_run.path), str(photo)]) == 0
    assert f"; {answer['superclass']} {answer['superclass_probability']:.1%}" in capsys.readouterr().out
    prediction = eyebright.load(nested_run.path).predict(photo)
    assert prediction.superclass == answer["superclass"]


def test_nested_and_plain_folders_are_both_evaluated(nested_run: Run, nested: Path, tmp_path: Path) -> None:
    everything = evaluate_on(nested_run.path, nested, include_seen=True)
    assert everything.metrics.images == 96
    assert everything.metrics.superclass_accuracy is not None
    plain = evaluate_on(nested_run.path, nested / "tall", include_seen=True)
    assert plain.metrics.images == 48
    assert plain.metrics.superclass_accuracy is not None
    shutil.copytree(nested / "tall", tmp_path / "other" / "flat")
    shutil.copytree(nested / "flat", tmp_path / "other" / "tall")
    with pytest.raises(DataError, match="is below 'tall' in these images and below 'flat' in the classifier"):
        evaluate_on(nested_run.path, tmp_path / "other", include_seen=True)


def test_a_run_on_several_sets_says_how_each_fared(combined_run: Run) -> None:
    manifest = Manifest.read(combined_run.file("manifest.parquet"))
    dataset = dict(zip(manifest.ok["id"].to_pylist(), manifest.ok["dataset"].to_pylist(), strict=True))
    test = Predictions.read(combined_run.file("predictions.parquet")).select("test")
    slices = combined_run.metrics["slices"]["dataset"]
    assert sum(part["images"] for part in slices.values()) == len(test)
    for name, part in slices.items():
        rows = [row for row, image in enumerate(test.column("id")) if dataset[str(image)] == name]
        truth, said = ([test.column(column)[row] for row in rows] for column in ("label", "predicted"))
        assert part["images"] == len(rows)
        assert part["accuracy"]["value"] == pytest.approx(accuracy_score(truth, said))
        assert part["accuracy"]["low"] <= part["accuracy"]["value"] <= part["accuracy"]["high"]
    page = combined_run.report.read_text(encoding="utf-8")
    assert "Data set" in page
    assert all(name in page for name in slices)


def test_a_run_outlasts_the_file_of_superclasses_and_the_name_of_its_data(combined_run: Run, catalogue: Path) -> None:
    assert combined_run.bundle.record.superclasses == ABOVE
    config = combined_run.file("config.yaml").read_text()
    assert "/above.yaml" in config  # as an absolute path, so that the run can be resumed from another folder
    entry = (catalogue / "garden.yaml").read_bytes()
    remove_entry("garden")
    try:
        assert make_report(combined_run).is_file()
    finally:
        (catalogue / "garden.yaml").write_bytes(entry)


@pytest.mark.parametrize(
    ("rule", "words"), [("folders", "images lie at another depth"), ("column:kind", "no column 'kind'")]
)
def test_a_rule_that_does_not_fit_costs_no_run(rule: str, words: str, flowers_sample: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=words):
        eyebright.train(flowers_sample, output=tmp_path / "runs", superclass=rule, **TINY)
    assert not (tmp_path / "runs").exists()
