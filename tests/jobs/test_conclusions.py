"""What a run concludes from its network's output: fitted on validation, kept in the bundle, the same everywhere."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
import torch

from eyebright.bundle import read_bundle
from eyebright.classifier import Classifier, load
from eyebright.data.manifest import Manifest
from eyebright.decisions import Decisions
from eyebright.decisions.record import sibling_classes
from eyebright.evaluation.decide import fit_decisions
from eyebright.evaluation.features import Features
from eyebright.evaluation.predictions import Predictions
from eyebright.jobs.predict import predict
from eyebright.models.catalog import restore_network
from eyebright.run import Run, open_run


@pytest.fixture
def run(trained_run: Path) -> Run:
    return open_run(trained_run)


def test_decisions_come_of_validation_images_alone(run: Run) -> None:
    features, val = (
        Features.read(run.file("features.npz")),
        Predictions.read(run.file("predictions.parquet")).select("val"),
    )
    assert features.select("val").ids.tolist() == val.column("id")
    again, _ = fit_decisions(
        run_config(run), val_logits=val.logits(), val_labels=val.labels_index(),
        val_features=features.select("val").values, train_features=features.select("train").values,
        train_labels=features.select("train").labels,
    )  # fmt: skip
    stored = run.bundle.record.decisions
    assert (again.calibration.method, again.sets, again.selection) == (
        stored.calibration.method, stored.sets, stored.selection
    )  # fmt: skip
    assert again.outliers is not None
    assert stored.outliers is not None
    # The file keeps half precision.
    assert again.outliers.threshold == pytest.approx(stored.outliers.threshold, rel=0.02)


def run_config(run: Run):  # type: ignore[no-untyped-def]
    from eyebright.config import build_config, read_yaml

    return build_config(read_yaml(run.file("config.yaml"))).decisions


def test_features_are_those_of_the_network_for_the_images_with_these_ids(run: Run) -> None:
    features, manifest = Features.read(run.file("features.npz")), Manifest.read(run.file("manifest.parquet"))
    network, record = restore_network(run.bundle).eval(), run.bundle.record
    where = dict(zip(manifest.ok["id"].to_pylist(), manifest.ok["source"].to_pylist(), strict=True))
    splits = dict(zip(manifest.ok["id"].to_pylist(), manifest.ok["split"].to_pylist(), strict=True))
    labels = dict(zip(manifest.ok["id"].to_pylist(), manifest.ok["label"].to_pylist(), strict=True))
    assert {splits[name] for name in features.ids} == {"train", "val", "test"}
    assert [splits[name] for name in features.ids] == features.splits.tolist()
    assert [labels[name] for name in features.ids] == [record.classes[index] for index in features.labels]
    for row in range(0, len(features), max(1, len(features) // 7)):
        pixels = record.preprocess.pixels(Path(manifest.spec) / where[features.ids[row]])
        image = torch.from_numpy(record.preprocess.normalise(pixels[None]))
        with torch.inference_mode():
            maps = network.forward_features(image)
            expected = network.forward_head(maps, pre_logits=True)[0].numpy()
        np.testing.assert_allclose(features.values[row], expected, rtol=2e-2, atol=2e-3 * np.abs(expected).max())


def test_metrics_tell_what_was_fitted_and_how_it_did_on_test(run: Run) -> None:
    told = run.metrics["decisions"]
    assert told["fitted"]["calibration"]["method"] == run.bundle.record.decisions.calibration.method
    assert told["test"]["images"] == run.metrics["test"]["images"]
    json.dumps(told, allow_nan=False)


def test_the_cost_is_that_of_the_bundle(run: Run) -> None:
    cost, bundle = run.metrics["cost"], run.bundle
    assert cost["parameters"] == sum(p.numel() for p in restore_network(bundle).parameters())
    assert cost["onnx_bytes"] == bundle.file("model.onnx").stat().st_size
    assert 0 < cost["latency_ms"]["p50"] <= cost["latency_ms"]["p99"]
    assert cost["images_per_second"] > 0


def test_one_image_many_images_and_a_folder_get_the_same_conclusions(run: Run) -> None:
    classifier, source = load(run.path), Path(Manifest.read(run.file("manifest.parquet")).spec)
    paths = sorted(source.rglob("*.png"))[:12]
    together = classifier.predict(paths, batch_size=5)
    for path, said in zip(paths, together, strict=True):
        alone = classifier.predict(path)
        assert (alone.prediction_set, alone.answer_level, alone.outlier) == (
            said.prediction_set, said.answer_level, said.outlier
        )  # fmt: skip
    for path, answer in zip(paths, predict(classifier, paths), strict=True):
        assert answer.prediction is not None
        assert answer.prediction.prediction_set == classifier.predict(path).prediction_set
        assert answer.as_dict()["answer_level"] == classifier.predict(path).answer_level


def test_graph_and_torch_conclude_the_same(run: Run) -> None:
    from eyebright.export.verify import _torch_outputs

    bundle = run.bundle
    classifier, pixels = Classifier(bundle), bundle.golden().pixels
    by_graph = classifier.decide(*classifier.run_pixels_all(pixels))
    by_torch = classifier.decide(*_torch_outputs(bundle)(pixels))
    np.testing.assert_array_equal(by_graph.sets, by_torch.sets)
    np.testing.assert_array_equal(by_graph.sure, by_torch.sure)
    np.testing.assert_allclose(by_graph.outlier_score, by_torch.outlier_score, rtol=1e-3)
    assert set(by_graph.outlier_scores) == {"energy", "distance"}


def test_the_likeliest_class_leads_its_set_and_an_unsure_image_gets_no_answer(run: Run) -> None:
    classifier = load(run.path)
    assert classifier.record.decisions.selection is not None
    noise = np.random.default_rng(0).integers(0, 256, (6, 32, 32, 3), dtype=np.uint8)
    for said in classifier.predict(noise):
        assert said.prediction_set is not None
        assert said.prediction_set[0] == said.label
        assert (said.answer is None) == (said.answer_level == "none")
        assert said.answer in (None, said.label)


def test_a_superclass_answers_when_the_class_is_unsure(run: Run) -> None:
    bundle = run.bundle
    above = {"angle-0": "slanted", "angle-1": "upright", "angle-2": "slanted"}
    selection = bundle.record.decisions.selection
    assert selection is not None
    strict = dataclasses.replace(selection, threshold=0.9, class_thresholds=(), superclass_threshold=0.9)
    decisions = dataclasses.replace(bundle.record.decisions, selection=strict)
    record = dataclasses.replace(bundle.record, superclasses=above, decisions=decisions)
    classifier = Classifier(dataclasses.replace(bundle, record=record))
    siblings = sibling_classes(record.classes, above)
    rows = np.log(np.array([[0.5, 0.02, 0.48], [0.95, 0.03, 0.02], [0.4, 0.3, 0.3]], dtype=np.float32))
    decided = decisions.decide(np.exp(rows), rows, None, siblings=siblings)
    said = [classifier._prediction(decided, row) for row in range(3)]
    assert [(one.answer, one.answer_level) for one in said] == [
        ("slanted", "superclass"), ("angle-0", "class"), (None, "none")
    ]  # fmt: skip


def test_a_bundle_of_the_former_format_still_answers(run: Run, tmp_path: Path) -> None:
    import shutil

    folder = Path(shutil.copytree(run.file("bundle"), tmp_path / "bundle"))
    record = json.loads((folder / "bundle.json").read_text())
    decisions = record.pop("decisions")
    record |= {"format_version": 1, "temperature": decisions["calibration"]["temperature"], "conformal": None}
    record["files"].pop("decisions.npz")
    (folder / "decisions.npz").unlink()
    (folder / "bundle.json").write_text(json.dumps(record))
    former = read_bundle(folder)
    assert former.record.decisions == Decisions(calibration=former.record.decisions.calibration)
    noise = np.zeros((32, 32, 3), dtype=np.uint8)
    said, now = load(folder).predict(noise), load(run.path).predict(noise)
    assert said.probabilities == now.probabilities
    assert (said.prediction_set, said.answer_level, said.outlier, said.outlier_scores) == (None, None, None, {})
