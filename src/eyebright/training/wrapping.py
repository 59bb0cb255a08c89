"""The network as it is trained: with recomputed activations, compiled, or wrapped for several processes."""

from __future__ import annotations

import contextlib
import inspect
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from eyebright.config import TrainConfig
from eyebright.data.batches import PixelSet
from eyebright.errors import UsageError
from eyebright.training.compiling import compiled, first_line, largest_part, warm_up
from eyebright.training.device import choosing_algorithms
from eyebright.training.freezing import training_mode
from eyebright.training.stage import Stage
from eyebright.training.sync_norm import synchronise_norms, unsynchronise_norms
from eyebright.training.team import Team

# Later versions of torch have another name for the option, and warn of the former one.
_BUFFERS = next(
    name
    for name in ("forward_sync_buffers", "broadcast_buffers")
    if name in inspect.signature(DistributedDataParallel).parameters
)


@contextlib.contextmanager
def wrapped(
    network: nn.Module, train: PixelSet, *, config: TrainConfig, team: Team, stage: Stage | None = None,
    warn: Callable[[str], None] | None = None,
) -> Iterator[nn.Module]:  # fmt: skip
    """What to call in place of `network`, whose weights it shares; the network is as before when the context ends.

    Args:
        network: on its device.
        train: the images.
        config: of the stage.
        team: the processes that train together.
        stage: what is trained; with it, a network that cannot be compiled is noticed here, and trained as it is.
        warn: takes a sentence about that.

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
            model = _compiled(network, train, config=config, team=team, stage=stage, warn=warn)
        if team.size > 1:
            devices = [train.device] if train.device.type == "cuda" else None
            options: dict[str, Any] = {_BUFFERS: False}
            model = DistributedDataParallel(model, device_ids=devices, **options)
        with team.guarded(), choosing_algorithms(train.device):
            yield model
    finally:
        unsynchronise_norms(network)
        if config.compute.compile is True:
            torch._dynamo.reset()  # the next stage has another shape, or other frozen layers
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


def _compiled(
    network: nn.Module, train: PixelSet, *, config: TrainConfig, team: Team, stage: Stage | None,
    warn: Callable[[str], None] | None,
) -> nn.Module:  # fmt: skip
    # Graphs keep their gradients in memory of their own, which neither DDP nor a sum over several passes allows for.
    graphs = team.size == 1 and config.optim.accumulate == 1
    model = compiled(network, train.device, graphs=graphs)
    if stage is None or team.size > 1:  # in a team, one that alone goes on without compiling would leave the others
        return model
    training_mode(network, fixed_statistics=stage.fixed_statistics)
    shape = (min(largest_part(config), len(train)), train.preprocess.channels, stage.size, stage.size)
    try:
        warm_up(model, network, shape=shape, config=config, device=train.device)
    except Exception as error:  # whatever the compiler raises: there is another way
        if warn is not None:
            warn(f"compiling the network failed ({first_line(error)}): it is trained without")
        return network
    return model
