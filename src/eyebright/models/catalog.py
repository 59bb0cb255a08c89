"""The catalogue of networks: facts about each, making one for a task, and restoring the one in a bundle.

Every name that timm knows works here; our own networks are registered with timm. Weights come from an installed package
where one carries them, else from timm's hub, which the user asks for by naming the network.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, Literal

import timm
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import nn

from eyebright.bundle import WEIGHTS_FILE, Bundle
from eyebright.config import HeadConfig
from eyebright.errors import CorruptBundleError, MissingDependencyError, UsageError, did_you_mean

# Each of these registers its networks with timm.
from eyebright.models import animals as animals
from eyebright.models import cifar10net as cifar10net
from eyebright.models import cifar100 as cifar100
from eyebright.models import cnn224 as cnn224
from eyebright.models import deep_v1 as deep_v1
from eyebright.models import fashion as fashion
from eyebright.models import fast as fast
from eyebright.models import shallow as shallow
from eyebright.models import small as small
from eyebright.models.headed import DEFAULT_BACKBONE, Headed
from eyebright.models.network import image_sides
from eyebright.models.pretrained import PACKAGED, packaged_state

_INTERPOLATIONS = ("bilinear", "bicubic", "lanczos")

_DECIDED_ELSEWHERE = {
    "pretrained": "model.pretrained",
    "num_classes": "the number of classes in the data",
    "in_chans": "image.channels",
    "drop_rate": "model.dropout",
    "drop_path_rate": "model.drop_path",
}
"""Arguments that have a place of their own in the configuration, with that place."""

_NOT_FOR_ANYBODY = frozenset(
    ("checkpoint_path", "pretrained_cfg", "pretrained_cfg_overlay", "pretrained_strict", "pretrained_model_args",
     "cache_dir", "features_only", "feature_cfg", "feature_cls", "pruned")
)  # fmt: skip
"""Arguments with which timm would read a file or an address that a bundle names, or make another kind of thing."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class NetworkFacts:
    """What must be known of a network before data can be prepared for it.

    Attributes:
        name: timm name.
        origin: one of our own catalogue, or of timm.
        mean, std: normalisation on the 0 to 1 scale that its weights expect (RGB).
        input_size: side in pixels that its weights were trained at, or that it was designed for.
        channels: of the images that it was designed for.
        fixed_size: the network takes that size only; the argument `img_size` makes it for another one.
        interpolation: filter that its weights were evaluated with.
        licence: licence of the pretrained weights, or what is known of it.
        offline: pretrained weights are installed with Eyebright.
    """

    name: str
    origin: Literal["catalogue", "timm"]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    input_size: int
    channels: int
    fixed_size: bool
    interpolation: str
    licence: str
    offline: bool


def network_facts(name: str, arguments: Mapping[str, Any] | None = None) -> NetworkFacts:
    """Facts of a network by its timm name.

    Args:
        name: timm name; for `headed`, the facts are those of its backbone.
        arguments: the network's arguments, as `create_network` takes them: with `img_size`, a network of fixed size
            takes that one.

    Raises:
        UsageError: timm does not know the name; the message suggests the nearest one.
    """
    given = dict(arguments or {})
    if name == "headed":
        inner = network_facts(given.get("backbone", DEFAULT_BACKBONE), given.get("backbone_arguments"))
        return dataclasses.replace(inner, name=name, origin="catalogue")
    architecture = name.split(".")[0]
    if not timm.is_model(architecture):
        raise UsageError(
            f"unknown network {name!r}{did_you_mean(name, timm.list_models())}",
            expected="a name that timm knows, such as tf_efficientnet_lite0, resnet18 or convnext_tiny",
            remedy='`eyebright models list "resnet*"` shows names',
        )
    try:
        settings = timm.get_pretrained_cfg(name)
    except RuntimeError:  # a tag that the architecture has not
        tags = list(timm.list_pretrained(f"{architecture}.*"))
        raise UsageError(
            f"unknown weights {name!r}{did_you_mean(name, tags)}", expected=", ".join(tags) or architecture
        ) from None
    if settings is None or _is_ours(architecture):
        return _facts_without_weights(name, settings, given.get("img_size"))
    packaged = PACKAGED.get(name)
    if packaged is not None:
        return NetworkFacts(
            name=name,
            origin="timm",
            mean=packaged.mean,
            std=packaged.std,
            input_size=packaged.input_size,
            channels=3,
            fixed_size=False,
            interpolation="bicubic",
            licence=packaged.licence,
            offline=True,
        )
    fixed = bool(settings.fixed_input_size)
    return NetworkFacts(
        name=name,
        origin="timm",
        mean=tuple(settings.mean),
        std=tuple(settings.std),
        input_size=image_sides(given["img_size"])[0] if fixed and "img_size" in given else settings.input_size[-1],
        channels=settings.input_size[0],
        fixed_size=fixed,
        interpolation=settings.interpolation if settings.interpolation in _INTERPOLATIONS else "bicubic",
        licence=settings.license or "unknown",
        offline=False,
    )


