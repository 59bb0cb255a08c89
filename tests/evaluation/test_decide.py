"""All decisions at once: fitted, measured, written as plain JSON, with as little as there may be."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from sklearn.metrics import log_loss

from eyebright.config.decisions import DecisionsConfig
from eyebright.decisions import Decisions, softmax
from eyebright.errors import DataError
from eyebright.evaluation.decide import fit_decisions, measure_decisions


def _drawn(count: int, classes: int = 6, seed: int = 0) -> dict[str, np.ndarray]:
    generator = np.random.default_rng(seed)
    logits = generator.normal(size=(count, classes)) * 4
    shares = softmax(logits, 2.0)
    labels = (shares.cumsum(axis=1) < generator.random((count, 1))).sum(axis=1).clip(max=classes - 1)
    features = np.eye(classes, 20)[labels] * 4 + generator.normal(size=(count, 20))
    return {"logits": logits, "labels": labels, "features": features}


SIBLINGS = np.arange(6)[:, None] // 2 == np.arange(6)[None] // 2


def _fit(config: DecisionsConfig, val: dict[str, np.ndarray], **more: Any) -> tuple[Decisions, dict[str, Any]]:
    return fit_decisions(config, val_logits=val["logits"], val_labels=val["labels"], **more)


@pytest.mark.parametrize("calibration", ["auto", "none", "temperature", "vector", "isotonic"])
@pytest.mark.parametrize("siblings", [None, SIBLINGS], ids=["one level", "two levels"])
def test_from_end_to_end(calibration: Any, siblings: np.ndarray | None) -> None:
    train, val, test = (_drawn(count, seed=seed) for seed, count in enumerate((500, 700, 600)))
    config = DecisionsConfig(calibration=calibration, thresholds="per-class", error_rate=0.2)
    decisions, fitted = _fit(
        config, val, val_features=val["features"], train_features=train["features"], train_labels=train["labels"],
        siblings=siblings,
    )  # fmt: skip
    probabilities = decisions.calibration.probabilities(test["logits"])
    measured = measure_decisions(decisions, probabilities=probabilities, **test, siblings=siblings)
    content = json.loads(json.dumps({"fitted": fitted, "test": measured}, allow_nan=False))
    assert content["fitted"]["images"] == 700
    assert content["fitted"]["calibration"]["method"] == ("temperature" if calibration == "auto" else calibration)
    assert content["fitted"]["sets"]["images"] == 560
    assert len(content["fitted"]["selection"]["class_thresholds"]) == 6
    assert ("superclass_error" in content["test"]["selection"]) == (siblings is not None)
    assert content["test"]["calibration"]["chosen"]["log_loss"]["value"] == pytest.approx(
        log_loss(test["labels"], probabilities, labels=range(6)), abs=1e-9
    )
    low, high = (content["test"]["sets"]["coverage"][name] for name in ("low", "high"))
    assert low - 0.02 <= 0.9 <= high + 0.02
    assert set(content["test"]["outliers"]["scores"]) == {"energy", "distance"}
    # What is measured is what the bundle would say of the same images.
    back = Decisions.from_dict(json.loads(json.dumps(decisions.as_dict())), decisions.arrays())
    decided = back.decide(probabilities, test["logits"], test["features"], siblings=siblings)
    assert decided.sure is not None
    assert decided.outlier is not None
    assert int(decided.sure.sum()) == content["test"]["selection"]["answered"]["count"]
    assert int(decided.outlier.sum()) == content["test"]["outliers"]["scores"]["distance"]["false_alarms"]["count"]


def test_calibration_is_compared_with_none() -> None:
    decisions, _ = _fit(DecisionsConfig(), _drawn(2000))
    test = _drawn(2000, seed=1)
    found = measure_decisions(
        decisions, probabilities=decisions.calibration.probabilities(test["logits"]), logits=test["logits"],
        labels=test["labels"],
    )["calibration"]  # fmt: skip
    assert found["chosen"]["ece"]["value"] < found["uncalibrated"]["ece"]["value"] / 3
    assert found["uncalibrated"]["mean_confidence"] > found["uncalibrated"]["accuracy"]["value"] + 0.05
    assert sum(found["chosen"]["confidence_counts"]) == sum(row["count"] for row in found["chosen"]["bins"]) == 2000


@pytest.mark.parametrize("count", [1, 3, 12])
def test_a_handful_of_images_promises_nothing_and_breaks_nothing(count: int) -> None:
    val = _drawn(count)
    decisions, fitted = _fit(DecisionsConfig(), val, siblings=SIBLINGS)
    json.dumps(fitted, allow_nan=False)
    assert decisions.selection is not None
    assert decisions.selection.threshold is None
    assert fitted["selection"]["least_images"] > count
    if count < 9:
        assert not fitted["sets"]["enough_images"]
        assert decisions.sets is not None
        assert decisions.sets.sets(softmax(val["logits"])).all()
    measured = measure_decisions(
        decisions, probabilities=softmax(val["logits"]), logits=val["logits"], labels=val["labels"], siblings=SIBLINGS
    )
    json.dumps(measured, allow_nan=False)


def test_images_without_a_label_are_left_out() -> None:
    val, unlabelled = _drawn(200), _drawn(50, seed=3)
    mixed = {
        "logits": np.concatenate([val["logits"], unlabelled["logits"]]),
        "labels": np.concatenate([val["labels"], np.full(50, -1)]),
    }
    one, _ = _fit(DecisionsConfig(), val)
    other, fitted = _fit(DecisionsConfig(), mixed)
    assert fitted["images"] == 200
    assert (one.calibration, one.sets, one.selection) == (other.calibration, other.sets, other.selection)
    nothing = measure_decisions(
        one, probabilities=softmax(val["logits"]), logits=val["logits"], labels=np.full(200, -1)
    )
    assert nothing == {"images": 0}


def test_no_validation_image_is_an_error() -> None:
    with pytest.raises(DataError, match="at least one validation image"):
        fit_decisions(DecisionsConfig(), val_logits=np.zeros((0, 3)), val_labels=np.zeros(0))
