"""Windows over positions: convolution, pooling, unfolding and resizing."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from typing import Any

from eyebright.models.graph.call import Call
from eyebright.models.graph.positions import (
    REARRANGED,
    Along,
    Dependence,
    Plain,
    give_up,
    last_map,
    positions,
    single,
)
from eyebright.models.graph.reach import Taps, adaptive, resize, transposed_window, window
from eyebright.models.graph.rules import Result, rule

RESIZED = {
    "upsample_nearest1d": "nearest",
    "upsample_nearest2d": "nearest",
    "_upsample_nearest_exact2d": "nearest-exact",
    "upsample_linear1d": "linear",
    "upsample_bilinear2d": "linear",
    "upsample_bicubic2d": "cubic",
    "_upsample_bilinear2d_aa": "linear-antialias",
    "_upsample_bicubic2d_aa": "cubic-antialias",
}


def each(value: Any, axes: int, default: int = 1) -> list[int]:
    """A setting for each axis; a lone number holds for all, and nothing stands for the default."""
    listed = list(value) if isinstance(value, (list, tuple)) else [value]
    listed = listed or [default]
    return listed * axes if len(listed) == 1 else listed


def over_windows(source: Dependence, taps: Sequence[Taps], lengths: Sequence[int]) -> Dependence:
    """Windows over the last dimensions, one `Taps` for each, which then have these lengths."""
    first = len(source.dims) - len(taps)
    trivial = all(tap.first == tap.last == (0,) and tap.advance == 1 for tap in taps)
    result = source if trivial else dataclasses.replace(source, dense=None)
    for place, (tap, length) in enumerate(zip(taps, lengths, strict=True), start=first):
        dim = result.dims[place]
        along = single(dim)
        if along is not None:
            result = result.with_dim(place, (Along(along.axis, length, along.reach.after(tap)),))
        elif positions(dim) and not (trivial and result.shape[place] == length):
            # A window over a row of tokens or over two axes at once: neighbours there are no neighbours in the image.
            result = give_up(result.also_through(REARRANGED), [place], REARRANGED).with_dim(place, (Plain(length),))
        elif not positions(dim):
            result = result.with_dim(place, (Plain(length),))
    return result


def covering(source: Dependence, result: Dependence, kernels: Sequence[int], by: str) -> Dependence:
    """The result, noted as dense when one window covers the whole of a map with positions."""
    lengths = source.shape[-len(kernels) :]
    if (
        max(kernels) > 1
        and set(result.shape[-len(kernels) :]) == {1}
        and all(kernel >= length for kernel, length in zip(kernels, lengths, strict=True))
        and len(source.axes()) == 2
    ):
        return dataclasses.replace(result, dense=last_map(source, by))
    return result


@rule("convolution", "_convolution", "mkldnn_convolution", "conv2d", "conv1d")
def _convolution(call: Call) -> Result:
    source, weight = call.source(), call["weight"]
    kernels = list(weight.shape[2:])
    axes = len(kernels)
    settings = [each(call[name], axes, default) for name, default in (("stride", 1), ("dilation", 1), ("padding", 0))]
    rows = list(zip(kernels, *settings, strict=True))
    transposed = call.arguments.get("transposed", False)
    make = transposed_window if transposed else window
    taps = [make(kernel=k, stride=s, dilation=d, padding=p) for k, s, d, p in rows]
    source = give_up(source, [1], "linear")  # positions that stand as channels
    result = over_windows(source, taps, call.shape[2:])
    if not transposed and not any(settings[2]):
        result = covering(source, result, kernels, "linear")
    return result.with_dim(1, (Plain(call.shape[1]),))


@rule("max_pool2d_with_indices", "max_pool1d", "max_pool2d", "avg_pool1d", "avg_pool2d")
def _pool(call: Call) -> Result:
    axes = 1 if call.name.endswith("1d") else 2
    kernels = each(call["kernel_size"], axes)
    strides = each(call["stride"], axes) if call["stride"] else kernels
    paddings = each(call["padding"], axes, 0)
    dilations = each(call.arguments.get("dilation", 1), axes)
    rows = zip(kernels, strides, dilations, paddings, strict=True)
    taps = [window(kernel=k, stride=s, dilation=d, padding=p) for k, s, d, p in rows]
    source = call.source()
    result = over_windows(source, taps, call.shape[-axes:])
    # Averaging over all there is, as F.avg_pool2d(x, 7) in front of a classifier, is global pooling.
    if call.name.startswith("avg") and not any(paddings):
        return covering(source, result, kernels, "average pooling")
    return result


@rule(
    "_adaptive_avg_pool2d", "adaptive_avg_pool2d", "adaptive_max_pool2d", "adaptive_avg_pool1d", "adaptive_max_pool1d"
)
def _adaptive_pool(call: Call) -> Result:
    axes = 1 if call.name.endswith("1d") else 2
    source, lengths = call.source(), call.shape[-axes:]
    first = len(source.dims) - axes
    if set(lengths) == {1}:
        origin = "maximum pooling" if "max" in call.name else "average pooling"
        pooled = give_up(source, range(first, len(source.dims)), origin)
        return pooled.with_dims([*pooled.dims[:first], *((Plain(1),) for _ in range(axes))])
    taps = [adaptive(old, new) for old, new in zip(source.shape[first:], lengths, strict=True)]
    return over_windows(source, taps, lengths)


@rule(*RESIZED)
def _resize(call: Call) -> Result:
    source = call.source()
    axes = 1 if call.name.endswith("1d") else 2
    lengths = call.shape[-axes:]
    corners = bool(call.arguments.get("align_corners", False))
    taps = [
        resize(old, new, filter_name=RESIZED[call.name], align_corners=corners)
        for old, new in zip(source.shape[-axes:], lengths, strict=True)
    ]
    return over_windows(source, taps, lengths)


@rule("im2col")
def _unfold(call: Call) -> Result:
    """(B, C, H, W) to (B, C k k, positions): each column is a window."""
    kernels = each(call["kernel_size"], 2)
    rows = list(
        zip(kernels, each(call["stride"], 2), each(call["dilation"], 2), each(call["padding"], 2, 0), strict=True)
    )
    taps = [window(kernel=k, stride=s, dilation=d, padding=p) for k, s, d, p in rows]
    source = call.source()
    lengths = [
        (length + 2 * p - d * (k - 1) - 1) // s + 1 for length, (k, s, d, p) in zip(source.shape[2:], rows, strict=True)
    ]
    windows = over_windows(source, taps, lengths)
    channels = source.shape[1] * math.prod(kernels)
    return windows.with_dims([windows.dims[0], (Plain(channels),), windows.dims[2] + windows.dims[3]])


@rule("col2im")
def _fold(call: Call) -> Result:
    """(B, C k k, positions) to (B, C, H, W): each column is added to the image as a window."""
    source = call.source()
    kernels = each(call["kernel_size"], 2)
    rows = list(
        zip(kernels, each(call["stride"], 2), each(call["dilation"], 2), each(call["padding"], 2, 0), strict=True)
    )
    grid = positions(source.dims[-1])
    if len(grid) != 2:
        return give_up(source, range(len(source.dims)), "fold").with_dims((Plain(length),) for length in call.shape)
    apart = source.with_dims([source.dims[0], (Plain(call.shape[1]),), (grid[0],), (grid[1],)])
    taps = [transposed_window(kernel=k, stride=s, dilation=d, padding=p) for k, s, d, p in rows]
    return over_windows(apart, taps, call.shape[2:])


@rule("unfold")
def _sliding(call: Call) -> Result:
    """`Tensor.unfold`: windows of a dimension, their insides in a new last dimension."""
    source, place = call.source(), call["dimension"] % len(call["self"].shape)
    moved = source.with_dims([*(d for i, d in enumerate(source.dims) if i != place), source.dims[place]])
    windows = over_windows(moved, [window(kernel=call["size"], stride=call["step"])], [call.shape[place]])
    dims = list(windows.dims)
    dims.insert(place, dims.pop())
    return windows.with_dims([*dims, (Plain(call["size"]),)])
