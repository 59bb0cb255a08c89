"""What a shallow classifier goes by: how much is lost when a family of features, or a part of the image, says nothing.

Permutation importance (Breiman, Random Forests, Machine Learning 45, 2001) of groups of columns: the columns of a group
are shuffled together among the images, so that they are as they usually are and no longer belong to the image. Groups
that say the same share their importance: where one is shuffled the other still tells. For a linear head there are also
the sizes of its coefficients, on standardised features.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from eyebright.data.batches import PixelSet
from eyebright.models.shallow.features import GRID, WHOLE
from eyebright.models.shallow.network import Shallow
from eyebright.models.shallow.table import raw_features
from eyebright.progress import Progress, Silent

_BATCH = 256

Columns = npt.NDArray[np.int64]
Logits = npt.NDArray[np.float64]


def shallow_importance(
    network: nn.Module,
    images: PixelSet,
    *,
    repeats: int = 5,
    most_images: int = 500,
    seed: int = 0,
    progress: Progress | None = None,
) -> dict[str, Any] | None:
    """Importance of each family of features and of each cell of a 4x4 grid.

    Args:
        network: of any kind; None comes back for one that is not shallow.
        images: labelled images that it has not learnt from, such as the validation images.
        repeats: how often each group is shuffled.
        most_images: of more images so many are taken, evenly.
        seed: of the shuffles.
        progress: whom to tell.

    Returns:
        Plain values for JSON:
            images, repeats, accuracy, loss: of the classifier on these images, before calibration;
            head: `linear`, `kernel` or `trees`;
            families: for each name `features` (how many), `accuracy_lost` and `loss_gained`, each with its mean over
                repeats (`value`) and their standard deviation (`spread`), and for a linear head `weight`, the family's
                share of the squared coefficients;
            cells: 4 rows of 4 such entries, of the features of that cell, of all families; those of the whole image
                are in no cell.
    """
    if not isinstance(network, Shallow) or not network.num_classes:
        return None
    progress = progress or Silent()
    chosen = np.linspace(0, len(images) - 1, min(most_images, len(images))).astype(np.int64)
    images = images.part(np.unique(chosen))
    network.eval()
    raw = raw_features(network, images, progress=progress, description="features")
    generator = np.random.default_rng(seed)
    families, cells = _groups(network)
    logits = _logits(network, raw)
    accuracy, loss = _figures(logits, images.targets)
    squares = _squared_coefficients(network)

    def entry(columns: Columns) -> dict[str, Any]:
        drops = []
        for _ in range(repeats):
            shuffled = raw.copy()
            shuffled[:, columns] = raw[generator.permutation(len(raw))][:, columns]
            then = _figures(_logits(network, shuffled), images.targets)
            drops.append((accuracy - then[0], then[1] - loss))
        lost, gained = np.array(drops).T
        found: dict[str, Any] = {
            "features": len(columns), "accuracy_lost": _spread(lost), "loss_gained": _spread(gained)
        }  # fmt: skip
        if squares is not None:
            found["weight"] = float(squares[columns].sum() / max(squares.sum(), 1e-30))
        return found

    with progress.task("importance of features", len(families) + GRID**2, "groups") as task:
        measured: list[dict[str, Any]] = []
        for columns in (*families.values(), *cells):
            measured.append(entry(columns))
            task.advance()
    by_cell = measured[len(families) :]
    return {
        "images": len(images),
        "repeats": repeats,
        "accuracy": accuracy,
        "loss": loss,
        "head": network.head,
        "families": dict(zip(families, measured, strict=False)),
        "cells": [by_cell[row * GRID : (row + 1) * GRID] for row in range(GRID)],
    }


def _groups(network: Shallow) -> tuple[Mapping[str, Columns], list[Columns]]:
    """Columns of each family, and of each cell in reading order."""
    cell_of = network.columns()
    ends = np.cumsum([len(cells) for cells in cell_of.values()])
    families = {
        name: np.arange(end - len(cells), end) for (name, cells), end in zip(cell_of.items(), ends, strict=True)
    }
    everywhere = np.concatenate(list(cell_of.values()))
    assert everywhere.min() >= WHOLE
    return families, [np.flatnonzero(everywhere == cell) for cell in range(GRID**2)]


def _logits(network: Shallow, raw: npt.NDArray[np.float32]) -> Logits:
    rows = []
    with torch.inference_mode():
        for first in range(0, len(raw), _BATCH):
            part = torch.from_numpy(raw[first : first + _BATCH]).to(network.mean.device)
            rows.append(network.forward_head(part).double().cpu().numpy())
    return np.concatenate(rows)


def _figures(logits: Logits, targets: npt.NDArray[np.int64]) -> tuple[float, float]:
    shifted = logits - logits.max(axis=1, keepdims=True)
    losses = np.log(np.exp(shifted).sum(axis=1)) - shifted[np.arange(len(targets)), targets]
    return float((logits.argmax(1) == targets).mean()), float(losses.mean())


def _spread(values: npt.NDArray[np.float64]) -> dict[str, float]:
    return {"value": float(values.mean()), "spread": float(values.std(ddof=1)) if len(values) > 1 else 0.0}


def _squared_coefficients(network: Shallow) -> npt.NDArray[np.float64] | None:
    """Sum over classes of the squared coefficients of each feature (F,), without what all classes have in common."""
    layer = network.get_classifier()
    if not isinstance(layer, nn.Linear):
        return None
    weight = layer.weight.detach().double().cpu().numpy()
    return np.asarray(((weight - weight.mean(axis=0)) ** 2).sum(axis=0))
