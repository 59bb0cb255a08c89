"""The blocks that our networks are written from: convolutions with what follows them, residual blocks, dense layers.

A block is a plain `nn.Sequential` with named parts wherever data flows straight through, so that a table of layers
reads like the description of the network. Activations never work in place: whoever looks at the output of a layer sees
what the layer gave.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from typing import Literal

import torch
from timm.layers.drop import DropPath
from timm.layers.squeeze_excite import SqueezeExcite
from torch import nn

from eyebright.errors import UsageError, did_you_mean

Activation = Literal["relu", "silu"]
BatchNormPlace = Literal["before", "after"]

ACTIVATIONS: dict[str, type[nn.Module]] = {"relu": nn.ReLU, "silu": nn.SiLU}


def activation_layer(name: str) -> nn.Module:
    """The activation of that name, not in place.

    Raises:
        UsageError: the name is unknown.
    """
    if name not in ACTIVATIONS:
        raise UsageError(
            f"unknown activation {name!r}{did_you_mean(name, ACTIVATIONS)}", expected=" or ".join(ACTIVATIONS)
        )
    return ACTIVATIONS[name]()


class DepthwiseSeparable(nn.Sequential):
    """A depthwise 3x3 convolution with batch norm, then a pointwise 1x1 convolution (Chollet 2017, arXiv:1610.02357).

    (B, inputs, H, W) to (B, outputs, H / stride, W / stride). What follows the pointwise convolution is left to the
    block around it.
    """

    def __init__(self, inputs: int, outputs: int, *, stride: int = 1, dilation: int = 1, bias: bool = False) -> None:
        super().__init__(
            OrderedDict(
                depthwise=nn.Conv2d(
                    inputs, inputs, 3, stride=stride, padding=dilation, dilation=dilation, groups=inputs, bias=False
                ),
                bn=nn.BatchNorm2d(inputs),
                pointwise=nn.Conv2d(inputs, outputs, 1, bias=bias),
            )
        )


def convolution(
    inputs: int,
    outputs: int,
    side: int = 3,
    *,
    stride: int = 1,
    dilation: int = 1,
    padded: bool = True,
    separable: bool = False,
    bias: bool = False,
) -> nn.Module:
    """A convolution, depthwise-separable if asked; `padded` keeps the side of the maps ("same"), else they shrink."""
    if separable:
        assert (side, padded) == (3, True), "depthwise-separable convolutions are 3x3 and padded"
        return DepthwiseSeparable(inputs, outputs, stride=stride, dilation=dilation, bias=bias)
    padding = dilation * (side // 2) if padded else 0
    return nn.Conv2d(inputs, outputs, side, stride=stride, padding=padding, dilation=dilation, bias=bias)


class ConvBlock(nn.Sequential):
    """A convolution, then batch norm, activation and dropout, as far as the network has them.

    (B, inputs, H, W) to (B, outputs, H', W').

    Args:
        inputs, outputs: channels.
        side: of the kernel.
        stride, dilation: of the kernel; stride 2 halves the side of the maps.
        padded: keep the side of the maps ("same" padding); otherwise they lose `side - 1` pixels ("valid").
        separable: depthwise-separable instead of full.
        batch_norm: whether it comes before or after the activation; None for none. A convolution right before its
            batch norm has no bias, which the norm would take away again.
        activation: None for none.
        dropout: probability that a single value is zeroed.
    """

    def __init__(
        self,
        inputs: int,
        outputs: int,
        side: int = 3,
        *,
        stride: int = 1,
        dilation: int = 1,
        padded: bool = True,
        separable: bool = False,
        batch_norm: BatchNormPlace | None = None,
        activation: Activation | None = "relu",
        dropout: float = 0.0,
    ) -> None:
        parts: OrderedDict[str, nn.Module] = OrderedDict()
        parts["conv"] = convolution(
            inputs, outputs, side,
            stride=stride, dilation=dilation, padded=padded, separable=separable, bias=batch_norm != "before",
        )  # fmt: skip
        if batch_norm == "before":
            parts["bn"] = nn.BatchNorm2d(outputs)
        if activation is not None:
            parts["activation"] = activation_layer(activation)
        if batch_norm == "after":
            parts["bn"] = nn.BatchNorm2d(outputs)
        if dropout > 0:
            parts["dropout"] = nn.Dropout(dropout)
        super().__init__(parts)


class Transition(nn.Sequential):
    """From one stage to the next without pooling: a 1x1 convolution to the new width, then a 3x3 of stride 2.

    (B, inputs, H, W) to (B, outputs, H / 2, W / 2); both convolutions have batch norm, ReLU and dropout.
    """

    def __init__(self, inputs: int, outputs: int, *, dropout: float = 0.0) -> None:
        super().__init__(
            OrderedDict(
                widen=ConvBlock(inputs, outputs, 1, batch_norm="before", dropout=dropout),
                reduce=ConvBlock(outputs, outputs, stride=2, batch_norm="before", dropout=dropout),
            )
        )


class ResidualBlock(nn.Module):
    """Two 3x3 convolutions with batch norm around a shortcut; the first may halve the side (He et al. 2016,
    arXiv:1512.03385).

    (B, inputs, H, W) to (B, outputs, H / stride, W / stride).

    Args:
        inputs, outputs: channels.
        stride: of the first convolution, and of the shortcut.
        dilation: of the second convolution.
        separable: both convolutions are depthwise-separable.
        activation: after the first convolution and after the sum.
        squeeze_excitation: weigh the channels before the sum by what all positions hold (Hu et al. 2018,
            arXiv:1709.01507); every output then sees the whole image.
        drop_path: probability that the convolutions of an image are left out in training (Huang et al. 2016,
            arXiv:1603.09382).
    """

    def __init__(
        self,
        inputs: int,
        outputs: int,
        stride: int = 1,
        *,
        dilation: int = 1,
        separable: bool = False,
        activation: Activation = "relu",
        squeeze_excitation: bool = False,
        drop_path: float = 0.0,
    ) -> None:
        super().__init__()
        self.conv1 = convolution(inputs, outputs, stride=stride, separable=separable)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.activation1 = activation_layer(activation)
        self.conv2 = convolution(outputs, outputs, dilation=dilation, separable=separable)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.attention: nn.Module = SqueezeExcite(outputs) if squeeze_excitation else nn.Identity()
        self.drop_path: nn.Module = DropPath(drop_path) if drop_path > 0 else nn.Identity()
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or inputs != outputs:
            self.shortcut = nn.Sequential(
                nn.Conv2d(inputs, outputs, 1, stride=stride, bias=False), nn.BatchNorm2d(outputs)
            )
        self.activation2 = activation_layer(activation)
        # A block that begins as its shortcut trains more steadily (Goyal et al. 2017, arXiv:1706.02677).
        nn.init.zeros_(self.bn2.weight)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(B, inputs, H, W) to (B, outputs, H / stride, W / stride)."""
        y = self.activation1(self.bn1(self.conv1(x)))
        y = self.attention(self.bn2(self.conv2(y)))
        return self.activation2(self.drop_path(y) + self.shortcut(x))  # type: ignore[no-any-return]


