"""Heat maps of what a network looked at, by any of eight methods, in one form: float32 (N, H, W) in [0, 1]."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Literal

import numpy as np
import numpy.typing as npt
import torch
from torch import nn
from torch.nn import functional as F

from eyebright.errors import UsageError, did_you_mean
from eyebright.explain.attribution import integrated_gradients, occlusion
from eyebright.explain.cam import activation_maps
from eyebright.explain.layers import Layer, explanation_layer, has_gradient, named_layer
from eyebright.explain.rollout import attention_rollout, can_roll_out
from eyebright.explain.undisturbed import undisturbed
from eyebright.preprocess import Preprocess

BATCH = 16


@dataclasses.dataclass(frozen=True, kw_only=True)
class Method:
    """A way to explain.

    Attributes:
        name: as a user writes it.
        title: as a reader sees it.
        source: who published it.
        needs: a layer with a map, the attention of a transformer, a gradient, or nothing.
    """

    name: str
    title: str
    source: str
    needs: Literal["layer", "attention", "gradient", "nothing"]

    @property
    def quick(self) -> bool:
        """Whether a map costs about as much as a prediction, not a hundred of them."""
        return self.needs in ("layer", "attention")


METHODS = {
    method.name: method
    for method in (
        Method(name="grad-cam", title="Grad-CAM", source="Selvaraju et al. 2016, arXiv:1610.02391", needs="layer"),
        Method(
            name="grad-cam++", title="Grad-CAM++", source="Chattopadhyay et al. 2017, arXiv:1710.11063", needs="layer"
        ),
        Method(name="hires-cam", title="HiResCAM", source="Draelos and Carin 2020, arXiv:2011.08891", needs="layer"),
        Method(
            name="layer-cam", title="LayerCAM", source="Jiang et al. 2021, doi:10.1109/TIP.2021.3089943", needs="layer"
        ),
        Method(name="eigen-cam", title="Eigen-CAM", source="Muhammad and Yeasin 2020, arXiv:2008.00299", needs="layer"),
        Method(
            name="rollout",
            title="Attention rollout",
            source="Abnar and Zuidema 2020, arXiv:2005.00928",
            needs="attention",
        ),
        Method(name="occlusion", title="Occlusion", source="Zeiler and Fergus 2013, arXiv:1311.2901", needs="nothing"),
        Method(
            name="integrated-gradients",
            title="Integrated gradients",
            source="Sundararajan et al. 2017, arXiv:1703.01365",
            needs="gradient",
        ),
    )
}


def check_method(name: str) -> Method:
    """The method with a name.

    Raises:
        UsageError: there is none.
    """
    if name not in METHODS:
        raise UsageError(
            f"unknown method {name!r}{did_you_mean(name, METHODS)}", expected=f"one of {', '.join(METHODS)}"
        )
    return METHODS[name]


def methods_for(network: nn.Module, input_size: Sequence[int], layer: Layer | None = None) -> list[str]:
    """Names of the methods that work for a network.

    Args:
        network: left as it was.
        input_size: (C, H, W).
        layer: the explanation layer if it is known already.
    """
    layer = layer or explanation_layer(network, input_size)
    able = {"nothing"} | ({"layer", "gradient"} if layer is not None else set())
    if layer is None and has_gradient(network, input_size):
        able.add("gradient")
    with undisturbed(network):
        if can_roll_out(network, input_size, layer):
            able.add("attention")
    return [method.name for method in METHODS.values() if method.needs in able]


def heat_maps(
    network: nn.Module,
    preprocess: Preprocess,
    pixels: npt.NDArray[np.uint8],
    classes: npt.NDArray[np.int64] | None,
    method: str,
    layer: Layer | str | None = None,
) -> npt.NDArray[np.float32]:
    """What the network looked at when it gave these images these classes.

    The network is left as it was: mode, gradients, random state. Batches of 16.

    Args:
        network: with the bundle's weights, on any device.
        preprocess: of the bundle.
        pixels: uint8 (N, size, size, channels), as `preprocess.pixels` gives them.
        classes: index of the class to explain for each image, (N,); None for the predicted ones.
        method: one of `METHODS`.
        layer: for the methods that need one; its name, or None for `explanation_layer`.

    Returns:
        float32 (N, size, size), scaled for each image so that its hottest place is 1; an image in which nothing speaks
        for the class has zeros only.

    Raises:
        UsageError: the method does not work for this network, or the layer does not exist or has no map.
    """
    needs_map = check_method(method).quick
    size = (preprocess.channels, preprocess.size, preprocess.size)
    if isinstance(layer, str):
        layer = named_layer(network, size, layer)
    if layer is None and needs_map:
        layer = explanation_layer(network, size)
    made = []
    with undisturbed(network) as device:
        if needs_map and layer is None:
            raise _no_map(network, method)
        if method == "rollout" and not can_roll_out(network, size, layer):
            raise UsageError(
                f"{METHODS[method].title} for {type(network).__name__}, which has no attention among all its patches",
                expected=f"one of {', '.join(name for name in METHODS if name != method)}",
            )
        for first in range(0, len(pixels), BATCH):
            images = torch.from_numpy(preprocess.normalise(pixels[first : first + BATCH])).to(device)
            images = images.contiguous(memory_format=torch.channels_last)
            if classes is None:
                with torch.no_grad():
                    wanted = network(images).argmax(dim=1)
            else:
                wanted = torch.from_numpy(classes[first : first + BATCH]).to(device)
            made.append(_of_batch(network, images, wanted, method, layer))
    side = (preprocess.size, preprocess.size)
    return np.concatenate(made) if made else np.zeros((0, *side), dtype=np.float32)


def _of_batch(
    network: nn.Module, images: torch.Tensor, classes: torch.Tensor, method: str, layer: Layer | None
) -> npt.NDArray[np.float32]:
    if method == "occlusion":
        return scaled(occlusion(network, images, classes))
    if method == "integrated-gradients":
        return scaled(integrated_gradients(network, images, classes))
    assert layer is not None
    if method == "rollout":
        maps = torch.from_numpy(attention_rollout(network, images, layer.grid))[:, None]
        return scaled(F.interpolate(maps, size=images.shape[2:], mode="bilinear", align_corners=False)[:, 0].numpy())
    return scaled(activation_maps(method, network, layer, images, classes.cpu().numpy()))


def scaled(maps: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Maps (N, H, W) shifted and stretched so that each goes from 0 to 1; one that is the same everywhere is zero."""
    maps = maps - maps.min(axis=(1, 2), keepdims=True)
    highest = maps.max(axis=(1, 2), keepdims=True)
    return np.asarray(np.divide(maps, highest, out=np.zeros_like(maps), where=highest > 0), dtype=np.float32)


def _no_map(network: nn.Module, method: str) -> UsageError:
    free = [name for name, other in METHODS.items() if not other.quick]
    return UsageError(
        f"{METHODS[method].title} for {type(network).__name__}: no layer of it keeps rows and columns",
        expected=f"{' or '.join(free)}, which need no layer",
        remedy=f"--method {free[0]}",
    )
