"""The classifier answers whatever form an image comes in, always alike, in order, and from many threads."""

from __future__ import annotations

import dataclasses
import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from eyebright.bundle import read_bundle
from eyebright.classifier import Classifier, Prediction, load
from eyebright.decode import UndecodableImage
from eyebright.errors import DataError


@pytest.fixture(scope="module")
def classifier(trained_run: Path) -> Classifier:
    return load(trained_run, threads=1)


@pytest.fixture(scope="module")
def paths(trained_run: Path) -> list[Path]:
    """Twelve images, the classes mixed."""
    folder = trained_run.parents[1] / "stripes"
    return [folder / f"angle-{number % 3}" / f"{number}.png" for number in range(12)]


def array_of(path: Path) -> Any:
    return np.asarray(Image.open(path).convert("RGB"))


def probabilities_of(predictions: list[Prediction]) -> Any:
    return np.array([list(prediction.probabilities.values()) for prediction in predictions])


def test_one_image_gives_one_prediction(classifier: Classifier, paths: list[Path]) -> None:
    prediction = classifier.predict(str(paths[0]))
    assert isinstance(prediction, Prediction)
    assert tuple(prediction.probabilities) == classifier.classes == ("angle-0", "angle-1", "angle-2")
    assert sum(prediction.probabilities.values()) == pytest.approx(1, abs=1e-5)
    assert (
        prediction.probability == prediction.probabilities[prediction.label] == max(prediction.probabilities.values())
    )
    assert prediction.source == str(paths[0])
    assert prediction.top(2)[0] == (prediction.label, prediction.probability)
    assert [name for name, _ in prediction.top(99)] == sorted(
        prediction.probabilities, key=lambda name: -prediction.probabilities[name]
    )


FORMS = {
    "text": str,
    "path": Path,
    "bytes": lambda path: path.read_bytes(),
    "Pillow image": Image.open,
    "array (H, W, 3)": array_of,
    "array of floats": lambda path: array_of(path) / 255.0,
    "array of 16 bits": lambda path: array_of(path).astype(np.uint16) * 257,
}


@pytest.mark.parametrize("form", FORMS.values(), ids=list(FORMS))
def test_the_same_image_gives_the_same_in_every_form(form: Any, classifier: Classifier, paths: list[Path]) -> None:
    expected = classifier.predict(paths[1])
    received = classifier.predict(form(paths[1]))
    assert received.probabilities == expected.probabilities
    assert received.source == (str(paths[1]) if form in (str, Path) else None)


def test_a_grey_array_is_the_grey_image(classifier: Classifier, paths: list[Path]) -> None:
    grey = np.asarray(Image.open(paths[0]).convert("L"))
    expected = classifier.predict(Image.fromarray(grey)).probabilities
    for array in (grey, grey[..., None], np.repeat(grey[..., None], 3, axis=2)):
        assert classifier.predict(array).probabilities == expected


def test_several_images_give_a_list_in_their_order(classifier: Classifier, paths: list[Path]) -> None:
    one_by_one = probabilities_of([classifier.predict(path) for path in paths])
    for batch_size in (1, 5, 32):
        received = classifier.predict(paths, batch_size=batch_size)
        assert [prediction.source for prediction in received] == [str(path) for path in paths]
        np.testing.assert_allclose(probabilities_of(received), one_by_one, atol=1e-5)
    backwards = classifier.predict(paths[::-1])
    np.testing.assert_allclose(probabilities_of(backwards), one_by_one[::-1], atol=1e-5)
    assert len(np.unique(one_by_one.round(4), axis=0)) > 6


def test_an_array_of_images_and_a_mixed_list_are_several(classifier: Classifier, paths: list[Path]) -> None:
    expected = probabilities_of(classifier.predict(paths[:3]))
    stacked = np.stack([array_of(path) for path in paths[:3]])  # (3, H, W, C)
    mixed = [paths[0].read_bytes(), array_of(paths[1]), Image.open(paths[2])]
    for images in (stacked, mixed, (path for path in paths[:3])):
        np.testing.assert_allclose(probabilities_of(classifier.predict(images)), expected, atol=1e-5)
    one = classifier.predict(stacked[:1])
    assert isinstance(one, list)
    assert len(one) == 1


def test_nothing_gives_nothing(classifier: Classifier) -> None:
    assert classifier.predict([]) == []
    assert classifier.predict_proba([]).shape == (0, 3)


