"""Tensors on their way to the device that computes, without making the CPU wait for it."""

from __future__ import annotations

import torch


def moved(tensor: torch.Tensor, device: torch.device) -> torch.Tensor:
    """The tensor on `device`: itself where it is there already.

    A copy to a GPU from ordinary memory waits until all that was asked of the GPU before is done. From pinned memory it
    takes its turn among the work of the GPU, and the CPU goes on; the memory is kept until the copy is done.
    """
    if device.type == "cuda" and tensor.device.type == "cpu":
        return tensor.pin_memory().to(device, non_blocking=True)
    return tensor.to(device)
