"""Which level of classes a stage learns: superclasses first, then classes (a coarse-to-fine curriculum).

The classifier stays that of the classes: the probability of a superclass is the sum over its classes, so what the
coarse stage has learnt is there when the fine one begins.
"""

from __future__ import annotations

import torch

from eyebright.data.moving import moved
from eyebright.training.loss import superclass_log_probabilities


class Level:
    """The superclasses above the classes.

    Args:
        membership: int64 (K,), index of the superclass of each class.
    """

    def __init__(self, membership: torch.Tensor) -> None:
        self.membership = membership
        self.superclasses = int(membership.max()) + 1
        self._copies: dict[torch.device, torch.Tensor] = {}

    def logits(self, logits: torch.Tensor) -> torch.Tensor:
        """Logits of classes (B, K) to logarithms of the probabilities of superclasses (B, S), usable as logits."""
        return superclass_log_probabilities(logits, self._on(logits.device), self.superclasses)

    def targets(self, targets: torch.Tensor) -> torch.Tensor:
        """Class indices to superclass indices, (N,)."""
        return self._on(targets.device)[targets]

    def _on(self, device: torch.device) -> torch.Tensor:
        """`membership` there: every step asks for it, and it is sent once."""
        if device not in self._copies:
            self._copies[device] = moved(self.membership, device)
        return self._copies[device]
