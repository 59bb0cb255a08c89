"""Attention rollout: which patches the tokens of a transformer have looked at, through all its layers.

Abnar and Zuidema 2020 (arXiv:2005.00928): the mean over heads of each layer's attention, half of it with the identity
for the residual connection, multiplied from the first layer to the last. It does not depend on the class.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from eyebright.explain.layers import Layer

Floats = npt.NDArray[np.float32]


def can_roll_out(network: nn.Module, input_size: Sequence[int], layer: Layer | None) -> bool:
    """Whether the network has attention among all tokens in two layers or more, always the same tokens.

    Args:
        network: left as it was, but for its mode: call it under `undisturbed`.
        input_size: (C, H, W).
        layer: the network's explanation layer.
    """
    if layer is None or layer.kind != "tokens" or not _attentions(network):
        return False
    device = next(network.parameters()).device
    with torch.no_grad(), _kept(network) as kept:
        network(torch.zeros(2, *input_size, device=device))
    return (
        len(kept) > 1
        and len({matrix.shape for matrix in kept}) == 1
        and kept[0].shape[1] >= layer.grid[0] * layer.grid[1]
    )


def attention_rollout(network: nn.Module, images: torch.Tensor, grid: tuple[int, int]) -> Floats:
    """Maps of a batch.

    Args:
        network: a transformer of timm, in evaluation mode.
        images: normalised, (N, C, H, W).
        grid: rows and columns of the patches; tokens before them are prefixes.

    Returns:
        float32 (N, rows, columns): seen by the first token if there is a prefix, else by all patches on average.
    """
    with torch.no_grad(), _kept(network) as kept:
        network(images)
    rolled = rolled_out(kept)
    patches = grid[0] * grid[1]
    prefix = rolled.shape[1] - patches
    seen = rolled[:, 0] if prefix else rolled.mean(dim=1)
    return np.asarray(seen[:, prefix:].reshape(-1, *grid).cpu().numpy(), dtype=np.float32)


def rolled_out(attentions: Sequence[torch.Tensor]) -> torch.Tensor:
    """The product of the layers' attention with residuals, (N, tokens, tokens), rows adding up to one.

    Args:
        attentions: mean over heads of each layer, first layer first, (N, tokens, tokens), rows adding up to one.
    """
    first = attentions[0]
    rolled = torch.eye(first.shape[1], device=first.device, dtype=first.dtype).expand_as(first)
    for attention in attentions:
        # Half attention, half residual: the rows still add up to one.
        rolled = 0.5 * (attention @ rolled + rolled)
    return rolled


def _attentions(network: nn.Module) -> list[Any]:
    """timm's attention modules that can compute their matrix openly, and drop out of it by a module of its own."""
    return [
        module
        for module in network.modules()
        if isinstance(getattr(module, "fused_attn", None), bool)
        and isinstance(getattr(module, "attn_drop", None), nn.Module)
    ]


@contextlib.contextmanager
def _kept(network: nn.Module) -> Iterator[list[torch.Tensor]]:
    """Collects the attention of every layer, averaged over heads; the fused kernel, which shows none, is off."""
    modules = _attentions(network)
    fused = [module.fused_attn for module in modules]
    kept: list[torch.Tensor] = []
    handles = [module.attn_drop.register_forward_hook(_keeper(kept)) for module in modules]
    try:
        for module in modules:
            module.fused_attn = False
        yield kept
    finally:
        for module, was in zip(modules, fused, strict=True):
            module.fused_attn = was
        for handle in handles:
            handle.remove()


def _keeper(kept: list[torch.Tensor]) -> Callable[[nn.Module, Any, Any], None]:
    def keep(_: nn.Module, __: Any, attention: torch.Tensor) -> None:
        if attention.ndim == 4 and attention.shape[2] == attention.shape[3]:  # (N, heads, tokens, tokens)
            kept.append(attention.detach().float().mean(dim=1))

    return keep