def _facts_without_weights(name: str, settings: Any, img_size: Any) -> NetworkFacts:
    """Facts of a network without published weights: the normalisation is ours to choose."""
    size, channels = (settings.input_size[-1], settings.input_size[0]) if settings is not None else (224, 3)
    fixed = settings is not None and bool(settings.fixed_input_size)
    return NetworkFacts(
        name=name,
        origin="catalogue" if _is_ours(name) else "timm",
        mean=(0.5, 0.5, 0.5),
        std=(0.5, 0.5, 0.5),
        input_size=image_sides(img_size)[0] if fixed and img_size is not None else size,
        channels=channels,
        fixed_size=fixed,
        interpolation="bicubic",
        licence="none",
        offline=False,
    )


def network_names(pattern: str | None = None) -> list[str]:
    """Names of all networks, or of those that match a shell pattern such as `resnet*`."""
    return list(timm.list_models(pattern or ""))


def own_networks() -> list[str]:
    """Names of the networks of our own catalogue; `headed` is one of them.

    `shallow` is none of them: its features have no weights, and its recipe makes it.
    """
    return [name for name in timm.list_models() if _is_ours(name) and name != "shallow"]


def _is_ours(name: str) -> bool:
    return str(timm.model_entrypoint(name).__module__).startswith("eyebright.")


def architecture_of(
    name: str, *, head: HeadConfig | None = None, arguments: Mapping[str, Any] | None = None
) -> tuple[str, dict[str, Any]]:
    """Which architecture, with which arguments, is a network with this head: what a bundle records to restore it.

    Dropout and stochastic depth are no part of it: they have no weights and do nothing outside training.

    Args:
        name: timm name of the network, or of the backbone of the head.
        head: hidden layers before the classifier, if any.
        arguments: the network's own.

    Returns:
        The name and the keyword arguments for `timm.create_model`, as plain values for JSON.

    Raises:
        UsageError: an argument has a place of its own in the configuration, or the network has a head already.
    """
    given = dict(arguments or {})
    _check_arguments(name, given)
    if head is None or not head.hidden:
        return name, given
    if name == "headed":
        raise UsageError(
            f"model.head.hidden={list(head.hidden)} for headed, which has hidden layers already",
            expected="one of model.head and model.arguments",
            remedy=f"set model.name to the backbone, {given.get('backbone', DEFAULT_BACKBONE)}",
        )
    own = {"backbone": name, "hidden": list(head.hidden), "dropout": head.dropout, "batch_norm": head.batch_norm}
    return "headed", {**own, "backbone_arguments": given} if given else own


def _check_arguments(name: str, arguments: Mapping[str, Any]) -> None:
    for key in arguments:
        if key in _DECIDED_ELSEWHERE:
            raise UsageError(
                f"the argument {key}={arguments[key]!r} for {name}",
                expected=f"it to be decided by {_DECIDED_ELSEWHERE[key]}",
            )
        if key in _NOT_FOR_ANYBODY:
            raise UsageError(
                f"the argument {key}={arguments[key]!r} for {name}", expected="arguments that shape the network"
            )
    inner = arguments.get("backbone_arguments")
    if name == "headed" and isinstance(inner, Mapping):
        _check_arguments(str(arguments.get("backbone", DEFAULT_BACKBONE)), inner)


