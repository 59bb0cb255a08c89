"""`fashion-ann`: two dense layers for small grey images, the plainest of three networks on Fashion-MNIST.

    eyebright train fashion-mnist --recipe fashion-ann

Flatten, 128 and 64 units with ReLU and dropout 0.2 (`eyebright models show fashion_ann --input 1x28x28`); Adam, early
stopping on validation loss. Figures, machines and durations stand in `measured`.
"""

from __future__ import annotations

from eyebright.config import SplitShares
from eyebright.recipes import staged
from eyebright.recipes.base import Measured, Published, Recipe
from eyebright.recipes.plain import UNIT_RANGE, over_plain
from eyebright.recipes.registry import SUMMARIES

SOURCE = "One of three networks on Fashion-MNIST (60,000 + 10,000 grey images of 28x28) that differ in complexity."

CHOICES = (
    "Not stated, and chosen here: batches of 128, at most 20 epochs, pixels in the range from 0 to 1.",
    "9,000 of the 60,000 training images are for validation; the 10,000 test images are scored once.",
    "The source restores the best weights by validation loss and writes the best ones by validation accuracy. The "
    "latter are kept.",
)

RECIPE = Recipe(
    name="fashion-ann",
    system="fashion-cifar100",
    summary=SUMMARIES["fashion-ann"],
    source=SOURCE,
    defaults=over_plain(
        epochs=20,
        data={"split": SplitShares.parse("51/9/10").model_dump()},
        image={"size": 28, "channels": 1, **UNIT_RANGE},
        model={"name": "fashion_ann"},
        optim={"batch_size": 128},
        stop={"metric": "val_loss", "patience": 5, "keep": "val_accuracy"},
    ),
    plan=staged.plan,
    fit=staged.fit,
    published=(Published(figure="test accuracy", value="about 88 %", where="Fashion-MNIST"),),
    measured=(
        Measured(
            data="Fashion-MNIST",
            figure="test accuracy",
            value="0.886 (0.879 to 0.892)",
            machine="2 CPU cores",
            command="eyebright train fashion-mnist --recipe fashion-ann",
        ),
    ),
    choices=CHOICES,
    variants={"colour images": "--set image.channels=3", "kept by validation loss": "--set stop.keep=val_loss"},
)
