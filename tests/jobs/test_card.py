"""The model card: what hubs parse of it, what it says, and that writing it again leaves the bundle alone."""

from __future__ import annotations

import dataclasses
import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from huggingface_hub import ModelCard, ModelCardData
from huggingface_hub.repocard import metadata_load

from eyebright.bundle import BundleRecord, read_bundle
from eyebright.decisions import Decisions
from eyebright.decisions.outliers import Energy, Outliers
from eyebright.decisions.selection import Selection
from eyebright.decisions.sets import PredictionSets
from eyebright.evaluation import Metrics, evaluate, make_predictions
from eyebright.jobs.card import Circumstances, command_text, model_card, write_card
from eyebright.preprocess import Preprocess
from eyebright.run import open_run

NAMES = ("daisy", "rose", "tulip")
COUNTS = {"train": {"daisy": 80, "rose": 70, "tulip": 60}, "val": {"daisy": 9, "rose": 9}, "test": {"daisy": 40}}


def _metrics() -> Metrics:
    generator = np.random.default_rng(0)
    truth = generator.integers(0, 3, 120)
    logits = generator.normal(size=(120, 3))
    logits[np.arange(120), truth] += [3, 0.7, 2] @ np.eye(3)[truth].T
    ids = [str(number) for number in range(120)]
    return evaluate(make_predictions(ids, ids, [NAMES[index] for index in truth], ["test"] * 120, logits, 1.0, NAMES))


def _record(**changes: Any) -> BundleRecord:
    record = BundleRecord(
        name="flowers", architecture="resnet18", architecture_arguments={}, classes=NAMES,
        preprocess=Preprocess(size=64, resize="squash", resize_to=64, interpolation="bilinear", channels=3,
                              mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5)),
        decisions=Decisions(), data_fingerprint="abc123", metrics={}, licence="Apache-2.0",
        versions={"eyebright": "0.1", "onnx": "not installed"}, created="2026-01-01T00:00:00+00:00",
    )  # fmt: skip
    return dataclasses.replace(record, **changes)


def _front(folder: Path, card: str) -> Mapping[str, Any]:
    path = folder / "README.md"
    path.write_text(card, encoding="utf-8")
    found = metadata_load(path)
    assert found is not None
    return found


def test_the_hub_library_reads_the_results(tmp_path: Path) -> None:
    test = _metrics()
    known = Circumstances(network="resnet18.a1_in1k", pretrained=True, data="hf://datasets/someone/flowers@v2/train")
    front = _front(tmp_path, model_card(_record(), test, counts=COUNTS, circumstances=known))
    assert front["license"] == "apache-2.0"
    assert front["library_name"] == "timm"
    assert front["pipeline_tag"] == "image-classification"
    assert front["datasets"] == ["someone/flowers"]
    assert front["base_model"] == "timm/resnet18.a1_in1k"
    assert {"image-classification", "eyebright"} <= set(front["tags"])

    card = ModelCard.load(tmp_path / "README.md")
    assert isinstance(card.data, ModelCardData)
    assert card.data.model_name == "flowers"
    assert card.data.eval_results is not None
    results = {result.metric_type: result for result in card.data.eval_results}
    assert set(results) == set(front["metrics"])
    assert results["accuracy"].metric_value == pytest.approx(test.accuracy.value)
    assert results["f1"].metric_value == pytest.approx(test.macro_f1.value)
    assert test.auroc is not None
    assert results["roc_auc"].metric_value == pytest.approx(test.auroc.value)
    assert {result.task_type for result in results.values()} == {"image-classification"}
    assert {result.dataset_split for result in results.values()} == {"test"}
    assert {result.dataset_type for result in results.values()} == {"someone/flowers"}
    # The library writes what it read.
    assert ModelCard(str(card)).data.to_dict() == card.data.to_dict()


def test_a_folder_of_images_is_no_data_set_of_the_hub_and_random_weights_are_no_base(tmp_path: Path) -> None:
    known = Circumstances(network="smallnet", pretrained=False, data="My Flowers: 2")
    record = _record(architecture="smallnet", licence="none")
    front = _front(tmp_path, model_card(record, _metrics(), counts=COUNTS, circumstances=known))
    assert "datasets" not in front
    assert "base_model" not in front
    assert (front["license"], front["license_name"]) == ("other", "not-chosen")
    assert front["library_name"] == "eyebright"
    dataset = front["model-index"][0]["results"][0]["dataset"]
    assert dataset == {"type": "my-flowers-2", "name": "My Flowers: 2", "split": "test"}


@pytest.mark.parametrize(("licence", "listed"), [("MIT", "mit"), ("CC-BY-NC-4.0", "cc-by-nc-4.0"), ("", "other"),
                                                 ("unknown", "other"), ("FAIR research licence", "other")])  # fmt: skip
def test_only_licences_that_hubs_know_are_listed_by_name(tmp_path: Path, licence: str, listed: str) -> None:
    front = _front(tmp_path, model_card(_record(licence=licence), _metrics(), counts=COUNTS))
    assert front["license"] == listed
    assert ("license_name" in front) == (listed == "other")