def create_network(
    name: str,
    *,
    classes: int,
    channels: int = 3,
    pretrained: bool,
    dropout: float | None = None,
    drop_path: float = 0.0,
    head: HeadConfig | None = None,
    arguments: Mapping[str, Any] | None = None,
) -> nn.Module:
    """Make a network with a fresh classifier, in channels-last memory order.

    Args:
        name: timm name; with hidden layers in `head`, that of the backbone.
        classes: number of outputs.
        channels: 3 (RGB) or 1 (grey).
        pretrained: start from published weights; they come from an installed package or from timm's hub.
        dropout: dropout of the network; None for its own.
        drop_path: stochastic depth, for networks that know it.
        head: hidden layers between the network's features and its classifier.
        arguments: more keyword arguments for the network.

    Raises:
        UsageError: the name is unknown, or the arguments do not fit the network.
        MissingDependencyError: the weights cannot be had here.
    """
    architecture, own = architecture_of(name, head=head, arguments=arguments)
    network_facts(architecture, own)
    options: dict[str, Any] = {"num_classes": classes, "in_chans": channels, **own}
    if dropout is not None:
        options["drop_rate"] = dropout
    if drop_path > 0:
        options["drop_path_rate"] = drop_path
    if architecture != "headed":
        return _made(architecture, options, pretrained=pretrained).to(memory_format=torch.channels_last)
    network = _made(architecture, options, pretrained=False)
    assert isinstance(network, Headed)
    if pretrained:
        inner = {"num_classes": 0, "in_chans": channels, **own.get("backbone_arguments", {})}
        backbone = _made(own.get("backbone", DEFAULT_BACKBONE), inner, pretrained=True)
        network.backbone.load_state_dict(backbone.state_dict())
    return network.to(memory_format=torch.channels_last)


def _made(name: str, options: Mapping[str, Any], *, pretrained: bool) -> nn.Module:
    """The network as timm makes it, with published weights if asked, and errors that say what was wrong."""
    packaged = PACKAGED.get(name) if pretrained else None
    try:
        if packaged is None:
            made: nn.Module = timm.create_model(name, pretrained=pretrained, **options)
            return made
        made = timm.create_model(name, pretrained=False, **{**options, "num_classes": 1000, "in_chans": 3})
        made.load_state_dict(packaged_state(packaged), strict=False)
        made.reset_classifier(options["num_classes"])  # type: ignore[operator]
        return made if options["in_chans"] == 3 else _grey(name, made, options)
    except (UsageError, MissingDependencyError):
        raise
    except (TypeError, ValueError, AssertionError) as error:
        raise _refused(name, options, error) from error
    except (OSError, RuntimeError) as error:
        # timm reports an unreachable hub, an unknown tag and a missing file with one of these.
        if not pretrained:
            raise _refused(name, options, error) from error
        raise MissingDependencyError(
            f"the pretrained weights of {name} could not be had: {error}",
            expected="a network with offline weights (tf_efficientnet_lite0), or a reachable hub",
            remedy="use weights that are installed (--model tf_efficientnet_lite0), "
            "or train from scratch with --recipe scratch",
        ) from error


def _refused(name: str, options: Mapping[str, Any], error: Exception) -> UsageError:
    if "drop_path_rate" in options and "drop_path_rate" in str(error):
        return UsageError(
            f"model.drop_path={options['drop_path_rate']} for {name}, which has no stochastic depth",
            expected="a network of residual blocks that knows it, such as cifar10net_v3, resnet18 or convnext_tiny",
            remedy="leave model.drop_path out",
        )
    return UsageError(f"the network {name} refused its arguments {dict(options)}: {error}")


def _grey(name: str, network: nn.Module, options: Mapping[str, Any]) -> nn.Module:
    """The same weights for one input channel: the first convolution's kernels are summed over the colours."""
    grey: nn.Module = timm.create_model(name, pretrained=False, **options)
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
