"""A linear probe: features of a frozen network once, then a well-regularised logistic regression on them.

Features are standardised, the strength of the L2 penalty is chosen on the validation split, and the result is folded
back into one linear layer, so that a probed network is an ordinary network.
"""

from __future__ import annotations

import dataclasses
import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from torch import nn

from eyebright.data.batches import PixelSet
from eyebright.progress import Progress
from eyebright.runtimes.runners import Run
from eyebright.training.device import autocast

STRENGTHS = (1e-4, 3e-4, 1e-3, 3e-3, 1e-2, 3e-2, 1e-1)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Probe:
    """A linear layer fitted on features.

    Attributes:
        weight: float64 (K, F) on raw features.
        bias: float64 (K,).
        strength: inverse strength C of the penalty, chosen on validation.
        val_loss, val_accuracy: on the validation split.
    """

    weight: npt.NDArray[np.float64]
    bias: npt.NDArray[np.float64]
    strength: float
    val_loss: float
    val_accuracy: float


def extract_features(
    network: nn.Module,
    images: PixelSet,
    *,
    progress: Progress,
    description: str,
    run: Run | None = None,
    batch_size: int = 64,
) -> npt.NDArray[np.float32]:
    """What goes into the network's classifier for every image in order: float32 (N, F).

    `run`, where it is given, computes them from pixels in place of the network (`eyebright.runtimes`).
    """
    network.eval()
    rows = []
    if run is not None:
        with progress.task(description, len(images)) as task:
            for pixels in images.centres(batch_size):
                rows.append(run(pixels))
                task.advance(len(pixels))
        return np.concatenate(rows)
    with torch.inference_mode(), autocast(images.device), progress.task(description, len(images)) as task:
        for batch in images.in_order(batch_size):
            maps = network.forward_features(batch.images)  # type: ignore[operator]
            rows.append(network.forward_head(maps, pre_logits=True).float().cpu().numpy())  # type: ignore[operator]
            task.advance(len(batch.images))
    return np.concatenate(rows)


def fit_probe(
    train: tuple[npt.NDArray[np.float32], npt.NDArray[np.int64], npt.NDArray[np.float32]],
    val: tuple[npt.NDArray[np.float32], npt.NDArray[np.int64]],
    *,
    classes: int,
    strengths: Sequence[float] = STRENGTHS,
) -> Probe:
    """Logistic regression for several penalties, from strong to weak; the lowest validation loss wins.

    The search ends when two weaker penalties in a row did not help.

    Args:
        train: features (N, F), class indices (N,) that name each of `classes`, and weights (N,).
        val: features and class indices.
        classes: number of classes.
        strengths: values of C to try.
    """
    features, targets, weights = train
    mean, std = features.mean(axis=0, dtype=np.float64), features.std(axis=0, dtype=np.float64)
    std[std < 1e-9] = 1.0  # a feature that never changes carries nothing; dividing by its rounding noise would
    scaled = ((features - mean) / std).astype(np.float64)
    scaled_val = (val[0] - mean) / std
    best: tuple[float, float, Any, Any, float] | None = None
    worse = 0
    solver = LogisticRegression(max_iter=300, tol=1e-4, warm_start=True)
    for strength in strengths:
        solver.set_params(C=strength)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)  # validation judges what an unfinished fit is worth
            solver.fit(scaled, targets, sample_weight=weights)
        weight, bias = _all_classes(solver, classes)
        logits = scaled_val @ weight.T + bias
        loss, accuracy = _log_loss(logits, val[1]), float((logits.argmax(1) == val[1]).mean())
        if best is None or loss < best[0]:
            best, worse = (loss, accuracy, weight, bias, strength), 0
        else:
            worse += 1
            if worse == 2:
                break
    assert best is not None
    loss, accuracy, weight, bias, strength = best
    folded = weight / std
    return Probe(weight=folded, bias=bias - folded @ mean, strength=strength, val_loss=loss, val_accuracy=accuracy)


def _all_classes(solver: LogisticRegression, classes: int) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Coefficients for every class: scikit-learn keeps one row for two classes."""
    weight, bias = solver.coef_, solver.intercept_
    if len(weight) == 1:
        weight, bias = np.concatenate([-weight, weight]) / 2, np.concatenate([-bias, bias]) / 2
    assert len(weight) == classes, "every class has training images"
    return weight, bias


def _log_loss(logits: npt.NDArray[np.float64], targets: npt.NDArray[np.int64]) -> float:
    shifted = logits - logits.max(axis=1, keepdims=True)
    log_probabilities = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    return float(-log_probabilities[np.arange(len(targets)), targets].mean())


@torch.no_grad()
def install_probe(layer: nn.Linear, probe: Probe) -> None:
    """Put the probe's weights into the network's classifier."""
    layer.weight.copy_(torch.from_numpy(probe.weight))
    layer.bias.copy_(torch.from_numpy(probe.bias))
