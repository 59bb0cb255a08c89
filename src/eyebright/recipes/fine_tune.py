"""`fine-tune`: a pretrained network, its head first, then all of it with lower rates for earlier layers.

    eyebright train DATA --recipe fine-tune --model resnet18 --epochs 5

The two stages are those of ULMFiT (Howard and Ruder 2018, arXiv:1801.06146), as fastai's `fine_tune` does them: one
epoch with the body frozen, so that a random head tears up no features, then `--epochs` with discriminative rates.
Batch norms of frozen layers keep their statistics.
"""

from __future__ import annotations

from eyebright.recipes import staged
from eyebright.recipes.base import Recipe

RECIPE = Recipe(
    name="fine-tune",
    summary="pretrained network: its head first, then all of it with lower rates for earlier layers",
    defaults={
        "budget_seconds": None,
        "stages": [
            {"name": "head", "epochs": 1, "frozen": "body", "learning_rate": 2e-3},
            {"name": "all", "epochs": 4, "learning_rate": 1e-3, "layer_decay": 0.8, "fixed_statistics": True},
        ],
    },
    plan=staged.plan,
    fit=staged.fit,
)
