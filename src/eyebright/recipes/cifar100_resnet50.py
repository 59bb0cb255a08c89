"""`cifar100-resnet50`: ResNet-50 pretrained on ImageNet for 32x32 images of 100 classes.

    eyebright train DATA --recipe cifar100-resnet50
    eyebright train DATA --recipe cifar100-resnet50 --model tf_efficientnet_lite0

A head of 512 and 256 units with batch norm and dropout is trained on the frozen network, then the second half of the
network with it, at a tenth of the rate. Figures, machines and durations stand in `measured`.
"""

from __future__ import annotations

from eyebright.config import SplitShares
from eyebright.recipes import staged
from eyebright.recipes.base import Published, Recipe
from eyebright.recipes.cifar100_ann import KEEP_CHOICE, SOURCE, SPLIT_CHOICE
from eyebright.recipes.plain import OF_THE_WEIGHTS, over_plain
from eyebright.recipes.registry import SUMMARIES

FROZEN_SHARE = 0.5
"""Of timm's six groups of layers of ResNet-50 (stem, four stages, head): the stem and the first two stages.

Keras counts 175 layers without the top, every activation and sum included: 0 to 6 the stem, 7 to 38 the first stage,
39 to 80 the second, 81 to 142 the third, 143 to 174 the fourth. Its layer 100 is the last norm of the third stage's
second block, so the source trains from the third of that stage's six blocks on. Groups of layers end at 81 and 143,
and 81 is the nearer one.
"""

RECIPE = Recipe(
    name="cifar100-resnet50",
    system="fashion-cifar100",
    summary=SUMMARIES["cifar100-resnet50"],
    source=SOURCE,
    defaults=over_plain(
        stages=[
            {"name": "head", "epochs": 20, "frozen": "body", "learning_rate": 1e-4},
            {"name": "fine-tune", "epochs": 10, "frozen": FROZEN_SHARE, "learning_rate": 1e-5},
        ],
        data={"split": SplitShares.parse("45/5/10").model_dump()},
        image={"size": 32, "channels": 3, **OF_THE_WEIGHTS},
        model={
            "name": "resnet50.tv_in1k",
            "pretrained": True,
            "head": {"hidden": (512, 256), "dropout": 0.5, "batch_norm": True},
        },
        optim={"batch_size": 128, "learning_rate": 1e-4},
        stop={"metric": "val_loss", "patience": 5, "keep": "val_accuracy"},
    ),
    plan=staged.plan,
    fit=staged.fit,
    published=(Published(figure="test accuracy", value="about 65 %", where="CIFAR-100"),),
    choices=(
        "Layer 100, as Keras counts, lies in the third of the four stages of ResNet-50, at the end of the second of "
        "its six blocks. Layers are frozen here by whole stages: the stem and the first two, so that these two blocks "
        "train as well.",
        "The weights are torchvision's first ones (timm: resnet50.tv_in1k), trained on ImageNet by a plain "
        "recipe. They come from a hub; --model tf_efficientnet_lite0 is installed with Eyebright.",
        "The images stay at 32 px, as they are described; the network reduces them to a single place. If the source "
        "enlarged them, it does not say so: see the variants.",
        "Not stated, and chosen here: at most 20 epochs for the head and 10 after it, batches of 128.",
        SPLIT_CHOICE,
        KEEP_CHOICE,
    ),
    variants={
        "weights that are installed": "--model tf_efficientnet_lite0",
        "enlarged to 96 px": "--size 96",
        "enlarged to 224 px": "--size 224",
        "two levels of classes, from a column": "--superclass column:superclass",
    },
)
