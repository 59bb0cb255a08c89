"""Images spoilt on purpose, to see what a classifier can bear: corruptions of batches at five severities, in torch."""

from eyebright.robustness.apply import corrupt, severities
from eyebright.robustness.catalog import CORRUPTIONS, SEVERITIES, Corruption, meaningless

__all__ = ["CORRUPTIONS", "SEVERITIES", "Corruption", "corrupt", "meaningless", "severities"]
