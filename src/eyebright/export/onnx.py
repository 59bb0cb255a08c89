"""The ONNX graph of a network with its normalisation inside: uint8 pixels in, logits and features out.

`eyebright.export.calibrated` puts calibration behind it.
"""

from __future__ import annotations

import logging
import warnings

import onnx
import torch
from torch import nn

from eyebright.errors import EyebrightError
from eyebright.preprocess import Preprocess

OPSET = 18
LARGEST_BATCH = 4096
LOGITS, FEATURES = "logits", "features"


class _FromPixels(nn.Module):
    """A network with its normalisation before it."""

    scale: torch.Tensor
    shift: torch.Tensor

    def __init__(self, network: nn.Module, preprocess: Preprocess) -> None:
        super().__init__()
        scale, shift = preprocess.scale_and_shift()
        self.network = network
        self.register_buffer("scale", torch.from_numpy(scale))
        self.register_buffer("shift", torch.from_numpy(shift))

    def images(self, pixels: torch.Tensor) -> torch.Tensor:
        """uint8 (N, H, W, C) to float32 (N, C, H, W)."""
        return (pixels.float() * self.scale + self.shift).permute(0, 3, 1, 2)


class PixelsToOutputs(_FromPixels):
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


class PixelsToFeatures(_FromPixels):
    """A network up to its classifier, with its normalisation before it."""

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        """uint8 (N, H, W, C) to features, float32 (N, F)."""
        maps = self.network.forward_features(self.images(pixels))  # type: ignore[operator]
        features: torch.Tensor = self.network.forward_head(maps, pre_logits=True)  # type: ignore[operator]
        return features.float()


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
    whole = PixelsToOutputs(network.to("cpu"), preprocess)
    network.to(device)
    return _trace(network, whole, preprocess, [LOGITS, FEATURES] if whole.with_features else [LOGITS])


def export_features(network: nn.Module, preprocess: Preprocess) -> onnx.ModelProto:
    """The graph from uint8 pixels (N, H, W, C) to `features`, float32 (N, F): what goes into the network's classifier.

    Raises:
        EyebrightError: the network has an operation that ONNX lacks.
    """
    return _trace(network, PixelsToFeatures(network.to("cpu"), preprocess), preprocess, ["features"])


def _trace(network: nn.Module, whole: nn.Module, preprocess: Preprocess, outputs: list[str]) -> onnx.ModelProto:
    device = next(network.parameters()).device
    whole = whole.eval()
    example = torch.zeros(2, preprocess.size, preprocess.size, preprocess.channels, dtype=torch.uint8)
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings(), torch.no_grad():
            warnings.simplefilter("ignore")  # the exporter warns of its own internals
            program = torch.onnx.export(
                whole,
                (example,),
                dynamo=True,
                input_names=["pixels"],
                output_names=outputs,
                dynamic_shapes=({0: torch.export.Dim("batch", min=1, max=LARGEST_BATCH)},),
                opset_version=OPSET,
                external_data=False,
                verbose=False,
            )
            assert program is not None
            program.optimize()
            model: onnx.ModelProto = program.model_proto
    except Exception as error:  # torch's exporter has many kinds and no common base
        raise EyebrightError(
            f"{type(network).__name__} cannot be exported to ONNX: {error}",
            remedy="choose another network with --model",
        ) from error
    finally:
        logger.setLevel(level)
        network.to(device)
    return model
