"""Looking into a network without leaving a trace: mode, gradients and random state come back as they were."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import torch
from torch import nn


@contextlib.contextmanager
def undisturbed(network: nn.Module) -> Iterator[torch.device]:
    """In evaluation mode, with frozen parameters and gradients on; afterwards everything is as it was.

    Frozen parameters make a backward pass end at the layer that is asked about, instead of at the first one: it costs
    a fraction, and no `.grad` of the caller's is touched.

    Yields:
        Where the network's weights are.
    """
    modes = {module: module.training for module in network.modules()}
    asked = {parameter: parameter.requires_grad for parameter in network.parameters()}
    first = next(network.parameters(), None)
    try:
        network.eval()
        for parameter in asked:
            parameter.requires_grad_(False)
        with torch.inference_mode(False), torch.enable_grad():
            yield torch.device("cpu") if first is None else first.device
    finally:
        for module, training in modes.items():
            module.training = training
        for parameter, requires_grad in asked.items():
            parameter.requires_grad_(requires_grad)
