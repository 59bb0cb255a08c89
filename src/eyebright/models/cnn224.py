"""`cnn224`: three convolutions and a dense layer for photos at 224 pixels, and the variants of its ablation.

As published: conv 3x3 of 32, 64 and 128 channels, each + ReLU + batch norm in this order (Keras), 2x2 max-pool after
the first two; global average pooling; dense 256 + ReLU + dropout 0.5; dense classes.

The source gives the accuracy of four variants (baseline, + batch norm, + dropout, final) but not what tells the final
one from "+ dropout". Here each has one thing more than the one before:

    cnn224_baseline   convolutions with ReLU, pooling, one linear layer
    cnn224_bn         + batch norm after each ReLU
    cnn224_dropout    + dropout 0.5 before the linear layer
    cnn224            + the dense layer of 256 before that dropout: the network as published
"""

from __future__ import annotations

from typing import Any

from timm.models import generate_default_cfgs, register_model
from torch import nn

from eyebright.models.blocks import ConvBlock, GlobalAveragePool, dense_layers
from eyebright.models.network import BlockNetwork, build, configuration

WIDTHS = (32, 64, 128)
DENSE_WIDTH = 256
DROPOUT = 0.5

_NAMES = ("cnn224", "cnn224_baseline", "cnn224_bn", "cnn224_dropout")

default_cfgs = generate_default_cfgs({name: configuration(size=224, first_conv="blocks.0.0.conv") for name in _NAMES})


class Cnn224(BlockNetwork):
    """The network and its variants.

    Args:
        num_classes: outputs; 0 leaves the classifier out.
        in_chans: input channels.
        drop_rate: dropout before the classifier.
        batch_norm: batch norm after each ReLU.
        dense: widths of the dense layers before the classifier.
    """

    def __init__(
        self,
        num_classes: int = 10,
        in_chans: int = 3,
        drop_rate: float = DROPOUT,
        *,
        batch_norm: bool = True,
        dense: tuple[int, ...] = (DENSE_WIDTH,),
    ) -> None:
        blocks = []
        for inputs, outputs in zip((in_chans, *WIDTHS), WIDTHS, strict=False):
            conv = ConvBlock(inputs, outputs, batch_norm="after" if batch_norm else None)
            blocks.append(nn.Sequential(conv) if outputs == WIDTHS[-1] else nn.Sequential(conv, nn.MaxPool2d(2)))
        super().__init__(
            blocks=blocks,
            neck=[GlobalAveragePool(), *dense_layers(WIDTHS[-1], dense), nn.Dropout(drop_rate)],
            num_features=WIDTHS[-1],
            head_hidden_size=(WIDTHS[-1], *dense)[-1],
            num_classes=num_classes,
            drop_rate=drop_rate,
        )


@register_model
def cnn224(pretrained: bool = False, **arguments: Any) -> Cnn224:
    """The network as published: 0.13 million weights."""
    return build(Cnn224, "cnn224", pretrained, arguments)


@register_model
def cnn224_baseline(pretrained: bool = False, **arguments: Any) -> Cnn224:
    """Without batch norm, dropout and the dense layer."""
    return build(
        Cnn224, "cnn224_baseline", pretrained, {"drop_rate": 0.0, "batch_norm": False, "dense": (), **arguments}
    )


@register_model
def cnn224_bn(pretrained: bool = False, **arguments: Any) -> Cnn224:
    """Without dropout and the dense layer."""
    return build(Cnn224, "cnn224_bn", pretrained, {"drop_rate": 0.0, "dense": (), **arguments})


@register_model
def cnn224_dropout(pretrained: bool = False, **arguments: Any) -> Cnn224:
    """Without the dense layer."""
    return build(Cnn224, "cnn224_dropout", pretrained, {"dense": (), **arguments})
