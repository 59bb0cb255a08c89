"""A trained classifier that teaches another one: its logits for the very images that the pupil sees."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

from eyebright.bundle import Bundle
from eyebright.data.batches import resized
from eyebright.errors import UsageError
from eyebright.models.catalog import restore_network
from eyebright.preprocess import Preprocess


class Teacher:
    """The teacher in evaluation mode, with its own input size and normalisation.

    Args:
        network: gives logits (B, K) in the teacher's order of classes.
        preprocess: what the teacher was trained with.
        order: int64 (K,), the teacher's index of each of the pupil's classes.
    """

    def __init__(self, network: nn.Module, preprocess: Preprocess, order: torch.Tensor, device: torch.device) -> None:
        self.network = network.to(device).eval().requires_grad_(False)
        self.size, self.channels = preprocess.size, preprocess.channels
        self.order = order.to(device)
        scale, shift = preprocess.scale_and_shift()
        self._scale = torch.from_numpy(255 * scale).to(device).view(1, -1, 1, 1)
        self._shift = torch.from_numpy(shift).to(device).view(1, -1, 1, 1)

    @torch.no_grad()
    def __call__(self, images: torch.Tensor) -> torch.Tensor:
        """Logits (B, K) in the pupil's order of classes, for images float32 (B, C, H, W) on the scale from 0 to 1."""
        if images.shape[1] != self.channels:
            images = images.expand(-1, 3, -1, -1) if self.channels == 3 else images.mean(1, keepdim=True)
        if images.shape[-1] != self.size:
            images = resized(images, self.size)
        logits: torch.Tensor = self.network(torch.addcmul(self._shift, images, self._scale))
        return logits.float()[:, self.order]


def make_teacher(bundle: Bundle, classes: Sequence[str], device: torch.device) -> Teacher:
    """The teacher of a bundle for pupils with these classes.

    Raises:
        UsageError: it knows other classes.
    """
    known = {name: number for number, name in enumerate(bundle.record.classes)}
    if set(known) != set(classes):
        lacking, foreign = sorted(set(classes) - set(known)), sorted(set(known) - set(classes))
        raise UsageError(
            f"the teacher {bundle.path} knows other classes: it lacks {lacking[:5]} and has {foreign[:5]} besides",
            expected="a classifier of the same classes",
            remedy="train a teacher on this data set, or leave distil.teacher out",
        )
    order = torch.tensor([known[name] for name in classes])
    return Teacher(restore_network(bundle), bundle.record.preprocess, order, device)
