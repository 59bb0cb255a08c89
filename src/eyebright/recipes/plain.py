"""What a plain training loop does: every setting of ours that would change a published recipe, at its neutral value.

The defaults of the configuration tree are those of `auto`: smoothed labels, an average of weights, clipped gradients,
lower rates for earlier layers, random crops. A loop in Keras or PyTorch does none of that unless it says so. A
published recipe therefore starts from `PLAIN` and states what its source states, so that no default of ours stands in
it unseen, now or after a change of the defaults.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

PLAIN: Mapping[str, Any] = {
    "budget_seconds": None,
    "data": {"sampling": "shuffle", "drop_last": False},
    "image": {"resize": "squash", "interpolation": "bilinear"},
    "model": {"pretrained": False, "dropout": None, "drop_path": 0.0},
    "optim": {
        "optimiser": "adam",
        "learning_rate": 1e-3,
        "accumulate": 1,
        "layer_decay": 1.0,
        "weight_decay": 0.0,
        "decay_all": False,
        "momentum": 0.9,
        "clip_norm": None,
        "ema_decay": 0.0,
    },
    "schedule": {"name": "constant", "warmup_share": 0.0, "final_share": 0.0},
    "loss": {"name": "cross-entropy", "label_smoothing": 0.0, "class_weights": "none", "logit_adjustment": 0.0},
    "stop": {"patience": None, "min_delta": 0.0, "target_accuracy": None, "keep": "last"},
    "augment": {
        "flip": False,
        "vertical_flip": False,
        "min_area": 1.0,
        "aspect": 0.0,
        "rotation": 0.0,
        "shift": 0.0,
        "scale": 0.0,
        "zoom": 0.0,
        "shear": 0.0,
        "brightness": 0.0,
        "contrast": 0.0,
        "saturation": 0.0,
        "hue": 0.0,
        "policy": "none",
        "erasing": 0.0,
        "mixup": 0.0,
        "cutmix": 0.0,
        "albumentations": (),
    },
    "compute": {"precision": "float32"},
}
"""The settings of a plain loop: Adam at 1e-3, nothing else."""

UNIT_RANGE: Mapping[str, tuple[float, ...]] = {"mean": (0.0,), "std": (1.0,)}
"""Pixels divided by 255 and nothing more, for any number of channels."""

IMAGENET: Mapping[str, tuple[float, ...]] = {"mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225)}
"""Mean and standard deviation of ImageNet's pixels, as torchvision's weights want them."""

OF_THE_WEIGHTS: Mapping[str, None] = {"mean": None, "std": None}
"""The normalisation that the published weights were trained with, whatever they are."""


def over_plain(**parts: Any) -> dict[str, Any]:
    """The settings of `PLAIN` with those of a recipe over them, part by part.

    Args:
        parts: parts and values of the configuration tree, as `optim={"batch_size": 8}` or `epochs=30`.
    """
    merged = {**PLAIN, **parts}
    for key, plain in PLAIN.items():
        if isinstance(plain, Mapping):
            merged[key] = {**plain, **parts.get(key, {})}
    return merged
