"""The ONNX graph of a bundle: uint8 pixels in, calibrated probabilities and uncalibrated logits out.

Normalisation, temperature and softmax are nodes of the graph, so that no consumer can get them wrong. The temperature
is an initialiser with a fixed name: calibration happens after export and writes it there.
"""

from __future__ import annotations

import io
import logging
import warnings

import numpy as np
import onnx
import torch
from onnx import numpy_helper
from torch import nn

from eyebright.errors import EyebrightError
from eyebright.preprocess import Preprocess

OPSET = 18
LARGEST_BATCH = 4096
TEMPERATURE_NAME = "calibration.temperature"


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


class PixelsToProbabilities(_FromPixels):
    """A network with its normalisation before it and its calibration behind it."""

    def __init__(self, network: nn.Module, preprocess: Preprocess, temperature: float = 1.0) -> None:
        super().__init__(network, preprocess)
        self.register_buffer("temperature", torch.tensor(temperature, dtype=torch.float32))

    def forward(self, pixels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """uint8 (N, H, W, C) to probabilities (N, K) and logits (N, K), both float32."""
        logits = self.network(self.images(pixels)).float()
        return torch.softmax(logits / self.temperature, dim=1), logits


class PixelsToFeatures(_FromPixels):
    """A network up to its classifier, with its normalisation before it."""

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        """uint8 (N, H, W, C) to features, float32 (N, F)."""
        maps = self.network.forward_features(self.images(pixels))  # type: ignore[operator]
        features: torch.Tensor = self.network.forward_head(maps, pre_logits=True)  # type: ignore[operator]
        return features.float()


def export_onnx(network: nn.Module, preprocess: Preprocess) -> onnx.ModelProto:
    """The graph with temperature 1.

    Args:
        network: in evaluation mode, on any device; it is copied to the CPU for the trace.
        preprocess: gives the normalisation and the shape (N, size, size, channels).

    Raises:
        EyebrightError: the network has an operation that ONNX lacks.
    """
    model = _trace(
        network, PixelsToProbabilities(network.to("cpu"), preprocess), preprocess, ["probabilities", "logits"]
    )
    _name_temperature(model)
    return model


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


def _name_temperature(model: onnx.ModelProto) -> None:
    """Make sure that the temperature is an initialiser of its own: a divisor of the logits before the softmax.

    The exporter may have folded a temperature of one away, so the softmax is found and given its own division.
    """
    graph = model.graph
    softmax = next(node for node in graph.node if "probabilities" in node.output)
    assert softmax.op_type == "Softmax", softmax.op_type
    logits = next(output.name for output in graph.output if output.name == "logits")
    kept = [node for node in graph.node if not (node.op_type == "Div" and softmax.input[0] in node.output)]
    del graph.node[:]
    position = next(index for index, node in enumerate(kept) if node is softmax or "probabilities" in node.output)
    scaled = f"{logits}_calibrated"
    division = onnx.helper.make_node("Div", [logits, TEMPERATURE_NAME], [scaled], name="calibration")
    softmax.input[0] = scaled
    graph.node.extend([*kept[:position], division, *kept[position:]])
    graph.initializer.append(numpy_helper.from_array(np.array(1.0, dtype=np.float32), TEMPERATURE_NAME))
    onnx.checker.check_model(model)


def with_temperature(model: onnx.ModelProto, temperature: float, metadata: dict[str, str]) -> bytes:
    """The graph as bytes, calibrated, with metadata for whoever opens the file alone."""
    calibrated = onnx.ModelProto()
    calibrated.CopyFrom(model)
    for initialiser in calibrated.graph.initializer:
        if initialiser.name == TEMPERATURE_NAME:
            initialiser.CopyFrom(numpy_helper.from_array(np.array(temperature, dtype=np.float32), TEMPERATURE_NAME))
    onnx.helper.set_model_props(calibrated, metadata)
    buffer = io.BytesIO()
    onnx.save_model(calibrated, buffer)
    return buffer.getvalue()
