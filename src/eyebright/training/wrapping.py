"""The network as it is trained: with recomputed activations, compiled, or wrapped for several processes."""

from __future__ import annotations

import contextlib
import inspect
import shutil
from collections.abc import Iterator
from typing import Any

import torch
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from eyebright.config import TrainConfig
from eyebright.data.batches import PixelSet
from eyebright.errors import MissingDependencyError, UsageError
from eyebright.training.sync_norm import synchronise_norms, unsynchronise_norms
from eyebright.training.team import Team

# Later versions of torch have another name for the option, and warn of the former one.
_BUFFERS = next(
    name
    for name in ("forward_sync_buffers", "broadcast_buffers")
    if name in inspect.signature(DistributedDataParallel).parameters
)


@contextlib.contextmanager
def wrapped(network: nn.Module, train: PixelSet, *, config: TrainConfig, team: Team) -> Iterator[nn.Module]:
    """What to call in place of `network`, whose weights it shares; the network is as before when the context ends.

    Raises:
        UsageError: the network cannot recompute its activations.
        MissingDependencyError: compiling for the CPU needs a C++ compiler, and there is none.
    """
    recompute = config.model.gradient_checkpointing
    if recompute:
        _recompute(network, True)
    try:
        # Batch norms are the same in all processes, so buffers need no broadcast.
        model = synchronise_norms(network, team)
        if config.compute.compile is True:
            model = _compiled(network, train.device)
        if team.size > 1:
            devices = [train.device] if train.device.type == "cuda" else None
            options: dict[str, Any] = {_BUFFERS: False}
            model = DistributedDataParallel(model, device_ids=devices, **options)
        with team.guarded():
            yield model
    finally:
        unsynchronise_norms(network)
        if recompute:
            _recompute(network, False)


def exchanging(model: nn.Module, *, last: bool) -> contextlib.AbstractContextManager[Any]:
    """Gradients are exchanged between processes with the last part of a batch only."""
    if isinstance(model, DistributedDataParallel) and not last:
        return model.no_sync()
    return contextlib.nullcontext()


def _recompute(network: nn.Module, enable: bool) -> None:
    try:
        network.set_grad_checkpointing(enable)  # type: ignore[operator]
    except (AttributeError, AssertionError, TypeError) as error:
        raise UsageError(
            f"this network cannot compute its activations again: {error}",
            expected="a network that knows gradient checkpointing",
            remedy="leave model.gradient_checkpointing out, or use optim.accumulate to save memory",
        ) from None


def _compiled(network: nn.Module, device: torch.device) -> nn.Module:
    if device.type == "cpu" and not any(map(shutil.which, ("g++", "c++", "clang++"))):
        raise MissingDependencyError(
            "compiling for the CPU needs a C++ compiler, and there is none",
            remedy="install g++, or leave compute.compile out",
        )
    compiled: nn.Module = torch.compile(network)  # type: ignore[assignment]
    return compiled
