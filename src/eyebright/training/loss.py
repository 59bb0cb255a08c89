"""What training minimises: a loss for each image, and how much each image counts.

The loss of a batch is (losses * weights).sum() / weights.sum(). Both sums can be taken in parts and over devices.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F

from eyebright.config import LossConfig


class Objective:
    """The loss that the settings ask for.

    Args:
        settings: which loss, its smoothing, class weights and logit adjustment.
        class_totals: float (K,), summed weights of the training images of each class.
        device: where the logits will be.
    """

    def __init__(self, settings: LossConfig, class_totals: npt.NDArray[np.floating], device: torch.device) -> None:
        self.settings = settings
        totals = np.asarray(class_totals, dtype=np.float64)
        weights = class_weights(settings, totals)
        self._class_weights = None if weights is None else torch.from_numpy(weights.astype(np.float32)).to(device)
        self._adjustment = None
        if settings.logit_adjustment:
            adjustment = settings.logit_adjustment * log_shares(totals)
            self._adjustment = torch.from_numpy(adjustment.astype(np.float32)).to(device)

    def losses(self, logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """The loss of each image, not yet weighted: float32 (B,).

        Cross-entropy, or the focal loss (Lin et al. 2017, arXiv:1708.02002) in which each class's share of the
        cross-entropy is multiplied by (1 - its probability) to the power of `focal_gamma`. Smoothing (Szegedy et al.
        2016, arXiv:1512.00567) takes `label_smoothing` from the targets and spreads it over all classes. Logit
        adjustment (Menon et al. 2021, arXiv:2007.07314) adds the logarithm of the class shares to the logits while
        training, so that the logits without it rank classes as if they were equally frequent.

        Args:
            logits: (B, K), of any floating type; computed in float32 at least.
            targets: float (B, K), probabilities of the classes: one-hot, or mixed.
        """
        logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
        targets = targets.to(logits.dtype)
        if self._adjustment is not None:
            logits = logits + self._adjustment
        smoothing = self.settings.label_smoothing
        if self.settings.name == "cross-entropy":
            return F.cross_entropy(logits, targets, label_smoothing=smoothing, reduction="none")
        targets = targets * (1 - smoothing) + smoothing / logits.shape[1]
        log_probabilities = logits.log_softmax(1)
        # Clamped, because a power below one has no derivative at zero: a certain image would give NaN.
        wrong = (-torch.expm1(log_probabilities)).clamp(min=torch.finfo(logits.dtype).tiny)
        return -(targets * wrong**self.settings.focal_gamma * log_probabilities).sum(1)

    def weigh(self, targets: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
        """How much each image counts: its own weight times that of its class (of its mixture of classes), (B,).

        Args:
            targets: float (B, K), probabilities of the classes.
            weights: float (B,), of the images.
        """
        if self._class_weights is None:
            return weights
        return weights * (targets * self._class_weights).sum(1)


def class_weights(settings: LossConfig, totals: npt.NDArray[np.float64]) -> npt.NDArray[np.float64] | None:
    """Weight of each class, with mean 1 over the training images: float64 (K,); None when all count the same.

    `balanced` is inverse to the number of images, as scikit-learn's `compute_class_weight`. `effective-number`
    is inverse to (1 - beta^n) / (1 - beta) for n images (Cui et al. 2019, arXiv:1901.05555). A class without images
    weighs nothing: none of its images will come.
    """
    if settings.class_weights == "none":
        return None
    present = totals > 0
    weights = np.zeros(len(totals))
    if settings.class_weights == "balanced":
        weights[present] = 1 / totals[present]
    elif settings.effective_beta == 0:
        weights[present] = 1.0
    else:  # the constant 1 - beta falls out below; expm1 keeps the digits of small numbers
        weights[present] = -1 / np.expm1(totals[present] * np.log(settings.effective_beta))
    mean = (weights * totals).sum() / totals.sum() if present.any() else 1.0
    return weights / mean


def log_shares(totals: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Logarithm of each class's share of the training images: float64 (K,), finite.

    A class without images is taken for as frequent as the rarest class that has some.
    """
    present = totals > 0
    if not present.any():
        return np.zeros(len(totals))
    filled = np.where(present, totals, totals[present].min())
    return np.asarray(np.log(filled / filled.sum()))


def distillation_losses(logits: torch.Tensor, teacher_logits: torch.Tensor, temperature: float) -> torch.Tensor:
    """Divergence from the teacher's probabilities for each image: float32 (B,).

    Kullback-Leibler divergence at a temperature, times its square so that gradients keep their size (Hinton et al.
    2015, arXiv:1503.02531).

    Args:
        logits, teacher_logits: (B, K); no gradient flows into the teacher.
        temperature: divides both; above 0.
    """
    kind = torch.promote_types(logits.dtype, torch.float32)
    student = (logits.to(kind) / temperature).log_softmax(1)
    teacher = (teacher_logits.detach().to(kind) / temperature).log_softmax(1)
    return F.kl_div(student, teacher, reduction="none", log_target=True).sum(1) * temperature**2


def superclass_log_probabilities(logits: torch.Tensor, membership: torch.Tensor, superclasses: int) -> torch.Tensor:
    """Logarithms of the summed probabilities of each superclass's classes: float32 (B, S).

    They are valid logits for any loss over superclasses: a coarse stage trains with them through the classifier of
    the classes, which stays as it is.

    Args:
        logits: (B, K) of the classes.
        membership: int64 (K,), the superclass of each class, on the same device.
        superclasses: how many there are; each has at least one class.
    """
    log_probabilities = logits.to(torch.promote_types(logits.dtype, torch.float32)).log_softmax(1)
    groups = membership.expand_as(log_probabilities)
    # Each superclass is scaled by its likeliest class, so that none vanishes in rounding.
    lowest = torch.full((len(logits), superclasses), -torch.inf, dtype=log_probabilities.dtype, device=logits.device)
    largest = lowest.scatter_reduce(1, groups, log_probabilities.detach(), "amax")
    scaled = (log_probabilities - largest.gather(1, groups)).exp()
    return largest + torch.zeros_like(lowest).index_add(1, membership, scaled).log()
