"""When training ends before its last planned step, and whose weights are kept."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from eyebright.config import Metric, StopConfig
from eyebright.errors import UsageError


def better(metric: Metric, new: float, old: float | None, *, min_delta: float = 0.0) -> bool:
    """Whether `new` improves on `old` by more than `min_delta`: lower for a loss, higher for all else.

    NaN never improves; every number improves on NaN and on None (nothing yet).
    """
    if math.isnan(new):
        return False
    if old is None or math.isnan(old):
        return True
    return new < old - min_delta if metric == "val_loss" else new > old + min_delta


def metric_value(record: Mapping[str, Any], metric: Metric) -> float:
    """The figure of that name in a record of the history.

    Raises:
        UsageError: it was not measured.
    """
    if metric in record:
        return float(record[metric])
    measured = sorted(name for name in record if name.startswith("val_"))
    why = " (top-5 accuracy is measured with six classes or more)" if metric == "val_top5_accuracy" else ""
    raise UsageError(
        f"{metric} is watched, but was not measured{why}",
        expected=f"one of {', '.join(measured)}" if measured else None,
        remedy="choose another metric for stop.metric, stop.keep or schedule.metric",
    )


class Stopping:
    """Early stopping on any metric, and stopping at a target accuracy.

    Attributes:
        reason: why training must end, in words; None while it goes on.
    """

    def __init__(self, settings: StopConfig) -> None:
        self.settings = settings
        self.reason: str | None = None
        self._best: float | None = None
        self._waited = 0

    def observe(self, record: Mapping[str, Any]) -> bool:
        """Take note of an evaluation.

        Args:
            record: a line of the history with its figures (`val_loss`, ...).

        Returns:
            Whether the watched metric improved by more than `min_delta` on the best so far. Small improvements add
            up: the best moves only when it is beaten by that much.

        Raises:
            UsageError: the watched metric was not measured.
        """
        settings = self.settings
        value = metric_value(record, settings.metric)
        improved = better(settings.metric, value, self._best, min_delta=settings.min_delta)
        if improved:
            self._best = value
        self._waited = 0 if improved else self._waited + 1
        self.reason = self._target_reached(record) or self._patience_used_up(value)
        return improved

    def keeps(self, record: Mapping[str, Any], best: Mapping[str, float] | None) -> bool:
        """Whether the weights that `record` was measured with take the place of those of `best`.

        The first are always kept, whatever they score (`best` is None), so that there are some; so are those of every
        evaluation where `stop.keep` is `last`.

        Raises:
            UsageError: the metric of `stop.keep` was not measured.
        """
        keep = self.settings.keep
        if keep == "last":
            return True
        value = metric_value(record, keep)
        return best is None or better(keep, value, metric_value(best, keep))

    def _target_reached(self, record: Mapping[str, Any]) -> str | None:
        target = self.settings.target_accuracy
        if target is None or not (accuracy := metric_value(record, "val_accuracy")) >= target:
            return None
        return f"the validation accuracy of {accuracy:.4f} reached the target of {target:g}"

    def _patience_used_up(self, value: float) -> str | None:
        settings = self.settings
        if settings.patience is None or self._waited < settings.patience:
            return None
        best = "no value yet" if self._best is None else f"the best is {self._best:.4f}"
        delta = f" by more than {settings.min_delta:g}" if settings.min_delta else ""
        times = "1 evaluation" if self._waited == 1 else f"{self._waited} evaluations"
        return f"{settings.metric} has not improved{delta} in {times}: {best}, the last {value:.4f}"

    def as_dict(self) -> dict[str, Any]:
        """Plain values for a checkpoint."""
        return {"best": self._best, "waited": self._waited, "reason": self.reason}

    def restore(self, values: Mapping[str, Any]) -> None:
        """Go on from what `as_dict` gave."""
        self._best, self._waited, self.reason = values["best"], values["waited"], values["reason"]
