"""When training ends by itself, and what it says then."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest

from eyebright.config import StopConfig
from eyebright.errors import UsageError
from eyebright.training.stopping import Stopping, better


def observed(stopping: Stopping, metric: str, values: list[float]) -> list[bool]:
    return [stopping.observe({metric: value, "epoch": 1}) for value in values]


def test_a_loss_is_better_lower_and_all_else_higher() -> None:
    assert better("val_loss", 0.1, 0.2)
    assert not better("val_loss", 0.2, 0.1)
    assert better("val_macro_f1", 0.2, 0.1)
    assert not better("val_accuracy", 0.1, 0.1)
    assert not better("val_accuracy", 0.15, 0.1, min_delta=0.1)
    assert not better("val_loss", math.nan, 1.0)
    assert better("val_loss", 1.0, math.nan)
    assert better("val_accuracy", 0.0, None)


def test_it_stops_after_as_many_evaluations_without_improvement_as_patience_says() -> None:
    stopping = Stopping(StopConfig(metric="val_loss", patience=3))
    assert observed(stopping, "val_loss", [1.0, 0.8, 0.9, 0.8, 0.7, 0.75, 0.72]) == [
        True, True, False, False, True, False, False,
    ]  # fmt: skip
    assert stopping.reason is None
    observed(stopping, "val_loss", [0.71])
    assert stopping.reason == "val_loss has not improved in 3 evaluations: the best is 0.7000, the last 0.7100"


def test_small_improvements_count_once_they_have_added_up() -> None:
    stopping = Stopping(StopConfig(metric="val_accuracy", patience=2, min_delta=0.02))
    assert observed(stopping, "val_accuracy", [0.50, 0.515, 0.525, 0.53, 0.54]) == [True, False, True, False, False]
    assert stopping.reason is not None
    assert "by more than 0.02 in 2 evaluations" in stopping.reason


def test_without_patience_it_never_stops() -> None:
    stopping = Stopping(StopConfig())
    observed(stopping, "val_loss", [float(value) for value in range(1, 100)])
    assert stopping.reason is None


def test_it_stops_at_the_target_even_while_the_watched_loss_improves() -> None:
    stopping = Stopping(StopConfig(target_accuracy=0.85, patience=5))
    assert stopping.observe({"val_loss": 0.9, "val_accuracy": 0.8499})
    assert stopping.reason is None
    assert stopping.observe({"val_loss": 0.8, "val_accuracy": 0.85})
    assert stopping.reason == "the validation accuracy of 0.8500 reached the target of 0.85"


def test_a_loss_that_is_never_a_number_runs_out_of_patience() -> None:
    stopping = Stopping(StopConfig(patience=2))
    assert observed(stopping, "val_loss", [math.nan, math.nan]) == [False, False]
    assert stopping.reason == "val_loss has not improved in 2 evaluations: no value yet, the last nan"


def test_a_metric_that_was_not_measured_is_refused_with_those_that_were() -> None:
    stopping = Stopping(StopConfig(metric="val_top5_accuracy"))
    with pytest.raises(UsageError, match=r"not measured \(top-5 accuracy is measured with six classes or more\)") as e:
        stopping.observe({"val_loss": 1.0, "val_accuracy": 0.5, "epoch": 1})
    assert e.value.expected == "one of val_accuracy, val_loss"
    with pytest.raises(UsageError, match="val_macro_f1"):
        Stopping(StopConfig(keep="val_macro_f1")).keeps({"val_loss": 1.0}, None)


@pytest.mark.parametrize(
    ("keep", "new", "best", "expected"),
    [
        ("val_loss", {"val_loss": 0.5}, None, True),
        ("val_loss", {"val_loss": 0.5}, {"val_loss": 0.5}, False),
        ("val_accuracy", {"val_accuracy": 0.6}, {"val_accuracy": 0.5}, True),
        ("val_loss", {"val_loss": math.nan}, None, True),
        ("val_loss", {"val_loss": math.nan}, {"val_loss": 9.0}, False),
        ("val_loss", {"val_loss": 0.5}, {"val_loss": math.nan}, True),
        ("last", {"val_loss": 9.0}, {"val_loss": 0.5}, True),
    ],
)
def test_the_weights_kept_are_the_best_by_the_metric_asked_for(keep: Any, new: Any, best: Any, expected: bool) -> None:
    assert Stopping(StopConfig(keep=keep)).keeps(new, best) is expected


def test_it_goes_on_from_what_a_checkpoint_held() -> None:
    values = [1.0, 0.9, 0.95, 0.94, 0.93]
    for cut in range(len(values) + 1):
        first = Stopping(StopConfig(patience=3))
        observed(first, "val_loss", values[:cut])
        second = Stopping(StopConfig(patience=3))
        second.restore(json.loads(json.dumps(first.as_dict())))
        observed(second, "val_loss", values[cut:])
        assert second.reason == "val_loss has not improved in 3 evaluations: the best is 0.9000, the last 0.9300"
