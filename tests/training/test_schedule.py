"""The schedule, against torch's own."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from eyebright.training.schedule import warmup_cosine


def test_cosine_part_agrees_with_torch() -> None:
    steps = 50
    weight = torch.nn.Parameter(torch.zeros(1))
    optimiser = torch.optim.SGD([weight], lr=1.0)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, T_max=steps)
    for step in range(steps):
        assert warmup_cosine(step / steps, 0.0) == pytest.approx(schedule.get_last_lr()[0], abs=1e-9)
        optimiser.step()
        schedule.step()


@given(st.floats(0, 1), st.floats(0, 0.9))
def test_factor_stays_between_zero_and_one(done: float, warmup: float) -> None:
    assert 0.0 <= warmup_cosine(done, warmup) <= 1.0


def test_it_starts_at_zero_peaks_after_the_warm_up_and_ends_at_zero() -> None:
    assert warmup_cosine(0.0, 0.1) == 0.0
    assert warmup_cosine(0.1, 0.1) == 1.0
    assert warmup_cosine(1.0, 0.1) == pytest.approx(0.0, abs=1e-12)
