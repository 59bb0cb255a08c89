"""What mixes positions: reductions, products of matrices, attention, softmax, norms and Fourier transforms."""

from __future__ import annotations

from collections.abc import Sequence

from eyebright.models.graph.call import Call
from eyebright.models.graph.positions import (
    Dependence,
    Dim,
    Plain,
    choose_map,
    give_up,
    join,
    ordered,
    placed,
    positions,
)
from eyebright.models.graph.rules import Result, rule

BATCH_NORMS = (
    "native_batch_norm", "_native_batch_norm_legit", "_native_batch_norm_legit_no_training", "cudnn_batch_norm",
    "miopen_batch_norm", "_batch_norm_with_update", "_batch_norm_no_update",
)  # fmt: skip
REDUCTIONS = (
    "mean", "sum", "amax", "amin", "max", "min", "var", "std", "var_mean", "std_mean", "prod", "argmax", "argmin",
    "logsumexp", "median", "norm", "linalg_vector_norm", "any", "all",
)  # fmt: skip

ATTENTION = (
    "_scaled_dot_product_flash_attention_for_cpu", "_scaled_dot_product_flash_attention",
    "_scaled_dot_product_efficient_attention", "_scaled_dot_product_attention_math",
    "_scaled_dot_product_cudnn_attention", "_scaled_dot_product_fused_attention_overrideable",
)  # fmt: skip
POOLED_BY = {
    "mean": "average pooling",
    "amax": "maximum pooling",
    "max": "maximum pooling",
    "linalg_vector_norm": "response norm",
    "norm": "response norm",
}


@rule(*REDUCTIONS)
def _reduce(call: Call) -> Result:
    if "other" in call.arguments:  # the two-operand form of max and min works element by element
        operands = [known for known in map(call.known, call.operands) if known is not None]
        return join(operands, call.shape, multiplied=False)
    source = call.source()
    dims = call.arguments.get("dim")
    dims = list(range(len(source.dims))) if dims is None or dims == [] else dims
    chosen = [dim % len(source.dims) for dim in (dims if isinstance(dims, (list, tuple)) else [dims])]
    reduced = give_up(source, chosen, POOLED_BY.get(call.name, "pooling"))
    if len(call.shape) == len(source.dims):
        return reduced.with_dims((Plain(1),) if index in chosen else dim for index, dim in enumerate(reduced.dims))
    return reduced.with_dims(dim for index, dim in enumerate(reduced.dims) if index not in chosen)


@rule("mm", "addmm", "bmm", "baddbmm", "linear", "mv", "addmv")
def _product(call: Call) -> Result:
    """Products of matrices, (..., N, K) times (..., K, M); `linear` has its weight as (M, K)."""
    if call.name == "linear":
        left, right = call.known(call["input"]), None
    elif "mat1" in call.arguments:
        left, right = call.known(call["mat1"]), call.known(call["mat2"])
    elif "batch1" in call.arguments:
        left, right = call.known(call["batch1"]), call.known(call["batch2"])
    else:
        first, second = (
            ("self", "mat2") if "mat2" in call.arguments else ("mat" if "mat" in call.arguments else "self", "vec")
        )
        left, right = call.known(call[first]), call.known(call[second])
    added = call.known(call["self"]) if call.name in ("addmm", "baddbmm", "addmv") else None
    product = _times(left, right, call.shape, vector=call.name.endswith("mv"))
    operands = [known for known in (product, added) if known is not None]
    return join(operands, call.shape, multiplied=False) if len(operands) > 1 else operands[0]


