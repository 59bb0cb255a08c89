"""Numbers of the confusion matrix: agreement against scikit-learn, influences against differences, intervals."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as reference

from eyebright.evaluation import agreement
from eyebright.evaluation.averages import Averages
from eyebright.evaluation.confusion_scores import confusion_scores, smoothed


def _confusion(classes: int, images: int, seed: int, right: float = 0.6) -> np.ndarray:
    generator = np.random.default_rng(seed)
    truth = generator.integers(0, classes, images)
    said = np.where(generator.random(images) < right, truth, generator.integers(0, classes, images))
    return np.bincount(truth * classes + said, minlength=classes**2).reshape(classes, classes)


def _labels(confusion: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    cells = np.repeat(np.arange(confusion.size), confusion.ravel())
    return cells // len(confusion), cells % len(confusion)


@settings(max_examples=60, deadline=None)
@given(classes=st.integers(2, 9), images=st.integers(1, 150), seed=st.integers(0, 2**31), right=st.floats(0, 1))
def test_kappa_and_mcc_equal_scikit_learn(classes: int, images: int, seed: int, right: float) -> None:
    confusion = _confusion(classes, images, seed, right)
    truth, said = _labels(confusion)
    found = confusion_scores(confusion)
    if len(set(truth)) == 1:
        assert "kappa" not in found
        assert "mcc" not in found
        return
    assert found["kappa"].value == pytest.approx(reference.cohen_kappa_score(truth, said), abs=1e-9)
    assert found["mcc"].value == pytest.approx(reference.matthews_corrcoef(truth, said), abs=1e-9)
    for name in ("kappa", "mcc"):
        assert -1 <= found[name].low <= found[name].value <= found[name].high <= 1


@pytest.mark.parametrize("name", ["macro_f1", "weighted_precision", "weighted_f1", "kappa", "mcc"])
def test_an_influence_is_what_more_images_of_a_cell_do(name: str) -> None:
    # So many images that the allowance for few of them is gone.
    confusion = _confusion(4, 400, 1).astype(np.float64) * 1e6 + 1e6
    every = np.ones(4, dtype=bool)

    def score(counts: np.ndarray) -> float:
        return {**Averages(counts, every).values(), **agreement.agreement(counts)}[name]

    influences = {**Averages(confusion, every).influences(), **agreement.influences(confusion)}[name]
    shares = confusion / confusion.sum()
    assert float((shares * influences).sum()) == pytest.approx(0, abs=1e-7)
    for cell in ((0, 0), (1, 2), (3, 1)):
        more = np.zeros((4, 4))
        more[cell] = 1
        step = 1e-6
        slope = (score((1 - step) * shares + step * more) - score(shares)) / step
        assert slope == pytest.approx(influences[cell], rel=1e-3, abs=1e-4)


def test_leaving_one_out_measures_the_bias_of_averages_over_many_small_classes() -> None:
    classes, images = 40, 200
    generator = np.random.default_rng(0)
    shares = (np.eye(classes) * 0.5 + 0.5 / classes) / classes
    every = np.ones(classes, dtype=bool)
    truth = Averages(shares, every).values()
    measured, corrected = [], []
    for _ in range(300):
        counts = generator.multinomial(images, shares.ravel()).reshape(classes, classes).astype(np.float64)
        found = Averages(counts, counts.sum(axis=0) + counts.sum(axis=1) > 0)
        values, biases = found.values(), found.biases()
        measured.append([values[name] for name in biases])
        corrected.append([values[name] - biases[name] for name in biases])
    for column, name in enumerate(("macro_f1", "weighted_precision")):
        before = abs(np.mean(measured, axis=0)[column] - truth[name])
        after = abs(np.mean(corrected, axis=0)[column] - truth[name])
        assert after < 0.5 * before, (name, before, after)


def test_smoothing_keeps_the_images_of_each_class_and_leaves_no_class_without_error() -> None:
    counts = np.diag([30.0, 10.0, 0.0])
    found = smoothed(counts)
    np.testing.assert_allclose(found.sum(axis=1), counts.sum(axis=1))
    assert (found[:2] > 0).all()
    assert (found[2] == 0).all()
    assert found[0, 0] / 30 > 0.99


def test_more_images_give_narrower_intervals_of_the_same_place() -> None:
    few, many = confusion_scores(_confusion(5, 200, 3)), confusion_scores(_confusion(5, 200, 3) * 16)
    for name, estimate in few.items():
        assert many[name].value == pytest.approx(estimate.value)
        ratio = (estimate.high - estimate.low) / (many[name].high - many[name].low)
        assert ratio == pytest.approx(4, rel=0.15), name
