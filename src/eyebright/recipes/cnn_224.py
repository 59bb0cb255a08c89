"""`cnn-224`: the network of a production pipeline at 224 px, with its ablation as variants.

    eyebright train DATA --recipe cnn-224
    eyebright train DATA --recipe cnn-224 --model cnn224_baseline

Three convolutions of 32, 64 and 128 channels with ReLU and batch norm, global average pooling, a dense layer of 256
with dropout (`eyebright models show cnn224`); Adam with cosine annealing, label smoothing and L2. Figures, machines and
durations stand in `measured`.
"""

from __future__ import annotations

from eyebright.config import SplitShares
from eyebright.recipes import staged
from eyebright.recipes.base import Published, Recipe
from eyebright.recipes.plain import UNIT_RANGE, over_plain
from eyebright.recipes.registry import SUMMARIES

ROTATION_DEGREES = 0.2 * 360
"""Keras's `RandomRotation(0.2)`: its factor is a share of the whole circle."""

RECIPE = Recipe(
    name="cnn-224",
    system="cnn-224",
    summary=SUMMARIES["cnn-224"],
    source=(
        "A production pipeline with an ablation of its network: more than 10,000 RGB images of various resolutions, "
        "split 70/20/10."
    ),
    defaults=over_plain(
        epochs=50,
        data={"split": SplitShares.parse("70/20/10").model_dump()},
        image={"size": 224, "channels": 3, **UNIT_RANGE},
        model={"name": "cnn224"},
        optim={"batch_size": 32, "weight_decay": 2e-4},
        schedule={"name": "cosine"},
        loss={"label_smoothing": 0.1},
        stop={"metric": "val_loss", "patience": 10, "keep": "val_loss"},
        augment={"flip": True, "rotation": ROTATION_DEGREES, "scale": 0.2, "contrast": 0.2, "fill": "reflect"},
        compute={"precision": "auto"},
    ),
    plan=staged.plan,
    fit=staged.fit,
    published=(
        Published(
            figure="accuracy", value="94.2 / 91.8 / 92.1 %", where="train, validation and test of its own data set"
        ),
        Published(figure="ablation, test accuracy: baseline", value="87.2 %", where="its own data set"),
        Published(figure="ablation, test accuracy: with batch norm", value="89.1 %", where="its own data set"),
        Published(figure="ablation, test accuracy: with dropout", value="90.3 %", where="its own data set"),
        Published(figure="ablation, test accuracy: final", value="92.1 %", where="its own data set"),
        Published(figure="milliseconds an image", value="12", where="its own machine"),
    ),
    choices=(
        "Rotation 0.2, zoom 0.2 and contrast 0.2 are taken as the arguments of Keras's layers. A rotation of 0.2 is "
        "then up to 72 degrees to either side. A zoom with one factor keeps the aspect, which is `augment.scale` here; "
        "`augment.zoom` would draw each axis of its own. What comes into view is reflected, as Keras does.",
        "Chosen here, because only the name is stated: learning rate 1e-3, label smoothing 0.1, patience 10, at most "
        "50 epochs.",
        "L2 of 1e-4 on kernels, as Keras counts it; it adds the sum of squares without a half, so that is a weight "
        "decay of 2e-4 here. Norms and biases have none.",
        "Pixels in the range from 0 to 1.",
        "The source does not say what tells its final network from the one with dropout; here it is the dense layer.",
        "Early stopping and the kept weights go by validation loss.",
        "Mixed precision is used on CUDA (bfloat16 where the card has it); a CPU computes in float32.",
    ),
    variants={
        "ablation: baseline": "--model cnn224_baseline",
        "ablation: with batch norm": "--model cnn224_bn",
        "ablation: with dropout": "--model cnn224_dropout",
        "mixup": "--set augment.mixup=0.2",
        "cutmix": "--set augment.cutmix=1.0",
    },
)
