"""The scikit-learn face of the engine: scikit-learn's own checks, and real images of every accepted kind."""

from __future__ import annotations

import os
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.base import clone
from sklearn.datasets import load_digits
from sklearn.exceptions import NotFittedError
from sklearn.metrics import log_loss
from sklearn.model_selection import GridSearchCV, cross_val_score, train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer
from sklearn.utils.estimator_checks import parametrize_with_checks

import eyebright
from eyebright.errors import ConfigError, DataError, UsageError
from eyebright.estimator import EyebrightClassifier
from eyebright.jobs.verify import verify

QUICK = EyebrightClassifier(recipe="scratch", model="smallnet", size=8, epochs=10)

# The checks train on tables of two numbers, of which a crop or a mixture is no longer the same thing, and on few rows.
PLAIN = clone(QUICK).set_params(
    epochs=8,
    settings=(
        "optim.batch_size=16",
        "augment.min_area=1",
        "augment.aspect=0",
        "augment.brightness=0",
        "augment.mixup=0",
    ),
)


@parametrize_with_checks([PLAIN])  # no check is expected to fail
def test_meets_the_conventions_of_scikit_learn(estimator: EyebrightClassifier, check: Any) -> None:
    check(estimator)


@pytest.fixture(scope="module")
def digits() -> tuple[Any, Any, Any, Any]:
    """Images and labels to learn from, then held-out ones: tables (N, 64) of values from 0 to 16."""
    X, y = load_digits(return_X_y=True)
    train, held_out, train_labels, held_out_labels = train_test_split(X, y, random_state=0, stratify=y)
    return train, train_labels, held_out, held_out_labels


@pytest.fixture(scope="module")
def reader(digits: Any) -> EyebrightClassifier:
    """Fitted on the digits; tests leave it as it is."""
    return clone(QUICK).fit(*digits[:2])


@pytest.fixture(scope="module")
def photos(shared_data: Path) -> tuple[list[str], list[str]]:
    """Paths of 90 photos of three kinds of flowers, and their kinds."""
    kinds = ("daisy", "rose", "tulip")
    found = {kind: sorted((shared_data / "flowers" / kind).iterdir())[:30] for kind in kinds}
    return [str(path) for kind in kinds for path in found[kind]], [kind for kind in kinds for _ in found[kind]]


@pytest.fixture(scope="module")
def botanist(photos: Any) -> EyebrightClassifier:
    """Fitted on every other photo by a linear probe; tests leave it as it is."""
    paths, kinds = photos
    return EyebrightClassifier(epochs=0, size=128).fit(paths[::2], kinds[::2])


def few(digits: Any, count: int = 200) -> tuple[Any, Any]:
    return digits[0][:count], digits[1][:count]


def test_reads_held_out_digits_with_calibrated_probabilities(reader: EyebrightClassifier, digits: Any) -> None:
    X, y = digits[2:]
    probabilities = reader.predict_proba(X)
    assert reader.score(X, y) >= 0.95
    assert probabilities.shape == (len(X), 10)
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, atol=1e-6)
    np.testing.assert_array_equal(reader.predict(X), reader.classes_[probabilities.argmax(axis=1)])
    # Without its temperature the network, trained with label smoothing, is far too modest.
    uncalibrated = probabilities.astype(np.float64) ** reader.temperature_
    uncalibrated /= uncalibrated.sum(axis=1, keepdims=True)
    assert log_loss(y, probabilities) < log_loss(y, uncalibrated)


def test_default_recipe_trains_small_grey_images_from_scratch(digits: Any) -> None:
    fitted = EyebrightClassifier(epochs=1, size=8).fit(*few(digits))
    assert fitted.plan_.architecture == "smallnet"
    assert fitted.preprocess_.channels == 1
    assert any("unlike the photographs" in reason for reason in fitted.reasons_)
    assert [line["stage"] for line in fitted.history_] == ["train"]


def test_flattened_images_and_arrays_of_images_are_the_same(digits: Any) -> None:
    X, y = few(digits)
    squares = np.rint(X / 16 * 255).astype(np.uint8).reshape(-1, 8, 8)
    quick = clone(QUICK).set_params(epochs=2)
    expected = clone(quick).fit(X, y).predict_proba(X)
    for images in (squares, squares[..., None], list(squares), squares.astype(np.float32) / 255):
        np.testing.assert_array_equal(clone(quick).fit(images, y).predict_proba(images), expected)


