"""Class activation maps by the grad-cam package, run so that only what lies behind the layer is differentiated.

grad-cam is imported inside: it costs more than a second beside torch.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from eyebright.explain.attribution import smoothed
from eyebright.explain.layers import Layer

_EVENED_CELLS = 0.35

Floats = npt.NDArray[np.float32]

_NAMES = {
    "grad-cam": "GradCAM",
    "grad-cam++": "GradCAMPlusPlus",
    "hires-cam": "HiResCAM",
    "layer-cam": "LayerCAM",
    "eigen-cam": "EigenCAM",
}


def activation_maps(
    method: str, network: nn.Module, layer: Layer, images: torch.Tensor, classes: npt.NDArray[np.int64]
) -> Floats:
    """Maps of a batch, each from 0 to about 1, at the size of the images.

    Args:
        method: one of grad-cam, grad-cam++, hires-cam, layer-cam, eigen-cam.
        network: in evaluation mode, with frozen parameters (`undisturbed`).
        layer: where the maps are taken.
        images: normalised, (N, C, H, W).
        classes: (N,).

    Returns:
        float32 (N, H, W).
    """
    import pytorch_grad_cam
    from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget

    made = (
        _economical(pytorch_grad_cam.EigenCAM) if method == "eigen-cam" else getattr(pytorch_grad_cam, _NAMES[method])
    )
    begin = layer.module.register_forward_hook(_begin_here)
    cam = made(_Asked(network), [layer.module], reshape_transform=layer.reshape)
    end = layer.module.register_forward_hook(_go_on_with_a_copy)
    try:
        maps = cam(images, [ClassifierOutputTarget(int(index)) for index in classes])
    finally:
        cam.activations_and_grads.release()
        begin.remove()
        end.remove()
    cell = min(images.shape[2] / layer.grid[0], images.shape[3] / layer.grid[1])
    # grad-cam enlarges in straight lines from cell to cell, which shows as crosses and stars.
    even = smoothed(torch.from_numpy(np.nan_to_num(np.asarray(maps, dtype=np.float32)))[:, None], _EVENED_CELLS * cell)
    return np.asarray(even[:, 0].numpy(), dtype=np.float32)


class _Asked(nn.Module):
    """The network as grad-cam wants it: with parameters, in evaluation mode, and with no gradients to clear."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: torch.Tensor) -> Any:
        return self.network(images)

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Nothing to do: the parameters are frozen, and gradients that the caller has are the caller's."""


def _begin_here(_: nn.Module, __: Any, output: torch.Tensor) -> torch.Tensor:
    """The graph begins at the layer. A copy, because what follows may write into it, which a leaf does not allow."""
    return output.detach().requires_grad_().clone()


def _go_on_with_a_copy(_: nn.Module, __: Any, output: torch.Tensor) -> torch.Tensor:
    """grad-cam has kept the output itself; an activation that works in place must not change it."""
    return output.clone()


def _economical(eigen: type[Any]) -> type[Any]:
    """Eigen-CAM (Muhammad and Yeasin 2020, arXiv:2008.00299) with the small decomposition and a sign.

    grad-cam computes all right singular vectors of a (positions, channels) matrix, most of which span nothing, and the
    sign of the first one is whatever the solver gives. Here the largest value is positive.
    """

    class Economical(eigen):  # type: ignore[misc]
        def get_cam_image(
            self, _: Any, __: Any, ___: Any, activations: npt.NDArray[Any], *____: Any
        ) -> npt.NDArray[np.float32]:
            flat = activations.reshape(*activations.shape[:2], -1).astype(np.float64)  # (N, C, H * W)
            flat -= flat.mean(axis=2, keepdims=True)
            left, scale, _right = np.linalg.svd(flat.transpose(0, 2, 1), full_matrices=False)
            projected = left[:, :, 0] * scale[:, :1]
            highest, lowest = projected.max(axis=1), projected.min(axis=1)
            projected *= np.where(-lowest > highest, -1.0, 1.0)[:, None]
            maps = projected.reshape(len(activations), *activations.shape[2:])
            return np.asarray(maps, dtype=np.float32)

    return Economical
