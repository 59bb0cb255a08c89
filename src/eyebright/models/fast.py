"""`fastnet`: small images to a good accuracy in the least time, trained from scratch.

A frozen convolution that whitens patches of 2x2 pixels, three blocks of 3x3 convolutions that begin as identities, the
largest value of every channel, and one linear layer. The network is that of Jordan 2024 (arXiv:2404.00498), for any
number of classes and channels and any side from about 16 to 64 pixels. In evaluation it averages over mirrored and
shifted views of an image within its own forward pass, so that the graph which is exported does the same.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from timm.models import generate_default_cfgs, register_model
from torch import nn

from eyebright.errors import UsageError
from eyebright.models.network import BlockNetwork, build, configuration

WIDTH = 64
MULTIPLES = (1, 4, 4)
FEATURE_SCALE = 1 / 9
"""What the features are multiplied with, so that the first logits are small and the classifier's rate can be high."""
PATCH_SIDE = 2
SMOOTHING = 5e-4
"""Share of the mean variance of a patch that is added to each of its variances before dividing by their roots."""
LEAST_VARIANCE = 1e-6

default_cfgs = generate_default_cfgs({"fastnet": configuration(size=32, first_conv="stem.whiten")})


class Whitening(nn.Conv2d):
    """A convolution whose outputs are the principal components of a patch with variance one, and their negatives.

    (B, C, H, W) to (B, 8 C, H - 1, W - 1). The weights are a buffer: they come from images (`whiten`), are saved with
    the network, and never train. The bias does.
    """

    def __init__(self, channels: int) -> None:
        components = channels * PATCH_SIDE**2
        super().__init__(channels, 2 * components, PATCH_SIDE, bias=True)
        del self.weight
        unit = torch.eye(components).view(components, channels, PATCH_SIDE, PATCH_SIDE)
        self.register_buffer("weight", torch.cat([unit, -unit]))
        assert self.bias is not None
        nn.init.zeros_(self.bias)

    @torch.no_grad()
    def whiten(self, batches: Iterable[torch.Tensor], *, smoothing: float = SMOOTHING) -> None:
        """Set weights and bias so that patches of these images have mean zero and covariance one (Coates and Ng 2012,
        "Learning feature representations with k-means"; as a first layer, Page 2018, "How to train your ResNet").

        Args:
            batches: normalised images, float (B, C, H, W), at least one patch in all.
            smoothing: see `SMOOTHING`; components that hardly vary are noise, which this keeps from being blown up.
        """
        components = self.in_channels * PATCH_SIDE**2
        count = 0
        total = torch.zeros(components, dtype=torch.float64)
        products = torch.zeros(components, components, dtype=torch.float64)
        for images in batches:
            images = images.float().contiguous()
            images = images.cpu() if images.device.type == "mps" else images  # which has no float64
            patches = F.unfold(images, PATCH_SIDE).transpose(1, 2).reshape(-1, components).double()
            count += len(patches)
            total += patches.sum(0).cpu()
            products += (patches.T @ patches).cpu()
        assert count > 0, "there are images to whiten"
        mean = total / count
        variances, directions = torch.linalg.eigh(products / count - mean.outer(mean))  # ascending; columns
        floor = max(smoothing * float(variances.mean()), LEAST_VARIANCE)
        rows = directions.T.flip(0) / (variances.flip(0).clamp(min=0) + floor).sqrt()[:, None]
        both = torch.cat([rows, -rows])
        assert self.bias is not None
        self.weight.copy_(both.view_as(self.weight))
        self.bias.copy_(-both @ mean)


class ShiftNorm(nn.BatchNorm2d):
    """Batch norm that learns a shift and no scale: the convolutions after it have that already."""

    def __init__(self, channels: int) -> None:
        super().__init__(channels)
        del self.weight
        self.register_buffer("weight", torch.ones(channels))


class FastBlock(nn.Module):
    """Two 3x3 convolutions, or three with a shortcut around the last two; the first is followed by 2x2 max-pooling.

    (B, inputs, H, W) to (B, outputs, H / 2, W / 2).
    """

    def __init__(self, inputs: int, outputs: int, depth: int) -> None:
        super().__init__()
        self.conv1, self.pool, self.norm1 = UnitConv(inputs, outputs), nn.MaxPool2d(2), ShiftNorm(outputs)
        self.activation1 = nn.GELU()
        self.conv2, self.norm2, self.activation2 = UnitConv(outputs, outputs), ShiftNorm(outputs), nn.GELU()
        self.conv3: nn.Module | None = None
        if depth == 3:
            self.conv3, self.norm3, self.activation3 = UnitConv(outputs, outputs), ShiftNorm(outputs), nn.GELU()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(B, inputs, H, W) to (B, outputs, H / 2, W / 2)."""
        x = self.activation1(self.norm1(self.pool(self.conv1(x))))
        y: torch.Tensor = self.activation2(self.norm2(self.conv2(x)))
        if self.conv3 is None:
            return y
        return self.activation3(self.norm3(self.conv3(y)) + x)  # type: ignore[no-any-return]


class UnitConv(nn.Conv2d):
    """A 3x3 convolution whose filters have norm one on average, before every step of training.

    Batch norm takes their scale away in any case, so that a larger norm only makes the steps smaller; with the norm
    held, the rate alone says how far a step goes (Jordan 2024 does the same inside the optimiser). The first filters
    begin by passing their inputs on (Dirac kernels), the others random as torch makes them.

    (B, inputs, H, W) to (B, outputs, H, W).
    """

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__(inputs, outputs, 3, padding=1, bias=False)
        nn.init.dirac_(self.weight.data[: min(inputs, outputs)])
        self.scale_to_one()

    @torch.no_grad()
    def scale_to_one(self) -> None:
        """Bring the norm of all filters together to the root of their number."""
        self.weight.mul_(self.out_channels**0.5 / self.weight.norm())

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(B, inputs, H, W) to (B, outputs, H, W)."""
        if self.training and self.weight.requires_grad:
            self.scale_to_one()
        return super().forward(x)


