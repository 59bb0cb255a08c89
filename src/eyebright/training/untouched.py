"""Leaving a network, and all randomness, as they were: for steps that only measure something."""

from __future__ import annotations

import contextlib
import random
from collections.abc import Iterator

import numpy as np
import torch
from torch import nn


@contextlib.contextmanager
def leaving_untouched(network: nn.Module) -> Iterator[None]:
    """Whatever is done to the network inside, it and every random state are afterwards as before, bit for bit.

    Restored are weights, buffers, gradients (none stays none), `training` and `requires_grad` flags, and the random
    states of torch (CPU, CUDA, MPS), NumPy and Python; after an exception as well. Tensors keep their identity, so an
    optimiser that was made before goes on with them.
    """
    modules = list(network.modules())
    modes = [module.training for module in modules]
    tables = [(module, dict(module._parameters), dict(module._buffers)) for module in modules]
    parameters, buffers = list(network.parameters()), list(network.buffers())
    flags = [parameter.requires_grad for parameter in parameters]
    gradients = [parameter.grad for parameter in parameters]
    values = [_copy(tensor) for tensor in (*parameters, *buffers)]
    slopes = [None if gradient is None else _copy(gradient) for gradient in gradients]
    randomness = _RandomStates()
    try:
        yield
    finally:
        with torch.no_grad():
            for module, own_parameters, own_buffers in tables:
                module._parameters.update(own_parameters)
                module._buffers.update(own_buffers)
            for tensor, value in zip((*parameters, *buffers), values, strict=True):
                tensor.copy_(value)
            for parameter, flag, gradient, slope in zip(parameters, flags, gradients, slopes, strict=True):
                parameter.requires_grad_(flag)
                parameter.grad = gradient
                if gradient is not None and slope is not None:
                    gradient.copy_(slope)
        for module, mode in zip(modules, modes, strict=True):
            module.training = mode
        randomness.restore()


def _copy(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.detach().clone(memory_format=torch.preserve_format)


class _RandomStates:
    """The states of all generators that draw without being named."""

    def __init__(self) -> None:
        self._torch = torch.get_rng_state()
        # Asking a GPU that nobody has used yet would start it.
        self._cuda = torch.cuda.get_rng_state_all() if torch.cuda.is_initialized() else []  # type: ignore[no-untyped-call]
        self._mps = torch.mps.get_rng_state() if torch.backends.mps.is_available() else None
        self._numpy = np.random.get_state()
        self._python = random.getstate()

    def restore(self) -> None:
        torch.set_rng_state(self._torch)
        if self._cuda:
            torch.cuda.set_rng_state_all(self._cuda)
        if self._mps is not None:
            torch.mps.set_rng_state(self._mps)
        np.random.set_state(self._numpy)
        random.setstate(self._python)