def test_predict_proba_has_the_columns_of_classes(classifier: Classifier, paths: list[Path]) -> None:
    table = classifier.predict_proba(paths)
    assert (table.shape, table.dtype) == ((12, 3), np.float32)
    np.testing.assert_allclose(table, probabilities_of(classifier.predict(paths)), atol=1e-6)
    np.testing.assert_allclose(table.sum(1), 1, atol=1e-5)
    np.testing.assert_allclose(classifier.predict_proba(paths[0]), table[:1], atol=1e-5)


def test_a_stream_may_be_endless(classifier: Classifier, paths: list[Path]) -> None:
    def forever() -> Any:
        while True:
            yield from paths

    stream = classifier.stream(forever(), batch_size=4)
    assert [next(stream).source for _ in range(15)] == [str(path) for path in [*paths, *paths[:3]]]


def test_without_superclasses_a_prediction_has_none(classifier: Classifier, paths: list[Path]) -> None:
    prediction = classifier.predict(paths[0])
    assert (prediction.superclass, prediction.superclass_probability) == (None, None)


def test_the_superclass_is_that_of_the_label_and_sums_its_classes(trained_run: Path, paths: list[Path]) -> None:
    bundle = read_bundle(trained_run)
    above = {"angle-0": "slanted", "angle-1": "upright", "angle-2": "slanted"}
    nested = Classifier(dataclasses.replace(bundle, record=dataclasses.replace(bundle.record, superclasses=above)))
    for prediction in nested.predict(paths):
        assert prediction.superclass == above[prediction.label]
        members = [value for name, value in prediction.probabilities.items() if above[name] == prediction.superclass]
        assert prediction.superclass_probability == pytest.approx(sum(members), abs=1e-6)
        assert prediction.probability <= prediction.superclass_probability <= 1
    # Two classes that weigh more together do not outvote the likeliest one: label and superclass never contradict.
    logits = np.log(np.array([[0.3, 0.4, 0.3]], dtype=np.float32))
    decided = nested.decide(np.exp(logits), logits, None)
    assert decided.best.tolist() == [1]
    said = nested._prediction(decided, 0)
    assert (said.label, said.superclass, said.superclass_probability) == ("angle-1", "upright", pytest.approx(0.4))


def test_many_threads_get_the_answers_of_one(classifier: Classifier, paths: list[Path]) -> None:
    expected = [classifier.predict(path).probabilities for path in paths]
    with ThreadPoolExecutor(8) as pool:
        received = list(pool.map(lambda path: classifier.predict(path).probabilities, paths * 10))
    assert received == expected * 10


def test_logits_and_temperature_give_the_probabilities(classifier: Classifier, paths: list[Path]) -> None:
    probabilities, logits = classifier.run_pixels(classifier.pixels(paths))
    scaled = np.exp(logits.astype(np.float64) / classifier.record.decisions.calibration.temperature)
    np.testing.assert_allclose(probabilities, scaled / scaled.sum(1, keepdims=True), atol=1e-5)


def test_an_image_that_cannot_be_read_says_so(classifier: Classifier, paths: list[Path], tmp_path: Path) -> None:
    with pytest.raises(UndecodableImage, match="there is no file") as missing:
        classifier.predict(tmp_path / "gone.jpg")
    assert missing.value.status == "missing"
    with pytest.raises(UndecodableImage, match="empty"):
        classifier.predict(b"")
    with pytest.raises(UndecodableImage, match="text"):
        classifier.predict([paths[0], b"no image at all"])
    with pytest.raises(DataError, match="floating-point pixels"):
        classifier.predict(array_of(paths[0]).astype(np.float64))


@pytest.mark.parametrize(
    "pixels",
    [np.zeros((1, 8, 8, 3), np.uint8), np.zeros((1, 32, 32, 3), np.float32), np.zeros((32, 32, 3), np.uint8)],
    ids=["another size", "floats", "no batch"],
)
def test_pixels_of_another_shape_are_refused(pixels: Any, classifier: Classifier) -> None:
    with pytest.raises(DataError, match="pixels are") as refused:
        classifier.probabilities_of_pixels(pixels)
    assert "uint8 (N, 32, 32, 3)" in (refused.value.expected or "")


def test_loading_leaves_no_file_open(trained_run: Path, tmp_path: Path, paths: list[Path]) -> None:
    copy = Path(shutil.copytree(trained_run / "bundle", tmp_path / "bundle"))
    loaded = load(copy)
    shutil.rmtree(copy)
    assert loaded.predict(paths[0]).label in loaded.classes
    assert "smallnet, 3 classes" in repr(loaded)
