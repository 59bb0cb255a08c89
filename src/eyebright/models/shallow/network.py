"""`shallow`: fixed features and a classifier of scikit-learn, as a network like every other.

    timm.create_model("shallow", features=["colour", "hog", "lbp"], img_size=128, num_classes=5)

It has what our other networks have, so that its run has a bundle, a graph and a report as theirs. Its features have no
weights; its head is made by `eyebright.recipes.shallow` and holds the numbers of a fitted classifier. Images come in
the range from 0 to 1 (mean 0, std 1).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from timm.models import generate_default_cfgs, register_model
from torch import nn

from eyebright.errors import UsageError, did_you_mean
from eyebright.models.network import Network, build, configuration, image_sides
from eyebright.models.shallow.features import FAMILIES, LARGEST_SIDE, SMALLEST_SIDE, Cells, make_family
from eyebright.models.shallow.heads import KernelMachines, Trees

DEFAULT_SIDE = 64
HEADS: Mapping[str, Sequence[str]] = {
    "linear": (),
    "kernel": ("components", "vectors"),
    "trees": ("trees", "nodes", "steps"),
}
"""Kinds of heads, and the sizes that each must be made with."""

default_cfgs = generate_default_cfgs({"shallow": configuration(size=DEFAULT_SIDE, first_conv=None, fixed_size=True)})


class Shallow(Network):
    """The network.

    Args:
        num_classes: outputs; 0 leaves the classifier out.
        in_chans: input channels, 3 or 1.
        features: families of features, of `FAMILIES`.
        img_size: side of the images in pixels, a multiple of 8.
        head: `linear`, `kernel` (RBF machines) or `trees`.
        sizes: sizes of the head, which depend on what it was fitted on; see `HEADS`.
        drop_rate: there for timm's sake; nothing is dropped.

    Raises:
        UsageError: an argument cannot be used.
    """

    mean: torch.Tensor
    scale: torch.Tensor

    def __init__(
        self,
        num_classes: int = 10,
        in_chans: int = 3,
        features: Sequence[str] = FAMILIES,
        img_size: int | Sequence[int] = DEFAULT_SIDE,
        head: str = "linear",
        sizes: Mapping[str, int] | None = None,
        drop_rate: float = 0.0,
    ) -> None:
        self.side = check_side(img_size)
        families = [make_family(name, self.side, in_chans) for name in check_families(features)]
        length = sum(len(family.cells) for family in families)
        super().__init__(num_features=length, head_hidden_size=length, drop_rate=drop_rate)
        self.families = nn.ModuleDict(dict(zip(in_order(features), families, strict=True)))
        self.register_buffer("mean", torch.zeros(length))
        self.register_buffer("scale", torch.ones(length))
        self.head = head
        self.sizes = _check_sizes(head, sizes or {})
        self.reset_classifier(num_classes)

    def columns(self) -> dict[str, Cells]:
        """For each family, the cell that each of its columns comes from; families in the order of the columns."""
        return {name: family.cells for name, family in self.families.items()}  # type: ignore[misc]

    def reset_classifier(self, num_classes: int, global_pool: str | None = None) -> None:
        """Give the network a fresh head of the same kind and sizes; trees and machines begin as zeros.

        Args:
            num_classes: outputs; 0 leaves the classifier out.
            global_pool: there for timm's sake; there is nothing to pool.

        Raises:
            UsageError: a pooling was asked for.
        """
        if global_pool not in (None, "avg"):
            raise UsageError(f"global_pool={global_pool!r} for Shallow", expected="no global_pool")
        self.num_classes = num_classes
        made: nn.Module
        if not num_classes:
            made = nn.Identity()
        elif self.head == "kernel":
            made = KernelMachines(self.num_features, classes=num_classes, **self.sizes)
        elif self.head == "trees":
            made = Trees(classes=num_classes, **self.sizes)
        else:
            made = nn.Linear(self.num_features, num_classes)
        self.classifier = made.to(self.mean.device)

    def forward_features(self, x: torch.Tensor) -> torch.Tensor:
        """Images (B, C, S, S) in the range from 0 to 1 to features (B, F), before they are standardised.

        Raises:
            UsageError: the images do not have the size that the features are made for.
        """
        if tuple(x.shape[-2:]) != (self.side, self.side):
            raise UsageError(
                f"images of {x.shape[-2]}x{x.shape[-1]} pixels for a Shallow made for {self.side}x{self.side}",
                expected=f"images of {self.side}x{self.side} pixels",
                remedy=f"make the network with img_size={x.shape[-1]}, or resize the images",
            )
        levels = (x.float() * 255).round()
        return torch.cat([family(levels) for family in self.families.values()], dim=1)

    def forward_head(self, x: torch.Tensor, pre_logits: bool = False) -> torch.Tensor:
        """Those to logits (B, num_classes), or to standardised features (B, F)."""
        x = (x - self.mean) * self.scale
        return x if pre_logits else self.classifier(x)

    def group_matcher(self, coarse: bool = False) -> Any:
        """One group, the head: nothing before it has weights."""
        return {"families": r"^families"}

    def set_grad_checkpointing(self, enable: bool = True) -> None:
        """Nothing: the features keep no activations."""


def in_order(features: Sequence[str]) -> list[str]:
    """The families in the order in which their features stand."""
    return [name for name in FAMILIES if name in features]


def check_families(features: Sequence[str]) -> list[str]:
    """The families in order.

    Raises:
        UsageError: one is unknown, or there is none.
    """
    for name in features:
        if name not in FAMILIES:
            raise UsageError(
                f"unknown features {name!r}{did_you_mean(name, FAMILIES)}", expected=f"some of {', '.join(FAMILIES)}"
            )
    if not features:
        raise UsageError("no features were asked for", expected=f"some of {', '.join(FAMILIES)}")
    return in_order(features)


def check_side(size: int | Sequence[int]) -> int:
    """The side of the images in pixels.

    Raises:
        UsageError: the features cannot be computed for it.
    """
    height, width = image_sides(size)
    if height != width or height % 8 or not SMALLEST_SIDE <= height <= LARGEST_SIDE:
        raise UsageError(
            f"shallow features of images of {height}x{width} pixels",
            expected=f"a square whose side is a multiple of 8 from {SMALLEST_SIDE} to {LARGEST_SIDE}",
            remedy="give another size, such as --size 128",
        )
    return height


def _check_sizes(head: str, sizes: Mapping[str, int]) -> dict[str, int]:
    if head not in HEADS:
        raise UsageError(f"unknown head {head!r}{did_you_mean(head, HEADS)}", expected=f"one of {', '.join(HEADS)}")
    if set(sizes) != set(HEADS[head]) or not all(isinstance(size, int) and size >= 1 for size in sizes.values()):
        raise UsageError(
            f"sizes={dict(sizes)} for the head {head!r}",
            expected=f"a number of at least 1 for each of {', '.join(HEADS[head])}" if HEADS[head] else "no sizes",
        )
    return dict(sizes)


@register_model
def shallow(pretrained: bool = False, **arguments: Any) -> Shallow:
    """Fixed features and a classifier of scikit-learn; see `Shallow`."""
    return build(Shallow, "shallow", pretrained, arguments)
