"""Which layer a class activation map is taken from, found by running the network once and looking.

A map needs a layer that still knows where things are and that the answer still depends on at every place. In a
convolutional network that is the last feature map. In a transformer that answers from a class token, the patches of
the last layer no longer count, and the last normalisation before the last attention is taken.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Sequence
from typing import Any, Literal

import torch
from torch import nn

from eyebright.errors import UsageError, did_you_mean
from eyebright.explain.undisturbed import undisturbed
from eyebright.models.running import running

_MOST_PREFIX_TOKENS = 8
_IMAGES = 2  # more than one, so that a layer that folds windows into the batch is not taken for a map

Reshape = Callable[[torch.Tensor], torch.Tensor]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Layer:
    """A layer whose output is a map.

    Attributes:
        name: path of the module in the network.
        module: the module itself; it is called once for each image.
        kind: feature maps, or tokens of patches.
        grid: rows and columns of the map.
        reshape: from the module's output to (N, channels, rows, columns).
    """

    name: str
    module: nn.Module
    kind: Literal["maps", "tokens"]
    grid: tuple[int, int]
    reshape: Reshape


@dataclasses.dataclass(frozen=True)
class _Visit:
    """One module's call: what came out, what of it is a map, and whether the answer depends on the map."""

    layer: Layer
    output: torch.Tensor
    matters: bool = False


@dataclasses.dataclass(frozen=True)
class _Looked:
    """What one run of the network showed: calls in the order in which they ended, and the final features."""

    visits: list[_Visit]
    features: torch.Tensor | None


def explanation_layer(network: nn.Module, input_size: Sequence[int]) -> Layer | None:
    """The layer that maps are taken from unless told otherwise; None for a network without any map (a dense one).

    Preferred is what `forward_features` gives, as timm's networks and ours have it: the output of the last stage or
    normalisation. Where the answer does not depend on all of it (class token), or it has one position only (a small
    image), the last earlier layer is taken for which neither holds; for tokens, a normalisation where there is one.

    Args:
        network: any network for (N, C, H, W); weights, mode and gradients are left as they were.
        input_size: (C, H, W) of its images.

    Raises:
        UsageError: the network cannot take images of that size.
    """
    looked = _look(network, input_size)
    # Outermost first: of modules that give the same tensor, the block is named rather than its last activation.
    chosen = _chosen([visit for visit in looked.visits[::-1] if visit.matters], looked.features)
    return None if chosen is None else chosen.layer


