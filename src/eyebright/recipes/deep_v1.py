"""`deep-v1`: a custom network from random weights at 128 px.

    eyebright train DATA --recipe deep-v1

Five blocks of convolution, batch norm, ReLU and max-pool, global average pooling, dropout and one linear layer
(`eyebright models show deep_v1`); Adam with StepLR, early stopping on validation accuracy, the best weights kept.
Figures, machines and durations stand in `measured`.
"""

from __future__ import annotations

from eyebright.config import SplitShares
from eyebright.recipes import staged
from eyebright.recipes.base import Measured, Recipe
from eyebright.recipes.plain import IMAGENET, over_plain
from eyebright.recipes.registry import SUMMARIES

RECIPE = Recipe(
    name="deep-v1",
    system="deep-v1",
    summary=SUMMARIES["deep-v1"],
    source=(
        "A custom network beside shallow learning, on several folder data sets merged into one "
        "(pets, vegetables, street foods, musical instruments)."
    ),
    defaults=over_plain(
        epochs=30,
        seed=42,
        data={"split": SplitShares.parse("70/15/15").model_dump()},
        image={"size": 128, "channels": 3, **IMAGENET},
        model={"name": "deep_v1"},
        optim={"batch_size": 8, "weight_decay": 1e-4, "decay_all": True},
        schedule={"name": "step", "step_epochs": 10, "factor": 0.1},
        stop={"metric": "val_accuracy", "patience": 5, "min_delta": 0.001, "keep": "val_accuracy"},
        augment={
            "flip": True,
            "rotation": 15.0,
            "fill": "black",
            "brightness": 0.2,
            "contrast": 0.2,
            "saturation": 0.2,
        },
    ),
    plan=staged.plan,
    fit=staged.fit,
    measured=(
        Measured(
            data="flowers",
            figure="test accuracy, stopped early after 10 epochs",
            value="0.638 (0.598 to 0.675)",
            machine="2 CPU cores",
            command="eyebright train ../shared/data/flowers --recipe deep-v1 --epochs 12",
        ),
        Measured(
            data="trashnet",
            figure="test accuracy, stopped by hand in epoch 15",
            value="0.694 (0.645 to 0.739)",
            machine="2 CPU cores",
            command="eyebright train ../shared/data/trashnet --recipe deep-v1",
        ),
    ),
    choices=(
        "The source names its settings but not all their values. Chosen here: weight decay 1e-4 on all weights, as "
        "torch's Adam applies it; a tenth of the rate every 10 epochs; min delta 0.001.",
        "Flips are mirroring left and right only, because photos stand upright; rotation up to 15 degrees with black "
        "corners, as torchvision leaves them; brightness, contrast and saturation by up to a fifth.",
        "The shares of train, validation and test are not stated: those of Eyebright, 70/15/15.",
    ),
    variants={
        "resolution study, 64 px": "--size 64",
        "resolution study, 256 px": "--size 256",
        "class weights": "--set loss.class_weights=balanced",
    },
)