def test_a_card_from_the_record_alone_has_every_section() -> None:
    card = model_card(_record(), _metrics(), counts=COUNTS)
    titles = [line.removeprefix("## ") for line in card.splitlines() if line.startswith("## ")]
    assert titles == ["Intended use and limits", "Training data", "Training procedure", "Evaluation",
                      "Confidence, sets and abstention", "How to use it", "Environment", "Licence"]  # fmt: skip
    assert "`abc123`; 210 train images, 18 val images, 40 test images" in card
    assert "| rose | 70 | 9 | 0 |" in card
    assert "not installed" not in card


def test_the_limits_come_from_the_numbers() -> None:
    test = _metrics()
    worst = min(test.per_class, key=lambda row: row.recall.value)
    card = model_card(_record(), test, counts=COUNTS)
    assert worst.name == "rose"
    assert f"Weakest classes: rose ({100 * worst.recall.value:.0f} %" in card
    counts = {(true, said): count for true, row in enumerate(test.confusion) for said, count in enumerate(row)}
    (true, said), most = max(((pair, n) for pair, n in counts.items() if pair[0] != pair[1]), key=lambda item: item[1])
    assert f"{NAMES[true]} taken for {NAMES[said]} ({most} of {test.per_class[true].support} test images)" in card
    assert "were not tested" in card
    assert test.detectable_difference is not None
    assert f"must differ by about {100 * test.detectable_difference:.1f} points" in card
    for name, estimate in test.estimates():
        interval = f"{estimate.low:.4f} to {estimate.high:.4f} | {estimate.method}"
        assert f"| {name.replace('_', ' ')} | {estimate.value:.4f} | {interval} |" in card

    tried = Circumstances(robustness={"mean_error": {"value": 0.41, "low": 0.38, "high": 0.44}})
    card = model_card(_record(), test, counts=COUNTS, circumstances=tried)
    assert "is wrong in 41.0 % of cases (38.0 to 44.0 %)" in card
    assert "recompressed images were not tested" not in card


def test_promises_stand_beside_what_the_test_images_gave() -> None:
    decisions = Decisions(
        sets=PredictionSets(method="raps", coverage=0.9, threshold=0.95),
        selection=Selection(error_rate=0.05, threshold=0.8),
        outliers=Outliers(false_alarms=0.05, used="energy", energy=Energy(threshold=-1.0)),
    )
    share = {"value": 0.912, "low": 0.86, "high": 0.95}
    measured = {"sets": {"coverage": share, "mean_size": 1.4}, "selection": {"answered": share, "error": share}}
    record = _record(decisions=decisions)
    card = model_card(record, _metrics(), counts=COUNTS, circumstances=Circumstances(measured=measured))
    assert "at least 90 % of images like these. On the test images 91.2 % (86.0 to 95.0), with 1.40 classes" in card
    assert (
        "at least 0.800 it is meant to be wrong in at most 5 % of its answers. On the test images it answered" in card
    )
    assert "flagged by their energy, with 5 % false alarms" in card
    never = dataclasses.replace(decisions, selection=Selection(error_rate=0.01, threshold=None))
    assert "it would never answer" in model_card(_record(decisions=never), _metrics(), counts=COUNTS)


def test_names_that_yaml_and_tables_could_misread_survive(tmp_path: Path) -> None:
    record = _record(name="on: {yes} | \N{HIRAGANA LETTER A}")
    card = model_card(record, _metrics(), counts=COUNTS, circumstances=Circumstances(data="#1: 'a'"))
    front = _front(tmp_path, card)
    assert front["model-index"][0]["name"] == record.name
    assert front["model-index"][0]["results"][0]["dataset"]["name"] == "#1: 'a'"


def test_superclasses_are_listed_with_their_members() -> None:
    above = {"daisy": "herb", "rose": "shrub", "tulip": "herb"}
    card = model_card(_record(superclasses=above), _metrics(), counts=COUNTS)
    assert "2 superclasses: herb (daisy, tulip); shrub (rose)." in card


def test_the_command_holds_no_path_of_the_machine() -> None:
    words = ["/opt/x/eyebright/__main__.py", "train", "/home/me/flowers", "--output", "runs", "--budget", "5m"]
    assert command_text(words) == "eyebright train flowers --output runs --budget 5m"
    assert command_text(["eyebright", "train", "s3://bucket/a b"]) == "eyebright train 's3://bucket/a b'"


def test_a_run_writes_its_card_again_and_its_bundle_stays(trained_run: Path, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    shutil.copytree(trained_run, folder)
    before = {file.name: file.read_bytes() for file in (folder / "bundle").iterdir()}
    path = write_card(open_run(folder))
    assert path == folder / "model_card.md"
    text = path.read_text(encoding="utf-8")
    assert metadata_load(path) is not None
    metrics = json.loads((folder / "metrics.json").read_text(encoding="utf-8"))["test"]
    assert f"| accuracy | {metrics['accuracy']['value']:.4f} |" in text
    assert "Recipe `scratch`" in text
    assert str(tmp_path) not in text
    assert str(trained_run.parents[1]) not in text
    assert {file.name: file.read_bytes() for file in (folder / "bundle").iterdir()} == before
    read_bundle(folder)
    write_card(open_run(folder))
    assert path.read_text(encoding="utf-8") == text
