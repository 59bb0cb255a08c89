"""The record of a robustness measurement against plain counting."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import numpy as np
import pytest
from sklearn.metrics import accuracy_score

from eyebright.errors import NewerBundleError
from eyebright.evaluation.robustness import Measured, Robustness, summarise

CLASSES = ("ash", "oak", "elm", "fir")
LEVELS = (1.0, 2.0, 3.0)


def answers(right_share: float, seed: int, images: int = 200) -> np.ndarray[Any, np.dtype[np.bool_]]:
    return np.random.default_rng(seed).random(images) < right_share


def measured(name: str, family: str, shares: tuple[float, ...], seed: int, confidence: float = 0.7) -> Measured:
    right = np.stack([answers(share, seed + index) for index, share in enumerate(shares)], axis=1)
    return Measured(
        name=name, title=name.capitalize(), family=family, unit="degrees" if family == "quality" else "",
        levels=LEVELS, right=right, confidence=np.full(right.shape, confidence),
    )  # fmt: skip


def record(**changes: Any) -> tuple[Robustness, dict[str, Any]]:
    given: dict[str, Any] = {
        "labels": np.random.default_rng(1).integers(0, 3, 200),  # no fir
        "classes": CLASSES,
        "right": answers(0.9, 100),
        "confidence": np.full(200, 0.88),
        "measured": [
            measured("fog", "weather", (0.85, 0.6, 0.3), 10),
            measured("noise", "noise", (0.5, 0.4, 0.2), 20),
            measured("turning", "quality", (0.1, 0.1, 0.1), 30),
        ],
        "choice": "all test images", "side": 32, "channels": 3, "seed": 0, "seconds": 1.5,
    }  # fmt: skip
    given |= changes
    return summarise(**given), given


def test_the_mean_corruption_error_is_the_plain_mean_over_the_usual_corruptions() -> None:
    found, given = record()
    usual = np.concatenate([given["measured"][0].right.T, given["measured"][1].right.T])
    errors = [1 - accuracy_score(np.ones(200), row) for row in usual]
    assert found.mean_error is not None
    assert found.mean_drop is not None
    assert found.mean_error.value == pytest.approx(np.mean(errors), abs=1e-12)
    assert found.mean_drop.value == pytest.approx(np.mean(errors) - (1 - given["right"].mean()), abs=1e-12)
    assert found.mean_error.low < found.mean_error.value < found.mean_error.high
    assert found.mean_drop.low > 0
    assert found.confidence == pytest.approx(0.7)


def test_a_drop_is_paired_and_its_interval_narrower_than_two_apart() -> None:
    right = answers(0.8, 5)
    worse = right & answers(0.9, 6)
    one = Measured(
        name="fog", title="Fog", family="weather", unit="", levels=(1.0,), right=worse[:, None],
        confidence=np.full((200, 1), 0.8),
    )  # fmt: skip
    cell = record(right=right, measured=[one])[0].curves[0].cells[0]
    assert cell.drop.value == pytest.approx(right.mean() - worse.mean())
    assert cell.drop.method == "Newcombe, paired"
    assert cell.drop.low > 0
    assert cell.drop.high - cell.drop.low < 0.8 * (cell.accuracy.high - cell.accuracy.low)


def test_an_interval_has_width_where_no_answer_changed() -> None:
    right = answers(0.8, 5)
    same = Measured(
        name="fog", title="Fog", family="weather", unit="", levels=(1.0,), right=right[:, None],
        confidence=np.full((200, 1), 0.8),
    )  # fmt: skip
    found, _ = record(right=right, measured=[same])
    assert found.mean_drop is not None
    for drop in (found.curves[0].cells[0].drop, found.curves[0].drop, found.mean_drop):
        assert drop.value == 0
        assert drop.low < 0 < drop.high


def test_where_it_falls_below_nine_tenths_of_clean() -> None:
    right = np.ones(200, dtype=bool)

    def share(number: int) -> np.ndarray[Any, np.dtype[np.bool_]]:
        return np.arange(200) < number

    rows = {"never": (200, 190, 180), "second": (190, 179, 200), "first": (100, 90, 80)}
    curves = record(right=right, measured=[
        Measured(name=name, title=name, family="blur", unit="", levels=LEVELS,
                 right=np.stack([share(number) for number in numbers], axis=1), confidence=np.full((200, 3), 0.9))
        for name, numbers in rows.items()
    ])[0].curves  # fmt: skip
    assert [curve.falls_at for curve in curves] == [None, 2, 1]


def test_classes_are_ordered_by_what_they_lose_and_name_the_worst() -> None:
    labels = np.repeat([0, 1], 100)
    right = np.ones(200, dtype=bool)
    fog = np.stack([np.r_[np.ones(100), np.zeros(100)]] * 3, axis=1).astype(bool)
    noise = np.stack([np.r_[np.arange(100) < 90, np.ones(100)]] * 3, axis=1).astype(bool)
    common = {"unit": "", "levels": LEVELS, "confidence": np.full((200, 3), 0.9)}
    found, _ = record(labels=labels, right=right, measured=[
        Measured(name="fog", title="Fog", family="weather", right=fog, **common),
        Measured(name="noise", title="Noise", family="noise", right=noise, **common),
    ])  # fmt: skip
    oak, ash = found.classes
    assert (oak.name, oak.images, oak.corrupted, oak.worst) == ("oak", 100, 0.5, "Fog")
    assert (ash.name, ash.worst) == ("ash", "Noise")
    assert ash.drop.value == pytest.approx(0.05)


def test_classes_without_images_are_not_shown() -> None:
    assert {row.name for row in record()[0].classes} == {"ash", "oak", "elm"}


def test_the_calibration_error_is_the_gap_of_a_constant_confidence() -> None:
    found, given = record()
    for curve, one in zip(found.curves, given["measured"], strict=True):
        assert curve.calibration_error == pytest.approx(abs(0.7 - one.right.mean()))
        for index, cell in enumerate(curve.cells):
            assert cell.calibration_error == pytest.approx(abs(0.7 - one.right[:, index].mean()))


def test_json_and_back_is_the_same() -> None:
    found, _ = record(left_out={"snow": "no room"}, examples={"fog": "data:image/png;base64,AAAA"}, unreadable=2)
    text = json.dumps(found.as_dict(), allow_nan=False)
    assert Robustness.from_dict(json.loads(text)) == found


def test_a_later_version_is_refused_in_words() -> None:
    values = record()[0].as_dict() | {"version": 99}
    with pytest.raises(NewerBundleError, match="version 99"):
        Robustness.from_dict(values)


def test_lines_tell_the_summary_and_every_corruption_worst_first() -> None:
    found, _ = record(left_out={"snow": "no room"}, unreadable=2)
    text = "\n".join(found.lines())
    assert "mean corruption error" in text
    assert text.index("Noise") < text.index("Fog") < text.index("Turning")
    assert "2 images could not be used" in text
    assert "snow: left out, no room" in text


def test_without_usual_corruptions_there_is_no_mean_corruption_error() -> None:
    _, given = record()
    found = summarise(**{**given, "measured": [given["measured"][2]]})
    assert found.mean_error is None
    assert found.mean_drop is None
    assert Robustness.from_dict(json.loads(json.dumps(found.as_dict()))) == found
    assert found.lines()


def test_the_record_cannot_be_changed() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        record()[0].images = 3  # type: ignore[misc]