class LargestValue(nn.Module):
    """The largest value of every channel over all positions: (B, C, H, W) to (B, C)."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(B, C, H, W) to (B, C)."""
        return x.amax((2, 3))


class Scaled(nn.Module):
    """What comes in times a number."""

    def __init__(self, factor: float) -> None:
        super().__init__()
        self.factor = factor

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """The same shape."""
        return x * self.factor

    def extra_repr(self) -> str:
        """The number, for the printed network."""
        return f"{self.factor:.4g}"


class FastNet(BlockNetwork):
    """The network.

    Args:
        num_classes: outputs; 0 leaves the classifier out.
        in_chans: input channels.
        drop_rate: dropout before the classifier.
        width: channels of the first block; the others have four times as many.
        widths: channels of the three blocks, in place of `width`.
        depth: convolutions in a block, 2 or 3.
        tta: views of an image that evaluation averages over: 0 itself, 1 also its mirror image, 2 these also shifted by
            a pixel up and left and down and right, which together weigh as much as those in place.
        mirror: whether mirror images are among the views.

    Raises:
        UsageError: another depth or number of views.
    """

    def __init__(
        self,
        num_classes: int = 10,
        in_chans: int = 3,
        drop_rate: float = 0.0,
        width: int = WIDTH,
        widths: Sequence[int] | None = None,
        depth: int = 2,
        tta: int = 0,
        mirror: bool = True,
    ) -> None:
        if depth not in (2, 3):
            raise UsageError(f"depth={depth!r} for fastnet", expected="2 or 3 convolutions in a block")
        if tta not in (0, 1, 2):
            raise UsageError(f"tta={tta!r} for fastnet", expected="0 (one view), 1 (mirrored) or 2 (shifted too)")
        channels = [width * multiple for multiple in MULTIPLES] if widths is None else list(widths)
        if len(channels) != len(MULTIPLES) or min(channels) < 1:
            raise UsageError(f"channels {channels} for fastnet", expected="three numbers above zero")
        whiten = Whitening(in_chans)
        inputs = [whiten.out_channels, *channels]
        super().__init__(
            stem=nn.Sequential(OrderedDict(whiten=whiten, activation=nn.GELU())),
            blocks=[FastBlock(one, other, depth) for one, other in zip(inputs, channels, strict=False)],
            neck=[LargestValue(), Scaled(FEATURE_SCALE), nn.Dropout(drop_rate)],
            num_features=channels[-1],
            num_classes=num_classes,
            drop_rate=drop_rate,
            mode=None,
        )
        self.tta = tta
        self.mirror = mirror

    @property
    def whitening(self) -> Whitening:
        """The first layer, whose weights come from images."""
        layer = self.stem[0]  # type: ignore[index]
        assert isinstance(layer, Whitening)
        return layer

    def forward_features(self, x: torch.Tensor) -> torch.Tensor:
        """Images (B, C, H, W) to feature maps (B, num_features, H', W').

        In evaluation with several views, the largest values of each view, averaged: (B, num_features, 1, 1). The
        classifier is linear, so that this averages the logits too. The image itself comes last, so that whoever
        listens to a layer is left with what it gave for the image as it is.
        """
        if self.training or self.tta == 0:
            return super().forward_features(x)
        seen = [
            weight * super(FastNet, self).forward_features(view).amax((2, 3), keepdim=True)
            for weight, view in views(x, self.tta, mirror=self.mirror)
        ]
        return torch.stack(seen).sum(0)


def views(images: torch.Tensor, tta: int, *, mirror: bool) -> Iterator[tuple[float, torch.Tensor]]:
    """What evaluation looks at in place of images (B, C, H, W), with the weight of each view; they sum to one.

    Images shifted by a pixel are reflected at the edge. The images themselves come last.
    """
    shifted = []
    if tta == 2:
        wide = F.pad(images, (1, 1, 1, 1), mode="reflect")
        shifted = [wide[:, :, 2:, 2:], wide[:, :, :-2, :-2]]
    places = [(0.25, view) for view in shifted] + [(0.5 if shifted else 1.0, images)]
    for weight, view in places:
        if tta >= 1 and mirror:
            weight = weight / 2
            yield weight, view.flip(-1)
        yield weight, view


@register_model
def fastnet(pretrained: bool = False, **arguments: Any) -> FastNet:
    """Width 64: 2 million weights. None are published; timm loads those of a bundle (`local-dir:...`)."""
    return build(FastNet, "fastnet", pretrained, arguments)
