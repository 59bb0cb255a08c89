"""The catalogue of networks: facts about each, making one for a task, and restoring the one in a bundle.

Every name that timm knows works here. Weights come from an installed package where one carries them, else from timm's
hub, which the user asks for by naming the network.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import timm
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import nn

from eyebright.bundle import WEIGHTS_FILE, Bundle
from eyebright.errors import CorruptBundleError, MissingDependencyError, UsageError, did_you_mean
from eyebright.models import small as small  # registers its networks with timm
from eyebright.models.pretrained import PACKAGED, packaged_state


@dataclasses.dataclass(frozen=True, kw_only=True)
class NetworkFacts:
    """What must be known of a network before data can be prepared for it.

    Attributes:
        name: timm name.
        mean, std: normalisation on the 0 to 1 scale that its weights expect (RGB).
        input_size: side in pixels that its weights were trained at.
        fixed_size: the network takes that size only.
        interpolation: filter that its weights were evaluated with.
        licence: licence of the pretrained weights, or what is known of it.
        offline: pretrained weights are installed with Eyebright.
    """

    name: str
    mean: tuple[float, ...]
    std: tuple[float, ...]
    input_size: int
    fixed_size: bool
    interpolation: str
    licence: str
    offline: bool


def network_facts(name: str) -> NetworkFacts:
    """Facts of a network by its timm name.

    Raises:
        UsageError: timm does not know the name; the message suggests the nearest one.
    """
    architecture = name.split(".")[0]
    if not timm.is_model(architecture):
        raise UsageError(
            f"unknown network {name!r}{did_you_mean(name, timm.list_models())}",
            expected="a name that timm knows, such as tf_efficientnet_lite0, resnet18 or convnext_tiny",
            remedy='`eyebright models list "resnet*"` shows names',
        )
    packaged = PACKAGED.get(name)
    if packaged is not None:
        return NetworkFacts(
            name=name,
            mean=packaged.mean,
            std=packaged.std,
            input_size=packaged.input_size,
            fixed_size=False,
            interpolation="bicubic",
            licence=packaged.licence,
            offline=True,
        )
    settings = timm.get_pretrained_cfg(name)
    if settings is None:
        # Registered without published weights: the normalisation is ours to choose.
        return NetworkFacts(
            name=name,
            mean=(0.5, 0.5, 0.5),
            std=(0.5, 0.5, 0.5),
            input_size=224,
            fixed_size=False,
            interpolation="bicubic",
            licence="none",
            offline=False,
        )
    interpolation = (
        settings.interpolation if settings.interpolation in ("bilinear", "bicubic", "lanczos") else "bicubic"
    )
    return NetworkFacts(
        name=name,
        mean=tuple(settings.mean),
        std=tuple(settings.std),
        input_size=settings.input_size[-1],
        fixed_size=bool(settings.fixed_input_size),
        interpolation=interpolation,
        licence=settings.license or "unknown",
        offline=False,
    )


def network_names(pattern: str | None = None) -> list[str]:
    """Names of all networks, or of those that match a shell pattern such as `resnet*`."""
    return list(timm.list_models(pattern or ""))


def create_network(
    name: str,
    *,
    classes: int,
    channels: int = 3,
    pretrained: bool,
    dropout: float | None = None,
    arguments: dict[str, Any] | None = None,
) -> nn.Module:
    """Make a network with a fresh classifier, in channels-last memory order.

    Args:
        name: timm name.
        classes: number of outputs.
        channels: 3 (RGB) or 1 (grey).
        pretrained: start from published weights; they come from an installed package or from timm's hub.
        dropout: dropout before the classifier.
        arguments: more keyword arguments for `timm.create_model`.

    Raises:
        UsageError: the name is unknown, or the arguments do not fit the network.
        MissingDependencyError: the weights cannot be had here.
    """
    network_facts(name)
    options = {"num_classes": classes, "in_chans": channels, **(arguments or {})}
    if dropout is not None:
        options["drop_rate"] = dropout
    packaged = PACKAGED.get(name) if pretrained else None
    try:
        if packaged is not None:
            network = timm.create_model(name, pretrained=False, **{**options, "num_classes": 1000, "in_chans": 3})
            network.load_state_dict(packaged_state(packaged), strict=False)
            network.reset_classifier(classes)  # type: ignore[operator]
            if channels == 1:
                network = _grey(name, network, options)
        else:
            network = timm.create_model(name, pretrained=pretrained, **options)
    except (TypeError, ValueError, AssertionError) as error:
        raise UsageError(f"the network {name} refused its arguments {options}: {error}") from error
    except (OSError, RuntimeError) as error:
        # timm reports an unreachable hub, an unknown tag and a missing file with one of these.
        raise MissingDependencyError(
            f"the pretrained weights of {name} could not be had: {error}",
            expected="a network with offline weights (tf_efficientnet_lite0), or a reachable hub",
            remedy="train with the default network, or from scratch with --recipe scratch",
        ) from error
    return network.to(memory_format=torch.channels_last)


def _grey(name: str, network: nn.Module, options: dict[str, Any]) -> nn.Module:
    """The same weights for one input channel: the first convolution's kernels are summed over the colours."""
    grey = timm.create_model(name, pretrained=False, **options)
    state = network.state_dict()
    first = f"{network.pretrained_cfg['first_conv']}.weight"  # type: ignore[index]
    state[first] = state[first].sum(dim=1, keepdim=True)
    grey.load_state_dict(state)
    return grey


def restore_network(bundle: Bundle) -> nn.Module:
    """The bundle's network with its weights, in evaluation mode.

    Raises:
        CorruptBundleError: the weights are not those of the network that the record names.
    """
    record = bundle.record
    network = create_network(
        record.architecture,
        classes=len(record.classes),
        channels=record.preprocess.channels,
        pretrained=False,
        arguments=record.architecture_arguments,
    )
    try:
        network.load_state_dict(load_file(bundle.file(WEIGHTS_FILE)))
    except (RuntimeError, SafetensorError) as error:
        raise CorruptBundleError(
            f"the weights in {bundle.path} are not those of {record.architecture}: {error}",
            remedy="copy the bundle again from where it was made, or train again",
        ) from error
    return network.eval()


def classifier_layer(network: nn.Module) -> nn.Linear | None:
    """The last linear layer that turns features into logits, where the network has just one."""
    layer = network.get_classifier()  # type: ignore[operator]
    return layer if isinstance(layer, nn.Linear) else None


def count_parameters(network: nn.Module) -> int:
    """Number of weights, biases included, frozen ones too."""
    return sum(parameter.numel() for parameter in network.parameters())