def named_layer(network: nn.Module, input_size: Sequence[int], name: str) -> Layer:
    """The layer with a name, as a map.

    Raises:
        UsageError: the network has no such layer, or its output is no map.
    """
    modules = dict(network.named_modules())
    if not name or name not in modules:
        raise UsageError(
            f"there is no layer {name!r} in {type(network).__name__}{did_you_mean(name, modules)}",
            expected="the path of a module, such as blocks.5",
            remedy="`eyebright models inspect NETWORK` shows the paths",
        )
    visits = _look(network, input_size).visits
    for visit in visits:
        if visit.layer.name == name:
            return visit.layer
    some = [visit.layer.name for visit in visits[:: -max(1, len(visits) // 6)]]
    raise UsageError(
        f"the layer {name!r} ({type(modules[name]).__name__}) gives no map with rows and columns, or runs repeatedly",
        expected=f"a layer that does, such as {', '.join(some)}" if some else "a network that has maps",
    )


def has_gradient(network: nn.Module, input_size: Sequence[int]) -> bool:
    """Whether the answer follows small changes of the image, which that of counted features and trees does not.

    Args:
        network: left as it was.
        input_size: (C, H, W).
    """
    random = torch.Generator().manual_seed(0)
    with undisturbed(network) as device, running(type(network).__name__, input_size):
        image = torch.randn(_IMAGES, *input_size, generator=random).to(device).requires_grad_()
        logits = network(image * 1.0)
        if not logits.requires_grad:
            return False
        weights = torch.randn(logits.shape, generator=random).to(device)
        return bool(torch.autograd.grad((logits * weights).sum(), image)[0].any())


def _chosen(visits: Sequence[_Visit], features: torch.Tensor | None) -> _Visit | None:
    """The best of some calls, the last of them first."""
    if features is not None:
        for visit in visits:
            if visit.output.shape == features.shape and visit.output.data_ptr() == features.data_ptr():
                return visit
        kind, width = ("tokens", features.shape[-1]) if features.ndim == 3 else ("maps", None)
        alike = [
            visit
            for visit in visits
            if visit.layer.kind == kind and visit.output.shape[-1] == (width or visit.output.shape[-1])
        ]
        visits = alike or visits
    if visits and visits[0].layer.kind == "tokens":
        norms = [visit for visit in visits if "norm" in type(visit.layer.module).__name__.lower()]
        visits = norms or visits
    return next(iter(visits), None)


def _look(network: nn.Module, input_size: Sequence[int]) -> _Looked:
    """Run the network on noise with a hook on every module."""
    calls: list[tuple[str, nn.Module, Any]] = []
    handles = []
    random = torch.Generator().manual_seed(0)  # the user's random state stays as it is
    with undisturbed(network) as device, running(type(network).__name__, input_size):
        image = torch.randn(_IMAGES, *input_size, generator=random).to(device).requires_grad_()
        try:
            for name, module in network.named_modules():
                if name:
                    handles.append(module.register_forward_hook(_recorder(calls, name)))
            if hasattr(network, "forward_features") and hasattr(network, "forward_head"):
                body: Any = network
                features = body.forward_features(image * 1.0)
                within = len(calls)
                # Not the logits: some networks begin with a classifier of zeros, from which no gradient comes.
                answer = body.forward_head(features, pre_logits=True)
            else:
                features, within, answer = None, -1, network(image * 1.0)
        finally:
            for handle in handles:
                handle.remove()
        within = len(calls) if within < 0 else within
        counts: dict[str, int] = {}
        for name, _, _ in calls:
            counts[name] = counts.get(name, 0) + 1
        visits = []
        for name, module, output in calls[:within]:
            layout = _layout(output, input_size, network) if counts[name] == 1 else None
            if layout is not None:
                kind, grid, reshape = layout
                layer = Layer(name=name, module=module, kind=kind, grid=grid, reshape=reshape)
                visits.append(_Visit(layer, output))
        outputs = [visit.output for visit in visits]
        gradients: Sequence[torch.Tensor | None] = [None] * len(outputs)
        if outputs and answer.requires_grad:
            weights = torch.randn(answer.shape, generator=random).to(device)
            gradients = torch.autograd.grad((answer * weights).sum(), outputs, allow_unused=True)
    looked = [
        dataclasses.replace(visit, matters=gradient is not None and bool(visit.layer.reshape(gradient).any()))
        for visit, gradient in zip(visits, gradients, strict=True)
    ]
    return _Looked(looked, features if isinstance(features, torch.Tensor) else None)


def _recorder(calls: list[tuple[str, nn.Module, Any]], name: str) -> Callable[[nn.Module, Any, Any], None]:
    def record(module: nn.Module, _: Any, output: Any) -> None:
        calls.append((name, module, output))

    return record


def _layout(
    output: Any, input_size: Sequence[int], network: nn.Module
) -> tuple[Literal["maps", "tokens"], tuple[int, int], Reshape] | None:
    """How an output is read as a map with more than one row and column; None where it is none."""
    _, height, width = input_size
    if not isinstance(output, torch.Tensor) or not output.requires_grad or output.shape[0] != _IMAGES:
        return None
    if output.ndim == 4:
        first, last = (output.shape[2], output.shape[3]), (output.shape[1], output.shape[2])
        body = getattr(network, "backbone", network)
        for grid, reshape in (
            ((last, _channels_first), (first, _as_it_is))  # both may fit: then the network's own word counts
            if getattr(body, "output_fmt", "NCHW") == "NHWC"
            else ((first, _as_it_is), (last, _channels_first))
        ):
            if min(grid) > 1 and _in_proportion(*grid, (height, width)):
                return "maps", grid, reshape
    if output.ndim == 3:
        found = _token_grid(output.shape[1], (height, width), network)
        if found is not None and min(found[1]) > 1:
            return "tokens", found[1], _grid_of_tokens(*found)
    return None


def _in_proportion(rows: int, columns: int, image: tuple[int, int]) -> bool:
    """Whether the image, cut into squares, could give so many rows and columns."""
    stride = math.sqrt(image[0] * image[1] / (rows * columns))
    return stride >= 1 and abs(rows - image[0] / stride) < 1 and abs(columns - image[1] / stride) < 1


def _token_grid(tokens: int, image: tuple[int, int], network: nn.Module) -> tuple[int, tuple[int, int]] | None:
    """Tokens before the patches (class, distillation, registers), and rows and columns of the patches."""
    body = getattr(network, "backbone", network)
    told = int(getattr(body, "num_prefix_tokens", 0) or 0)
    for prefix in (told, *range(_MOST_PREFIX_TOKENS + 1)):
        patches = tokens - prefix
        if patches < 1:
            continue
        near = round(math.sqrt(patches * image[0] / image[1]))
        for rows in (near, near - 1, near + 1):
            if rows > 0 and patches % rows == 0 and _in_proportion(rows, patches // rows, image):
                return prefix, (rows, patches // rows)
    return None


def _as_it_is(output: torch.Tensor) -> torch.Tensor:
    return output


def _channels_first(output: torch.Tensor) -> torch.Tensor:
    return output.permute(0, 3, 1, 2)


def _grid_of_tokens(prefix: int, grid: tuple[int, int]) -> Reshape:
    def reshape(output: torch.Tensor) -> torch.Tensor:
        # (N, prefix + rows * columns, C) to (N, C, rows, columns)
        patches = output[:, prefix:]
        return patches.transpose(1, 2).reshape(len(patches), patches.shape[2], *grid)

    return reshape
