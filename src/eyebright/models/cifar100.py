"""`cifar100_ann` and `cifar100_cnn`: the plain networks beside a pretrained one on a hundred classes of 32 pixels.

The source names the two and their accuracies (about 25 and 40 %) but no layers. Chosen here, in the manner of its
networks for Fashion-MNIST: dense layers of 512 and 256 with dropout 0.2; and three convolutions of 32, 64 and 128
channels, each with ReLU and a 2x2 max-pool, before a dense layer of 256 with dropout 0.5.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from timm.models import generate_default_cfgs, register_model
from torch import nn

from eyebright.errors import UsageError
from eyebright.models.blocks import ConvBlock, DenseBlock
from eyebright.models.fashion import DenseNetwork
from eyebright.models.network import BlockNetwork, build, configuration, image_sides

SIZE = 32
WIDTHS = (32, 64, 128)

default_cfgs = generate_default_cfgs(
    {
        "cifar100_ann": configuration(size=SIZE, classes=100, first_conv=None, fixed_size=True),
        "cifar100_cnn": configuration(size=SIZE, classes=100, first_conv="blocks.0.0.conv", fixed_size=True),
    }
)


class Cifar100Cnn(BlockNetwork):
    """The convolutional network.

    Args:
        num_classes: outputs; 0 leaves the classifier out.
        in_chans: input channels.
        drop_rate: dropout after the dense layer.
        img_size: side of the images in pixels, or height and width; 8 at least.
    """

    def __init__(
        self,
        num_classes: int = 100,
        in_chans: int = 3,
        drop_rate: float = 0.5,
        img_size: int | Sequence[int] = SIZE,
    ) -> None:
        height, width = image_sides(img_size)
        if min(height, width) < 8:
            raise UsageError(f"img_size={img_size} for cifar100_cnn", expected="8 or more: three poolings halve it")
        super().__init__(
            blocks=[
                nn.Sequential(ConvBlock(inputs, outputs), nn.MaxPool2d(2))
                for inputs, outputs in zip((in_chans, *WIDTHS), WIDTHS, strict=False)
            ],
            neck=[nn.Flatten(), DenseBlock(WIDTHS[-1] * (height // 8) * (width // 8), 256, dropout=drop_rate)],
            num_features=WIDTHS[-1],
            head_hidden_size=256,
            num_classes=num_classes,
            drop_rate=drop_rate,
            image_size=(height, width),
        )


@register_model
def cifar100_ann(pretrained: bool = False, **arguments: Any) -> DenseNetwork:
    """1.7 million weights."""
    return build(DenseNetwork, "cifar100_ann", pretrained, {"widths": (512, 256), **arguments})


@register_model
def cifar100_cnn(pretrained: bool = False, **arguments: Any) -> Cifar100Cnn:
    """0.6 million weights."""
    return build(Cifar100Cnn, "cifar100_cnn", pretrained, arguments)
