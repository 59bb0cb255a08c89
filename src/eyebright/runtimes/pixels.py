"""Networks that take uint8 pixels: their normalisation is inside."""

from __future__ import annotations

import torch
from torch import nn

from eyebright.preprocess import Preprocess


class FromPixels(nn.Module):
    """A network with its normalisation before it."""

    scale: torch.Tensor
    shift: torch.Tensor

    def __init__(self, network: nn.Module, preprocess: Preprocess) -> None:
        super().__init__()
        scale, shift = preprocess.scale_and_shift()
        self.network = network
        self.register_buffer("scale", torch.from_numpy(scale))
        self.register_buffer("shift", torch.from_numpy(shift))

    def images(self, pixels: torch.Tensor) -> torch.Tensor:
        """uint8 (N, H, W, C) to float32 (N, C, H, W), channels-last in memory."""
        return (pixels.float() * self.scale + self.shift).permute(0, 3, 1, 2)


class PixelsToFeatures(FromPixels):
    """A network up to its classifier, with its normalisation before it."""

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        """uint8 (N, H, W, C) to features, float32 (N, F)."""
        maps = self.network.forward_features(self.images(pixels))  # type: ignore[operator]
        features: torch.Tensor = self.network.forward_head(maps, pre_logits=True)  # type: ignore[operator]
        return features.float()
