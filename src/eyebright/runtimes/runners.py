"""Runtimes: each takes uint8 pixels (N, H, W, C) and gives features, float32 (N, F). All compute in float32."""

from __future__ import annotations

from collections.abc import Callable
from importlib.util import find_spec

import numpy as np
import numpy.typing as npt
import onnxruntime
import torch
from torch import nn

from eyebright.errors import MissingDependencyError
from eyebright.preprocess import Preprocess
from eyebright.runtimes.graph import FEATURES, PIXELS
from eyebright.runtimes.pixels import PixelsToFeatures

Pixels = npt.NDArray[np.uint8]
Features = npt.NDArray[np.float32]
Run = Callable[[Pixels], Features]


def torch_runner(network: nn.Module, preprocess: Preprocess, device: torch.device) -> Run:
    """The network itself, in evaluation mode, on `device`; on a CPU with as many threads as torch has."""
    whole = PixelsToFeatures(network, preprocess).to(device).eval()

    @torch.inference_mode()
    def run(pixels: Pixels) -> Features:
        features: Features = whole(torch.from_numpy(pixels).to(device)).cpu().numpy()
        return features

    return run


def onnx_runner(graph: bytes, *, threads: int) -> Run:
    """ONNX Runtime on the CPU."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])

    def run(pixels: Pixels) -> Features:
        features: Features = session.run([FEATURES], {PIXELS: pixels})[0]
        return features

    return run


def openvino_runner(graph: bytes, *, threads: int) -> Run:
    """OpenVINO on the CPU.

    Raises:
        MissingDependencyError: it is not installed.
    """
    require_openvino()
    import openvino

    core = openvino.Core()
    settings = {
        "PERFORMANCE_HINT": "LATENCY",  # one batch after the other, each on all threads
        "INFERENCE_NUM_THREADS": threads,
        "INFERENCE_PRECISION_HINT": "f32",  # by itself it takes bfloat16 where the CPU has that
    }
    compiled = core.compile_model(core.read_model(graph), "CPU", settings)

    def run(pixels: Pixels) -> Features:
        return np.array(compiled([pixels])[0], dtype=np.float32)  # a copy: the next batch is written over the output

    return run


def openvino_is_here() -> bool:
    """Whether OpenVINO is installed; asking does not import it."""
    return find_spec("openvino") is not None


def require_openvino() -> None:
    """Raise MissingDependencyError unless OpenVINO is installed."""
    if not openvino_is_here():
        raise MissingDependencyError(
            "OpenVINO is not installed", remedy='pip install "eyebright[openvino]", or set compute.features=auto'
        )