def test_works_in_a_pipeline_cross_validation_and_grid_search(digits: Any) -> None:
    X, y = digits[0][:600], digits[1][:600]
    shifted = make_pipeline(FunctionTransformer(lambda table: table * 3 - 7), clone(QUICK).set_params(epochs=20))
    assert cross_val_score(shifted, X, y, cv=2).min() > 0.8  # of ten digits, from 300 images
    search = GridSearchCV(clone(QUICK), {"epochs": np.array([1, 8])}, cv=2, refit=False).fit(X, y)
    assert search.best_params_ == {"epochs": 8}


def test_classifies_photos_given_by_path(botanist: EyebrightClassifier, photos: Any) -> None:
    paths, kinds = photos
    assert botanist.score(paths[1::2], kinds[1::2]) > 0.6
    assert list(botanist.classes_) == ["daisy", "rose", "tulip"]
    assert botanist.plan_.architecture == "tf_efficientnet_lite0"
    assert not hasattr(botanist, "n_features_in_")


def test_paths_bytes_and_pillow_images_give_the_same(botanist: EyebrightClassifier, photos: Any) -> None:
    paths = photos[0][1:8:2]
    expected = botanist.predict_proba(paths)
    np.testing.assert_array_equal(botanist.predict_proba(np.array(paths)), expected)
    np.testing.assert_array_equal(botanist.predict_proba([Path(path) for path in paths]), expected)
    np.testing.assert_array_equal(botanist.predict_proba([Path(path).read_bytes() for path in paths]), expected)
    pictures = [Image.open(path) for path in paths]
    # A JPEG file may be decoded at half its size where a smaller image is wanted; an opened one is not.
    np.testing.assert_allclose(botanist.predict_proba(pictures), expected, atol=0.1)


def test_a_pickled_classifier_says_the_same(botanist: EyebrightClassifier, photos: Any) -> None:
    copied = pickle.loads(pickle.dumps(botanist))
    np.testing.assert_array_equal(copied.predict_proba(photos[0][:6]), botanist.predict_proba(photos[0][:6]))


