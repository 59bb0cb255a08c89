"""`animals_cnn`: three blocks of two convolutions for photos of animals at 128 pixels.

As published: each block is twice conv 3x3 + ReLU + batch norm (Keras' order), then a 2x2 max-pool; global average
pooling; dense 128; dropouts 0.1 and 0.5; dense 10. The source leaves open the widths and where each dropout stands.
Chosen here: 32, 64 and 128 channels; dropout 0.1 on the pooled features and 0.5 after the dense layer, which has ReLU.
"""

from __future__ import annotations

from typing import Any

from timm.models import generate_default_cfgs, register_model
from torch import nn

from eyebright.models.blocks import ConvBlock, DenseBlock, GlobalAveragePool
from eyebright.models.network import BlockNetwork, build, configuration

WIDTHS = (32, 64, 128)
DENSE_WIDTH = 128
FEATURE_DROPOUT = 0.1
DROPOUT = 0.5

default_cfgs = generate_default_cfgs({"animals_cnn": configuration(size=128, first_conv="blocks.0.0.conv")})


class AnimalsCnn(BlockNetwork):
    """The network.

    Args:
        num_classes: outputs; 0 leaves the classifier out.
        in_chans: input channels.
        drop_rate: dropout after the dense layer.
    """

    def __init__(self, num_classes: int = 10, in_chans: int = 3, drop_rate: float = DROPOUT) -> None:
        blocks = [
            nn.Sequential(
                ConvBlock(inputs, outputs, batch_norm="after"),
                ConvBlock(outputs, outputs, batch_norm="after"),
                nn.MaxPool2d(2),
            )
            for inputs, outputs in zip((in_chans, *WIDTHS), WIDTHS, strict=False)
        ]
        super().__init__(
            blocks=blocks,
            neck=[
                GlobalAveragePool(), nn.Dropout(FEATURE_DROPOUT), DenseBlock(WIDTHS[-1], DENSE_WIDTH, dropout=drop_rate)
            ],
            num_features=WIDTHS[-1],
            head_hidden_size=DENSE_WIDTH,
            num_classes=num_classes,
            drop_rate=drop_rate,
        )  # fmt: skip


@register_model
def animals_cnn(pretrained: bool = False, **arguments: Any) -> AnimalsCnn:
    """0.3 million weights."""
    return build(AnimalsCnn, "animals_cnn", pretrained, arguments)
