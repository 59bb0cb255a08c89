"""`headed`: hidden dense layers between the features of any network that timm knows and its classifier.

`headed(backbone="resnet50", hidden=(512, 256), dropout=0.5, batch_norm=True)` is a ResNet-50 with two hidden layers,
each dense + ReLU + batch norm + dropout, and a linear layer.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import timm
import torch
from timm.models import generate_default_cfgs, register_model
from torch import nn

from eyebright.errors import UsageError, did_you_mean
from eyebright.models.blocks import dense_layers, initialise
from eyebright.models.network import Network, build, configuration

DEFAULT_BACKBONE = "tf_efficientnet_lite0"

default_cfgs = generate_default_cfgs({"headed": configuration(size=224, first_conv=None)})


class Headed(Network):
    """A network of timm, or one of ours, with hidden layers before its classifier.

    Args:
        backbone: name of the network; its weights begin at random.
        hidden: widths of the hidden layers.
        dropout: after each hidden layer.
        batch_norm: in each hidden layer, after its ReLU.
        num_classes: outputs; 0 leaves the classifier out.
        in_chans: input channels.
        drop_rate: dropout on the features that enter the first hidden layer, as the backbone has it before its
            classifier.
        drop_path_rate: stochastic depth of the backbone; 0 for none, where it need not know it.
        backbone_arguments: more arguments for the backbone.

    Raises:
        UsageError: the backbone is unknown.
    """

    def __init__(
        self,
        backbone: str = DEFAULT_BACKBONE,
        hidden: Sequence[int] = (128,),
        dropout: float = 0.5,
        batch_norm: bool = False,
        num_classes: int = 10,
        in_chans: int = 3,
        drop_rate: float | None = None,
        drop_path_rate: float = 0.0,
        backbone_arguments: Mapping[str, Any] | None = None,
    ) -> None:
        _check_backbone(backbone, hidden)
        body: Any = timm.create_model(
            backbone, num_classes=0, in_chans=in_chans, drop_rate=drop_rate, drop_path_rate=drop_path_rate or None,
            **(backbone_arguments or {}),
        )  # fmt: skip
        features = int(getattr(body, "head_hidden_size", None) or body.num_features)
        super().__init__(
            num_features=int(body.num_features), head_hidden_size=hidden[-1], drop_rate=float(drop_rate or 0.0)
        )
        self.backbone: Any = body
        self.hidden = nn.Sequential(*dense_layers(features, hidden, batch_norm=batch_norm, dropout=dropout))
        self.reset_classifier(num_classes)
        initialise(self.hidden)

    def get_head(self) -> nn.Module:
        """The hidden layers and the classifier: all that has no published weights."""
        return nn.ModuleList([self.hidden, self.classifier])

    def no_weight_decay(self) -> set[str]:
        """Names of the weights that the backbone wants without decay, such as position embeddings."""
        theirs = getattr(self.backbone, "no_weight_decay", None)
        return {f"backbone.{name}" for name in theirs()} if callable(theirs) else set()

    def group_matcher(self, coarse: bool = False) -> Any:
        """The backbone's groups; the hidden layers and the classifier are the head, last, beside what the backbone
        counts to its own head.
        """
        if not hasattr(self.backbone, "group_matcher"):
            return {"backbone": r"^backbone\."}  # one of the few networks that timm has no groups for
        matcher = self.backbone.group_matcher(coarse=coarse)
        if callable(matcher):
            return _below("backbone.", matcher)
        return {group: _prefixed(patterns) for group, patterns in matcher.items()}

    def set_grad_checkpointing(self, enable: bool = True) -> None:
        """Have the backbone compute activations again in the backward pass instead of keeping them."""
        self.backbone.set_grad_checkpointing(enable)

    def forward_features(self, x: torch.Tensor) -> torch.Tensor:
        """Images (B, C, H, W) to what the backbone's `forward_features` gives: maps, or tokens of a transformer."""
        return self.backbone.forward_features(x)  # type: ignore[no-any-return]

    def forward_head(self, x: torch.Tensor, pre_logits: bool = False) -> torch.Tensor:
        """Those to logits (B, num_classes), or to the last hidden layer's output (B, head_hidden_size)."""
        x = self.hidden(self.backbone.forward_head(x, pre_logits=True))
        return x if pre_logits else self.classifier(x)


def _check_backbone(backbone: str, hidden: Sequence[int]) -> None:
    # Names such as hf-hub:... and local-dir:... would make timm fetch or read what somebody else has written.
    name = backbone.split(".")[0]
    if not timm.is_model(name) or name == "headed":
        raise UsageError(
            f"unknown backbone {backbone!r}{did_you_mean(backbone, timm.list_models())}",
            expected="the name of a network that timm knows, other than headed",
        )
    if not hidden or min(hidden) < 1:
        raise UsageError(f"hidden={hidden} for the head of {backbone}", expected="widths of at least 1, one or more")


def _prefixed(patterns: Any) -> Any:
    """timm's patterns for a group, each a regular expression with or without a suffix, for names below `backbone.`."""
    if patterns is None:
        return None
    if isinstance(patterns, str):
        # An anchor may stand in every alternative (`^stem|^norm`); one that negates a set ([^...]) stays.
        return r"^backbone\.(?:" + re.sub(r"(?<![\[\\])\^", "", patterns) + ")"
    return [(_prefixed(pattern), suffix) for pattern, suffix in patterns]


def _below(prefix: str, matcher: Callable[[str], Any]) -> Callable[[str], Any]:
    return lambda name: matcher(name.removeprefix(prefix)) if name.startswith(prefix) else float("inf")


@register_model
def headed(pretrained: bool = False, **arguments: Any) -> Headed:
    """A network with hidden layers before its classifier; see `Headed`."""
    network = build(Headed, "headed", pretrained, arguments)
    first = network.backbone.pretrained_cfg.get("first_conv")
    named = f"backbone.{first}" if isinstance(first, str) else [f"backbone.{name}" for name in first or ()]
    network.pretrained_cfg["first_conv"] = named or None
    return network
