"""Replaying golden samples: does a bundle still say here what it said where it was made?"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import torch

from eyebright.bundle import ONNX_FILE, RECORD_FILE, TIMM_CONFIG_FILE, Bundle, GoldenSamples
from eyebright.classifier import Classifier
from eyebright.decisions import Calibration, Decided
from eyebright.errors import VerificationError
from eyebright.export.onnx import PixelsToOutputs
from eyebright.models.catalog import restore_network

PROBABILITY_TOLERANCE = 1e-4
PIXEL_TOLERANCE = 1
SCORE_TOLERANCE = 1e-3
"""Largest relative difference between outlier scores."""

Outputs = tuple[npt.NDArray[np.float32], npt.NDArray[np.float32], npt.NDArray[np.float32] | None]
"""Probabilities, logits and features."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Replay:
    """How one way of running a bundle compares with its golden samples.

    Attributes:
        runtime: `preprocessing`, `onnxruntime` or `torch`, or one of these with `, conclusions`.
        samples: golden samples replayed.
        largest_difference: largest absolute difference; of probabilities, of pixel values for `preprocessing`, or,
            relative, of outlier scores for conclusions.
        tolerance: largest difference that is accepted.
        flips: samples whose most probable class, or whose prediction set, changed.
    """

    runtime: str
    samples: int
    largest_difference: float
    tolerance: float
    flips: int

    @property
    def passed(self) -> bool:
        """Whether the replay is within tolerance."""
        return self.largest_difference <= self.tolerance and self.flips == 0


def verify_bundle(bundle: Bundle, *, tolerance: float = PROBABILITY_TOLERANCE) -> list[Replay]:
    """Replay the golden samples: image bytes to pixels, pixels through ONNX Runtime, pixels through torch.

    Raises:
        VerificationError: the files contradict each other, or a replay is out of tolerance; the message names it and
            how far.
    """
    golden = bundle.golden()
    classifier = Classifier(bundle)
    _check_agreement(bundle)
    replays = []
    with_bytes = [number for number, image in enumerate(golden.images) if image is not None]
    if with_bytes:
        pixels = classifier.pixels([golden.images[number] for number in with_bytes])  # type: ignore[misc]
        difference = np.abs(pixels.astype(np.int16) - golden.pixels[with_bytes].astype(np.int16))
        replays.append(
            Replay(
                runtime="preprocessing", samples=len(with_bytes), largest_difference=float(difference.max()),
                tolerance=PIXEL_TOLERANCE, flips=0,
            )
        )  # fmt: skip
    runtimes: dict[str, Callable[[npt.NDArray[np.uint8]], Outputs]] = {
        "onnxruntime": classifier.run_pixels_all,
        "torch": _torch_outputs(bundle),
    }
    for runtime, run in runtimes.items():
        outputs = run(golden.pixels)
        probabilities = outputs[0]
        replays.append(
            Replay(
                runtime=runtime, samples=len(golden.ids),
                largest_difference=_largest(probabilities, golden.probabilities), tolerance=tolerance,
                flips=int((probabilities.argmax(1) != golden.probabilities.argmax(1)).sum()),
            )
        )  # fmt: skip
        if golden.sets is not None or golden.outlier_scores is not None:
            replays.append(_concluded(f"{runtime}, conclusions", golden, classifier.decide(*outputs)))
    failed = [replay for replay in replays if not replay.passed]
    if failed:
        described = "; ".join(
            f"{replay.runtime}: largest difference {replay.largest_difference:.2g} with {replay.flips} changed answers "
            f"in {replay.samples} samples"
            for replay in failed
        )
        raise VerificationError(
            f"{bundle.path} does not give what it gave when it was made ({described})",
            expected=f"differences of at most {tolerance:g} in probability and {PIXEL_TOLERANCE} in pixel value",
            remedy="install the versions that bundle.json lists, or train again; do not use this bundle here",
        )
    return replays


def _check_agreement(bundle: Bundle) -> None:
    """Samples hold no names: exchanged class names would pass every replay."""
    record = bundle.record
    graph = onnx.load(bundle.file(ONNX_FILE), load_external_data=False)
    told = {entry.key: entry.value for entry in graph.metadata_props}
    labels = json.loads(bundle.file(TIMM_CONFIG_FILE).read_text(encoding="utf-8")).get("label_names")
    stated = {
        f"the classes in {ONNX_FILE}": (json.loads(told.get("classes", "null")), list(record.classes)),
        f"the preprocessing in {ONNX_FILE}": (json.loads(told.get("preprocess", "null")), record.preprocess.as_dict()),
        f"the calibration in {ONNX_FILE}": (_calibration_told(told), record.decisions.calibration.as_dict()),
        f"the classes in {TIMM_CONFIG_FILE}": (labels, list(record.classes)),
    }
    for what, (there, here) in stated.items():
        # Through JSON, which knows no tuples.
        if there != json.loads(json.dumps(here)):
            raise VerificationError(
                f"{bundle.path} contradicts itself: {what}: {there!r}, in {RECORD_FILE}: {here!r}",
                expected="files of one bundle that say the same",
                remedy="copy the bundle again from where it was made; do not use this one",
            )


def _largest(one: npt.NDArray[np.floating], other: npt.NDArray[np.floating]) -> float:
    difference = np.abs(one - other)
    # NaN compares false with any tolerance: a network that gives NaN must fail.
    return float(difference.max()) if np.isfinite(difference).all() else float("inf")


def _calibration_told(metadata: Mapping[str, str]) -> Any:
    """What the graph says of its calibration; graphs of former versions say a temperature."""
    if "temperature" in metadata:
        return Calibration(temperature=float(metadata["temperature"])).as_dict()
    return json.loads(metadata.get("calibration", "null"))


def _concluded(name: str, golden: GoldenSamples, decided: Decided) -> Replay:
    difference, flips = 0.0, 0
    if golden.outlier_scores is not None:
        scale = max(float(np.abs(golden.outlier_scores).max()), 1e-12)
        scores = decided.outlier_score
        difference = np.inf if scores is None else _largest(scores, golden.outlier_scores) / scale
    if golden.sets is not None and decided.sets is not None:
        flips = int((decided.sets != golden.sets).any(axis=1).sum())
    return Replay(
        runtime=name, samples=len(golden.ids), largest_difference=difference, tolerance=SCORE_TOLERANCE, flips=flips
    )


def _torch_outputs(bundle: Bundle) -> Callable[[npt.NDArray[np.uint8]], Outputs]:
    record = bundle.record
    whole = PixelsToOutputs(restore_network(bundle).eval(), record.preprocess).eval()

    def run(pixels: npt.NDArray[np.uint8]) -> Outputs:
        with torch.inference_mode():
            logits, *features = (output.numpy() for output in whole(torch.from_numpy(pixels)))
        probabilities = record.decisions.calibration.probabilities(logits).astype(np.float32)
        return probabilities, logits, features[0] if features else None

    return run
