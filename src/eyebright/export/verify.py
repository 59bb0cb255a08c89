"""Replaying golden samples: does a bundle still say here what it said where it was made?"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import onnx
import torch

from eyebright.bundle import ONNX_FILE, RECORD_FILE, TIMM_CONFIG_FILE, Bundle
from eyebright.classifier import Classifier
from eyebright.errors import VerificationError
from eyebright.export.onnx import PixelsToProbabilities
from eyebright.models.catalog import restore_network

PROBABILITY_TOLERANCE = 1e-4
PIXEL_TOLERANCE = 1


@dataclasses.dataclass(frozen=True, kw_only=True)
class Replay:
    """How one way of running a bundle compares with its golden samples.

    Attributes:
        runtime: `preprocessing`, `onnxruntime` or `torch`.
        samples: golden samples replayed.
        largest_difference: largest absolute difference; of probabilities, or of pixel values for `preprocessing`.
        tolerance: largest difference that is accepted.
        flips: samples whose most probable class changed.
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
    runtimes: dict[str, Callable[[npt.NDArray[np.uint8]], npt.NDArray[np.float32]]] = {
        "onnxruntime": classifier.probabilities_of_pixels,
        "torch": _torch_probabilities(bundle),
    }
    for runtime, run in runtimes.items():
        probabilities = run(golden.pixels)
        replays.append(
            Replay(
                runtime=runtime, samples=len(golden.ids),
                largest_difference=_largest(probabilities, golden.probabilities), tolerance=tolerance,
                flips=int((probabilities.argmax(1) != golden.probabilities.argmax(1)).sum()),
            )
        )  # fmt: skip
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
        f"the temperature in {ONNX_FILE}": (told.get("temperature"), repr(record.temperature)),
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


def _largest(one: npt.NDArray[np.float32], other: npt.NDArray[np.float32]) -> float:
    difference = np.abs(one - other)
    # NaN compares false with any tolerance: a network that gives NaN must fail.
    return float(difference.max()) if np.isfinite(difference).all() else float("inf")


def _torch_probabilities(bundle: Bundle) -> Callable[[npt.NDArray[np.uint8]], npt.NDArray[np.float32]]:
    record = bundle.record
    whole = PixelsToProbabilities(restore_network(bundle), record.preprocess, record.temperature).eval()

    def run(pixels: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        with torch.inference_mode():
            probabilities: npt.NDArray[np.float32] = whole(torch.from_numpy(pixels))[0].numpy()
        return probabilities

    return run
