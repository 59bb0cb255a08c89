"""What a network is made of and what it costs: layers, parameters, arithmetic, memory, receptive field."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import timm
import torch
import torchinfo
from torch import nn
from torch.autograd.graph import saved_tensors_hooks
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from eyebright.models.catalog import create_network, network_facts
from eyebright.models.graph.call import tensors
from eyebright.models.graph.trace import evaluating
from eyebright.models.layer_kinds import survey
from eyebright.models.receptive_field import ReceptiveField
from eyebright.models.running import running

DEFAULT_DEPTH = 3
FLOPS_PER_MULTIPLY_ADD = 2


@dataclasses.dataclass(frozen=True, kw_only=True)
class LayerRow:
    """One row of the table of layers.

    Attributes:
        depth: 0 for the network itself, 1 for its children, ...
        name: as its parent calls it.
        path: with the names of its parents, `layer1.0.conv1`; empty for the network itself.
        kind: class, such as `Conv2d`.
        output_shape: of its result, the batch left out; empty where that is no single tensor.
        parameters: of it and all below; 0 where they were counted at an earlier row.
        multiply_adds: of it and all below.
    """

    depth: int
    name: str
    path: str
    kind: str
    output_shape: tuple[int, ...]
    parameters: int
    multiply_adds: int


@dataclasses.dataclass(frozen=True, kw_only=True)
class NetworkDescription:
    """A network for images of one size.

    Attributes:
        name: of the network.
        input_size: (C, H, W).
        classes: outputs.
        layers: the table, in the order in which they are called; layers that do nothing are left out.
        parameters, trainable_parameters: numbers in weights and biases.
        weight_bytes: what parameters and buffers take as they are.
        flops: floating-point operations for one image; a multiply-add counts as 2.
        multiply_adds: half of that.
        activation_bytes: what one image keeps in memory between the forward and the backward pass, weights left out.
        receptive_field: None where the result does not depend on the image.
        kinds: how often each kind of layer is called, by the words of requirements.
    """

    name: str
    input_size: tuple[int, int, int]
    classes: int
    layers: tuple[LayerRow, ...]
    parameters: int
    trainable_parameters: int
    weight_bytes: int
    flops: int
    multiply_adds: int
    activation_bytes: int
    receptive_field: ReceptiveField | None
    kinds: Mapping[str, int]

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        field = self.receptive_field
        return {
            **{key: value for key, value in vars(self).items() if key not in ("layers", "receptive_field")},
            "receptive_field": None if field is None else field.as_dict(),
            "layers": [dataclasses.asdict(row) for row in self.layers],
        }


def network_to_inspect(
    name: str, *, classes: int | None = None, input_size: tuple[int, int, int] | None = None
) -> tuple[nn.Module, tuple[int, int, int]]:
    """A network with random weights, and the size of the images that it is made for.

    Args:
        name: timm name.
        classes: outputs; left out, the network's own number.
        input_size: (C, H, W); left out, the network's own.

    Raises:
        UsageError: the name is unknown, or the network cannot be made for that size.
    """
    facts = network_facts(name)
    channels, height, width = input_size or (facts.channels, facts.input_size, facts.input_size)
    arguments: dict[str, Any] = {}
    if facts.fixed_size and (height, width) != (facts.input_size, facts.input_size):
        arguments["img_size"] = (height, width)
    network = create_network(
        name, classes=classes or own_classes(name), channels=channels, pretrained=False, arguments=arguments
    )
    return network, (channels, height, width)


def own_classes(name: str) -> int:
    """The number of outputs that a network has unless told otherwise; 1,000 where it is published without any."""
    settings = timm.get_pretrained_cfg(name)
    return int(settings.num_classes or 1000) if settings is not None else 1000


def describe_network(
    network: nn.Module, name: str, input_size: tuple[int, int, int], *, depth: int = DEFAULT_DEPTH
) -> NetworkDescription:
    """Run a network a few times on one or two random images and write down what it is and costs.

    Args:
        network: left as it was, statistics of batch norms and random state included.
        name: for the record and for messages.
        input_size: (C, H, W).
        depth: how far the table of layers goes down.

    Raises:
        UsageError: the network cannot take such images.
    """
    with running(name, input_size):
        seen = survey(network, input_size)
        counted, classes = _flops(network, input_size)
        layers = _layers(network, input_size, depth, counted)
        activations = activation_bytes(network, input_size)
    parameters = list(network.parameters())
    flops = sum(counted["Global"].values())
    return NetworkDescription(
        name=name,
        input_size=input_size,
        classes=classes,
        layers=tuple(layers),
        parameters=sum(parameter.numel() for parameter in parameters),
        trainable_parameters=sum(parameter.numel() for parameter in parameters if parameter.requires_grad),
        weight_bytes=sum(tensor.nbytes for tensor in (*parameters, *network.buffers())),
        flops=flops,
        multiply_adds=flops // FLOPS_PER_MULTIPLY_ADD,
        activation_bytes=activations,
        receptive_field=seen.field,
        kinds=seen.kinds,
    )


def activation_bytes(network: nn.Module, input_size: Sequence[int]) -> int:
    """Bytes that one image keeps from the forward to the backward pass, weights and the image itself left out.

    They are what autograd saves. Two images run in training mode and the bytes are halved, because batch norm cannot
    train on one image whose map is 1x1. Tensors that share memory count once.

    Args:
        network: left as it was.
        input_size: (C, H, W).
    """
    images = _images(network, input_size, batch=2)
    others = (images, *network.parameters(), *network.buffers())
    outside = {tensor.untyped_storage().data_ptr() for tensor in others}
    saved: dict[int, int] = {}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in outside:
            saved[storage.data_ptr()] = storage.nbytes()
        return tensor

    with _training(network), torch.enable_grad(), saved_tensors_hooks(keep, lambda tensor: tensor):
        result = network(images)
    # As long as the result lives, so does what was saved, and no two of its storages have the same address.
    total = sum(saved.values())
    del result
    return total // 2


def _flops(network: nn.Module, input_size: Sequence[int]) -> tuple[Mapping[str, Mapping[Any, int]], int]:
    """Floating-point operations of each module by path, `Global` for all; and the number of outputs."""
    counter = FlopCounterMode(display=False)
    # Attention is written out as products of matrices: torch's counter does not know the CPU's fused form.
    with evaluating(network), torch.no_grad(), sdpa_kernel(SDPBackend.MATH), counter:
        result = network(_images(network, input_size, batch=1))
    logits = next(tensors(list(result.values()) if isinstance(result, Mapping) else result))
    return counter.get_flop_counts(), int(logits.shape[-1])


def _layers(
    network: nn.Module, input_size: Sequence[int], depth: int, counted: Mapping[str, Mapping[Any, int]]
) -> Iterator[LayerRow]:
    images = _images(network, input_size, batch=1)
    with evaluating(network):
        summary = torchinfo.summary(network, input_data=images, depth=depth, verbose=0)
    paths = {module: path for path, module in network.named_modules()}
    for layer in summary.summary_list:
        path = paths.get(layer.module, "")
        if layer.depth <= depth and not isinstance(layer.module, nn.Identity):
            flops = _flops_of(layer.module, f"{type(network).__name__}.{path}" if path else "Global", counted)
            yield LayerRow(
                depth=layer.depth,
                name=layer.var_name,
                path=path,
                kind=layer.class_name,
                output_shape=tuple(int(length) for length in layer.output_size[1:]),
                parameters=0 if layer.is_recursive else layer.num_params,
                multiply_adds=flops // FLOPS_PER_MULTIPLY_ADD,
            )


def _flops_of(module: nn.Module, path: str, counted: Mapping[str, Mapping[Any, int]]) -> int:
    """Of a module and all below; one that is never called itself has those of its children."""
    if path in counted:
        return sum(counted[path].values())
    return sum(_flops_of(child, f"{path}.{name}", counted) for name, child in module.named_children())


def _images(network: nn.Module, input_size: Sequence[int], *, batch: int) -> torch.Tensor:
    """Random images (B, C, H, W), the same ones every time, where and of the type that the weights are."""
    images = torch.randn((batch, *input_size), generator=torch.Generator().manual_seed(0))
    return images.to(next(network.parameters(), torch.empty(0)))


@contextlib.contextmanager
def _training(network: nn.Module) -> Iterator[None]:
    """Training mode for a while; modes, buffers and random state are put back."""
    modes = [(module, module.training) for module in network.modules()]
    buffers = [(buffer, buffer.clone()) for buffer in network.buffers()]
    with torch.random.fork_rng():
        network.train()
        try:
            yield
        finally:
            for module, training in modes:
                module.training = training
            with torch.no_grad():
                for buffer, before in buffers:
                    buffer.copy_(before)