def test_fit_repeats_itself_for_a_random_state_and_leaves_no_trace(
    digits: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    X, y = few(digits)
    quick = clone(QUICK).set_params(epochs=2)
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    first = clone(quick).fit(X, y).predict_proba(X)
    assert torch.equal(torch.rand(3), expected)  # the caller's random numbers go on as if nothing had happened
    np.testing.assert_array_equal(clone(quick).fit(X, y).predict_proba(X), first)
    assert not np.array_equal(clone(quick).set_params(random_state=1).fit(X, y).predict_proba(X), first)
    states = [clone(quick).set_params(random_state=np.random.RandomState(3)).fit(X, y) for _ in range(2)]
    np.testing.assert_array_equal(states[0].predict_proba(X), states[1].predict_proba(X))
    assert os.listdir(tmp_path) == []


def test_weights_decide_between_contradicting_labels(digits: Any) -> None:
    X, y = few(digits, 120)
    liar = (y + 1) % 10
    both, labels = np.concatenate([X, X]), np.concatenate([y, liar])
    weights = np.repeat([100.0, 1.0], len(X))
    quick = clone(QUICK).set_params(epochs=20)
    honest = clone(quick).fit(both, labels, sample_weight=weights).predict(X)
    misled = clone(quick).fit(both, labels, sample_weight=weights[::-1]).predict(X)
    assert (honest == y).mean() > 0.8
    assert (misled == liar).mean() > 0.8


def test_order_and_repetition_of_rows_do_not_matter(digits: Any) -> None:
    X, y = few(digits, 100)
    quick = clone(QUICK).set_params(epochs=2)
    order = np.random.default_rng(0).permutation(np.repeat(np.arange(100), 2))
    repeated = clone(quick).fit(X[order], y[order])
    np.testing.assert_array_equal(repeated.predict_proba(X), clone(quick).fit(X, y).predict_proba(X))
    assert sum(sum(counts.values()) for counts in repeated.split_counts_.values()) == len(np.unique(X, axis=0))


def test_two_images_of_a_class_are_enough_and_leave_the_temperature_at_one(digits: Any) -> None:
    X, y = digits[:2]
    rows = np.concatenate([np.flatnonzero(y == digit)[:2] for digit in (0, 1)])
    fitted = clone(QUICK).set_params(epochs=2).fit(X[rows], y[rows])
    assert fitted.temperature_ == 1
    assert sum(fitted.split_counts_["val"].values()) == 0
    assert any("no class has three images" in reason for reason in fitted.reasons_)
    three = clone(QUICK).set_params(epochs=2).fit(X[:30], y[:30])
    assert sum(three.split_counts_["val"].values()) > 0


def test_saved_bundle_says_the_same_and_verifies(reader: EyebrightClassifier, digits: Any, tmp_path: Path) -> None:
    X, y = digits[2][:120], digits[3][:120]
    bundle = reader.save(tmp_path / "digits", X, y)
    assert all(replay.passed for replay in verify(bundle.path))
    loaded = eyebright.load(bundle.path)
    squares = np.rint(X / 16 * 255).astype(np.uint8).reshape(-1, 8, 8, 1)
    np.testing.assert_allclose(loaded.predict_proba(squares), reader.predict_proba(X), atol=1e-4)
    assert loaded.classes == tuple("0123456789")
    assert bundle.record.metrics["accuracy"]["value"] == pytest.approx(reader.score(X, y))


def test_a_table_may_say_the_shape_of_its_images(digits: Any) -> None:
    X, y = few(digits, 60)
    colour = np.repeat(X, 3, axis=1)  # every pixel becomes R, G, B
    fitted = clone(QUICK).set_params(epochs=1, image_shape=(8, 8, 3)).fit(colour, y)
    assert fitted.flat_images_.shape == (8, 8, 3)
    assert fitted.n_features_in_ == 192
    with pytest.raises(DataError, match="image_shape is"):
        clone(fitted).set_params(image_shape=(9, 9)).fit(colour, y)


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"recipe": "scrach"}, UsageError, "did you mean 'scratch'"),
        ({"model": "smalnet"}, UsageError, "did you mean"),
        ({"budget": "soon"}, UsageError, "not a duration"),
        ({"epochs": 0}, UsageError, "0 epochs"),
        ({"size": 4}, ConfigError, "image.size"),
        ({"validation_share": 1.0}, UsageError, "validation_share"),
        ({"settings": ("optim.learning_rat=1",)}, ConfigError, "did you mean 'learning_rate'"),
    ],
)
def test_refuses_parameters_with_a_remedy(
    change: dict[str, Any], error: type[Exception], message: str, digits: Any
) -> None:
    with pytest.raises(error, match=message) as caught:
        clone(QUICK).set_params(**change).fit(*few(digits, 30))
    assert isinstance(caught.value, ValueError)


def test_names_the_row_of_an_image_that_cannot_be_used(botanist: EyebrightClassifier, photos: Any) -> None:
    paths = photos[0]
    with pytest.raises(DataError, match=r"X\[1\]: there is no file"):
        clone(botanist).fit([paths[0], "absent.jpg", paths[-1]], ["a", "a", "b"])
    with pytest.raises(DataError, match=r"X\[2\]: a text file, not an image"):
        botanist.predict([*paths[:2], b"no image"])


def test_refuses_what_it_cannot_take(reader: EyebrightClassifier, botanist: EyebrightClassifier, digits: Any) -> None:
    X, y = few(digits, 30)
    with pytest.raises(DataError, match="was fitted on images"):
        botanist.predict(X)
    with pytest.raises(DataError, match="X is one image"):
        botanist.predict("photo.jpg")
    with pytest.raises(DataError, match="one class only"):
        clone(QUICK).fit(X, np.zeros(30))
    with pytest.raises(DataError, match="sample_weight"):
        clone(QUICK).fit(X, y, sample_weight=-np.ones(30))
    with pytest.raises(NotFittedError):
        clone(reader).predict(X)
