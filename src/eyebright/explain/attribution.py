"""Maps that need no layer, by captum: occlusion and integrated gradients. They work for every network."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch
from torch import nn
from torch.nn import functional as F

Floats = npt.NDArray[np.float32]

OCCLUDED_CELLS = 7
"""A patch has a seventh of the image's side, and moves by half of that."""
GRADIENT_STEPS = 24
_SMOOTHING_CELLS = 28
"""Single pixels mean little: integrated gradients are smoothed over a 28th of the side."""
_AT_A_TIME = 32


def occlusion(network: nn.Module, images: torch.Tensor, classes: torch.Tensor) -> Floats:
    """How much the class's log-odds fall where a patch is covered with the mean colour of training.

    Zeiler and Fergus 2013 (arXiv:1311.2901), with log-odds because a probability of almost 1 hardly moves. What the
    class gains from being covered counts as zero.

    Args:
        network: in evaluation mode.
        images: normalised, (N, C, H, W).
        classes: (N,).

    Returns:
        float32 (N, H, W), not scaled.
    """
    from captum.attr import Occlusion

    sides = [max(1, round(side / OCCLUDED_CELLS)) for side in images.shape[2:]]
    strides = [max(1, side // 2) for side in sides]

    def log_odds(batch: torch.Tensor, wanted: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = network(_channels_last(batch)).float()
        others = logits.scatter(1, wanted[:, None], -torch.inf).logsumexp(dim=1)
        return logits.gather(1, wanted[:, None])[:, 0] - others

    with torch.no_grad():
        falls = Occlusion(log_odds).attribute(
            images,
            sliding_window_shapes=(images.shape[1], *sides),
            strides=(images.shape[1], *strides),
            baselines=0.0,  # of normalised images: the mean
            additional_forward_args=classes,
            perturbations_per_eval=max(1, _AT_A_TIME // len(images)),
        )
    # Without the smoothing the edges of the patches would look like edges in the image.
    return _numbers(smoothed(falls.float().mean(dim=1, keepdim=True).clamp(min=0), min(strides) / 2)[:, 0])


def integrated_gradients(network: nn.Module, images: torch.Tensor, classes: torch.Tensor) -> Floats:
    """What each pixel adds to the class's logit on the way from the mean colour to the image, smoothed.

    Sundararajan, Taly and Yan 2017 (arXiv:1703.01365), in 24 steps.

    Args:
        network: in evaluation mode, with frozen parameters (`undisturbed`).
        images: normalised, (N, C, H, W).
        classes: (N,).

    Returns:
        float32 (N, H, W), not scaled.
    """
    from captum.attr import IntegratedGradients

    parts = IntegratedGradients(lambda batch: network(_channels_last(batch))).attribute(
        images, baselines=0.0, target=classes, n_steps=GRADIENT_STEPS, internal_batch_size=max(_AT_A_TIME, len(images))
    )
    added = parts.detach().float().sum(dim=1, keepdim=True).clamp(min=0)  # (N, 1, H, W)
    return _numbers(smoothed(added, min(images.shape[2:]) / _SMOOTHING_CELLS)[:, 0])


def smoothed(maps: torch.Tensor, deviation: float) -> torch.Tensor:
    """Maps (N, C, H, W) blurred with a Gaussian of this deviation in pixels; the borders are mirrored."""
    reach = min(round(3 * deviation), min(maps.shape[2:]) - 1)
    if reach < 1:
        return maps
    steps = torch.arange(-reach, reach + 1, device=maps.device, dtype=maps.dtype)
    weights = torch.exp(-0.5 * (steps / deviation) ** 2)
    weights = weights / weights.sum()
    channels = maps.shape[1]
    padded = F.pad(maps, (reach, reach, reach, reach), mode="reflect")
    across = F.conv2d(padded, weights.view(1, 1, 1, -1).expand(channels, 1, 1, -1), groups=channels)
    return F.conv2d(across, weights.view(1, 1, -1, 1).expand(channels, 1, -1, 1), groups=channels)


def _channels_last(batch: torch.Tensor) -> torch.Tensor:
    return batch.contiguous(memory_format=torch.channels_last)  # faster on a CPU; captum does not keep the order


def _numbers(maps: torch.Tensor) -> Floats:
    return np.asarray(maps.detach().float().cpu().numpy(), dtype=np.float32)
