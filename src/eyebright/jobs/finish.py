"""From a trained network to a whole run: export, calibrate, score the test split once, bundle."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import numpy as np
import numpy.typing as npt
import onnxruntime
import timm
import torch
from safetensors.torch import save as save_tensors
from torch import nn

from eyebright.atomic import write_json
from eyebright.bundle import (
    CARD_FILE,
    ONNX_FILE,
    TIMM_CONFIG_FILE,
    WEIGHTS_FILE,
    Bundle,
    BundleRecord,
    GoldenSamples,
    write_bundle,
)
from eyebright.data.batches import PixelSet
from eyebright.data.leaks import leaked_ids
from eyebright.data.manifest import Manifest
from eyebright.data.pack import Pack
from eyebright.data.sources import Source
from eyebright.data.sources.combined import DATASET_COLUMN
from eyebright.data.superclasses import superclasses_of
from eyebright.evaluation.calibrate import fit_temperature
from eyebright.evaluation.metrics import Metrics, evaluate
from eyebright.evaluation.predictions import Predictions, make_predictions
from eyebright.evaluation.slices import ImageInSplit, accuracy_by, column_values
from eyebright.export.onnx import export_onnx, with_temperature
from eyebright.jobs.card import model_card
from eyebright.jobs.environment import now, versions
from eyebright.jobs.prepare import split_rows
from eyebright.progress import Progress
from eyebright.recipes.base import Plan
from eyebright.recipes.finish import TRAIN_SAMPLE
from eyebright.run import Run
from eyebright.training.score import predict_logits, score_logits

GOLDEN_SAMPLES = 8
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
    packed: Pack,
    sets: dict[str, PixelSet],
    progress: Progress,
) -> Scored:
    """Export, fit the temperature on validation, score validation and test, write the bundle and the numbers.

    On a CPU the predictions come from the exported graph itself, which is what will be served; on a GPU from the
    network in float32, and the golden samples hold the two together.
    """
    progress.note("exporting the graph")
    graph = export_onnx(network, plan.preprocess)
    logits = {split: _logits(network, graph.SerializeToString(), sets[split], progress) for split in SCORED_SPLITS}
    temperature = fit_temperature(logits["val"], sets["val"].targets)
    rows = {split: split_rows(manifest, split) for split in SCORED_SPLITS}

    superclasses = superclasses_of(manifest)

    def joined(column: str) -> list[Any]:
        return [value for split in SCORED_SPLITS for value in rows[split][column].to_pylist()]

    predictions = make_predictions(
        joined("id"), joined("source"), joined("label"), joined("split"),
        np.concatenate([logits[split] for split in SCORED_SPLITS]), temperature, manifest.classes, superclasses,
    )  # fmt: skip
    validation, test = (evaluate(predictions.select(split)) for split in SCORED_SPLITS)
    predictions.write(run.file("predictions.parquet"))
    times = 1 + (int(run.metrics.get("times_test_scored", 1)) if run.file("metrics.json").exists() else 0)
    if times > 1:
        progress.warn(f"the test images of this run were scored {times} times: its numbers lean to the good side")
    metrics = {
        "test": test.as_dict(),
        "val": validation.as_dict(),
        "test_scored_at": now(),
        "times_test_scored": times,
        "temperature": temperature,
        "fit": _fit(logits["val"], graph.SerializeToString(), network, sets, progress),
        **_slices(predictions.select("test"), manifest),
        **_leaks(predictions.select("test"), manifest, progress),
    }
    write_json(run.file("metrics.json"), metrics)
    record = BundleRecord(
        name=run.name,
        architecture=plan.architecture,
        architecture_arguments=plan.architecture_arguments,
        classes=manifest.classes,
        preprocess=plan.preprocess,
        temperature=temperature,
        data_fingerprint=manifest.fingerprint(),
        metrics=test.as_dict(),
        licence=plan.licence,
        superclasses=superclasses,
        versions=versions(),
        created=now(),
    )
    metadata = {
        "classes": json.dumps(list(manifest.classes), ensure_ascii=False),
        "preprocess": json.dumps(plan.preprocess.as_dict()),
        "temperature": repr(temperature),
        "name": run.name,
    }
    onnx_bytes = with_temperature(graph, temperature, metadata)
    golden = _golden_samples(rows["val"], packed, source, plan, onnx_bytes)
    state = {key: value.detach().cpu().contiguous() for key, value in network.state_dict().items()}
    files = {
        WEIGHTS_FILE: save_tensors(state),
        TIMM_CONFIG_FILE: json.dumps(timm_config(network, record), indent=2, ensure_ascii=False).encode(),
        ONNX_FILE: onnx_bytes,
        CARD_FILE: model_card(record, test, counts=manifest.counts()).encode(),
    }
    bundle = write_bundle(run.file("bundle"), record, files=files, golden=golden)
    return Scored(bundle=bundle, predictions=predictions, validation=validation, test=test)


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


def _fit(
    val_logits: npt.NDArray[np.float32], graph: bytes, network: nn.Module, sets: dict[str, PixelSet], progress: Progress
) -> dict[str, Any]:
    """How well the kept weights know images that they have learnt from, beside those that they have not.

    The training images are taken evenly from all; both are seen without augmentation, before the temperature.
    """
    train = sets["train"]
    sample = train.part(np.linspace(0, len(train) - 1, min(TRAIN_SAMPLE, len(train))).astype(np.int64))
    logits = {"train": _logits(network, graph, sample, progress), "val": val_logits}
    targets = {"train": sample.targets, "val": sets["val"].targets}
    figures = {
        split: score_logits(torch.from_numpy(logits[split]), torch.from_numpy(targets[split])) for split in logits
    }
    return {
        split: {"accuracy": one.accuracy, "loss": one.loss, "images": len(targets[split])}
        for split, one in figures.items()
    }


def _slices(test: Predictions, manifest: Manifest) -> dict[str, Any]:
    """`slices` of the test images by the data set that they came from, where there are several."""
    values = column_values(manifest, DATASET_COLUMN)
    if len(set(values.values())) < 2:
        return {}
    found = accuracy_by(test, values)
    return {"slices": {DATASET_COLUMN: {value: part.as_dict() for value, part in found.items()}}}


def _session(graph: bytes) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])


def _logits(network: nn.Module, graph: bytes, images: PixelSet, progress: Progress) -> npt.NDArray[np.float32]:
    if images.device.type != "cpu":
        logits: npt.NDArray[np.float32] = predict_logits(network, images, exact=True).numpy()
        return logits
    session = _session(graph)
    rows = []
    with progress.task("scoring", len(images)) as task:
        for first in range(0, len(images), 32):
            pixels = images.preprocess.centre(images.pixels[images.rows[first : first + 32]])
            rows.append(session.run(["logits"], {"pixels": np.ascontiguousarray(pixels)})[0])
            task.advance(len(pixels))
    return np.concatenate(rows)


def _golden_samples(rows: Any, packed: Pack, source: Source, plan: Plan, graph: bytes) -> GoldenSamples:
    """A few validation images, going round the classes, with what the finished graph says of them."""
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
    pixels = np.ascontiguousarray(
        plan.preprocess.centre(packed.pixels[packed.rows([ids[number] for number in chosen])])
    )
    probabilities = _session(graph).run(["probabilities"], {"pixels": pixels})[0]
    images = []
    for number in chosen:
        content = source.read(sources[number])
        images.append(content if isinstance(content, bytes) and len(content) <= GOLDEN_IMAGE_BYTES else None)
    return GoldenSamples(
        ids=tuple(ids[number] for number in chosen), images=tuple(images), pixels=pixels, probabilities=probabilities
    )


def timm_config(network: nn.Module, record: BundleRecord) -> dict[str, Any]:
    """`config.json` as timm and its hub layout know it; timm reads the labels and the preprocessing from it."""
    preprocess = record.preprocess
    former = getattr(network, "pretrained_cfg", None) or {}
    return {
        "architecture": record.architecture,
        "num_classes": len(record.classes),
        "num_features": int(network.num_features),  # type: ignore[arg-type]
        "label_names": list(record.classes),
        "model_args": {**record.architecture_arguments, "in_chans": preprocess.channels},
        "pretrained_cfg": {
            "custom_load": False,
            "input_size": [preprocess.channels, preprocess.size, preprocess.size],
            "fixed_input_size": False,
            "interpolation": preprocess.interpolation,
            "crop_pct": preprocess.size / preprocess.resize_to,
            "crop_mode": {"crop": "center", "squash": "squash", "pad": "border"}[preprocess.resize],
            "mean": list(preprocess.mean),
            "std": list(preprocess.std),
            "num_classes": len(record.classes),
            "first_conv": former.get("first_conv"),
            "classifier": former.get("classifier"),
            "license": record.licence,
        },
        "timm_version": timm.__version__,
        "temperature": record.temperature,
    }
