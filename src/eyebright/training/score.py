"""Figures on a set of images while training: logits, and what the loop chooses by. The final metrics are elsewhere."""

from __future__ import annotations

import contextlib
import dataclasses

import torch
import torch.nn.functional as F
from torch import nn

from eyebright.data.batches import PixelSet
from eyebright.training.device import autocast
from eyebright.training.level import Level
from eyebright.training.team import ALONE, Team

TOP = 5
BATCH, GPU_BATCH = 64, 256
"""Images at a time. A GPU has next to nothing to do with few, and without gradients more of them fit."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Score:
    """Figures on a set of images.

    Attributes:
        loss: mean cross-entropy, without label smoothing.
        accuracy, balanced_accuracy, macro_f1: over the classes that occur among the images.
        top5_accuracy: None with five classes or fewer.
    """

    loss: float
    accuracy: float
    balanced_accuracy: float
    macro_f1: float
    top5_accuracy: float | None

    def record(self) -> dict[str, float]:
        """The figures that there are, under the names of the history (`val_loss`, ...)."""
        return {f"val_{name}": value for name, value in dataclasses.asdict(self).items() if value is not None}


def predict_logits(
    network: nn.Module,
    images: PixelSet,
    batch_size: int | None = None,
    *,
    exact: bool = False,
    size: int | None = None,
    precision: str = "auto",
) -> torch.Tensor:
    """Logits of every image in order: float32 (N, K), on the CPU. The network is left in evaluation mode.

    They stay on the device until the last batch was asked for, so that a GPU is waited for once.

    `exact` computes in float32 throughout, also where a GPU would take a shorter type; `size` resizes the images.
    """
    network.eval()
    batch_size = batch_size or (GPU_BATCH if images.device.type == "cuda" else BATCH)
    shorter = contextlib.nullcontext() if exact else autocast(images.device, precision)
    with torch.inference_mode(), shorter:
        parts = [network(batch.images).float() for batch in images.in_order(batch_size, size=size)]
        return torch.cat(parts).cpu()


def score(
    network: nn.Module,
    images: PixelSet,
    batch_size: int | None = None,
    *,
    size: int | None = None,
    precision: str = "auto",
    level: Level | None = None,
    team: Team = ALONE,
) -> Score:
    """Evaluate on a set, each image once: every process of the team takes a part, and all get the whole figures."""
    part = images.part(team.slice_of(len(images))) if team.size > 1 else images
    if len(part):
        logits = predict_logits(network, part, batch_size, size=size, precision=precision)
    else:
        logits = torch.zeros(0, network.num_classes)  # type: ignore[call-overload]
    logits = team.gather(logits) if team.size > 1 else logits
    targets = torch.from_numpy(images.targets)
    if level is not None:
        logits, targets = level.logits(logits), level.targets(targets)
    return score_logits(logits, targets)


def score_logits(logits: torch.Tensor, targets: torch.Tensor) -> Score:
    """Figures from logits float32 (N, K) and class indices int64 (N,)."""
    classes = logits.shape[1]
    predicted = logits.argmax(1)
    confusion = torch.bincount(targets * classes + predicted, minlength=classes**2).view(classes, classes).double()
    right, occurring = confusion.diag(), confusion.sum(1)
    present = occurring > 0
    f1 = 2 * right / (occurring + confusion.sum(0)).clamp(min=1)
    top = (logits.topk(TOP, dim=1).indices == targets[:, None]).any(1).double().mean() if classes > TOP else None
    return Score(
        loss=float(F.cross_entropy(logits, targets)),
        accuracy=float((predicted == targets).double().mean()),
        balanced_accuracy=float((right / occurring)[present].mean()),
        macro_f1=float(f1[present].mean()),
        top5_accuracy=None if top is None else float(top),
    )
