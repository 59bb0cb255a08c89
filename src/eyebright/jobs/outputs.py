"""What a trained network gives for whole sets of images: logits and features, and how fast."""

from __future__ import annotations

import dataclasses
import time

import numpy as np
import numpy.typing as npt
import onnxruntime
import torch
from torch import nn

from eyebright.data.batches import PixelSet
from eyebright.export.onnx import FEATURES, LOGITS, PixelsToOutputs
from eyebright.progress import Progress

BATCH = 32


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Outputs:
    """Outputs for N images.

    Attributes:
        logits: uncalibrated, float32 (N, K).
        features: what goes into the classifier, float32 (N, F); None for a network that has none.
        seconds: how long it took.
    """

    logits: npt.NDArray[np.float32]
    features: npt.NDArray[np.float32] | None
    seconds: float


def session_of(graph: bytes) -> onnxruntime.InferenceSession:
    """The graph, ready to run on the CPU with all its cores."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])


class OutputsOf:
    """Gives the outputs of a network: on a CPU by its graph, which is what will be served, else by torch in float32.

    Args:
        network: in evaluation mode.
        graph: the same as `export_onnx` wrote it.
    """

    def __init__(self, network: nn.Module, graph: bytes) -> None:
        self._network = network
        self._session = session_of(graph)
        self._names = [output.name for output in self._session.get_outputs() if output.name in (LOGITS, FEATURES)]

    def __call__(self, images: PixelSet, progress: Progress) -> Outputs:
        """Outputs of every image in order."""
        on_device = None
        if images.device.type != "cpu":
            on_device = PixelsToOutputs(self._network, images.preprocess).to(images.device).eval()
        logits, features = [], []
        started = time.perf_counter()
        with progress.task("scoring", len(images)) as task:
            for pixels in images.centres(BATCH):
                if on_device is None:
                    found = self._session.run(self._names, {"pixels": pixels})
                else:
                    with torch.inference_mode():
                        found = [
                            output.cpu().numpy() for output in on_device(torch.from_numpy(pixels).to(images.device))
                        ]
                logits.append(found[0])
                features += found[1:]
                task.advance(len(pixels))
        return Outputs(
            logits=np.concatenate(logits),
            features=np.concatenate(features) if features else None,
            seconds=time.perf_counter() - started,
        )