def _times(
    left: Dependence | None, right: Dependence | None, shape: Sequence[int], *, vector: bool
) -> Dependence | None:
    """The product of two matrices (or stacks of them), of which one or both read of the image."""
    origin = "attention" if left is not None and right is not None else "linear"
    rows: Sequence[Dim] = []
    columns: Dim = (Plain(shape[-1]),)
    if left is not None:
        left = give_up(left, [len(left.dims) - 1], origin)
        rows = left.dims[:-1]
    if right is not None:
        right = give_up(right, [len(right.dims) - (1 if vector else 2)], origin)
        columns = columns if vector else right.dims[-1]
    known = [operand for operand in (left, right) if operand is not None]
    if not known:
        return None
    free: list[Dim] = [*rows] if left is not None else [*known[0].dims[:-2], (Plain(shape[-2]),)]
    through = [name for operand in known for name in operand.through]
    if left is not None and placed(columns) and any(placed(dim) for dim in rows[-1:]):
        # Scores of every position against every other: they belong to the one that asks.
        columns = (Plain(shape[-1]),)
        through.append("attention")
    dims = free if vector else [*free, columns]
    carried = {along.axis for dim in dims for along in positions(dim)}
    pooled = [operand for operand in known if operand.last is not None]
    through += [origin for operand in pooled if carried - set(operand.axes())] if len(known) == 2 else []
    return Dependence(
        dims=tuple(dims),
        through=ordered(through),
        last=None if len(carried) == 2 else choose_map(operand.last for operand in pooled),
        origins=() if len(carried) == 2 else ordered(name for operand in pooled for name in operand.origins),
        dense=known[0].dense if len(known) == 1 else None,
    )


@rule(*ATTENTION)
def _attention(call: Call) -> Result:
    """Attention of queries (..., N, D) to keys and values (..., M, D)."""
    query = call.known(call["query"])
    others = [known for known in (call.known(call["key"]), call.known(call["value"])) if known is not None]
    mixes = any(known.last is not None or placed(known.dims[-2]) for known in others)
    attended = [give_up(known, [len(known.dims) - 2, len(known.dims) - 1], "attention") for known in others]
    size = call["value"].shape[-1]
    if query is None:
        made = [known.with_dims((Plain(n),) for n in (*call["query"].shape[:-1], size)) for known in attended]
    else:
        asked = query.with_dim(len(query.dims) - 1, (Plain(size),))
        made = [asked.also_through("attention") if mixes else asked]
        if not asked.axes():
            made = [known.with_dims(asked.dims) for known in attended]
    result = join(made, (*call["query"].shape[:-1], size), multiplied=False)
    # Only the first result is used in front of a loss; the others are its by-products.
    return [result] + [result.with_dims((Plain(n),) for n in extra.shape) for extra in call.results[1:]]


@rule("_native_multi_head_attention", "_transformer_encoder_layer_fwd")
def _layer_of_attention(call: Call) -> Result:
    source = call.source().also_through("attention")
    return [source] + [source.with_dims((Plain(n),) for n in extra.shape) for extra in call.results[1:]]


@rule("_softmax", "_log_softmax", "_safe_softmax")
def _softmax(call: Call) -> Result:
    source = call.source()
    return source.also_through("attention") if positions(source.dims[call["dim"]]) else source


@rule(*BATCH_NORMS)
def _batch_norm(call: Call) -> Result:
    source = call.source()
    return _normed(call, source, "instance norm" if source.axes() and statistics_of_image(call) else None)


def statistics_of_image(call: Call) -> bool:
    """Whether a batch norm takes its statistics from what it is given, as instance norm is computed."""
    return bool(call.arguments.get("training", False)) or call.arguments.get("running_mean") is None


@rule("native_group_norm")
def _group_norm(call: Call) -> Result:
    source = call.source()
    return _normed(call, source, "group norm" if source.axes() else None)


@rule("native_layer_norm", "_fused_rms_norm")
def _layer_norm(call: Call) -> Result:
    source = call.source()
    normed = source.dims[len(source.dims) - len(call["normalized_shape"]) :]
    return _normed(call, source, "layer norm over positions" if any(map(positions, normed)) else None)


def _normed(call: Call, source: Dependence, whole: str | None) -> Result:
    """The normalised tensor, and the statistics that come back beside it."""
    result = source if whole is None else source.also_through(whole)
    statistics = [result.with_dims((Plain(n),) for n in extra.shape) for extra in call.results[1:]]
    return [result, *statistics]


@rule("_fft_r2c", "_fft_c2r", "_fft_c2c")
def _fourier(call: Call) -> Result:
    source = call.source()
    mixed = [dim % len(source.dims) for dim in call["dim"]]
    if any(positions(source.dims[dim]) for dim in mixed):
        source = source.also_through("Fourier transform")
    return give_up(source, mixed, "Fourier transform").with_dims(
        (Plain(n),) if i in mixed else dim for i, (dim, n) in enumerate(zip(source.dims, call.shape, strict=True))
    )
