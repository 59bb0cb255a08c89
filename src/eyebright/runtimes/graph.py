"""ONNX graphs of networks that take uint8 pixels, and where the graph of features is kept."""

from __future__ import annotations

import hashlib
import json
import logging
import warnings
from pathlib import Path

import onnx
import timm
import torch
from torch import nn

from eyebright.atomic import explained, write_bytes
from eyebright.data.cache import mark_used
from eyebright.errors import EyebrightError
from eyebright.preprocess import Preprocess
from eyebright.runtimes.pixels import PixelsToFeatures

OPSET = 18
LARGEST_BATCH = 4096
PIXELS, FEATURES = "pixels", "features"


def export_features(network: nn.Module, preprocess: Preprocess) -> onnx.ModelProto:
    """The graph from uint8 pixels (N, H, W, C) to `features`, float32 (N, F): what goes into the network's classifier.

    Raises:
        EyebrightError: the network has an operation that ONNX lacks.
    """
    device = next(network.parameters()).device
    try:
        return trace_graph(PixelsToFeatures(network.to("cpu"), preprocess), preprocess, [FEATURES])
    finally:
        network.to(device)


def trace_graph(whole: nn.Module, preprocess: Preprocess, outputs: list[str]) -> onnx.ModelProto:
    """The graph of a network on the CPU that takes pixels (see `FromPixels`), with these names for its outputs.

    Raises:
        EyebrightError: the network has an operation that ONNX lacks.
    """
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
                input_names=[PIXELS],
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
            f"{type(getattr(whole, 'network', whole)).__name__} cannot be exported to ONNX: {error}",
            remedy="choose another network with --model",
        ) from error
    finally:
        logger.setLevel(level)
    return model


def graph_file(network: nn.Module, preprocess: Preprocess, *, name: str, cache: Path) -> Path:
    """Where the graph of these features is kept: the path changes with the weights and with whatever makes the graph.

    It lies beside the embeddings of images, because it is of the same kind: made once, and again at any time.
    """
    decides = [OPSET, preprocess.as_dict(), torch.__version__, onnx.__version__, timm.__version__, repr(network)]
    hashed = hashlib.blake2b(json.dumps(decides).encode(), digest_size=6)
    for key, value in network.state_dict().items():
        hashed.update(key.encode())
        hashed.update(value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy())
    folder = f"{name.replace('/', '-')}-{preprocess.size}-{hashed.hexdigest()}"
    return cache / "embeddings" / folder / "graph.onnx"


def kept_graph(network: nn.Module, preprocess: Preprocess, path: Path) -> bytes:
    """The graph of the network's features, from `path` when it is there; else exported, and kept there.

    Raises:
        EyebrightError: the network cannot be exported.
        StorageError: `path` cannot be written.
    """
    if path.is_file():
        mark_used(path.parent)
        return path.read_bytes()
    graph: bytes = export_features(network, preprocess).SerializeToString()
    with explained(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        write_bytes(path, graph)
    return graph
