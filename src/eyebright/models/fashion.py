"""`fashion_ann`, `fashion_cnn` and `fashion_deep_cnn`: three steps of complexity on grey images of 28 pixels.

The dense layers see every pixel or every position, so the weights depend on the size of the images (`img_size`).
Convolutions and dense layers have ReLU, and batch norm comes after it, as in Keras.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from timm.models import generate_default_cfgs, register_model
from torch import nn

from eyebright.errors import UsageError
from eyebright.models.blocks import ConvBlock, DenseBlock, dense_layers
from eyebright.models.network import BlockNetwork, build, configuration, image_sides

SIZE = 28


def _configured(first_conv: str | None) -> dict[str, Any]:
    return configuration(size=SIZE, channels=1, first_conv=first_conv, fixed_size=True)


default_cfgs = generate_default_cfgs(
    {
        "fashion_ann": _configured(None),
        "fashion_cnn": _configured("blocks.0.0.conv"),
        "fashion_deep_cnn": _configured("blocks.0.0.conv"),
    }
)


class DenseNetwork(BlockNetwork):
    """Flatten, dense layers with ReLU and dropout, and a linear layer. Its feature "maps" are vectors.

    Args:
        num_classes: outputs; 0 leaves the classifier out.
        in_chans: input channels.
        drop_rate: dropout after every dense layer.
        img_size: side of the images in pixels, or height and width.
        widths: of the dense layers.
    """

    def __init__(
        self,
        num_classes: int = 10,
        in_chans: int = 1,
        drop_rate: float = 0.2,
        img_size: int | Sequence[int] = SIZE,
        *,
        widths: Sequence[int] = (128, 64),
    ) -> None:
        height, width = image_sides(img_size)
        super().__init__(
            stem=nn.Flatten(),
            blocks=dense_layers(in_chans * height * width, widths, dropout=drop_rate),
            neck=[],
            num_features=widths[-1],
            num_classes=num_classes,
            drop_rate=drop_rate,
            image_size=(height, width),
        )


class FashionCnn(BlockNetwork):
    """Conv 3x3 valid 32, pool, conv 3x3 valid 64, pool, dense 128 + dropout 0.5; arguments as for `DenseNetwork`."""

    def __init__(
        self,
        num_classes: int = 10,
        in_chans: int = 1,
        drop_rate: float = 0.5,
        img_size: int | Sequence[int] = SIZE,
    ) -> None:
        size = image_sides(img_size)
        height, width = (_left("fashion_cnn", side, ((side - 2) // 2 - 2) // 2) for side in size)
        super().__init__(
            blocks=[
                nn.Sequential(ConvBlock(in_chans, 32, padded=False), nn.MaxPool2d(2)),
                nn.Sequential(ConvBlock(32, 64, padded=False), nn.MaxPool2d(2)),
            ],
            neck=[nn.Flatten(), DenseBlock(64 * height * width, 128, dropout=drop_rate)],
            num_features=64,
            head_hidden_size=128,
            num_classes=num_classes,
            drop_rate=drop_rate,
            image_size=size,
        )


class FashionDeepCnn(BlockNetwork):
    """Twice (conv + BN, conv, pool, dropout 0.25), then dense 256 + BN + dropout 0.5; arguments as `DenseNetwork`.

    `drop_rate` is the dropout after the dense layer.
    """

    def __init__(
        self,
        num_classes: int = 10,
        in_chans: int = 1,
        drop_rate: float = 0.5,
        img_size: int | Sequence[int] = SIZE,
    ) -> None:
        size = image_sides(img_size)
        height, width = (_left("fashion_deep_cnn", side, side // 4) for side in size)

        def stage(inputs: int, outputs: int) -> nn.Sequential:
            first, second = ConvBlock(inputs, outputs, batch_norm="after"), ConvBlock(outputs, outputs)
            return nn.Sequential(first, second, nn.MaxPool2d(2), nn.Dropout(0.25))

        super().__init__(
            blocks=[stage(in_chans, 32), stage(32, 64)],
            neck=[nn.Flatten(), DenseBlock(64 * height * width, 256, batch_norm=True, dropout=drop_rate)],
            num_features=64,
            head_hidden_size=256,
            num_classes=num_classes,
            drop_rate=drop_rate,
            image_size=size,
        )


def _left(name: str, side: int, left: int) -> int:
    """The side of the last maps, if there is any."""
    if left < 1:
        raise UsageError(f"img_size={side} for {name}", expected="images that its poolings leave something of")
    return left


@register_model
def fashion_ann(pretrained: bool = False, **arguments: Any) -> DenseNetwork:
    """Flatten, dense 128 and 64, each with ReLU and dropout 0.2: 109,386 weights."""
    return build(DenseNetwork, "fashion_ann", pretrained, arguments)


@register_model
def fashion_cnn(pretrained: bool = False, **arguments: Any) -> FashionCnn:
    """225,034 weights, nine tenths of them in the dense layer."""
    return build(FashionCnn, "fashion_cnn", pretrained, arguments)


@register_model
def fashion_deep_cnn(pretrained: bool = False, **arguments: Any) -> FashionDeepCnn:
    """871,338 weights."""
    return build(FashionDeepCnn, "fashion_deep_cnn", pretrained, arguments)
