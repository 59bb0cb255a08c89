"""From images to a table of features, and how features are standardised."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch

from eyebright.data.batches import PixelSet
from eyebright.models.shallow.network import Shallow
from eyebright.progress import Progress

_UNCHANGING = 1e-6
_BATCH = 64

Floats = npt.NDArray[np.float32]


def raw_features(network: Shallow, images: PixelSet, *, progress: Progress, description: str) -> Floats:
    """What the network computes of every image in order, before it is standardised: float32 (N, F)."""
    table = np.empty((len(images), network.num_features), dtype=np.float32)
    first = 0
    with torch.inference_mode(), progress.task(description, len(images)) as task:
        for batch in images.in_order(_BATCH):
            rows = network.forward_features(batch.images).cpu().numpy()
            table[first : first + len(rows)] = rows
            first += len(rows)
            task.advance(len(rows))
    return table


@torch.no_grad()
def standardise(network: Shallow, raw: Floats) -> None:
    """Give the network mean and scale of these features (N, F); one that never changes is left as it is."""
    mean, std = raw.mean(axis=0, dtype=np.float64), raw.std(axis=0, dtype=np.float64)
    std[std < _UNCHANGING] = 1.0
    network.mean.copy_(torch.from_numpy(mean))
    network.scale.copy_(torch.from_numpy(1 / std))


def standardised(network: Shallow, raw: Floats) -> Floats:
    """Features (N, F) as the head sees them: the same operations on the same numbers, so the same bits."""
    mean, scale = network.mean.cpu().numpy(), network.scale.cpu().numpy()
    values: Floats = raw - mean
    values *= scale
    return values