class DenseBlock(nn.Sequential):
    """A linear layer, ReLU, batch norm if asked, and dropout: (B, inputs) to (B, outputs)."""

    def __init__(self, inputs: int, outputs: int, *, batch_norm: bool = False, dropout: float = 0.0) -> None:
        parts: OrderedDict[str, nn.Module] = OrderedDict(linear=nn.Linear(inputs, outputs), activation=nn.ReLU())
        if batch_norm:
            parts["bn"] = nn.BatchNorm1d(outputs)
        if dropout > 0:
            parts["dropout"] = nn.Dropout(dropout)
        super().__init__(parts)


def dense_layers(
    inputs: int, widths: Sequence[int], *, batch_norm: bool = False, dropout: float = 0.0
) -> list[DenseBlock]:
    """Dense blocks one after the other: (B, inputs) to (B, widths[-1])."""
    pairs = zip((inputs, *widths), widths, strict=False)
    return [DenseBlock(one, other, batch_norm=batch_norm, dropout=dropout) for one, other in pairs]


class GlobalAveragePool(nn.Sequential):
    """The mean of every channel over all positions: (B, C, H, W) to (B, C)."""

    def __init__(self) -> None:
        super().__init__(OrderedDict(pool=nn.AdaptiveAvgPool2d(1), flatten=nn.Flatten(1)))


def initialise(module: nn.Module, mode: Literal["fan_in", "fan_out"] = "fan_in") -> None:
    """Kaiming normal weights and zero biases for all convolutions and linear layers (He et al. 2015, arXiv:1502.01852).

    Args:
        module: changed in place.
        mode: keep the variance of the activations (`fan_in`) or of the gradients (`fan_out`).
    """
    for layer in module.modules():
        if isinstance(layer, nn.Conv2d | nn.Linear):
            nn.init.kaiming_normal_(layer.weight, mode=mode, nonlinearity="relu")
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
