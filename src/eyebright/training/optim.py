"""The optimiser, its parameter groups, and the moving average of weights."""

from __future__ import annotations

import copy

import torch
from timm.optim._param_groups import param_groups_layer_decay
from torch import nn

from eyebright.config import OptimConfig


def make_optimiser(network: nn.Module, settings: OptimConfig) -> torch.optim.Optimizer:
    """AdamW over the weights that are not frozen: lower rates for earlier layers, no decay for norms and biases.

    Each group carries `peak`: the rate that the schedule's factor multiplies.
    """
    if settings.layer_decay < 1:
        groups = param_groups_layer_decay(
            network, weight_decay=settings.weight_decay, layer_decay=settings.layer_decay, verbose=False
        )
    else:
        trained = [parameter for parameter in network.parameters() if parameter.requires_grad]
        groups = [
            {"params": [p for p in trained if p.ndim > 1], "weight_decay": settings.weight_decay},
            {"params": [p for p in trained if p.ndim <= 1], "weight_decay": 0.0},
        ]
    ready = [
        {
            "params": group["params"],
            "weight_decay": group["weight_decay"],
            "peak": settings.learning_rate * group.get("lr_scale", 1.0),
        }
        for group in groups
        if group["params"]
    ]
    return torch.optim.AdamW(ready, lr=settings.learning_rate, fused=True)


def layer_names(network: nn.Module) -> list[list[str]]:
    """Names of the parameters of each layer, first layer first, as timm groups them for discriminative rates."""
    from timm.models import group_parameters

    layers: dict[int, list[str]] = {}
    grouped = group_parameters(network, network.group_matcher(coarse=True), reverse=False)  # type: ignore[operator]
    for layer, names in grouped.items():
        layers.setdefault(int(layer), []).extend(names)
    return [layers[layer] for layer in sorted(layers)]


def freeze_first_layers(network: nn.Module, share: float) -> int:
    """Stop the gradient for the first `share` of the network's layers; returns how many weights are frozen."""
    layers = layer_names(network)
    frozen = {name for layer in layers[: int(share * len(layers) + 1e-9)] for name in layer}
    count = 0
    for name, parameter in network.named_parameters():
        parameter.requires_grad_(name not in frozen)
        count += parameter.numel() if name in frozen else 0
    return count


class Average:
    """Exponential moving average of all weights and buffers (Polyak averaging), shadow of a network in training.

    Early steps average over fewer weights, so that the random start is forgotten: the decay of step t is
    min(decay, (1 + t) / (10 + t)).
    """

    def __init__(self, network: nn.Module, decay: float) -> None:
        self.network = copy.deepcopy(network).eval().requires_grad_(False)
        self.decay = decay

    @torch.no_grad()
    def update(self, network: nn.Module, step: int) -> None:
        """Take in the weights after step number `step` (from 0)."""
        decay = min(self.decay, (1 + step) / (10 + step))
        pairs = list(zip(self.network.state_dict().values(), network.state_dict().values(), strict=True))
        floating = [(mean, value) for mean, value in pairs if mean.dtype.is_floating_point]
        torch._foreach_lerp_([mean for mean, _ in floating], [value for _, value in floating], 1 - decay)
        for mean, value in pairs:
            if not mean.dtype.is_floating_point:
                mean.copy_(value)
