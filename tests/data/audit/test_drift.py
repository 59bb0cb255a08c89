"""Drift between splits: found where splits differ, and not between random parts of one set."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from eyebright.data.audit.drift import check_drift, compare_labels, compare_properties
from eyebright.data.audit.evidence import Evidence


def _divided(evidence: Evidence, share_of_test: np.ndarray | float, seed: int = 0) -> Evidence:
    test = np.random.default_rng(seed).random(len(evidence)) < share_of_test
    return dataclasses.replace(evidence, splits=np.where(test, "test", "train").astype(object))


@pytest.fixture(scope="module")
def embedded(five_flowers_evidence: Evidence) -> Evidence:
    """The photos with vectors that know their class and a little of their brightness."""
    random = np.random.default_rng(0)
    vectors = random.normal(size=(len(five_flowers_evidence), 24))
    vectors[np.arange(len(vectors)), five_flowers_evidence.label_index()] += 4
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    return dataclasses.replace(five_flowers_evidence, embeddings=vectors.astype(np.float32))


def test_random_parts_of_real_photos_raise_no_alarm(embedded: Evidence) -> None:
    for seed in range(3):
        (finding,) = check_drift(_divided(embedded, 0.3, seed), seed=seed)
        assert finding.code == "no-drift"
        assert {"class shares", "brightness", "embeddings"} <= {row["compared"] for row in finding.details["tests"]}


def test_the_tests_have_the_level_that_they_claim(five_flowers_evidence: Evidence) -> None:
    labels, properties = [], []
    for seed in range(200):
        test = _divided(five_flowers_evidence, 0.3, seed).splits == "test"
        rows = np.flatnonzero(~test), np.flatnonzero(test)
        labels.append(compare_labels(five_flowers_evidence, *rows).p_value)
        properties.append(min(result.p_value for result in compare_properties(five_flowers_evidence, *rows).values()))
    # 10 of 200 expected below 0.05; more than 21 in one of 1,000 cases. Holm's correction is on the safe side.
    assert sum(value < 0.05 for value in labels) <= 21
    assert sum(value < 0.05 for value in properties) <= 21
    assert sum(value < 0.5 for value in labels) >= 60


def test_a_darker_test_split_is_found(embedded: Evidence) -> None:
    brightness = embedded.column("brightness")
    findings = check_drift(_divided(embedded, np.where(brightness < np.median(brightness), 0.45, 0.1)))
    (finding,) = [finding for finding in findings if finding.code == "drift-properties"]
    assert finding.severity == "warning"
    assert "brightness" in finding.title
    tests = {row["compared"]: row for row in finding.details["tests"]}
    assert tests["brightness"]["p_value"] < 0.01
    assert tests["brightness"]["effect"] > 0.3
    assert [image.split for image in finding.examples[0].images] == ["train"] * 3 + ["test"] * 3


def test_other_class_shares_are_found_and_are_no_second_fault(embedded: Evidence) -> None:
    share = np.where(embedded.labels == "sunflower", 0.6, 0.15)
    (finding,) = check_drift(_divided(embedded, share))
    assert finding.code == "drift-labels"
    assert finding.details["tests"][0]["effect"] > 0.1


def test_other_views_of_the_same_classes_are_found(embedded: Evidence) -> None:
    assert embedded.embeddings is not None
    unseen = embedded.embeddings[:, 20]  # no class depends on it
    findings = check_drift(_divided(embedded, np.where(unseen > np.median(unseen), 0.5, 0.1)))
    (finding,) = findings
    assert finding.code == "drift-embeddings"
    first = finding.examples[0].images
    assert [image.split for image in first] == ["train"] * 3 + ["test"] * 3
    assert first[0].note == "typical of train"


def test_validation_is_compared_as_well(embedded: Evidence) -> None:
    brightness = embedded.column("brightness")
    random = np.random.default_rng(0)
    splits = np.where(random.random(len(embedded)) < 0.3, "test", "train").astype(object)
    splits[(splits == "train") & (brightness > np.quantile(brightness, 0.8))] = "val"
    finding = next(f for f in check_drift(dataclasses.replace(embedded, splits=splits)) if f.code == "drift-properties")
    assert {row["split"] for row in finding.details["tests"]} == {"test", "val"}
    assert "val" in finding.title


def test_without_splits_or_with_a_few_images_nothing_is_said(embedded: Evidence) -> None:
    assert check_drift(embedded) == []
    splits = np.full(len(embedded), "train", dtype=object)
    splits[:5] = "test"
    assert check_drift(dataclasses.replace(embedded, splits=splits)) == []


def test_the_same_seed_gives_the_same_findings(embedded: Evidence) -> None:
    divided = _divided(embedded, 0.3)
    first, second = (check_drift(divided, seed=5)[0].details for _ in range(2))
    assert first == second
