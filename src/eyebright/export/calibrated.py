"""Calibration as nodes of a graph, so that no consumer can get it wrong: from `logits` to `probabilities`.

It is fitted after the export, so its nodes are added, or those of a former one replaced, in the finished graph.
"""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper, numpy_helper

from eyebright.decisions import Calibration
from eyebright.export.onnx import LOGITS

PROBABILITIES = "probabilities"
PREFIX = "calibration."
"""With which the names of all nodes, values and constants of the calibration begin."""


def with_calibration(model: onnx.ModelProto, calibration: Calibration, metadata: Mapping[str, str]) -> bytes:
    """The graph as bytes with its output `probabilities` first, and metadata for whoever opens the file alone.

    Args:
        model: what `export_onnx` gave, or this function before.
        calibration: what turns its logits into probabilities.
        metadata: text by key; it replaces what was there.
    """
    calibrated = onnx.ModelProto()
    calibrated.CopyFrom(model)
    graph = calibrated.graph
    _remove_former(graph)
    (logits,) = [output for output in graph.output if output.name == LOGITS]
    nodes = _Nodes(graph)
    nodes.calibrate(calibration)
    dimensions = [dimension.dim_param or dimension.dim_value for dimension in logits.type.tensor_type.shape.dim]
    others = list(graph.output)
    del graph.output[:]
    graph.output.append(helper.make_tensor_value_info(PROBABILITIES, TensorProto.FLOAT, dimensions))
    graph.output.extend(others)
    helper.set_model_props(calibrated, dict(metadata))
    onnx.checker.check_model(calibrated)
    buffer = io.BytesIO()
    onnx.save_model(calibrated, buffer)
    return buffer.getvalue()


def _remove_former(graph: onnx.GraphProto) -> None:
    for entries in (graph.node, graph.initializer, graph.value_info):
        kept = [entry for entry in entries if not entry.name.startswith(PREFIX)]
        del entries[:]
        entries.extend(kept)
    outputs = [output for output in graph.output if output.name != PROBABILITIES]
    del graph.output[:]
    graph.output.extend(outputs)


class _Nodes:
    """Adds nodes at the end of a graph, each with a name of its own."""

    def __init__(self, graph: onnx.GraphProto) -> None:
        self.graph = graph

    def calibrate(self, calibration: Calibration) -> None:
        """From the graph's logits to its probabilities; the arithmetic of `Calibration.probabilities`."""
        value = self.add("Div", [LOGITS, self.constant("temperature", calibration.temperature)], "scaled")
        if calibration.method == "vector":
            value = self.add("Mul", [value, self.constant("scale", calibration.scale)], "stretched")
            value = self.add("Add", [value, self.constant("bias", calibration.bias)], "shifted")
        if calibration.method != "isotonic":
            self.add("Softmax", [value], PROBABILITIES, axis=1)
            return
        value = self.add("Softmax", [value], "softmax", axis=1)
        value = self.lines(value, calibration.knots)
        total = self.add("ReduceSum", [value, self.constant("classes", [1], np.int64)], "total", keepdims=1)
        self.add("Div", [value, total], PROBABILITIES)

    def lines(self, value: str, knots: Sequence[Sequence[tuple[float, float]]]) -> str:
        """Broken lines (K, M segments each): their first height plus what each segment adds up to the value."""
        most = max(map(len, knots))
        # Lines with fewer corners get segments of no length at their end.
        corners = np.array([[*line, *[line[-1]] * (most - len(line))] for line in knots])
        x, y = corners[..., 0], corners[..., 1]
        run = np.diff(x, axis=1)
        slope = np.divide(np.diff(y, axis=1), run, out=np.zeros_like(run), where=run > 0)
        begin, end = self.constant("begin", x[:, :-1]), self.constant("end", x[:, 1:])
        value = self.add("Unsqueeze", [value, self.constant("last", [2], np.int64)], "wide")  # (N, K, 1)
        value = self.add("Max", [value, begin], "above")  # (N, K, M)
        value = self.add("Min", [value, end], "within")
        value = self.add("Sub", [value, begin], "travelled")
        value = self.add("Mul", [value, self.constant("slope", slope)], "risen")
        value = self.add("ReduceSum", [value, self.constant("segments", [2], np.int64)], "rise", keepdims=0)
        return self.add("Add", [value, self.constant("first", y[:, 0])], "height")

    def add(self, operation: str, inputs: list[str], output: str, **attributes: Any) -> str:
        """A node; returns the name of what it gives."""
        name = output if output == PROBABILITIES else PREFIX + output
        node = helper.make_node(operation, inputs, [name], name=PREFIX + output + ".node", **attributes)
        self.graph.node.append(node)
        return name

    def constant(self, name: str, value: npt.ArrayLike, dtype: type[np.generic] = np.float32) -> str:
        """A constant; returns its name."""
        array = np.asarray(value, dtype=dtype)
        self.graph.initializer.append(numpy_helper.from_array(array, PREFIX + name))
        return PREFIX + name
