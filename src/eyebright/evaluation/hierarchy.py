"""How grave mistakes are where classes have superclasses."""

from __future__ import annotations

import numpy as np

from eyebright.evaluation.confusion_scores import proportion
from eyebright.evaluation.estimate import DELTA, WILSON, Estimate
from eyebright.evaluation.intervals import Integers, effective_wilson, wilson
from eyebright.evaluation.predictions import Predictions

FARTHEST = 2


def severities(scored: Predictions) -> Integers | None:
    """Height of the lowest common ancestor of true and predicted class of each labelled image, int64 (N,).

    0 for a right prediction, 1 for a wrong one within the superclass, 2 for one in another superclass (L. Bertinetto et
    al., Making better mistakes, 2020, arXiv:1912.09393); None where there is one level of classes.
    """
    true, predicted = scored.column("superclass"), scored.column("predicted_superclass")
    if None in true or None in predicted:
        return None
    strayed = np.array([one != other for one, other in zip(true, predicted, strict=True)])
    wrong = scored.labels_index() != scored.predicted_index()
    return np.asarray(np.where(strayed, FARTHEST, wrong), dtype=np.int64)


def hierarchy_scores(found: Integers) -> dict[str, Estimate]:
    """Numbers that follow from the severities (N,) of all images.

    Returns:
        `superclass_accuracy`: share of images with the right superclass; `mean_severity`: mean over all images, 0 to 2;
        `mistake_severity`: mean over the mistakes, 1 to 2, absent without a mistake. The last is 1 plus a share, so it
        has Wilson's interval.
    """
    images, wrong, strayed = len(found), int((found > 0).sum()), int((found == FARTHEST).sum())
    mean = float(found.mean())
    variance = float(found.var(ddof=1)) / images if images > 1 else 0.0
    if variance > 0:
        low, high = effective_wilson(mean, variance, mean, high=FARTHEST)
    else:
        low, high = (FARTHEST * float(limit) for limit in wilson(images * mean / FARTHEST, images))
    scores = {
        "superclass_accuracy": proportion(images - strayed, images),
        "mean_severity": Estimate(mean, min(low, mean), max(high, mean), DELTA),
    }
    if wrong:
        share = proportion(strayed, wrong)
        scores["mistake_severity"] = Estimate(1 + share.value, 1 + share.low, 1 + share.high, WILSON)
    return scores
