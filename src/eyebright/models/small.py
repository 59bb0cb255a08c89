"""`smallnet`: a compact residual network for small images (about 8 to 64 pixels), trained from scratch in minutes.

Three stages of residual blocks, each but the first halving the side, then global average pooling and one linear layer.
Its first layer keeps the full resolution, which networks made for photographs throw away.
"""

from __future__ import annotations

from typing import Any

from timm.models import generate_default_cfgs, register_model
from torch import nn

from eyebright.models.blocks import GlobalAveragePool, ResidualBlock
from eyebright.models.network import BlockNetwork, build, configuration

default_cfgs = generate_default_cfgs({"smallnet": configuration(size=32, first_conv="stem.0")})


class SmallNet(BlockNetwork):
    """The network.

    Args:
        num_classes: outputs; 0 leaves the classifier out.
        in_chans: input channels.
        drop_rate: dropout before the classifier.
        width: channels of the first stage; later stages have two and four times as many.
        drop_path_rate: stochastic depth of the last block; it rises evenly from the first.
    """

    def __init__(
        self,
        num_classes: int = 10,
        in_chans: int = 3,
        drop_rate: float = 0.0,
        width: int = 32,
        drop_path_rate: float = 0.0,
    ) -> None:
        super().__init__(
            stem=nn.Sequential(nn.Conv2d(in_chans, width, 3, padding=1, bias=False), nn.BatchNorm2d(width), nn.ReLU()),
            blocks=[
                ResidualBlock(width, width),
                ResidualBlock(width, 2 * width, 2, drop_path=drop_path_rate / 2),
                ResidualBlock(2 * width, 4 * width, 2, drop_path=drop_path_rate),
            ],
            neck=[GlobalAveragePool(), nn.Dropout(drop_rate)],
            num_features=4 * width,
            num_classes=num_classes,
            drop_rate=drop_rate,
            mode="fan_out",
        )


@register_model
def smallnet(pretrained: bool = False, **arguments: Any) -> SmallNet:
    """Width 32: 0.3 million weights. None are published; timm loads those of a bundle (`local-dir:...`)."""
    return build(SmallNet, "smallnet", pretrained, arguments)
