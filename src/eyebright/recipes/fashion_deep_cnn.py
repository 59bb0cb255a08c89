"""`fashion-deep-cnn`: four convolutions with batch norm and dropout for small grey images.

    eyebright train fashion-mnist --recipe fashion-deep-cnn

Two pairs of convolutions (32 and 64 channels), each pair with batch norm, max-pool and dropout 0.25, a dense layer of
256 with batch norm and dropout 0.5 (`eyebright models show fashion_deep_cnn --input 1x28x28`); Adam at half the usual
rate, early stopping on validation loss. Figures, machines and durations stand in `measured`.
"""

from __future__ import annotations

from eyebright.config import SplitShares
from eyebright.recipes import staged
from eyebright.recipes.base import Measured, Published, Recipe
from eyebright.recipes.fashion_ann import CHOICES, SOURCE
from eyebright.recipes.plain import UNIT_RANGE, over_plain
from eyebright.recipes.registry import SUMMARIES

RECIPE = Recipe(
    name="fashion-deep-cnn",
    system="fashion-cifar100",
    summary=SUMMARIES["fashion-deep-cnn"],
    source=SOURCE,
    defaults=over_plain(
        epochs=20,
        data={"split": SplitShares.parse("51/9/10").model_dump()},
        image={"size": 28, "channels": 1, **UNIT_RANGE},
        model={"name": "fashion_deep_cnn"},
        optim={"batch_size": 128, "learning_rate": 5e-4},
        stop={"metric": "val_loss", "patience": 5, "keep": "val_accuracy"},
    ),
    plan=staged.plan,
    fit=staged.fit,
    published=(Published(figure="test accuracy", value="about 92 %", where="Fashion-MNIST"),),
    measured=(
        Measured(
            data="Fashion-MNIST",
            figure="test accuracy after 10 epochs",
            value="0.924 (0.919 to 0.930)",
            machine="2 CPU cores",
            command="eyebright train fashion-mnist --recipe fashion-deep-cnn --epochs 10",
        ),
    ),
    choices=CHOICES,
    variants={
        "colour images": "--set image.channels=3",
        "kept by validation loss": "--set stop.keep=val_loss",
        "mirrored and shifted images": "--set augment.flip=true --set augment.shift=0.1",
    },
)
