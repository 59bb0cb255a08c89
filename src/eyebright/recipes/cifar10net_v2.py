"""`cifar10net-v2`: 32x32 images under hard limits, trained until a target is reached.

    eyebright train DATA --recipe cifar10net-v2

181,942 parameters, a receptive field of more than 44 pixels, no max-pooling, a depthwise-separable and a dilated
convolution (`eyebright models show cifar10net_v2 --input 3x32x32`); all of it is checked before training. Adam with a
rate that halves on a plateau, an Albumentations pipeline, and an end as soon as 85 % are reached on validation.
Figures, machines and durations stand in `measured`.
"""

from __future__ import annotations

from eyebright.config import SplitShares
from eyebright.recipes import staged
from eyebright.recipes.base import Measured, Published, Recipe
from eyebright.recipes.plain import over_plain
from eyebright.recipes.registry import SUMMARIES

CIFAR10_MEAN = (0.4914, 0.4822, 0.4465)
CIFAR10_STD = (0.2023, 0.1994, 0.2010)

LIMITS = {
    "max_parameters": 199_999,
    "min_receptive_field": 45,
    "forbid": ("max-pool",),
    "require": ("depthwise-separable", "dilated", "gap"),
}

PIPELINE = (
    {"HorizontalFlip": {"p": 0.5}},
    {
        "Affine": {
            "translate_percent": [-0.1, 0.1], "scale": [0.9, 1.1], "rotate": [-15, 15], "keep_ratio": True, "p": 0.5,
        }
    },
    {
        "CoarseDropout": {
            "num_holes_range": [1, 1], "hole_height_range": [16, 16], "hole_width_range": [16, 16], "fill": 0, "p": 0.3,
        }
    },
)  # fmt: skip
"""In the argument names of Albumentations 2.0.8."""

RECIPE = Recipe(
    name="cifar10net-v2",
    system="cifar10net",
    summary=SUMMARIES["cifar10net-v2"],
    source="A network for CIFAR-10 under stated limits, trained with Albumentations until a target of 85 % is reached.",
    defaults=over_plain(
        epochs=50,
        data={"split": SplitShares.parse("45/5/10").model_dump()},
        image={"size": 32, "channels": 3, "mean": CIFAR10_MEAN, "std": CIFAR10_STD},
        model={"name": "cifar10net_v2"},
        requirements=LIMITS,
        optim={"batch_size": 128, "weight_decay": 1e-4, "decay_all": True},
        schedule={"name": "plateau", "metric": "val_accuracy", "factor": 0.5, "patience": 2, "floor": 1e-6},
        stop={"metric": "val_accuracy", "target_accuracy": 0.85, "keep": "val_accuracy"},
        augment={
            # The same on batches, for where the pipeline is emptied: see the variant.
            "flip": True,
            "shift": 0.1,
            "scale": 0.1,
            "rotation": 15.0,
            "fill": "black",
            "erasing": 0.3,
            "erasing_side": 16,
            "albumentations": PIPELINE,
        },
    ),
    plan=staged.plan,
    fit=staged.fit,
    published=(
        Published(figure="validation accuracy", value="85.21 % at epoch 42", where="CIFAR-10"),
        Published(figure="duration", value="about 45 minutes", where="its own machine"),
        Published(figure="parameters", value="fewer than 200,000", where="the requirement; 181,942 by the description"),
    ),
    measured=(
        Measured(
            data="CIFAR-10",
            figure="test accuracy after 3 epochs",
            value="0.564 (0.554 to 0.574)",
            machine="2 CPU cores",
            command="eyebright train ../shared/data/cifar10 --recipe cifar10net-v2 --epochs 3",
        ),
    ),
    choices=(
        "CIFAR-10 has no validation split, and the source does not say which images it stops by. Here the target is "
        "asked of 5,000 of the 50,000 training images, and the 10,000 test images are scored once: 45,000 train.",
        "Shift, scale and rotation are `Affine`, as Albumentations 2.0.8 wants it in place of ShiftScaleRotate, with "
        "the latter's probability of one half. The hole and what comes into view are black.",
        "Weight decay on all weights, as torch's Adam applies it.",
        "The best weights by validation accuracy are kept; the source also saves the last ones.",
    ),
    variants={
        "batch: our own augmentation, without the extra": "--set augment.albumentations=[]",
        "all 50 epochs": "--set stop.target_accuracy=null",
    },
)
