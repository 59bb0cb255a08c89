"""How much of a budget must be kept for what follows training: export, evaluation and the report."""

from __future__ import annotations

from eyebright.recipes.base import DataFacts
from eyebright.training.budget import Speed

EXPORT_SECONDS = 16.0
REPORT_SECONDS = 8.0
EVALUATION_MARGIN = 1.5
TRAIN_SAMPLE = 2000


def finish_seconds(facts: DataFacts, speed: Speed) -> float:
    """Seconds that the export, one pass over validation, test and a sample of train, and the report will take."""
    images = facts.images["val"] + facts.images["test"] + min(TRAIN_SAMPLE, facts.images["train"])
    return EXPORT_SECONDS + REPORT_SECONDS + EVALUATION_MARGIN * images / speed.infer
