"""The optimiser, its parameter groups, and the moving average of weights."""

from __future__ import annotations

import copy
from collections.abc import Collection
from itertools import chain
from typing import Any

import torch
from timm.optim._param_groups import param_groups_layer_decay, param_groups_weight_decay
from timm.optim.lion import Lion
from timm.optim.muon import Muon
from torch import nn

from eyebright.config import OptimConfig
from eyebright.errors import UsageError

_FUSED = ("cpu", "cuda", "mps")
_SECOND_BETA = 0.999
_LION_SECOND_BETA = 0.99  # both are the defaults of the papers named below


def make_optimiser(network: nn.Module, settings: OptimConfig) -> torch.optim.Optimizer:
    """The optimiser over the weights that are not frozen.

    AdamW (Loshchilov and Hutter 2019, arXiv:1711.05101), Adam with L2 in the gradient (Kingma and Ba 2015,
    arXiv:1412.6980) and SGD are those of torch; Lion (Chen et al. 2023, arXiv:2302.06675) and Muon (Jordan et al. 2024,
    https://kellerjordan.github.io/posts/muon/) those of timm. Muon's updates are scaled to the size of AdamW's (Liu et
    al. 2025, arXiv:2502.16982), so AdamW's rates serve it; the classifier, vectors and depthwise kernels get AdamW
    steps with Nesterov's momentum where that is set.

    Returns:
        An optimiser whose groups each carry `peak`, the rate that the schedule's factor multiplies, and
        `weight_decay`. Earlier layers have lower peaks by `layer_decay` (discriminative rates, Howard and Ruder 2018,
        arXiv:1801.06146). Norms, biases, and what the network itself names in `no_weight_decay()` (position
        embeddings) have no decay unless `decay_all`.

    Raises:
        UsageError: every weight is frozen.
    """
    groups = _groups(network, settings)
    if not groups:
        raise UsageError(
            f"every weight of {type(network).__name__} is frozen, so there is nothing to train",
            expected="at least one layer that trains",
            remedy="freeze fewer layers",
        )
    momentum = settings.momentum
    kinds = {parameter.device.type for group in groups for parameter in group["params"]}
    fused = all(kind in _FUSED for kind in kinds)
    rate = settings.learning_rate
    match settings.optimiser:
        case "adamw":
            return torch.optim.AdamW(groups, lr=rate, betas=(momentum, _SECOND_BETA), fused=fused)
        case "adam":
            return torch.optim.Adam(groups, lr=rate, betas=(momentum, _SECOND_BETA), fused=fused)
        case "sgd":
            nesterov = settings.nesterov and momentum > 0
            return torch.optim.SGD(groups, lr=rate, momentum=momentum, nesterov=nesterov, fused=fused)
        case "lion":
            return Lion(groups, lr=rate, betas=(momentum, _LION_SECOND_BETA))
        case "muon":
            return Muon(groups, lr=rate, momentum=momentum, nesterov=settings.nesterov)


def _groups(network: nn.Module, settings: OptimConfig) -> list[dict[str, Any]]:
    """Groups of the weights that train, one for each pair of peak rate and weight decay (and kind of Muon step)."""
    named_by_network: Collection[str] = getattr(network, "no_weight_decay", tuple)()
    spared = () if settings.decay_all else ("*.bias", *named_by_network)
    options: dict[str, Any] = {
        "weight_decay": settings.weight_decay,
        "weight_decay_exclude_1d": not settings.decay_all,
        "no_weight_decay_list": spared,
    }
    if settings.optimiser == "muon":
        options["fallback_list"] = (*named_by_network, *_classifier_names(network))
    if settings.layer_decay < 1:
        raw = param_groups_layer_decay(network, layer_decay=settings.layer_decay, **options)
    else:
        raw = param_groups_weight_decay(network, **options)
    groups: dict[tuple[float, float, bool], dict[str, Any]] = {}
    for group in raw:
        peak = settings.learning_rate * group.get("lr_scale", 1.0)
        key = (peak, group["weight_decay"], group.get("use_fallback", False))
        ready = {"params": [], "lr": peak, "peak": peak, "weight_decay": key[1]}
        if key[2]:
            ready["use_fallback"] = True
        groups.setdefault(key, ready)["params"].extend(group["params"])
    return list(groups.values())


def _classifier_names(network: nn.Module) -> list[str]:
    """Names of the classifier's weights: orthogonal steps are for the hidden layers."""
    classifier: Any = getattr(network, "get_classifier", tuple)()
    parts = classifier if isinstance(classifier, (tuple, list)) else (classifier,)
    last = {id(parameter) for part in parts for parameter in part.parameters()}
    return [name for name, parameter in network.named_parameters() if id(parameter) in last]


class Average:
    """Exponential moving average of all weights and buffers (Polyak averaging), shadow of a network in training.

    Early steps average over fewer weights, so that the random start is forgotten: the decay of step t is
    min(decay, (1 + t) / (10 + t)). Counters and other integers are copied. The shadow keeps the memory order of the
    network (channels-last).
    """

    def __init__(self, network: nn.Module, decay: float) -> None:
        self.network = copy.deepcopy(network).eval().requires_grad_(False)
        self.decay = decay

    @torch.no_grad()
    def update(self, network: nn.Module, step: int) -> None:
        """Take in the weights after step number `step` (from 0)."""
        decay = min(self.decay, (1 + step) / (10 + step))
        # Tied weights come once here, unlike in a state dict, and so move once.
        means = chain(self.network.parameters(), self.network.buffers())
        values = chain(network.parameters(), network.buffers())
        pairs = list(zip(means, values, strict=True))
        floating = [(mean, value) for mean, value in pairs if mean.dtype.is_floating_point]
        torch._foreach_lerp_([mean for mean, _ in floating], [value for _, value in floating], 1 - decay)
        counters = [(mean, value) for mean, value in pairs if not mean.dtype.is_floating_point]
        if counters:
            torch._foreach_copy_([mean for mean, _ in counters], [value for _, value in counters])
