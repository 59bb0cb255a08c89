"""What all our networks have in common: the methods of timm's networks, so that the rest of Eyebright sees one kind.

An image goes through `forward_features` to feature maps, through `forward_head(..., pre_logits=True)` to one vector of
features, and through the classifier, one linear layer, to logits.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal, TypeVar

import torch
from timm.models import build_model_with_cfg
from torch import nn
from torch.utils.checkpoint import checkpoint

from eyebright.errors import UsageError
from eyebright.models.blocks import initialise

GroupMatcher = dict[str, Any]
SomeNetwork = TypeVar("SomeNetwork", bound="Network")


class Network(nn.Module):
    """The methods that timm's networks have. A network says how it makes features; the last layer is the same in all.

    Attributes:
        num_classes: outputs; 0 leaves the classifier out.
        num_features: channels of the feature maps.
        head_hidden_size: length of the vector that enters the classifier.
        drop_rate: the dropout that the argument of the same name sets.
    """

    classifier: nn.Module
    pretrained_cfg: dict[str, Any]
    """What timm keeps of the network; it sets this."""

    def __init__(self, *, num_features: int, head_hidden_size: int, drop_rate: float) -> None:
        super().__init__()
        self.num_classes = 0
        self.num_features = num_features
        self.head_hidden_size = head_hidden_size
        self.drop_rate = drop_rate

    def forward_features(self, x: torch.Tensor) -> torch.Tensor:
        """Images (B, C, H, W) to feature maps."""
        raise NotImplementedError

    def forward_head(self, x: torch.Tensor, pre_logits: bool = False) -> torch.Tensor:
        """Feature maps to logits (B, num_classes), or to the features (B, head_hidden_size) before the classifier."""
        raise NotImplementedError

    def group_matcher(self, coarse: bool = False) -> Any:
        """How timm groups the weights into layers, first layer first; what nothing matches is the head."""
        raise NotImplementedError

    def set_grad_checkpointing(self, enable: bool = True) -> None:
        """Compute activations again in the backward pass instead of keeping them."""
        raise NotImplementedError

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Images (B, C, H, W) to logits (B, num_classes)."""
        return self.forward_head(self.forward_features(x))

    def get_classifier(self) -> nn.Module:
        """The last layer."""
        return self.classifier

    def reset_classifier(self, num_classes: int, global_pool: str | None = None) -> None:
        """Give the network a fresh last layer, on the device and with the type of the others; hidden layers stay.

        Args:
            num_classes: outputs; 0 leaves the classifier out.
            global_pool: there for timm's sake; our networks keep the pooling that they were designed with.

        Raises:
            UsageError: another pooling was asked for.
        """
        if global_pool not in (None, "avg"):
            raise UsageError(
                f"global_pool={global_pool!r} for {type(self).__name__}",
                expected="no global_pool: the network keeps its own",
            )
        like = next(self.parameters())
        self.num_classes = num_classes
        self.classifier = (
            nn.Linear(self.head_hidden_size, num_classes, device=like.device, dtype=like.dtype)
            if num_classes
            else nn.Identity()
        )


class BlockNetwork(Network):
    """A stem, blocks one after the other, a neck from feature maps to one vector, and the classifier.

    Weights begin as Kaiming normal (`initialise`), but for the classifier's, which begin as torch makes linear layers.

    Args:
        blocks: modules one after the other; discriminative rates and gradient checkpointing count in them.
        neck: from feature maps to (B, head_hidden_size).
        stem: what comes before the blocks.
        num_features, head_hidden_size, num_classes, drop_rate: see `Network`.
        image_size: height and width of the images in pixels, where the weights depend on them.
        mode: see `initialise`; None leaves the weights as torch makes them.
    """

    def __init__(
        self,
        *,
        blocks: Sequence[nn.Module],
        neck: Sequence[nn.Module],
        num_features: int,
        num_classes: int,
        head_hidden_size: int | None = None,
        drop_rate: float = 0.0,
        stem: nn.Module | None = None,
        image_size: tuple[int, int] | None = None,
        mode: Literal["fan_in", "fan_out"] | None = "fan_in",
    ) -> None:
        super().__init__(
            num_features=num_features, head_hidden_size=head_hidden_size or num_features, drop_rate=drop_rate
        )
        self.image_size = image_size
        self.grad_checkpointing = False
        self.stem = nn.Identity() if stem is None else stem
        self.blocks = nn.Sequential(*blocks)
        self.neck = nn.Sequential(*neck)
        self.reset_classifier(num_classes)
        if mode is not None:
            for part in (self.stem, self.blocks, self.neck):
                initialise(part, mode)

    def group_matcher(self, coarse: bool = False) -> GroupMatcher:
        """How timm groups the weights: the stem, each block (each part of it unless coarse), neck and classifier."""
        parts = [] if coarse else [(r"^blocks\.(\d+)\.(\d+)", None)]
        return {"stem": r"^stem", "blocks": [*parts, (r"^blocks\.(\d+)", None)]}

    def set_grad_checkpointing(self, enable: bool = True) -> None:
        """Keep only what passes from block to block while training, and compute the rest again in the backward pass."""
        self.grad_checkpointing = enable

    def forward_features(self, x: torch.Tensor) -> torch.Tensor:
        """Images (B, C, H, W) to feature maps (B, num_features, H', W').

        Raises:
            UsageError: the images do not have the size that the weights were made for.
        """
        if self.image_size is not None and tuple(x.shape[-2:]) != self.image_size:
            raise _wrong_size(type(self).__name__, tuple(x.shape), self.image_size)
        x = self.stem(x)
        if not (self.grad_checkpointing and self.training):
            return self.blocks(x)  # type: ignore[no-any-return]
        for block in self.blocks:
            x = _checkpointed(block, x)
        return x

    def forward_head(self, x: torch.Tensor, pre_logits: bool = False) -> torch.Tensor:
        """Feature maps to logits (B, num_classes), or to the features (B, head_hidden_size) before the classifier."""
        x = self.neck(x)
        return x if pre_logits else self.classifier(x)


