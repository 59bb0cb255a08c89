"""The schedules, step by step against those of torch."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from typing import Any, get_args

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.optim import lr_scheduler

from eyebright.config import ScheduleConfig
from eyebright.training.schedule import Plateau, rate_factor

NAMES = get_args(ScheduleConfig.model_fields["name"].annotation)
PEAK = 0.3


def torch_rates(make: Callable[[torch.optim.Optimizer], Any], steps: int) -> list[float]:
    optimiser = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=PEAK)
    schedule = make(optimiser)
    rates = []
    for _ in range(steps):
        rates.append(optimiser.param_groups[0]["lr"])
        optimiser.step()
        schedule.step()
    return rates


def our_rates(settings: ScheduleConfig, steps: int, per_epoch: int = 10) -> list[float]:
    return [PEAK * rate_factor(settings, step, steps, per_epoch) for step in range(steps)]


def test_step_falls_as_torchs_does() -> None:
    settings = ScheduleConfig(name="step", warmup_share=0, step_epochs=3, factor=0.5)
    expected = torch_rates(lambda o: lr_scheduler.StepLR(o, step_size=3 * 10, gamma=0.5), 100)
    assert our_rates(settings, 100) == pytest.approx(expected)
    assert len(set(np.round(expected, 12))) == 4


def test_cosine_agrees_with_torch() -> None:
    settings = ScheduleConfig(name="cosine", warmup_share=0, final_share=0.1)
    expected = torch_rates(lambda o: lr_scheduler.CosineAnnealingLR(o, T_max=50, eta_min=0.1 * PEAK), 50)
    assert our_rates(settings, 50) == pytest.approx(expected)


@pytest.mark.parametrize("power", [0.5, 1.0, 2.0])
def test_polynomial_agrees_with_torch(power: float) -> None:
    settings = ScheduleConfig(name="polynomial", warmup_share=0, power=power)
    expected = torch_rates(lambda o: lr_scheduler.PolynomialLR(o, total_iters=40, power=power), 40)
    assert our_rates(settings, 40) == pytest.approx(expected)


@pytest.mark.parametrize(("steps", "share"), [(100, 0.3), (37, 0.25), (10, 0.5), (7, 0.3)])
def test_one_cycle_agrees_with_torch(steps: int, share: float) -> None:
    final = 1e-3

    def theirs(optimiser: torch.optim.Optimizer) -> lr_scheduler.OneCycleLR:
        return lr_scheduler.OneCycleLR(
            optimiser, max_lr=PEAK, total_steps=steps, pct_start=share, div_factor=25,
            final_div_factor=1 / 25 / final, cycle_momentum=False,
        )  # fmt: skip

    settings = ScheduleConfig(name="one-cycle", warmup_share=share, final_share=final)
    assert our_rates(settings, steps) == pytest.approx(torch_rates(theirs, steps))


def test_one_cycle_begins_low_peaks_and_ends_at_its_share() -> None:
    settings = ScheduleConfig(name="one-cycle", warmup_share=0.25, final_share=0.0)
    factors = [rate_factor(settings, step, 80, 10) for step in range(80)]
    assert factors[0] == pytest.approx(1 / 25)
    assert int(np.argmax(factors)) == 19
    assert factors[19] == 1.0
    assert factors[79] == 0.0
    assert rate_factor(ScheduleConfig(name="one-cycle", warmup_share=0), 0, 80, 10) == 1.0


def test_constant_and_plateau_rise_and_stay() -> None:
    for name in ("constant", "plateau"):
        settings = ScheduleConfig(name=name, warmup_share=0.2)  # type: ignore[arg-type]
        factors = [rate_factor(settings, step, 50, 10) for step in range(50)]
        assert factors[:11] == pytest.approx(np.arange(11) / 10)
        assert set(factors[10:]) == {1.0}


@pytest.mark.parametrize("name", ["constant", "step", "cosine", "polynomial", "plateau"])
def test_the_warm_up_is_linear_from_zero_and_meets_the_peak(name: Any) -> None:
    settings = ScheduleConfig(name=name, warmup_share=0.1, step_epochs=100)
    factors = [rate_factor(settings, step, 1000, 10) for step in range(1000)]
    assert factors[:101] == pytest.approx(np.arange(101) / 100)
    assert max(abs(np.diff(factors))) < 0.011, "no jump where the warm-up ends"


def test_the_rest_of_a_warmed_up_cosine_is_a_shorter_cosine() -> None:
    settings = ScheduleConfig(name="cosine", warmup_share=0.2)
    rest = [rate_factor(settings, step, 100, 10) for step in range(20, 100)]
    whole = [rate_factor(ScheduleConfig(warmup_share=0), step, 80, 10) for step in range(80)]
    assert rest == pytest.approx(whole)


@given(
    name=st.sampled_from(NAMES), total=st.integers(1, 500), step=st.integers(0, 600), per_epoch=st.integers(1, 50),
    warmup=st.floats(0, 0.95), final=st.floats(0, 1), power=st.floats(0.1, 5),
)  # fmt: skip
def test_a_factor_is_a_share_wherever_training_is(
    name: Any, total: int, step: int, per_epoch: int, warmup: float, final: float, power: float
) -> None:
    settings = ScheduleConfig(name=name, warmup_share=warmup, final_share=final, power=power)
    assert -1e-12 <= rate_factor(settings, step, total, per_epoch) <= 1 + 1e-12


@pytest.mark.parametrize("metric", ["val_loss", "val_accuracy"])
@pytest.mark.parametrize("patience", [0, 1, 3])
def test_plateau_falls_when_torchs_does(metric: Any, patience: int) -> None:
    settings = ScheduleConfig(name="plateau", metric=metric, patience=patience, factor=0.5, floor=0.02)
    random = np.random.default_rng(patience)
    values = np.concatenate([random.normal(size=60).round(1), np.linspace(-2, -4, 20), np.full(20, 0.5)])
    optimiser = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=PEAK)
    theirs = lr_scheduler.ReduceLROnPlateau(
        optimiser, mode="min" if metric == "val_loss" else "max", factor=0.5, patience=patience, threshold=0,
        min_lr=0.02,
    )  # fmt: skip
    ours = Plateau(settings, peak=PEAK)
    factors = [1.0]
    for value in values:
        before = ours.factor
        fell = ours.observe(float(value))
        theirs.step(float(value))
        assert PEAK * ours.factor == pytest.approx(optimiser.param_groups[0]["lr"], rel=1e-9)
        assert fell == (ours.factor < before)
        factors.append(ours.factor)
    assert factors[-1] == pytest.approx(0.02 / PEAK), "the floor was reached"
    assert len(set(factors)) > 3


def test_a_peak_below_the_floor_is_left_alone() -> None:
    plateau = Plateau(ScheduleConfig(name="plateau", patience=0, floor=1e-3), peak=1e-4)
    for value in (1.0, 1.0, 1.0):
        assert not plateau.observe(value)
    assert plateau.factor == 1.0


def test_a_loss_that_is_not_a_number_is_no_improvement_and_is_improved_upon() -> None:
    plateau = Plateau(ScheduleConfig(name="plateau", patience=0, factor=0.5), peak=1.0)
    assert plateau.observe(math.nan)
    assert not plateau.observe(3.0)
    assert plateau.observe(math.nan)
    assert plateau.factor == 0.25


def test_plateau_goes_on_from_what_a_checkpoint_held() -> None:
    settings = ScheduleConfig(name="plateau", patience=1, factor=0.5)
    values = [3.0, 2.0, 2.5, 2.2, 2.1, 1.0, 1.5, 1.2, 1.1]
    whole, first = Plateau(settings, peak=1.0), Plateau(settings, peak=1.0)
    for value in values[:4]:
        first.observe(value)
    second = Plateau(settings, peak=1.0)
    second.restore(json.loads(json.dumps(first.as_dict())))
    for value in values:
        whole.observe(value)
    for value in values[4:]:
        second.observe(value)
    assert second.as_dict() == whole.as_dict()
    assert second.factor == whole.factor == 0.25
