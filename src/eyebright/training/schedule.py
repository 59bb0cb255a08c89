"""Learning-rate schedules: what multiplies the peak rate, as plain functions of how far training has come."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from eyebright.config import ScheduleConfig
from eyebright.training.stopping import better

ONE_CYCLE_START = 1 / 25
"""Rate at the start of one-cycle over its peak, as in torch."""


def rate_factor(settings: ScheduleConfig, step: int, total_steps: int, steps_per_epoch: int) -> float:
    """Factor on the peak rate for a step, in [0, 1].

    All but one-cycle rise linearly from 0 during the first `warmup_share` of the steps (Goyal et al. 2017,
    arXiv:1706.02677). Then:

    - `constant` and `plateau` stay at 1 (see `Plateau` for its falls);
    - `step` is multiplied by `factor` every `step_epochs` epochs, counted from the first step;
    - `cosine` falls by half a cosine to `final_share` (Loshchilov and Hutter 2017, arXiv:1608.03983, no restarts);
    - `polynomial` falls by (1 - share of the steps) to the power of `power`;
    - `one-cycle` rises from 1/25 to 1 during `warmup_share` and falls to `final_share` at the last step, both by half
      a cosine (Smith and Topin 2018, arXiv:1708.07120, in the shape that torch gives it; momentum stays as it is).

    Args:
        settings: which schedule.
        step: number of the step, from 0.
        total_steps: steps planned; may change from one call to the next.
        steps_per_epoch: steps in an epoch.
    """
    if settings.name == "one-cycle":
        return _one_cycle(settings, step, total_steps)
    done = min(1.0, step / total_steps)
    share = settings.warmup_share
    rise = done / share if done < share else 1.0
    if settings.name == "step":
        return rise * settings.factor ** (step // steps_per_epoch // settings.step_epochs)
    if done < share or settings.name in ("constant", "plateau"):
        return rise
    left = 1 - (done - share) / (1 - share)
    fall = left**settings.power if settings.name == "polynomial" else _half_cosine(1.0, 0.0, 1 - left)
    return settings.final_share + (1 - settings.final_share) * fall


def _one_cycle(settings: ScheduleConfig, step: int, total_steps: int) -> float:
    last = total_steps - 1
    peak = settings.warmup_share * total_steps - 1  # the step at which torch puts the peak; it may lie between two
    step = min(step, last)
    if step < peak:
        return _half_cosine(ONE_CYCLE_START, 1.0, step / peak)
    peak = max(0.0, peak)
    return _half_cosine(1.0, settings.final_share, (step - peak) / (last - peak)) if last > peak else 1.0


def _half_cosine(first: float, last: float, share: float) -> float:
    return last + (first - last) * 0.5 * (1 + math.cos(math.pi * share))


class Plateau:
    """Lower the rate when a metric has stopped improving, as `torch.optim.lr_scheduler.ReduceLROnPlateau` does.

    Args:
        settings: `metric`, `factor`, `patience` and `floor`.
        peak: the largest peak rate among the optimiser's groups. The floor holds for that rate; groups with lower
            peaks keep their ratio to it.
    """

    def __init__(self, settings: ScheduleConfig, *, peak: float) -> None:
        self.settings = settings
        self._least = min(1.0, settings.floor / peak)
        self._falls = 0
        self._waited = 0
        self._best: float | None = None

    @property
    def factor(self) -> float:
        """What multiplies the rates of the schedule now."""
        return max(self.settings.factor**self._falls, self._least)

    def observe(self, value: float) -> bool:
        """Take note of the metric of an evaluation; returns whether the rate falls because of it."""
        if better(self.settings.metric, value, self._best):
            self._best, self._waited = value, 0
            return False
        self._waited += 1
        if self._waited <= self.settings.patience:
            return False
        before = self.factor
        self._falls, self._waited = self._falls + 1, 0
        return self.factor < before

    def as_dict(self) -> dict[str, Any]:
        """Plain values for a checkpoint."""
        return {"falls": self._falls, "waited": self._waited, "best": self._best}

    def restore(self, values: Mapping[str, Any]) -> None:
        """Go on from what `as_dict` gave."""
        self._falls, self._waited, self._best = values["falls"], values["waited"], values["best"]
