"""How much of a budget must be kept for what follows training: export, evaluation and the report."""

from __future__ import annotations

from eyebright.recipes.base import DataFacts
from eyebright.training.budget import Speed

EXPORT_SECONDS = 16.0
REPORT_SECONDS = 8.0
EVALUATION_MARGIN = 1.5


def finish_seconds(facts: DataFacts, speed: Speed) -> float:
    """Seconds that the export, one pass over validation and test, and the report will take."""
    images = facts.images["val"] + facts.images["test"]
    return EXPORT_SECONDS + REPORT_SECONDS + EVALUATION_MARGIN * images / speed.infer
