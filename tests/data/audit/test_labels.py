"""Wrong labels: found where they were planted, and never vouched for by their own copies."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from sklearn.metrics import average_precision_score

from eyebright.data.audit.evidence import Evidence
from eyebright.data.audit.labels import check_labels, out_of_fold_probabilities
from eyebright.data.manifest import MANIFEST_SCHEMA, Manifest


def _clouds(images: int = 300, classes: int = 3, width: int = 24, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Vectors around one centre a class, rows of length one, and their classes."""
    random = np.random.default_rng(seed)
    labels = np.arange(images) % classes
    vectors = random.normal(size=(classes, width))[labels] + 0.7 * random.normal(size=(images, width))
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32), labels


def _evidence(vectors: np.ndarray, labels: list[str | None], classes: tuple[str, ...]) -> Evidence:
    count = len(labels)
    ids = [f"{row:032x}" for row in range(count)]
    columns: dict[str, list[object]] = {name: [None] * count for name in MANIFEST_SCHEMA.names}
    columns |= {"id": ids, "source": [f"{row}.jpg" for row in range(count)], "label": list(labels)}
    columns |= {"status": ["ok"] * count, "reason": [""] * count, "weight": [1.0] * count}
    manifest = Manifest(pa.table(columns, schema=MANIFEST_SCHEMA), classes=classes, spec="clouds", kind="table")
    nothing = np.full(count, None, dtype=object)
    return Evidence(
        manifest=manifest,
        ids=tuple(ids),
        sources=tuple(f"{row}.jpg" for row in range(count)),
        labels=np.array(labels, dtype=object),
        splits=nothing,
        groups=nothing,
        properties=pa.table({"id": ids}),
        embeddings=vectors,
    )


def test_planted_wrong_labels_are_found_with_their_right_class() -> None:
    vectors, truth = _clouds()
    names = ("ash", "birch", "cedar")
    wrong = np.random.default_rng(1).choice(300, 12, replace=False)
    given = truth.copy()
    given[wrong] = (truth[wrong] + 1) % 3
    evidence = _evidence(vectors, [names[label] for label in given], names)
    findings, suggestions = check_labels(evidence, np.arange(300))
    found = {suggestion.ids[0]: suggestion.to for suggestion in suggestions}
    right = {f"{row:032x}": names[truth[row]] for row in wrong}
    assert len(right.keys() & found.keys()) >= 11
    assert all(found[image] == right[image] for image in right.keys() & found.keys())
    assert len(found) <= 20
    confidences = [suggestion.confidence for suggestion in suggestions]
    assert confidences == sorted(confidences, reverse=True)
    assert findings[0].count == len(suggestions)
    assert not any(suggestion.accept for suggestion in suggestions)  # a person decides


def test_a_copy_does_not_vouch_for_a_wrong_label() -> None:
    """The same picture twice under the same wrong label: only with both in one fold does the probe see through it."""
    vectors, truth = _clouds(120, seed=2)
    given = truth.copy()
    given[:10] = (truth[:10] + 1) % 3
    vectors = np.concatenate([vectors, np.repeat(vectors[:10], 6, axis=0)])
    given = np.concatenate([given, np.repeat(given[:10], 6)])
    grouped = np.concatenate([np.arange(120), np.repeat(np.arange(10), 6)])
    wrong = np.isin(grouped, np.arange(10))

    def precision(groups: np.ndarray) -> float:
        probabilities = out_of_fold_probabilities(vectors, given, groups, classes=3)
        return float(average_precision_score(wrong, 1 - probabilities[np.arange(len(given)), given]))

    assert precision(grouped) > precision(np.arange(len(given))) + 0.1


def test_probabilities_are_of_probes_that_have_not_seen_the_image() -> None:
    """Labels drawn by chance cannot be predicted: an in-sample probe of as many dimensions would be nearly right."""
    random = np.random.default_rng(0)
    vectors = random.normal(size=(200, 150)).astype(np.float32)
    labels = random.integers(0, 2, 200)
    probabilities = out_of_fold_probabilities(vectors, labels, np.arange(200), classes=2)
    assert abs((probabilities.argmax(axis=1) == labels).mean() - 0.5) < 0.12
    np.testing.assert_allclose(probabilities.sum(axis=1), 1)


def test_unlabelled_images_and_tiny_classes_are_left_out() -> None:
    vectors, truth = _clouds(90)
    names = ("ash", "birch", "cedar", "date")
    labels: list[str | None] = [names[label] for label in truth]
    labels[0], labels[1], labels[2] = None, "date", "date"
    findings, suggestions = check_labels(_evidence(vectors, labels, names), np.arange(90))
    assert set(findings[0].details["by_class"]) == {"ash", "birch", "cedar"}
    assert not {f"{row:032x}" for row in range(3)} & {suggestion.ids[0] for suggestion in suggestions}


def test_one_class_alone_is_nothing_to_check() -> None:
    vectors, _ = _clouds(30)
    assert check_labels(_evidence(vectors, ["ash"] * 30, ("ash",)), np.arange(30)) == ([], [])


def test_without_cleanlab_the_remedy_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    from eyebright.errors import MissingDependencyError

    vectors, truth = _clouds(30)
    monkeypatch.setitem(sys.modules, "cleanlab.filter", None)
    with pytest.raises(MissingDependencyError, match=r"eyebright\[audit\]"):
        check_labels(_evidence(vectors, [str(label) for label in truth], ("0", "1", "2")), np.arange(30))
