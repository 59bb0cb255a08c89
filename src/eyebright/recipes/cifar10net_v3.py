"""`cifar10net-v3`: the limits of `cifar10net-v2`, and how far one gets within them.

    eyebright train DATA --recipe cifar10net-v3

Residual connections (`eyebright models show cifar10net_v3 --input 3x32x32`); SGD with one cycle of the rate, smoothed
labels, an average of the weights, light augmentation on batches. It trains to the end instead of stopping at a target.
Figures, machines and durations stand in `measured`.
"""

from __future__ import annotations

from eyebright.config import SplitShares
from eyebright.recipes import staged
from eyebright.recipes.base import Recipe
from eyebright.recipes.cifar10net_v2 import CIFAR10_MEAN, CIFAR10_STD, LIMITS
from eyebright.recipes.plain import over_plain
from eyebright.recipes.registry import SUMMARIES

RECIPE = Recipe(
    name="cifar10net-v3",
    system="cifar10net",
    summary=SUMMARIES["cifar10net-v3"],
    source="Our own improvement of cifar10net-v2, of the same size and under the same limits.",
    defaults=over_plain(
        epochs=50,
        data={"split": SplitShares.parse("45/5/10").model_dump(), "drop_last": True},
        image={"size": 32, "channels": 3, "mean": CIFAR10_MEAN, "std": CIFAR10_STD},
        model={"name": "cifar10net_v3"},
        requirements=LIMITS,
        optim={
            "optimiser": "sgd",
            "nesterov": True,
            "batch_size": 128,
            "learning_rate": 0.2,
            "weight_decay": 2e-4,
            "ema_decay": 0.995,
        },
        schedule={"name": "one-cycle", "warmup_share": 0.2},
        loss={"label_smoothing": 0.05},
        stop={"metric": "val_accuracy", "keep": "val_accuracy"},
        augment={"flip": True, "shift": 0.125, "fill": "reflect", "erasing": 0.5, "erasing_side": 8},
        compute={"precision": "auto"},
    ),
    plan=staged.plan,
    fit=staged.fit,
    choices=(
        "SGD with Nesterov's momentum and one cycle (Smith and Topin 2018, arXiv:1708.07120) in place of Adam with "
        "plateaus: a high rate in the middle, and next to none at the end.",
        "A network of this size underfits 45,000 images more than it overfits them, so augmentation is light: "
        "mirroring, a shift of up to 4 pixels, a hole of 8x8 in every second image (DeVries and Taylor 2017, "
        "arXiv:1708.04552), and no mixup.",
        "Weight decay is low and spares norms and biases, for the same reason.",
        "Incomplete last batches are left out, so that every step weighs the same.",
    ),
    variants={
        "stops at the target of v2": "--set stop.target_accuracy=0.85",
        "light mixup": "--set augment.mixup=0.1",
        "30 epochs": "--epochs 30",
        "AdamW and cosine": (
            "--set optim.optimiser=adamw --set optim.learning_rate=0.004 --set optim.weight_decay=0.02 "
            "--set schedule.name=cosine --set schedule.warmup_share=0.1"
        ),
        "Muon": "--set optim.optimiser=muon --set optim.learning_rate=0.004 --set optim.weight_decay=0.02",
    },
)
