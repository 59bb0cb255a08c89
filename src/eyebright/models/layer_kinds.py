"""Kinds of layers that a network has, by the words of `kind_names.py`.

They are found in the ops that the network calls, so that `F.max_pool2d` counts as `nn.MaxPool2d` does and a layer that
is never called does not count. Dropout does nothing in evaluation mode; it is seen where it is called from Python.
"""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Sequence
from typing import Any

from torch import nn
from torch.overrides import TorchFunctionMode
from torch.utils.weak import WeakTensorKeyDictionary

from eyebright.models.graph.call import Call
from eyebright.models.graph.mixing import ATTENTION, BATCH_NORMS, REDUCTIONS, statistics_of_image
from eyebright.models.graph.positions import Dependence, gate_name, placed
from eyebright.models.graph.windows import RESIZED, each
from eyebright.models.kind_names import KINDS
from eyebright.models.receptive_field import ReceptiveField, receptive_field

_POOLS = {"max_pool": "max-pool", "avg_pool": "avg-pool"}
_NORMS = {
    **dict.fromkeys(BATCH_NORMS, "batch-norm"),
    "native_layer_norm": "layer-norm",
    "native_group_norm": "group-norm",
    "_fused_rms_norm": "rms-norm",
}
_CONVOLUTIONS = ("convolution", "_convolution", "mkldnn_convolution", "conv2d")
_PRODUCTS = ("mm", "addmm", "linear", "mv", "addmv")
_DROPOUTS = (
    "dropout",
    "alpha_dropout",
    "feature_dropout",
    "feature_alpha_dropout",
    "dropout1d",
    "dropout2d",
    "dropout3d",
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Survey:
    """What one run of a network shows.

    Attributes:
        field: its receptive field; None when the result does not depend on the image.
        kinds: how often each kind of layer is called.
    """

    field: ReceptiveField | None
    kinds: dict[str, int]


def survey(network: nn.Module, input_size: Sequence[int]) -> Survey:
    """The receptive field and the kinds of layers of a network, from one run.

    Args:
        network: any feed-forward network; left as it was.
        input_size: (C, H, W).
    """
    watcher, calls = _Watcher(), _Dropouts()
    with calls:
        field = receptive_field(network, input_size, [watcher])
    kinds = watcher.kinds + Counter(_modules(network))
    if field is not None and "attention" in field.through:
        kinds["attention"] = max(kinds["attention"], 1)  # written out as products, where one cannot be told from two
    kinds["dropout"] = max(kinds["dropout"], calls.count)
    ended = {"average pooling": "gap", "maximum pooling": "global-max-pool", "linear": "flatten", "flatten": "flatten"}
    if field is not None and field.ended_by in ended:
        kinds[ended[field.ended_by]] += 1
    assert set(kinds) <= set(KINDS)
    return Survey(field=field, kinds={kind: count for kind, count in sorted(kinds.items()) if count})


def _modules(network: nn.Module) -> list[str]:
    """Kinds that do nothing in evaluation mode."""
    found = []
    for module in network.modules():
        if type(module).__name__ in ("DropPath", "StochasticDepth"):
            rate = getattr(module, "drop_prob", None) or getattr(module, "p", None)
            found += ["stochastic-depth"] if rate else []
        elif isinstance(module, nn.modules.dropout._DropoutNd) and module.p > 0:
            found.append("dropout")
    return found


class _Dropouts(TorchFunctionMode):
    """Counts calls of dropout with a probability, whether or not the network is training."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0
        self._inside = False

    def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if getattr(function, "__name__", "").rstrip("_") in _DROPOUTS and not self._inside:
            probability = kwargs.get("p", args[1] if len(args) > 1 else 0.5)
            self.count += probability > 0
            self._inside = True  # F.dropout calls torch.dropout, which is the same one
            try:
                return function(*args, **kwargs)
            finally:
                self._inside = False
        return function(*args, **kwargs)


@dataclasses.dataclass(frozen=True)
class _Mark:
    """What led to a tensor: convolutions and dense layers on the longest way, and whether a depthwise one was last."""

    layers: int = 0
    depthwise: bool = False


class _Watcher:
    """Counts kinds of layers, op by op."""

    def __init__(self) -> None:
        self.kinds: Counter[str] = Counter()
        self._marks: Any = WeakTensorKeyDictionary()

    def __call__(self, call: Call, found: Sequence[Dependence | None]) -> None:
        """One op: count what it is, and mark its results."""
        if not any(found):
            return
        marks = [self._marks.get(tensor, _Mark()) for tensor in call.operands if call.known(tensor) is not None]
        layers, depthwise = max(mark.layers for mark in marks), any(mark.depthwise for mark in marks)
        kinds = self._kinds(call, depthwise)
        if len(marks) == 2 and call.name == "add" and marks[0].layers != marks[1].layers:
            kinds.append("residual")
        kinds += _gates(call, found[0])
        self.kinds.update(kinds)
        weighted = call.name in _CONVOLUTIONS or call.name in _PRODUCTS
        ends = weighted or call.name in REDUCTIONS or any(part in call.name for part in _POOLS)
        mark = _Mark(layers + weighted, "depthwise" in kinds or (depthwise and not ends))
        for result in call.results:
            self._marks[result] = mark

    def _kinds(self, call: Call, depthwise: bool) -> list[str]:
        if call.name in _CONVOLUTIONS and call["weight"].dim() == 4:
            return _of_convolution(call, depthwise)
        if call.name in _PRODUCTS:
            return ["linear", "depthwise-separable"] if depthwise and _of_channels(call) else ["linear"]
        if call.name in RESIZED:
            return ["upsample"]
        if call.name in _NORMS:
            own_statistics = call.name in BATCH_NORMS and statistics_of_image(call)
            return ["instance-norm" if own_statistics else _NORMS[call.name]]
        if set(call.shape[2:]) != {1} or "adaptive" not in call.name:
            return [kind for part, kind in _POOLS.items() if part in call.name]
        return []


def _gates(call: Call, result: Dependence | None) -> list[str]:
    """Squeeze-excitation and attention, where the whole image comes back to positions."""
    known = [operand for tensor in call.operands if (operand := call.known(tensor)) is not None]
    if call.name in ATTENTION:
        return ["attention"] if any(placed(dim) for operand in known for dim in operand.dims[-2:]) else []
    pooled = [operand for operand in known if operand.last is not None]
    if call.name == "mul" and result is not None and result.axes() and pooled:
        gates = [operand for operand in pooled if gate_name(operand.origins, multiplied=True) == "squeeze-excitation"]
        return ["squeeze-excitation"] if gates else []
    return []


def _of_convolution(call: Call, depthwise: bool) -> list[str]:
    weight, groups = call["weight"], call.arguments.get("groups", 1)
    channels = call["input"].shape[1]
    kernels, axes = weight.shape[2:], weight.dim() - 2
    transposed = bool(call.arguments.get("transposed", False))
    pointwise = max(kernels) == 1 and groups == 1
    dilated = any(d > 1 and k > 1 for d, k in zip(each(call["dilation"], axes), kernels, strict=True))
    checks = {
        "conv": True,
        "transposed-conv": transposed,
        "bias-conv": call["bias"] is not None,
        "depthwise": groups == channels > 1,
        "grouped": 1 < groups < channels,
        "dilated": dilated,
        "strided-conv": max(each(call["stride"], axes)) > 1 and not transposed,
        "pointwise": pointwise,
        "depthwise-separable": pointwise and depthwise,
    }
    return [kind for kind, holds in checks.items() if holds]


def _of_channels(call: Call) -> bool:
    """Whether a product of matrices works on each position for itself, as a 1x1 convolution does."""
    known = [call.known(tensor) for tensor in call.operands]
    return any(operand is not None and operand.axes() for operand in known)
