"""What to try against overfitting and its opposites, as settings of ours that the run did not use yet."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

Config = Mapping[str, Any] | None
_MOST = 5


def setting(config: Config, key: str) -> Any:
    """The value of a dotted key; None without a configuration or where the key is absent."""
    value: Any = config
    for part in key.split("."):
        value = value.get(part) if isinstance(value, Mapping) else None
    return value


def against_memorising(config: Config, *, turned_at_epoch: int | None = None) -> tuple[str, ...]:
    """What to try when a network memorises, the most promising first.

    Args:
        turned_at_epoch: the epoch of the lowest validation loss; None where it did not turn.
    """

    def unused(*keys: str) -> bool:
        return all(setting(config, key) in (None, 0, 0.0, "none", (), []) for key in keys)

    found = []
    if setting(config, "recipe") == "shallow":  # none of what follows reaches it
        return (
            "Start from published weights: `--recipe auto`.",
            "Use more images: nothing else helps as surely.",
        )
    if setting(config, "model.pretrained") is False:
        found.append("Start from published weights: `--recipe auto`, or `model.pretrained=true`.")
    if unused("augment.albumentations"):  # which takes the place of these
        if unused("augment.policy"):
            found.append("Distort training images more: `augment.policy=trivialaugment`.")
        if unused("augment.erasing"):
            found.append("Hide parts of training images: `augment.erasing=0.25`.")
    if unused("augment.mixup", "augment.cutmix"):
        found.append("Mix pairs of training images: `augment.mixup=0.2` or `augment.cutmix=1.0`.")
    if unused("loss.label_smoothing"):
        found.append("Ask for less certainty: `loss.label_smoothing=0.1`.")
    if unused("model.dropout", "model.head.dropout"):
        found.append("Drop features while training, where the network can: `model.dropout=0.3`.")
    decay = setting(config, "optim.weight_decay")
    # Decay that is coupled to the gradient acts at another scale than decoupled decay.
    usual = 5e-4 if setting(config, "optim.optimiser") in ("adam", "sgd") else 0.05
    if decay is None or decay < usual:
        found.append(f"Keep weights smaller: `optim.weight_decay={usual:g}`.")
    found = found[:_MOST]
    if unused("stop.patience"):
        found.append("Stop when validation no longer improves: `stop.patience=5`.")
    epochs = setting(config, "epochs")
    if turned_at_epoch is not None and epochs is not None and epochs > turned_at_epoch + 1:
        found.append(f"Train for fewer epochs: `epochs={turned_at_epoch + 1}` instead of {epochs}.")
    found.append("Use more images, or a smaller network: nothing else helps as surely.")
    return tuple(found)


def against_stopping_early(config: Config, *, epochs: int) -> tuple[str, ...]:
    """What to try when training ended while it was still improving, after so many epochs."""
    found = []
    budget = setting(config, "budget_seconds")
    if budget:
        found.append(f"Give it more time: `--budget {2 * budget:.0f}s` instead of {budget:.0f} s.")
    else:
        found.append(f"Train for more epochs: `epochs={2 * epochs}` instead of {epochs}.")
    found.append("Look for a higher learning rate with `eyebright lr-find`.")
    for key, limit, mild in (("model.dropout", 0.4, 0.2), ("augment.mixup", 0.5, 0.2), ("augment.cutmix", 0.5, 0.0)):
        value = setting(config, key)
        if value is not None and value > limit:
            found.append(f"Regularise less: `{key}={mild:g}` instead of {value:g}.")
    return tuple(found)


def against_unsteadiness(config: Config) -> tuple[str, ...]:
    """What to try when training loss and validation loss both rose."""
    found = []
    rate = setting(config, "optim.learning_rate")
    if rate:
        found.append(f"Lower the learning rate: `optim.learning_rate={rate / 3:.2g}` instead of {rate:g}.")
    else:
        found.append("Lower the learning rate: `optim.learning_rate`.")
    if config is None or setting(config, "optim.clip_norm") is None:
        found.append("Clip gradients: `optim.clip_norm=1.0`.")
    if setting(config, "schedule.name") in ("constant", "step", "plateau"):
        found.append("Let the rate fall to zero: `schedule.name=cosine`.")
    return tuple(found)
