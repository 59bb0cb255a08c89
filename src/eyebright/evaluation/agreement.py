"""Agreement of labels and predictions beyond chance: Cohen's kappa and the Matthews correlation."""

from __future__ import annotations

import math

import numpy as np

from eyebright.evaluation.intervals import Floats


def agreement(confusion: Floats) -> dict[str, float]:
    """Cohen's kappa and the multi-class Matthews correlation of a confusion matrix (K, K).

    Empty where all labels are of one class, whose predictions say nothing of agreement.

    J. Cohen, A coefficient of agreement for nominal scales, Educ. Psychol. Meas. 20 (1960), unweighted;
    J. Gorodkin, Comparing two K-category assignments by a K-category correlation coefficient, Comput. Biol. Chem. 28
    (2004), 0 where all predictions are equal, as in scikit-learn.
    """
    right, by_chance, true, said = _shares(confusion)
    if (true > 0).sum() < 2:
        return {}
    spread = (1 - float(said @ said)) * (1 - float(true @ true))
    kappa = (right - by_chance) / (1 - by_chance)
    return {"kappa": kappa, "mcc": (right - by_chance) / math.sqrt(spread) if spread > 0 else 0.0}


def lowest(confusion: Floats) -> dict[str, float]:
    """What the two would be with as many images and predictions of each class and not one right."""
    _, by_chance, true, said = _shares(confusion)
    spread = (1 - float(said @ said)) * (1 - float(true @ true))
    return {"kappa": -by_chance / (1 - by_chance), "mcc": max(-1.0, -by_chance / math.sqrt(spread))}


def influences(confusion: Floats) -> dict[str, Floats]:
    """Influence of an image in each cell, float64 (K, K), as in `Averages.influences`.

    No row and no column may hold all images.
    """
    right, by_chance, true, said = _shares(confusion)
    on_right = np.eye(len(confusion)) - right
    on_chance = said[:, None] + true[None] - 2 * by_chance
    kappa = on_right / (1 - by_chance) - (1 - right) / (1 - by_chance) ** 2 * on_chance

    said_spread, true_spread = 1 - float(said @ said), 1 - float(true @ true)
    scale = math.sqrt(said_spread * true_spread)
    on_said, on_true = -2 * (said - (1 - said_spread))[None], -2 * (true - (1 - true_spread))[:, None]
    relative = on_said / said_spread + on_true / true_spread
    mcc = (on_right - on_chance) / scale - (right - by_chance) / scale / 2 * relative
    return {"kappa": np.asarray(kappa), "mcc": np.asarray(mcc)}


def _shares(confusion: Floats) -> tuple[float, float, Floats, Floats]:
    """Share of right ones, the same by chance, and shares of true and of predicted classes (K,)."""
    images = confusion.sum()
    true, said = confusion.sum(axis=1) / images, confusion.sum(axis=0) / images
    return float(np.trace(confusion) / images), float(true @ said), true, said
