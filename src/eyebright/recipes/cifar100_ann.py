"""`cifar100-ann`: dense layers alone for 32x32 colour images of 100 classes, the plainest of three networks.

    eyebright train DATA --recipe cifar100-ann

The layers are those of `eyebright models show cifar100_ann`; Adam, early stopping on validation loss. Figures, machines
and durations stand in `measured`.
"""

from __future__ import annotations

from eyebright.config import SplitShares
from eyebright.recipes import staged
from eyebright.recipes.base import Published, Recipe
from eyebright.recipes.plain import UNIT_RANGE, over_plain
from eyebright.recipes.registry import SUMMARIES

SOURCE = (
    "One of three networks on CIFAR-100 (50,000 + 10,000 colour images of 32x32, 100 classes in 20 superclasses) "
    "that differ in complexity."
)

SPLIT_CHOICE = "5,000 of the 50,000 training images are for validation; the 10,000 test images are scored once."
KEEP_CHOICE = (
    "The source restores the best weights by validation loss and writes the best ones by validation accuracy. The "
    "latter are kept."
)

RECIPE = Recipe(
    name="cifar100-ann",
    system="fashion-cifar100",
    summary=SUMMARIES["cifar100-ann"],
    source=SOURCE,
    defaults=over_plain(
        epochs=30,
        data={"split": SplitShares.parse("45/5/10").model_dump()},
        image={"size": 32, "channels": 3, **UNIT_RANGE},
        model={"name": "cifar100_ann"},
        optim={"batch_size": 128},
        stop={"metric": "val_loss", "patience": 5, "keep": "val_accuracy"},
    ),
    plan=staged.plan,
    fit=staged.fit,
    published=(Published(figure="test accuracy", value="about 25 %", where="CIFAR-100"),),
    choices=(
        "The source's layers are not described; `eyebright models show cifar100_ann` shows what was chosen.",
        "Not stated, and chosen here: batches of 128, at most 30 epochs, pixels in the range from 0 to 1.",
        SPLIT_CHOICE,
        KEEP_CHOICE,
    ),
    variants={"two levels of classes, from a column": "--superclass column:superclass"},
)
