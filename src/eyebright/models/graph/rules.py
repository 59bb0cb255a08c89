"""What the result of each aten op reads of the image, from what its operands read.

Here are the ops that work element by element and those that move elements about. Windows (convolution, pooling,
resizing) are in `windows.py`, and what mixes positions (reductions, products, attention, norms) in `mixing.py`. An op
without a rule is taken to mix all positions, and named.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch

from eyebright.models.graph.call import Call
from eyebright.models.graph.positions import (
    CLASS_TOKEN,
    REARRANGED,
    Along,
    Dependence,
    Dim,
    Plain,
    Tokens,
    give_up,
    give_up_all,
    join,
    positions,
    single,
    view,
)
from eyebright.models.graph.reach import shift

Result = Dependence | list[Dependence]
Rule = Callable[[Call], Result]
RULES: dict[str, Rule] = {}

# Element by element although torch does not tag them so.
ELEMENTWISE = frozenset({
    "alias", "clone", "contiguous", "copy", "detach", "dropout", "hardswish", "hardtanh", "lift_fresh", "masked_fill",
    "native_dropout", "_to_copy", "prelu", "_prelu_kernel", "where", "channel_shuffle",
})  # fmt: skip
# Their results have the shape of an operand, and nothing else of it.
CONSTANT = frozenset({
    "empty_like", "zeros_like", "ones_like", "full_like", "rand_like", "randn_like", "new_empty", "new_zeros",
    "new_ones", "new_full", "zero", "fill", "new_empty_strided", "bernoulli",
})  # fmt: skip
MULTIPLYING = frozenset({"mul", "addcmul", "where", "masked_fill", "div"})


def rule(*names: str) -> Callable[[Rule], Rule]:
    """Register a rule under the names of its ops."""

    def register(function: Rule) -> Rule:
        RULES.update(dict.fromkeys(names, function))
        return function

    return register


def results_of(call: Call) -> list[Dependence | None]:
    """What each result of an op reads of the image; None for a result that reads nothing of it."""
    operands = [known for known in map(call.known, call.operands) if known is not None]
    if not operands or call.name in CONSTANT:
        return [None] * len(call.results)
    found: Result | None = None
    if call.name in RULES:
        found = RULES[call.name](call)
    elif call.pointwise or call.name in ELEMENTWISE:
        found = join(operands, call.shape, multiplied=call.name in MULTIPLYING)
    listed = found if isinstance(found, list) else [found] * len(call.results)
    return [
        known if known is not None and known.shape == tuple(result.shape) else mixed(call, result)
        for known, result in zip(listed, call.results, strict=True)
    ]


def mixed(call: Call, result: torch.Tensor) -> Dependence:
    """A result that may depend on all positions in a way that no rule here knows."""
    source = call.source()
    name = call.name.strip("_")
    if source.axes():
        source = source.also_through(name)
    return give_up_all(source, tuple(result.shape), name)


@rule("view", "_unsafe_view", "reshape", "_reshape_alias", "unflatten", "flatten", "squeeze", "unsqueeze")
def _view(call: Call) -> Result:
    return view(call.source(), call.shape)


@rule("permute")
def _permute(call: Call) -> Result:
    source = call.source()
    return source.with_dims(source.dims[place] for place in call["dims"])


@rule("transpose")
def _transpose(call: Call) -> Result:
    source = call.source()
    dims = list(source.dims)
    one, other = call["dim0"], call["dim1"]
    dims[one], dims[other] = dims[other], dims[one]
    return source.with_dims(dims)


@rule("t")
def _t(call: Call) -> Result:
    source = call.source()
    return source.with_dims(reversed(source.dims))


@rule("expand", "repeat")
def _expand(call: Call) -> Result:
    source = call.source()
    grown = len(call.shape) - len(source.dims)
    changed = [i for i, (old, new) in enumerate(zip(source.shape, call.shape[grown:], strict=True)) if old != new]
    source = give_up(source, changed, "flatten")
    dims = [(Plain(length),) for length in call.shape]
    return source.with_dims(
        [*dims[:grown], *(_grown(d, n) for d, n in zip(source.dims, call.shape[grown:], strict=True))]
    )


def _grown(dim: Dim, length: int) -> Dim:
    return dim if math.prod(atom.length for atom in dim) == length else (Plain(length),)


@rule("select")
def _select(call: Call) -> Result:
    source, place = call.source(), call["dim"] % len(call["self"].shape)
    source = give_up(source, [place], CLASS_TOKEN)
    return source.with_dims(dim for index, dim in enumerate(source.dims) if index != place)


@rule("unbind")
def _unbind(call: Call) -> Result:
    source, place = call.source(), call["dim"] % len(call["self"].shape)
    source = give_up(source, [place], CLASS_TOKEN)
    part = source.with_dims(dim for index, dim in enumerate(source.dims) if index != place)
    return [part] * len(call.results)


@rule("slice")
def _slice(call: Call) -> Result:
    place = call["dim"] % len(call["self"].shape)
    length = call["self"].shape[place]
    start = call["start"] or 0
    start = min(start if start >= 0 else max(0, length + start), length)
    return _cropped(call.source(), place, start, call.shape[place], call["step"])


@rule("narrow")
def _narrow(call: Call) -> Result:
    place = call["dim"] % len(call["self"].shape)
    return _cropped(call.source(), place, call["start"], call["length"])


@rule("split", "split_with_sizes", "chunk")
def _split(call: Call) -> Result:
    place = call["dim"] % len(call["self"].shape)
    parts, start = [], 0
    for result in call.results:
        length = result.shape[place]
        parts.append(_cropped(call.source(), place, start, length))
        start += length
    return parts


def _cropped(source: Dependence, place: int, start: int, length: int, step: int = 1) -> Dependence:
    """`length` indices of a dimension, from `start`."""
    dim = source.dims[place]
    if source.shape[place] == length:
        return source
    along = single(dim)
    if along is not None:
        return source.with_dim(place, (Along(along.axis, length, along.reach.after(shift(start, step=step))),))
    if positions(dim) and length == 1:  # such as the class token
        return give_up(source, [place], CLASS_TOKEN).with_dim(place, (Plain(1),))
    return source.with_dim(place, _row(dim, length))


@rule("index", "index_select")
def _index(call: Call) -> Result:
    """Chosen channels, or other indices that are no positions, along one dimension."""
    source = call.known(call["self"])
    if source is None:  # a table looked up at places that the image decides
        return mixed(call, call.results[0])
    indices = (
        [None] * (call["dim"] % len(source.dims)) + [call["index"]] if "dim" in call.arguments else call["indices"]
    )
    chosen = [place for place, index in enumerate(indices) if index is not None]
    if len(chosen) != 1 or indices[chosen[0]].dim() != 1 or positions(source.dims[chosen[0]]):
        return mixed(call, call.results[0])
    return source.with_dim(chosen[0], (Plain(call.shape[chosen[0]]),))


def _row(dim: Dim, length: int) -> Dim:
    """Part of a dimension, or a dimension with more beside it: which position is where is no longer known."""
    grid = positions(dim)
    return (Tokens(length, grid),) if grid else (Plain(length),)


@rule("constant_pad_nd", "reflection_pad1d", "reflection_pad2d", "replication_pad1d", "replication_pad2d")
def _pad(call: Call) -> Result:
    source, amounts = call.source(), call["pad" if call.name == "constant_pad_nd" else "padding"]
    for number, before in enumerate(amounts[::2]):
        place = len(source.dims) - 1 - number
        source = _padded(source, place, before, call.shape[place])
    return source


def _padded(source: Dependence, place: int, before: int, length: int) -> Dependence:
    """A dimension with `before` indices in front of it and others behind, `length` in all."""
    if source.shape[place] == length:
        return source
    along = single(source.dims[place])
    if along is not None:
        return source.with_dim(place, (Along(along.axis, length, along.reach.after(shift(-before))),))
    return source.with_dim(place, _row(source.dims[place], length))


@rule("roll")
def _roll(call: Call) -> Result:
    source = call.source()
    for places, dim in zip(call["shifts"], call["dims"], strict=False):
        along = single(source.dims[dim])
        if along is not None:
            source = source.with_dim(dim, (Along(along.axis, along.length, along.reach.after(shift(-places))),))
    return source


@rule("cat", "concat")
def _cat(call: Call) -> Result:
    place = call["dim"] % len(call.shape)
    padded, start = [], 0
    for tensor in call["tensors"]:
        known = call.known(tensor)
        if known is not None:
            others = [index for index in range(len(call.shape)) if index != place]
            assert all(known.shape[index] == call.shape[index] for index in others)
            padded.append(_padded(known, place, start, call.shape[place]))
        start += tensor.shape[place] if tensor.dim() > 1 or tensor.numel() else 0
    joined = join(padded, call.shape, multiplied=False)
    alongs = [known for known in padded if single(known.dims[place]) is not None]
    if len(alongs) > 1:  # parts of the image side by side, in an order that is not known
        return give_up(joined.also_through(REARRANGED), [place], REARRANGED)
    return joined


@rule("stack")
def _stack(call: Call) -> Result:
    place = call["dim"] % len(call.shape)
    operands = [known for known in map(call.known, call["tensors"]) if known is not None]
    without = [length for index, length in enumerate(call.shape) if index != place]
    joined = join(operands, without, multiplied=False)
    dims = list(joined.dims)
    dims.insert(place, (Plain(call.shape[place]),))
    return joined.with_dims(dims)


@rule("pixel_shuffle")
def _pixel_shuffle(call: Call) -> Result:
    """(B, C r^2, H, W) to (B, C, H r, W r), by the views that it stands for."""
    source, factor = call.source(), call["upscale_factor"]
    batch, channels, height, width = source.shape
    split = view(source, (batch, channels // factor**2, factor, factor, height, width))
    moved = split.with_dims(split.dims[place] for place in (0, 1, 4, 2, 5, 3))
    return view(moved, call.shape)


@rule("pixel_unshuffle")
def _pixel_unshuffle(call: Call) -> Result:
    """(B, C, H r, W r) to (B, C r^2, H, W), by the views that it stands for."""
    source, factor = call.source(), call["downscale_factor"]
    batch, channels, height, width = source.shape
    split = view(source, (batch, channels, height // factor, factor, width // factor, factor))
    moved = split.with_dims(split.dims[place] for place in (0, 1, 3, 5, 2, 4))
    return view(moved, call.shape)
