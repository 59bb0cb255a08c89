"""Which layer a class activation map is taken from, found by running the network once and looking.

A map needs a layer that still knows where things are and that the answer still depends on at every place. In a
convolutional network that is the last feature map. In a transformer that answers from a class token, the patches of
the last layer no longer count, and the last normalisation before the last attention is taken.
"""

from __future__ import annotations

import dataclasses
import math
from collections import Counter
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
    """One module's call whose output is a map."""

    layer: Layer
    output: torch.Tensor


@dataclasses.dataclass(frozen=True)
class _Looked:
    """What one run of the network showed: calls in the order in which they ended, the final features, the answer."""

    visits: list[_Visit]
    features: torch.Tensor | None
    answer: torch.Tensor


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
    with undisturbed(network), running(type(network).__name__, input_size):
        looked = _look(network, input_size)
        # The first that the answer depends on. Outermost first: of modules that give the same tensor, the block is
        # named rather than its last activation.
        for visit in _in_preference(looked.visits[::-1], looked.features):
            if _matters(visit, looked.answer):
                return visit.layer
    return None


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
            remedy="`eyebright models show NETWORK` lists the layers",
        )
    with undisturbed(network), running(type(network).__name__, input_size):
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
    with undisturbed(network), running(type(network).__name__, input_size):
        image = _noise(network, input_size)
        logits = network(image)
        if not logits.requires_grad:
            return False
        return bool(torch.autograd.grad((logits * logits.detach().sin()).sum(), image)[0].any())


def _in_preference(visits: Sequence[_Visit], features: torch.Tensor | None) -> list[_Visit]:
    """All calls, the most suitable first; given with the last one first."""
    kind = visits[0].layer.kind if visits else "maps"
    if features is not None and features.ndim in (3, 4):
        kind = "tokens" if features.ndim == 3 else "maps"

    def rank(visit: _Visit) -> int:
        same = features is not None and visit.output.shape == features.shape
        if same and features is not None and visit.output.data_ptr() == features.data_ptr():
            return 0
        if visit.layer.kind != kind:
            return 4
        if kind == "maps":
            return 1
        # Tokens as wide as the final ones are the stream that all layers add to; others are queries or hidden layers.
        wide = features is None or visit.output.shape[-1] == features.shape[-1]
        return 3 - wide - (wide and "norm" in type(visit.layer.module).__name__.lower())

    return sorted(visits, key=rank)


def _matters(visit: _Visit, answer: torch.Tensor) -> bool:
    """Whether the answer depends on the map. In a class-token transformer it does not depend on the last patches."""
    if not answer.requires_grad:
        return False
    # Signs and sizes without a pattern that the answer could share.
    weights = torch.arange(answer.numel(), device=answer.device, dtype=answer.dtype).sin().view_as(answer)
    (gradient,) = torch.autograd.grad((answer * weights).sum(), visit.output, retain_graph=True, allow_unused=True)
    return gradient is not None and bool(visit.layer.reshape(gradient).any())


def _look(network: nn.Module, input_size: Sequence[int]) -> _Looked:
    """Run the network on noise with a hook on every module. To be called under `undisturbed`."""
    calls: list[tuple[str, nn.Module, Any]] = []
    handles = []
    image = _noise(network, input_size)
    try:
        for name, module in network.named_modules():
            if name:
                handles.append(module.register_forward_hook(_recorder(calls, name)))
        if hasattr(network, "forward_features") and hasattr(network, "forward_head"):
            body: Any = network
            features = body.forward_features(image)
            within = len(calls)
            # Not the logits: some networks begin with a classifier of zeros, from which no gradient comes.
            answer = body.forward_head(features, pre_logits=True)
        else:
            features, answer = None, network(image)
            within = len(calls)
    finally:
        for handle in handles:
            handle.remove()
    times = Counter(name for name, _, _ in calls)
    visits = []
    for name, module, output in calls[:within]:
        layout = _layout(output, input_size, network) if times[name] == 1 else None
        if layout is not None:
            kind, grid, reshape = layout
            visits.append(_Visit(Layer(name=name, module=module, kind=kind, grid=grid, reshape=reshape), output))
    return _Looked(visits, features if isinstance(features, torch.Tensor) else None, answer)


def _noise(network: nn.Module, input_size: Sequence[int]) -> torch.Tensor:
    """Random images with a gradient; the user's random state stays as it is."""
    like = next(network.parameters(), torch.zeros(()))
    random = torch.Generator().manual_seed(0)
    image = torch.randn(_IMAGES, *input_size, generator=random).to(like.device).requires_grad_()
    return image * 1.0  # not a leaf, so that a first layer may write into it


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
