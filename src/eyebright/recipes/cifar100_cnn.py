"""`cifar100-cnn`: convolutions for 32x32 colour images of 100 classes.

    eyebright train DATA --recipe cifar100-cnn

The layers are those of `eyebright models show cifar100_cnn`; Adam, early stopping on validation loss. Figures, machines
and durations stand in `measured`.
"""

from __future__ import annotations

from eyebright.config import SplitShares
from eyebright.recipes import staged
from eyebright.recipes.base import Published, Recipe
from eyebright.recipes.cifar100_ann import KEEP_CHOICE, SOURCE, SPLIT_CHOICE
from eyebright.recipes.plain import UNIT_RANGE, over_plain
from eyebright.recipes.registry import SUMMARIES

RECIPE = Recipe(
    name="cifar100-cnn",
    system="fashion-cifar100",
    summary=SUMMARIES["cifar100-cnn"],
    source=SOURCE,
    defaults=over_plain(
        epochs=30,
        data={"split": SplitShares.parse("45/5/10").model_dump()},
        image={"size": 32, "channels": 3, **UNIT_RANGE},
        model={"name": "cifar100_cnn"},
        optim={"batch_size": 128},
        stop={"metric": "val_loss", "patience": 5, "keep": "val_accuracy"},
    ),
    plan=staged.plan,
    fit=staged.fit,
    published=(Published(figure="test accuracy", value="about 40 %", where="CIFAR-100"),),
    choices=(
        "The source's layers are not described; `eyebright models show cifar100_cnn` shows what was chosen.",
        "Not stated, and chosen here: batches of 128, at most 30 epochs, pixels in the range from 0 to 1.",
        SPLIT_CHOICE,
        KEEP_CHOICE,
    ),
    variants={
        "two levels of classes, from a column": "--superclass column:superclass",
        "coarse to fine, with superclasses from a column": (
            "--superclass column:superclass "
            "--set 'stages=[{name: coarse, epochs: 5, level: superclass}, {name: fine, epochs: 25}]'"
        ),
        "mirrored and shifted images": "--set augment.flip=true --set augment.shift=0.125",
        "cutmix": "--set augment.cutmix=1.0",
    },
)
