"""From a trained network to a whole run: export, calibrate, score the test split once, bundle."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from eyebright.atomic import write_json
from eyebright.bundle import Bundle, BundleRecord
from eyebright.data.batches import PixelSet
from eyebright.data.leaks import leaked_ids
from eyebright.data.manifest import Manifest
from eyebright.data.pack import Packed
from eyebright.data.sources import Source
from eyebright.data.superclasses import superclasses_of
from eyebright.decisions.record import sibling_classes
from eyebright.evaluation.decide import fit_decisions, measure_decisions
from eyebright.evaluation.features import FEATURES_FILE, Features
from eyebright.evaluation.metrics import Metrics, evaluate
from eyebright.evaluation.predictions import Predictions, make_predictions
from eyebright.evaluation.slices import ImageInSplit, accuracy_by
from eyebright.export.onnx import export_onnx
from eyebright.jobs.bundling import GOLDEN_SAMPLES, make_bundle
from eyebright.jobs.card import circumstances_of, model_card
from eyebright.jobs.cost import measure_cost
from eyebright.jobs.environment import now, versions
from eyebright.jobs.outputs import Outputs, OutputsOf
from eyebright.jobs.prepare import split_rows
from eyebright.jobs.slices import run_slices
from eyebright.models.shallow.importance import shallow_importance
from eyebright.progress import Progress
from eyebright.recipes.base import Plan
from eyebright.recipes.finish import TRAIN_SAMPLE
from eyebright.run import Run
from eyebright.training.score import score_logits

GOLDEN_IMAGE_BYTES = 200_000
SCORED_SPLITS = ("val", "test")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Scored:
    """What came of a trained network.

    Attributes:
        bundle: the classifier on disk.
        predictions: of the validation and test splits.
        validation, test: their metrics.
    """

    bundle: Bundle
    predictions: Predictions
    validation: Metrics
    test: Metrics


def finish(
    network: nn.Module,
    *,
    run: Run,
    plan: Plan,
    manifest: Manifest,
    source: Source,
    packed: Packed,
    sets: dict[str, PixelSet],
    progress: Progress,
) -> Scored:
    """Export, fit what is concluded on validation, score validation and test, write the bundle and the numbers.

    On a CPU the predictions come from the exported graph itself, which is what will be served; on a GPU from the
    network in float32, and the golden samples hold the two together.
    """
    progress.note("exporting the graph")
    graph = export_onnx(network, plan.preprocess)
    graph_bytes = graph.SerializeToString()
    outputs_of = OutputsOf(network, graph_bytes)
    train = sets["train"]
    sample = train.part(np.linspace(0, len(train) - 1, min(TRAIN_SAMPLE, len(train))).astype(np.int64))
    scored_sets = {"train": sample, "val": sets["val"], "test": sets["test"]}
    outputs = {split: outputs_of(images, progress) for split, images in scored_sets.items()}
    rows = {split: split_rows(manifest, split) for split in SCORED_SPLITS}
    superclasses = superclasses_of(manifest)
    siblings = sibling_classes(manifest.classes, superclasses)
    decisions, fitted = fit_decisions(
        plan.config.decisions,
        val_logits=outputs["val"].logits,
        val_labels=sets["val"].targets,
        val_features=outputs["val"].features,
        train_features=outputs["train"].features,
        train_labels=sample.targets,
        siblings=siblings,
    )

    def joined(column: str) -> list[Any]:
        return [value for split in SCORED_SPLITS for value in rows[split][column].to_pylist()]

    predictions = make_predictions(
        joined("id"), joined("source"), joined("label"), joined("split"),
        np.concatenate([outputs[split].logits for split in SCORED_SPLITS]), decisions.calibration, manifest.classes,
        superclasses,
    )  # fmt: skip
    validation, test = (evaluate(predictions.select(split)) for split in SCORED_SPLITS)
    predictions.write(run.file("predictions.parquet"))
    _write_features(run, manifest, scored_sets, outputs, rows)
    times = 1 + (int(run.metrics.get("times_test_scored", 1)) if run.file("metrics.json").exists() else 0)
    if times > 1:
        progress.warn(f"the test images of this run were scored {times} times: its numbers lean to the good side")
    measured = measure_decisions(
        decisions,
        probabilities=predictions.select("test").probabilities(),
        logits=outputs["test"].logits,
        labels=sets["test"].targets,
        features=outputs["test"].features,
        siblings=siblings,
    )
    record = BundleRecord(
        name=run.name,
        architecture=plan.architecture,
        architecture_arguments=plan.architecture_arguments,
        classes=manifest.classes,
        preprocess=plan.preprocess,
        decisions=decisions,
        data_fingerprint=manifest.fingerprint(),
        metrics=test.as_dict(),
        licence=plan.licence,
        superclasses=superclasses,
        versions=versions(),
        created=now(),
    )
    chosen = _golden(rows["val"], packed, source, plan)
    card = model_card(record, test, counts=manifest.counts(), circumstances=circumstances_of(run, measured=measured))
    bundle = make_bundle(run.file("bundle"), record, network=network, graph=graph, card=card, **chosen)
    metrics = {
        "test": test.as_dict(),
        "val": validation.as_dict(),
        "test_scored_at": now(),
        "times_test_scored": times,
        "temperature": decisions.calibration.temperature,
        "fit": _fit(outputs, scored_sets),
        "decisions": {
            "fitted": fitted,
            "test": measured,
        },
        "cost": measure_cost(bundle, network, images_per_second=len(sets["test"]) / outputs["test"].seconds),
        **run_slices(
            manifest,
            source,
            predictions,
            progress=progress,
            keep=run.file("properties.parquet"),
            max_pixels=plan.config.data.max_pixels,
        ),
        **_leaks(predictions.select("test"), manifest, progress),
    }
    importance = shallow_importance(network, sets["val"], progress=progress)
    if importance is not None:
        metrics["importance"] = importance
    write_json(run.file("metrics.json"), metrics)
    return Scored(bundle=bundle, predictions=predictions, validation=validation, test=test)


def _write_features(
    run: Run, manifest: Manifest, sets: dict[str, PixelSet], outputs: dict[str, Outputs], rows: dict[str, Any]
) -> None:
    """`features.npz`, for a network that has features."""
    features = [outputs[split].features for split in sets]
    if any(values is None for values in features):
        return
    train_ids = split_rows(manifest, "train")["id"].to_pylist()
    places = np.linspace(0, len(train_ids) - 1, len(sets["train"])).astype(np.int64)
    ids = {"train": [train_ids[place] for place in places]}
    ids |= {split: rows[split]["id"].to_pylist() for split in SCORED_SPLITS}
    Features(
        ids=np.array([name for split in sets for name in ids[split]], dtype=np.str_),
        splits=np.array([split for split in sets for _ in ids[split]], dtype=np.str_),
        labels=np.concatenate([images.targets for images in sets.values()]),
        values=np.concatenate([values for values in features if values is not None]),
    ).write(run.file(FEATURES_FILE))


def _leaks(test: Predictions, manifest: Manifest, progress: Progress) -> dict[str, Any]:
    """`leaks`: accuracy with and without the test images that other splits hold too, where the data brings such."""
    leaked = set(leaked_ids(manifest, "test"))
    if not leaked:
        return {}
    values: dict[ImageInSplit, str] = {
        (str(image), "test"): "leaked" if image in leaked else "clean" for image in test.column("id")
    }
    found = accuracy_by(test, values)
    if "clean" in found:
        with_leaks = float((test.predicted_index() == test.labels_index()).mean())
        progress.warn(
            f"{found['leaked'].images} of {len(test)} test images are, byte for byte or nearly, in another split too: "
            f"test accuracy {with_leaks:.3f} with them, {found['clean'].accuracy.value:.3f} without"
        )
    return {"leaks": {value: part.as_dict() for value, part in found.items()}}


def _fit(outputs: dict[str, Outputs], sets: dict[str, PixelSet]) -> dict[str, Any]:
    """How well the kept weights know images that they have learnt from, beside those that they have not.

    The training images are taken evenly from all; both are seen without augmentation, before calibration.
    """
    found = {}
    for split in ("train", "val"):
        one = score_logits(torch.from_numpy(outputs[split].logits), torch.from_numpy(sets[split].targets))
        found[split] = {"accuracy": one.accuracy, "loss": one.loss, "images": len(sets[split])}
    return found


def _golden(rows: Any, packed: Packed, source: Source, plan: Plan) -> dict[str, Any]:
    """A few validation images, going round the classes: ids, files and pixels, as `make_bundle` takes them."""
    ids, labels, sources = (rows[column].to_pylist() for column in ("id", "label", "source"))
    by_class: dict[str, list[int]] = {}
    for number, label in enumerate(labels):
        by_class.setdefault(label, []).append(number)
    rounds = [
        members[turn]
        for turn in range(max(map(len, by_class.values())))
        for members in by_class.values()
        if turn < len(members)
    ]
    chosen = rounds[:GOLDEN_SAMPLES]
    pixels: npt.NDArray[np.uint8] = np.ascontiguousarray(
        plan.preprocess.centre(packed.store.take(packed.rows([ids[number] for number in chosen])))
    )
    images = []
    for number in chosen:
        content = source.read(sources[number])
        images.append(content if isinstance(content, bytes) and len(content) <= GOLDEN_IMAGE_BYTES else None)
    return {"golden_ids": [ids[number] for number in chosen], "golden_images": images, "golden_pixels": pixels}
