"""Verification passes on a copy and fails, naming what differs, on every alteration that has the right hashes."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from safetensors.torch import load_file, save_file

from eyebright.bundle import (
    DECISIONS_FILE,
    GOLDEN_FILE,
    ONNX_FILE,
    RECORD_FILE,
    REQUIRED_FILES,
    TIMM_CONFIG_FILE,
    WEIGHTS_FILE,
    sha256_of,
)
from eyebright.decisions import Calibration
from eyebright.errors import CorruptBundleError, VerificationError
from eyebright.export.calibrated import with_calibration
from eyebright.jobs.verify import verify


@pytest.fixture
def bundle(trained_run: Path, tmp_path: Path) -> Path:
    """A copy that may be altered."""
    return Path(shutil.copytree(trained_run / "bundle", tmp_path / "bundle"))


def alter_record(bundle: Path, change: Callable[[dict[str, Any]], None]) -> None:
    record = json.loads((bundle / RECORD_FILE).read_text(encoding="utf-8"))
    change(record)
    (bundle / RECORD_FILE).write_text(json.dumps(record), encoding="utf-8")


def reseal(bundle: Path) -> None:
    hashes = {name: sha256_of(bundle / name) for name in (*REQUIRED_FILES, DECISIONS_FILE)}
    alter_record(bundle, lambda record: record.update(files=hashes))


def alter_graph(bundle: Path, change: Callable[[onnx.ModelProto, dict[str, str]], bytes]) -> None:
    graph = onnx.load(bundle / ONNX_FILE)
    metadata = {entry.key: entry.value for entry in graph.metadata_props}
    (bundle / ONNX_FILE).write_bytes(change(graph, metadata))


def test_a_copy_passes_on_every_runtime(bundle: Path, trained_run: Path) -> None:
    for path in (bundle, trained_run):
        replays = {replay.runtime: replay for replay in verify(path)}
        runtimes = {"onnxruntime", "torch"}
        assert set(replays) == {"preprocessing", *runtimes, *(f"{name}, conclusions" for name in runtimes)}
        assert all(replay.passed and replay.samples == 8 and replay.flips == 0 for replay in replays.values())
        assert replays["preprocessing"].largest_difference == 0
        assert replays["onnxruntime"].largest_difference <= 1e-6
        assert replays["torch"].largest_difference <= 1e-4
        assert replays["torch, conclusions"].largest_difference <= 1e-3


def golden_probabilities(bundle: Path) -> None:
    arrays = dict(np.load(bundle / GOLDEN_FILE, allow_pickle=False))
    arrays["probabilities"] = np.roll(arrays["probabilities"], 1, axis=1)
    np.savez_compressed(bundle / GOLDEN_FILE, **arrays)


def golden_pixels(bundle: Path) -> None:
    arrays = dict(np.load(bundle / GOLDEN_FILE, allow_pickle=False))
    arrays["pixels"] = 255 - arrays["pixels"]
    np.savez_compressed(bundle / GOLDEN_FILE, **arrays)


def weights(bundle: Path) -> None:
    tensors = load_file(bundle / WEIGHTS_FILE)
    tensors["classifier.bias"] = tensors["classifier.bias"] + 0.5 * torch.arange(3)
    save_file(tensors, bundle / WEIGHTS_FILE)


def one_weight_nan(bundle: Path) -> None:
    tensors = load_file(bundle / WEIGHTS_FILE)
    tensors["classifier.bias"][0] = float("nan")
    save_file(tensors, bundle / WEIGHTS_FILE)


def graph_temperature(bundle: Path) -> None:
    alter_graph(bundle, lambda graph, metadata: with_calibration(graph, HOT, metadata))


def graph_that_gives_nan(bundle: Path) -> None:
    def alter(graph: onnx.ModelProto, metadata: dict[str, str]) -> bytes:
        (constant,) = [entry for entry in graph.graph.initializer if entry.name == "calibration.temperature"]
        constant.CopyFrom(onnx.numpy_helper.from_array(np.array(np.nan, dtype=np.float32), constant.name))
        return bytes(graph.SerializeToString())

    alter_graph(bundle, alter)


def temperature_everywhere(bundle: Path) -> None:
    told = json.dumps(HOT.as_dict())
    alter_graph(bundle, lambda graph, metadata: with_calibration(graph, HOT, {**metadata, "calibration": told}))
    alter_record(bundle, lambda record: record["decisions"].update(calibration=HOT.as_dict()))


def set_threshold(bundle: Path) -> None:
    alter_record(bundle, lambda record: record["decisions"]["sets"].update(threshold=10.0))


def outlier_reference(bundle: Path) -> None:
    arrays = dict(np.load(bundle / DECISIONS_FILE, allow_pickle=False))
    arrays["class_means"] = arrays["class_means"] * 1.5
    np.savez_compressed(bundle / DECISIONS_FILE, **arrays)


def preprocess_everywhere(**values: Any) -> Callable[[Path], None]:
    def alter(bundle: Path) -> None:
        def change(record: dict[str, Any]) -> None:
            record["preprocess"].update(values)
            told = json.dumps(record["preprocess"])
            alter_graph(bundle, lambda graph, metadata: _with_metadata(graph, {**metadata, "preprocess": told}))

        alter_record(bundle, change)

    return alter


def _with_metadata(graph: onnx.ModelProto, metadata: dict[str, str]) -> bytes:
    onnx.helper.set_model_props(graph, metadata)
    return bytes(graph.SerializeToString())


HOT = Calibration(temperature=9.0)
DRIFTS: dict[str, tuple[Callable[[Path], None], str]] = {
    "golden probabilities": (golden_probabilities, "onnxruntime: .*torch: "),
    "golden pixels": (golden_pixels, "preprocessing: "),
    "weights": (weights, r"\(torch: largest difference"),
    "a weight that is NaN": (one_weight_nan, r"\(torch: largest difference inf"),
    "the graph's temperature": (graph_temperature, r"\(onnxruntime: largest difference"),
    "a graph that gives NaN": (graph_that_gives_nan, r"\(onnxruntime: largest difference inf"),
    "the temperature everywhere": (temperature_everywhere, "onnxruntime: .*torch: "),
    "the threshold of prediction sets": (set_threshold, "onnxruntime, conclusions: .*torch, conclusions: "),
    "the reference of the outlier score": (outlier_reference, "onnxruntime, conclusions: largest difference"),
    "the mean": (preprocess_everywhere(mean=[0.9, 0.9, 0.9]), r"\(torch: largest difference"),
    "the standard deviation": (preprocess_everywhere(std=[0.5, 0.5, 0.5]), r"\(torch: largest difference"),
    "the filter for resizing": (preprocess_everywhere(interpolation="nearest"), r"\(preprocessing: largest difference"),
}


@pytest.mark.parametrize(("alter", "told"), DRIFTS.values(), ids=list(DRIFTS))
def test_an_altered_bundle_with_the_right_hashes_fails(alter: Callable[[Path], None], told: str, bundle: Path) -> None:
    alter(bundle)
    reseal(bundle)
    with pytest.raises(VerificationError, match=told) as failed:
        verify(bundle)
    assert "do not use this bundle" in str(failed.value)


def swapped_classes(record: dict[str, Any]) -> None:
    record["classes"] = record["classes"][::-1]


def another_temperature(record: dict[str, Any]) -> None:
    record["decisions"]["calibration"]["temperature"] *= 2


def another_mean(record: dict[str, Any]) -> None:
    record["preprocess"]["mean"] = [0.4, 0.4, 0.4]


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (swapped_classes, "the classes in model.onnx"),
        (another_temperature, "the calibration in model.onnx"),
        (another_mean, "the preprocessing in model.onnx"),
    ],
    ids=["classes", "temperature", "normalisation"],
)
def test_a_record_that_contradicts_the_graph_fails(
    change: Callable[[dict[str, Any]], None], told: str, bundle: Path
) -> None:
    """`bundle.json` has no hash of its own, and golden samples hold no class names."""
    alter_record(bundle, change)
    with pytest.raises(VerificationError, match=f"contradicts itself: {told}"):
        verify(bundle)


def test_names_that_only_timm_would_see_wrongly_fail(bundle: Path) -> None:
    config = json.loads((bundle / TIMM_CONFIG_FILE).read_text(encoding="utf-8"))
    config["label_names"] = config["label_names"][::-1]
    (bundle / TIMM_CONFIG_FILE).write_text(json.dumps(config), encoding="utf-8")
    reseal(bundle)
    with pytest.raises(VerificationError, match=r"the classes in config\.json"):
        verify(bundle)


def test_hashes_come_first(bundle: Path) -> None:
    weights(bundle)
    with pytest.raises(CorruptBundleError, match="SHA-256"):
        verify(bundle)


def test_a_wider_tolerance_accepts_more_but_never_another_answer(bundle: Path) -> None:
    from eyebright.bundle import read_bundle
    from eyebright.export.verify import verify_bundle

    arrays = dict(np.load(bundle / GOLDEN_FILE, allow_pickle=False))
    arrays["probabilities"] = arrays["probabilities"] + 0.001
    np.savez_compressed(bundle / GOLDEN_FILE, **arrays)
    reseal(bundle)
    with pytest.raises(VerificationError):
        verify_bundle(read_bundle(bundle))
    assert all(replay.passed for replay in verify_bundle(read_bundle(bundle), tolerance=0.01))
    golden_probabilities(bundle)
    reseal(bundle)
    with pytest.raises(VerificationError, match="changed answers"):
        verify_bundle(read_bundle(bundle), tolerance=1.0)
