"""The device that computes, and the precision it computes in."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import torch

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


@contextlib.contextmanager
def choosing_algorithms(device: torch.device) -> Iterator[None]:
    """Let cuDNN try its algorithms for each shape and take the fastest, unless the same bits were asked for."""
    former = torch.backends.cudnn.benchmark
    if device.type == "cuda" and not torch.are_deterministic_algorithms_enabled():
        torch.backends.cudnn.benchmark = True
    try:
        yield
    finally:
        torch.backends.cudnn.benchmark = former


def needs_scaling(device: torch.device, precision: str = "auto") -> bool:
    """Whether gradients must be scaled: only float16 loses small ones."""
    if precision == "auto":
        return device.type == "cuda" and not torch.cuda.is_bf16_supported()
    return precision == "float16"


def autocast(device: torch.device, precision: str = "auto") -> contextlib.AbstractContextManager[Any]:
    """The precision asked for; `auto` is bfloat16 where a CUDA device has it, else float16 there, float32 elsewhere."""
    if precision == "auto":
        shorter = torch.float16 if needs_scaling(device) else torch.bfloat16
        return torch.autocast("cuda", shorter) if device.type == "cuda" else contextlib.nullcontext()
    if precision == "float32":
        return contextlib.nullcontext()
    return torch.autocast(device.type, getattr(torch, precision))
