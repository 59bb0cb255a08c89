"""The device that computes, the precision it computes in, and the mode of a network while it trains."""

from __future__ import annotations

import contextlib
from typing import Any

import torch
from torch import nn

from eyebright.errors import UsageError


def pick_device(name: str) -> torch.device:
    """The device for `auto` (CUDA, then MPS, then CPU) or for a name.

    Raises:
        UsageError: that device is not here.
    """
    here = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    if name == "auto":
        return torch.device(next(kind for kind, available in here.items() if available))
    if not here[name]:
        raise UsageError(
            f"the device {name} is not available here", expected=", ".join(k for k, v in here.items() if v)
        )
    return torch.device(name)


def needs_scaling(device: torch.device) -> bool:
    """Whether gradients must be scaled: only float16 loses small ones."""
    return device.type == "cuda" and not torch.cuda.is_bf16_supported()


def autocast(device: torch.device) -> contextlib.AbstractContextManager[Any]:
    """bfloat16 where a CUDA device has it, else float16 there; float32 elsewhere."""
    if device.type != "cuda":
        return contextlib.nullcontext()
    return torch.autocast("cuda", torch.float16 if needs_scaling(device) else torch.bfloat16)


def training_mode(network: nn.Module, *, fixed_statistics: bool) -> None:
    """Training mode; batch norms keep their pretrained statistics when `fixed_statistics`."""
    network.train()
    if fixed_statistics:
        for module in network.modules():
            if isinstance(module, nn.modules.batchnorm._BatchNorm):
                module.eval()
