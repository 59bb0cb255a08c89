"""What the first layer of a network looks for, as images."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from eyebright.errors import UsageError


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Filters:
    """The first layer's weights.

    Attributes:
        layer: path of the layer in the network.
        kind: what the layer is, for a caption.
        images: one for each output, float32 (F, h, w, 3) or (F, h, w) in [0, 1]; a weight of zero is 0.5, and the
            largest weight of each filter is 0 or 1.
    """

    layer: str
    kind: str
    images: npt.NDArray[np.float32]


def first_filters(network: nn.Module, *, channels: int, size: int) -> Filters:
    """The filters of the first convolution, or the weights of the first dense layer over the image's pixels.

    A filter over three colours is shown in these colours; over another number, as the mean over its channels.

    Args:
        network: left as it is.
        channels, size: of its input.

    Raises:
        UsageError: neither layer is there.
    """
    for name, module in network.named_modules():
        if isinstance(module, nn.Conv2d):
            height, width = module.weight.shape[2:]
            kind = f"{module.out_channels} filters of {height}x{width} over {module.in_channels} channels"
            return Filters(layer=name, kind=kind, images=_as_images(module.weight))
        if isinstance(module, nn.Linear) and module.in_features == channels * size**2:
            weights = module.weight.view(-1, channels, size, size)
            kind = f"{module.out_features} units over {size}x{size} pixels"
            return Filters(layer=name, kind=kind, images=_as_images(weights))
        if isinstance(module, nn.Linear):
            break  # over something that is no image any more
    raise UsageError(
        f"{type(network).__name__} does not begin with a convolution or a dense layer over pixels",
        expected="a network whose first layer has filters",
    )


def _as_images(weights: torch.Tensor) -> npt.NDArray[np.float32]:
    """Weights (F, C, h, w) as images."""
    values = weights.detach().cpu().float().numpy()
    values = values.transpose(0, 2, 3, 1) if values.shape[1] == 3 else values.mean(axis=1)
    largest = np.abs(values).reshape(len(values), -1).max(axis=1)
    largest = np.where(largest > 0, largest, 1).reshape(-1, *[1] * (values.ndim - 1))
    return np.asarray(0.5 + 0.5 * values / largest, dtype=np.float32)


def tiled(
    images: npt.NDArray[np.float32], *, gap: int = 1, columns: int | None = None, filling: float = 1.0
) -> npt.NDArray[np.float32]:
    """Images (F, h, w) or (F, h, w, 3) side by side in rows, with a gap between them: one image of that kind."""
    count, height, width = images.shape[:3]
    columns = columns or math.ceil(math.sqrt(count * height / width))
    rows = -(-count // columns)
    sheet = np.full(
        (rows * (height + gap) - gap, columns * (width + gap) - gap, *images.shape[3:]), filling, dtype=np.float32
    )
    for index, image in enumerate(images):
        top, left = index // columns * (height + gap), index % columns * (width + gap)
        sheet[top : top + height, left : left + width] = image
    return sheet
