"""A trained network, what is concluded from its output, and what is known of it, as a bundle on disk."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import timm
from safetensors.torch import save as save_tensors
from torch import nn

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
from eyebright.decisions.record import sibling_classes
from eyebright.export.calibrated import PROBABILITIES, with_calibration
from eyebright.export.onnx import FEATURES, LOGITS
from eyebright.jobs.outputs import session_of

GOLDEN_SAMPLES = 8


def make_bundle(
    folder: Path,
    record: BundleRecord,
    *,
    network: nn.Module,
    graph: onnx.ModelProto,
    card: str,
    golden_ids: Sequence[str],
    golden_images: Sequence[bytes | None],
    golden_pixels: npt.NDArray[np.uint8],
) -> Bundle:
    """Write the bundle; its golden samples are what the finished graph says of some images.

    Args:
        folder: where it goes; a former bundle there is replaced.
        record: what it is.
        network: the trained network.
        graph: the same as `export_onnx` wrote it.
        card: the model card.
        golden_ids, golden_images, golden_pixels: the images of the golden samples; see `GoldenSamples`.
    """
    metadata = {
        "classes": json.dumps(list(record.classes), ensure_ascii=False),
        "preprocess": json.dumps(record.preprocess.as_dict()),
        "calibration": json.dumps(record.decisions.calibration.as_dict()),
        "name": record.name,
    }
    calibrated = with_calibration(graph, record.decisions.calibration, metadata)
    state = {key: value.detach().cpu().contiguous() for key, value in network.state_dict().items()}
    files = {
        WEIGHTS_FILE: save_tensors(state),
        TIMM_CONFIG_FILE: json.dumps(timm_config(network, record), indent=2, ensure_ascii=False).encode(),
        ONNX_FILE: calibrated,
        CARD_FILE: card.encode(),
    }
    session = session_of(calibrated)
    outputs = {output.name for output in session.get_outputs()}
    names = [name for name in (PROBABILITIES, LOGITS, FEATURES) if name in outputs]
    found = session.run(names, {"pixels": golden_pixels})
    siblings = sibling_classes(record.classes, record.superclasses)
    decided = record.decisions.decide(*found, siblings=siblings)
    score = decided.outlier_score
    golden = GoldenSamples(
        ids=tuple(golden_ids),
        images=tuple(golden_images),
        pixels=golden_pixels,
        probabilities=found[0],
        sets=decided.sets,
        outlier_scores=None if score is None else score.astype(np.float32),
    )
    return write_bundle(folder, record, files=files, golden=golden)


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
        "temperature": record.decisions.calibration.temperature,
    }
