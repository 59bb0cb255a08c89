"""What any layer of a network makes of images: its channels as maps."""

from __future__ import annotations

import dataclasses

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from eyebright.errors import UsageError
from eyebright.explain.layers import Layer, explanation_layer, named_layer
from eyebright.explain.undisturbed import undisturbed
from eyebright.preprocess import Preprocess


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class FeatureMaps:
    """The output of a layer for some images.

    Attributes:
        layer: its path in the network.
        values: as the layer gave them, float32 (N, channels, rows, columns).
    """

    layer: str
    values: npt.NDArray[np.float32]

    def strongest(self, image: int, most: int) -> npt.NDArray[np.int64]:
        """Channels of an image, those first whose map varies most; at most so many."""
        spread = self.values[image].reshape(self.values.shape[1], -1).std(axis=1)
        return np.argsort(-spread, kind="stable")[:most].astype(np.int64)


def feature_maps(
    network: nn.Module, preprocess: Preprocess, pixels: npt.NDArray[np.uint8], layer: str | None = None
) -> FeatureMaps:
    """Maps of a layer.

    Args:
        network: with the bundle's weights; left as it was.
        preprocess: of the bundle.
        pixels: uint8 (N, size, size, channels).
        layer: path of the layer; None for the one that explanations are taken from.

    Raises:
        UsageError: there is no such layer, or its output has no rows and columns.
    """
    size = (preprocess.channels, preprocess.size, preprocess.size)
    found: Layer | None = named_layer(network, size, layer) if layer else explanation_layer(network, size)
    if found is None:
        raise UsageError(
            f"no layer of {type(network).__name__} keeps rows and columns", expected="a network that has maps"
        )
    kept: list[torch.Tensor] = []
    with undisturbed(network) as device:
        handle = found.module.register_forward_hook(lambda module, given, output: kept.append(output.detach()))
        try:
            with torch.no_grad():
                network(torch.from_numpy(preprocess.normalise(pixels)).to(device))
        finally:
            handle.remove()
    (output,) = kept
    return FeatureMaps(layer=found.name, values=found.reshape(output).float().cpu().numpy())
