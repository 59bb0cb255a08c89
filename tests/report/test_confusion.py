"""The confusion matrix of the page: its data, its orders, and the pictures that can be shown for its cells."""

from __future__ import annotations

import json
from itertools import pairwise

import numpy as np
import pytest
from PIL import Image
from test_page import digits_content
from test_verdict import metrics_of, predictions_of

from eyebright.evaluation import make_predictions
from eyebright.evaluation.predictions import Predictions
from eyebright.report import ReportContent
from eyebright.report.confusion import matrix_data, orders, together
from eyebright.report.gallery import Gallery
from eyebright.report.pictures import MISTAKES, OVERLAYS, pictures_section, shown_pictures


def test_the_data_of_the_page_is_the_confusion_matrix() -> None:
    confusion = [[5, 3, 0], [1, 9, 0], [4, 0, 4]]
    values = json.loads(matrix_data(metrics_of(confusion)))
    rebuilt = np.zeros((3, 3), dtype=int)
    for row, column, count in np.array(values["cells"]).reshape(-1, 3):
        rebuilt[row, column] = count
    assert rebuilt.tolist() == confusion
    assert values["classes"] == ["ant", "bee", "cat"]
    assert values["first"] == "name"


def test_orders_are_by_name_size_and_recall() -> None:
    metrics = metrics_of([[5, 15, 0], [1, 9, 0], [0, 0, 30]])
    found = orders(metrics)
    assert found["name"] == [0, 1, 2]
    assert found["size"] == [2, 0, 1]
    assert found["recall"] == [0, 1, 2]
    assert all(sorted(order) == [0, 1, 2] for order in found.values())


def test_confused_classes_become_neighbours() -> None:
    random = np.random.default_rng(0)
    groups = random.permutation(30) % 10  # ten groups of three classes that are confused with each other
    confusion = np.where(groups[:, None] == groups[None], 15, random.integers(0, 2, (30, 30)))
    confusion[np.diag_indices(30)] = 60
    order = together(confusion)
    assert sorted(order) == list(range(30))
    assert len([1 for one, two in pairwise(order) if groups[one] != groups[two]]) == 9


@pytest.mark.parametrize("number", [1, 2, 3, 400])
def test_any_number_of_classes_has_an_order(number: int) -> None:
    assert sorted(together(np.eye(number, dtype=np.int64) * 5)) == list(range(number))


@pytest.fixture(scope="module")
def table() -> Predictions:
    """3,000 images of 40 classes, 1,200 of them wrong, every confidence different."""
    random = np.random.default_rng(0)
    names = [f"class {number:02d}" for number in range(40)]
    labels = random.integers(0, 40, 3000)
    guesses = np.where(random.random(3000) < 0.4, (labels + random.geometric(0.3, 3000)) % 40, labels)
    logits = np.eye(40)[guesses] * random.uniform(3, 9, (3000, 1)) + random.normal(0, 0.1, (3000, 40))
    ids = [f"{number:05d}" for number in range(3000)]
    return make_predictions(ids, ids, [names[label] for label in labels], ["test"] * 3000, logits, 1.0, names)


def test_the_most_confident_mistakes_and_large_cells_have_pictures(table: Predictions) -> None:
    shown = shown_pictures(table)
    rows = shown.predictions
    truth, guess = rows.labels_index(), rows.predicted_index()
    confidence = rows.probabilities().max(axis=1)
    wrong = truth != guess
    every = table.labels_index() != table.predicted_index()
    most = np.sort(table.probabilities().max(axis=1)[every])[-18:]
    assert np.isin(most, confidence).all()
    assert MISTAKES <= wrong.sum() <= MISTAKES + 24
    assert not wrong[wrong.sum() :].any()  # mistakes stand before right predictions, each most confident first
    assert (np.diff(confidence[wrong]) <= 0).all()
    assert (np.diff(confidence[~wrong]) <= 0).all()
    cells = np.zeros((40, 40), dtype=int)
    np.add.at(cells, (table.labels_index()[every], table.predicted_index()[every]), 1)
    have = np.zeros((40, 40), dtype=int)
    np.add.at(have, (truth[wrong], guess[wrong]), 1)
    assert (have[cells >= np.sort(cells.ravel())[-40]] > 0).all()
    assert len(set(truth[~wrong].tolist())) == 40
    assert len(shown.drawn) == 24
    assert len(shown.overlaid) == OVERLAYS
    assert set(shown.overlaid) <= set(rows.column("id"))


def test_few_images_are_all_shown() -> None:
    shown = shown_pictures(predictions_of([[3, 1], [0, 4]]))
    assert len(shown.predictions) == 8
    assert len(shown.overlaid) == 8
    assert len(shown_pictures(predictions_of([[3, 0], [0, 4]])).predictions) == 7


def test_overlays_stand_beside_their_picture_and_only_where_they_were_made() -> None:
    asked: list[str] = []

    def overlays(ids: object) -> dict[str, Image.Image]:
        asked.extend(ids)  # type: ignore[arg-type]
        return {asked[0]: Image.new("RGB", (300, 200), (250, 10, 10))}

    content: ReportContent = digits_content(overlays=overlays, explanation={"method": "Grad-CAM", "layer": "last"})
    section = pictures_section(content, Gallery(content.thumbnails))
    assert len(asked) <= OVERLAYS
    with_overlay = [picture for picture in section.context["pictures"] if picture.overlay]
    assert len(with_overlay) == 1
    assert section.context["overlays"] == 1