def _wrong_size(name: str, shape: tuple[int, ...], size: tuple[int, int]) -> UsageError:
    height, width = size
    return UsageError(
        f"images of shape {shape} for a {name} made for {height}x{width} pixels",
        expected=f"(N, C, {height}, {width}): its dense layers see every pixel",
        remedy=f"make the network with img_size={shape[-1]}, or resize the images",
    )


def _checkpointed(block: nn.Module, x: torch.Tensor) -> torch.Tensor:
    """The block's output; its activations are computed again in the backward pass, with the same dropout.

    Left alone, the second computation would count the batch into the running statistics of batch norms once more. A
    compiled network needs no such care: there the statistics are results of the forward pass alone.
    """
    if torch.compiler.is_compiling():
        return checkpoint(block, x, use_reentrant=False)  # type: ignore[no-any-return]

    def contexts() -> tuple[Any, Any]:
        return contextlib.nullcontext(), _statistics_left_alone(block)

    return checkpoint(block, x, use_reentrant=False, context_fn=contexts)  # type: ignore[no-any-return]


@contextlib.contextmanager
def _statistics_left_alone(block: nn.Module) -> Iterator[None]:
    norms = [module for module in block.modules() if isinstance(module, nn.modules.batchnorm._BatchNorm)]
    before = [(norm, norm.momentum, norm.num_batches_tracked) for norm in norms]
    for norm in norms:
        norm.momentum, norm.num_batches_tracked = 0.0, None
    try:
        yield
    finally:
        for norm, momentum, counted in before:
            norm.momentum, norm.num_batches_tracked = momentum, counted


def image_sides(size: int | Sequence[int]) -> tuple[int, int]:
    """Height and width from timm's `img_size`: one number for a square, or two."""
    height, width = (size, size) if isinstance(size, int) else size
    return int(height), int(width)


def configuration(
    *, size: int, channels: int = 3, classes: int = 10, first_conv: str | None, fixed_size: bool = False
) -> dict[str, Any]:
    """What timm keeps of each network (`pretrained_cfg`), for one without published weights.

    Args:
        size: side in pixels that the network was designed for.
        channels: of its images.
        classes: outputs unless told otherwise.
        first_conv: name of the first convolution; None where there is none.
        fixed_size: the weights depend on the size; timm then makes the network with `img_size`.
    """
    return {
        "input_size": (channels, size, size),
        "fixed_input_size": fixed_size,
        "crop_pct": 1.0,
        "interpolation": "bicubic",
        "mean": (0.5,) * channels,
        "std": (0.5,) * channels,
        "num_classes": classes,
        "first_conv": first_conv,
        "classifier": "classifier",
    }


def build(network: type[SomeNetwork], name: str, pretrained: bool, arguments: Mapping[str, Any]) -> SomeNetwork:
    """The network as timm makes its own: with the configuration registered under the name, and loading a bundle's
    weights (`local-dir:...`) if asked. Arguments that are None are as if left out.
    """
    given = {key: value for key, value in arguments.items() if value is not None}
    made: SomeNetwork = build_model_with_cfg(network, name, pretrained, **given)
    return made
