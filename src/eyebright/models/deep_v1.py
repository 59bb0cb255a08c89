"""`deep_v1`: five convolutions from scratch, for photos at 128 pixels.

Each block is conv 3x3 + batch norm + ReLU + 2x2 max-pool; then global average pooling, dropout 0.5 and one linear
layer. Weights begin as Kaiming normal, as the source has it (He et al. 2015, arXiv:1502.01852).
"""

from __future__ import annotations

from typing import Any

from timm.models import generate_default_cfgs, register_model
from torch import nn

from eyebright.models.blocks import ConvBlock, GlobalAveragePool
from eyebright.models.network import BlockNetwork, build, configuration

WIDTHS = (32, 64, 128, 256, 512)
DROPOUT = 0.5

default_cfgs = generate_default_cfgs({"deep_v1": configuration(size=128, first_conv="blocks.0.0.conv")})


class DeepV1(BlockNetwork):
    """The network; 32 pixels are the least that its five poolings leave anything of.

    Args:
        num_classes: outputs; 0 leaves the classifier out.
        in_chans: input channels.
        drop_rate: dropout before the classifier.
    """

    def __init__(self, num_classes: int = 10, in_chans: int = 3, drop_rate: float = DROPOUT) -> None:
        blocks = [
            nn.Sequential(ConvBlock(inputs, outputs, batch_norm="before"), nn.MaxPool2d(2))
            for inputs, outputs in zip((in_chans, *WIDTHS), WIDTHS, strict=False)
        ]
        super().__init__(
            blocks=blocks,
            neck=[GlobalAveragePool(), nn.Dropout(drop_rate)],
            num_features=WIDTHS[-1],
            num_classes=num_classes,
            drop_rate=drop_rate,
        )


@register_model
def deep_v1(pretrained: bool = False, **arguments: Any) -> DeepV1:
    """1.6 million weights."""
    return build(DeepV1, "deep_v1", pretrained, arguments)
