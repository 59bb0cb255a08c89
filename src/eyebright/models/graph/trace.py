"""Run a network once and follow, op by op, what each tensor reads of the image.

The network really runs, with one random image, and every aten op that it calls is seen by a dispatch mode. Unlike
`torch.fx.symbolic_trace` and `torch.export` this asks nothing of how the network is written: loops, shapes and
conditions in Python have been decided by the time an op is called, and functional calls count as modules do.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.weak import WeakTensorKeyDictionary

from eyebright.models.graph import mixing as mixing  # registers its rules
from eyebright.models.graph import windows as windows
from eyebright.models.graph.call import Call, tensors
from eyebright.models.graph.positions import Dependence, give_up_all, image
from eyebright.models.graph.rules import results_of

WRITTEN = "writing into a view"
Watcher = Callable[[Call, Sequence[Dependence | None]], None]


class _Follow(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Keeps for each living tensor what it reads of the image."""

    def __init__(self, input_: torch.Tensor, watchers: Sequence[Watcher]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._known: Any = WeakTensorKeyDictionary()
        self._known[input_] = image(input_.shape)
        self._made: Any = WeakTensorKeyDictionary()
        self._watchers = watchers

    def __torch_dispatch__(
        self, op: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        out = op(*args, **(kwargs or {}))
        call = Call.of(op, args, kwargs or {}, out, self.known)
        found = results_of(call)
        for watch in self._watchers:
            watch(call, found)
        for result, known in zip(call.results, found, strict=True):
            if known is not None and call.in_place and known != self.known(result):
                self._written(result, known)
            self._made[result] = True
            if known is not None:
                self._known[result] = known
            else:
                self._known.pop(result, None)
        return out

    def _written(self, tensor: torch.Tensor, known: Dependence) -> None:
        """A tensor was changed in place: where in them its other views show that is not followed."""
        storage = tensor.untyped_storage().data_ptr()
        for other in list(self._made):
            if other is not tensor and other.untyped_storage().data_ptr() == storage:
                self._known[other] = give_up_all(known.also_through(WRITTEN), other.shape, WRITTEN)

    def known(self, tensor: torch.Tensor) -> Dependence | None:
        """What a tensor reads of the image; None where it reads nothing of it."""
        found: Dependence | None = self._known.get(tensor)
        return found


def follow(network: nn.Module, input_size: Sequence[int], watchers: Sequence[Watcher] = ()) -> Dependence | None:
    """What the network's first result reads of an image of this size; None when it reads nothing of it.

    Args:
        network: any network that maps (B, C, H, W) to a tensor or a collection of tensors; its weights, buffers and
            mode come back as they were.
        input_size: (C, H, W).
        watchers: told of every op.

    Raises:
        Whatever the network raises for this input.
    """
    weight = next(network.parameters(), torch.empty(0))
    generator = torch.Generator().manual_seed(0)
    input_ = torch.randn((1, *input_size), generator=generator).to(weight)
    mode = _Follow(input_, watchers)
    with evaluating(network), torch.no_grad(), mode:
        out = network(input_)
    first = next(tensors(list(out.values()) if isinstance(out, Mapping) else out), None)
    return None if first is None else mode.known(first)


@contextlib.contextmanager
def evaluating(network: nn.Module) -> Iterator[None]:
    """Evaluation mode for a while, module by module as it was afterwards."""
    modes = [(module, module.training) for module in network.modules()]
    network.eval()
    try:
        yield
    finally:
        for module, training in modes:
            module.training = training
