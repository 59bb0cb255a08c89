"""Which weights move: frozen layers, frozen bodies, and the mode that each part of a network trains in."""

from __future__ import annotations

from itertools import pairwise
from typing import Literal

from timm.models import group_parameters
from torch import nn

from eyebright.errors import UsageError


def layer_names(network: nn.Module) -> list[list[str]]:
    """Names of the parameters of each layer, first layer first, as timm groups them for discriminative rates.

    A network that does not say how it is grouped has a layer for each module with weights of its own, in the order in
    which the modules were made.
    """
    layers: dict[int, list[str]] = {}
    matcher = getattr(network, "group_matcher", None)
    if matcher is None:
        modules = network.named_modules()
        own = ([name for name, _ in module.named_parameters(path, recurse=False)] for path, module in modules)
        return [names for names in own if names]
    grouped = group_parameters(network, matcher(coarse=True), reverse=False)
    for layer, names in grouped.items():
        layers.setdefault(int(layer), []).extend(names)
    return [layers[layer] for layer in sorted(layers)]


def head_parameters(network: nn.Module) -> list[nn.Parameter]:
    """The weights of the head: of `get_head()` where the network has one (an MLP), else of its classifier.

    Raises:
        UsageError: the head has no weights.
    """
    head = (getattr(network, "get_head", None) or network.get_classifier)()  # type: ignore[operator]
    heads = head if isinstance(head, (tuple, list)) else (head,)  # distilled transformers have two
    parameters = [parameter for part in heads for parameter in part.parameters()]
    if not parameters:
        raise UsageError(
            f"{type(network).__name__} has no head with weights, so freezing its body would leave nothing to train",
            expected="a network with a classifier",
            remedy="create it with its number of classes, or freeze a share of its layers",
        )
    return parameters


def freeze(network: nn.Module, frozen: float | Literal["body"]) -> int:
    """Freeze a share of the first layers or all but the head, and let everything else train.

    Args:
        network: its `requires_grad` flags are set; weights stay as they are.
        frozen: share of the layers in [0, 1), or `body`.

    Returns:
        How many weights are frozen.

    Raises:
        UsageError: `body` of a network without a head.
    """
    return freeze_body(network) if frozen == "body" else freeze_first_layers(network, frozen)


def freeze_first_layers(network: nn.Module, share: float) -> int:
    """Stop the gradient for the first `share` of the network's layers; returns how many weights are frozen."""
    layers = layer_names(network)
    frozen = {name for layer in layers[: int(share * len(layers) + 1e-9)] for name in layer}
    return _freeze(network, {id(parameter) for name, parameter in network.named_parameters() if name in frozen})


def freeze_body(network: nn.Module) -> int:
    """Stop the gradient for all but the head; returns how many weights are frozen.

    Raises:
        UsageError: the head has no weights.
    """
    head = {id(parameter) for parameter in head_parameters(network)}
    return _freeze(network, {id(parameter) for parameter in network.parameters()} - head)


def _freeze(network: nn.Module, frozen: set[int]) -> int:
    count = 0
    for parameter in network.parameters():
        parameter.requires_grad_(id(parameter) not in frozen)
        count += parameter.numel() if id(parameter) in frozen else 0
    return count


def training_mode(network: nn.Module, *, fixed_statistics: bool | None) -> None:
    """Training mode for what trains, evaluation mode for what is frozen.

    A part whose weights are all frozen is in evaluation mode, its dropout and stochastic depth too: its features stay
    those that a probe on the frozen network saw. A layer without weights belongs to the frozen part when the layers
    with weights before and after it are frozen; dropout in front of a head that trains is active.

    Args:
        network: its `training` flags are set.
        fixed_statistics: True: every batch norm keeps its running statistics; False: none does, so that frozen ones
            adapt to new images; None: those in frozen parts and those with frozen weights do.
    """
    network.train()
    for module in network.modules():
        own = [parameter.requires_grad for parameter in module.parameters()]
        if own and not any(own):
            module.eval()
    for module in _between_frozen(network):
        module.eval()
    if fixed_statistics is None:
        return
    for module in network.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            module.train(not fixed_statistics)


def _between_frozen(network: nn.Module) -> list[nn.Module]:
    """Layers without weights after which, and before which, the nearest layer with weights is frozen.

    Layers count in the order in which they were made, which is that of the forward pass in every network of timm.
    """
    leaves = [module for module in network.modules() if not any(module.children())]
    weights = [[parameter.requires_grad for parameter in leaf.parameters()] for leaf in leaves]
    places = [-1, *(place for place, own in enumerate(weights) if own), len(leaves)]
    frozen = [place not in (-1, len(leaves)) and not any(weights[place]) for place in places]
    found: list[nn.Module] = []
    for number, (before, after) in enumerate(pairwise(places)):
        first = before == -1  # nothing that trains lies before the first layer with weights
        if frozen[number + 1] and (first or frozen[number]):
            found.extend(leaves[before + 1 : after])
    return found
