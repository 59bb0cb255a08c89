"""`scratch`: any network from random weights.

eyebright train DATA --recipe scratch --model resnet18 --budget 30m
eyebright train DATA --recipe scratch --model smallnet --epochs 20 --no-budget
"""

from __future__ import annotations

from eyebright.recipes import staged
from eyebright.recipes.base import Recipe

RECIPE = Recipe(
    name="scratch",
    summary="any network from random weights (--model NAME), for as long as the budget or --epochs says",
    defaults={
        "model": {"pretrained": False},
        "optim": {"learning_rate": 3e-3, "layer_decay": 1.0, "batch_size": 64, "weight_decay": 0.05, "ema_decay": 0.99},
        "augment": {"min_area": 0.6, "aspect": 0.1, "brightness": 0.2, "contrast": 0.2, "mixup": 0.1},
    },
    plan=staged.plan,
    fit=staged.fit,
)
