"""The ONNX graph of a network with its normalisation inside: uint8 pixels in, logits and features out.

`eyebright.export.calibrated` puts calibration behind it.
"""

from __future__ import annotations

import onnx
import torch
from torch import nn

from eyebright.preprocess import Preprocess
from eyebright.runtimes.graph import FEATURES as FEATURES
from eyebright.runtimes.graph import LARGEST_BATCH as LARGEST_BATCH
from eyebright.runtimes.graph import OPSET as OPSET
from eyebright.runtimes.graph import export_features as export_features
from eyebright.runtimes.graph import trace_graph
from eyebright.runtimes.pixels import FromPixels
from eyebright.runtimes.pixels import PixelsToFeatures as PixelsToFeatures

LOGITS = "logits"


class PixelsToOutputs(FromPixels):
    """A network with its normalisation before it; gives its features too where they can be had."""

    def __init__(self, network: nn.Module, preprocess: Preprocess) -> None:
        super().__init__(network, preprocess)
        self.with_features = has_features(network, preprocess)

    def forward(self, pixels: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """uint8 (N, H, W, C) to logits (N, K) and, where there are such, features (N, F), all float32."""
        images = self.images(pixels)
        if not self.with_features:
            return (self.network(images).float(),)
        maps = self.network.forward_features(images)  # type: ignore[operator]
        # Pooling stands twice here; the runtime computes it once.
        features = self.network.forward_head(maps, pre_logits=True)  # type: ignore[operator]
        return self.network.forward_head(maps).float(), features.float()  # type: ignore[operator]


def has_features(network: nn.Module, preprocess: Preprocess) -> bool:
    """Whether the network, in evaluation mode, is its features (N, F) followed by a classifier, as timm's are."""
    if not (hasattr(network, "forward_features") and hasattr(network, "forward_head")):
        return False
    parameter = next(iter([*network.parameters(), *network.buffers()]))
    shape = (2, preprocess.channels, preprocess.size, preprocess.size)
    images = torch.rand(shape, generator=torch.Generator().manual_seed(0)).to(parameter.device)
    with torch.no_grad():
        try:
            maps = network.forward_features(images)  # type: ignore[operator]
            features = network.forward_head(maps, pre_logits=True)  # type: ignore[operator]
            whole, parts = network(images), network.forward_head(maps)  # type: ignore[operator]
        except (TypeError, AttributeError, NotImplementedError):
            return False  # a head of another make
    if not isinstance(features, torch.Tensor) or features.ndim != 2 or not isinstance(parts, torch.Tensor):
        return False
    return bool(torch.allclose(whole, parts, rtol=1e-4, atol=1e-4))


def export_onnx(network: nn.Module, preprocess: Preprocess) -> onnx.ModelProto:
    """The graph from uint8 pixels (N, H, W, C) to `logits` (N, K) and, where they can be had, `features` (N, F).

    `export.calibrated.with_calibration` adds `probabilities`.

    Args:
        network: in evaluation mode, on any device; it is copied to the CPU for the trace.
        preprocess: gives the normalisation and the shape (N, size, size, channels).

    Raises:
        EyebrightError: the network has an operation that ONNX lacks.
    """
    device = next(network.parameters()).device
    try:
        whole = PixelsToOutputs(network.to("cpu"), preprocess)
        return trace_graph(whole, preprocess, [LOGITS, FEATURES] if whole.with_features else [LOGITS])
    finally:
        network.to(device)
