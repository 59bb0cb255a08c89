"""Balance, classes too small to evaluate, quality, and images unlike all others."""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageEnhance, ImageFilter
from scipy.stats import binomtest
from sklearn.neighbors import NearestNeighbors

from eyebright.config import SplitShares
from eyebright.data.audit import outliers
from eyebright.data.audit.coverage import check_coverage, least_test_images, wilson_interval
from eyebright.data.audit.evidence import Evidence
from eyebright.data.audit.findings import Finding
from eyebright.data.audit.outliers import check_outliers, neighbour_distances, outlier_scores
from eyebright.data.audit.quality import check_quality
from eyebright.data.manifest import MANIFEST_SCHEMA, Manifest

EvidenceOf = Callable[[Path], Evidence]


def _evidence(
    labels: list[str | None], splits: list[str | None] | None = None, embeddings: np.ndarray | None = None
) -> Evidence:
    """Rows without images: ordinary properties, the same for all."""
    count = len(labels)
    ids = [f"{row:032x}" for row in range(count)]
    columns: dict[str, list[object]] = {name: [None] * count for name in MANIFEST_SCHEMA.names}
    columns |= {"id": ids, "source": ids, "label": list(labels), "status": ["ok"] * count, "weight": [1.0] * count}
    classes = sorted({label for label in labels if label is not None})
    manifest = Manifest(pa.table(columns, schema=MANIFEST_SCHEMA), classes=classes, spec="rows", kind="table")
    usual = {"bright_end": 0.9, "dark_end": 0.1, "brightness": 0.5, "contrast": 0.2, "sharpness": 500.0}
    table = pa.table({name: [value] * count for name, value in (usual | {"width": 128, "height": 128}).items()})
    nothing = np.full(count, None, dtype=object)
    return Evidence(
        manifest=manifest,
        ids=tuple(ids),
        sources=tuple(ids),
        labels=np.array([*labels, None], dtype=object)[:-1],
        splits=nothing if splits is None else np.array(splits, dtype=object),
        groups=nothing,
        properties=table,
        embeddings=embeddings,
    )


def _by_code(findings: list[Finding]) -> dict[str, Finding]:
    return {finding.code: finding for finding in findings}


@given(st.integers(1, 500), st.data())
def test_the_interval_is_that_of_scipy(count: int, data: st.DataObject) -> None:
    right = data.draw(st.integers(0, count))
    expected = binomtest(right, count).proportion_ci(method="wilson")
    assert wilson_interval(right / count, count) == pytest.approx((expected.low, expected.high), abs=1e-9)


def test_a_class_without_a_test_image_may_be_anything() -> None:
    assert wilson_interval(0.9, 0) == (0.0, 1.0)


@pytest.mark.parametrize(
    ("sizes", "severity"), [((50, 50), "passed"), ((50, 20), "passed"), ((90, 30), "note"), ((300, 30), "warning")]
)
def test_imbalance_is_judged_by_its_ratio(sizes: tuple[int, int], severity: str) -> None:
    finding = _by_code(check_coverage(_evidence(["a"] * sizes[0] + ["b"] * sizes[1])))["class-balance"]
    assert finding.severity == severity
    assert finding.details["counts"] == {"a": sizes[0], "b": sizes[1]}
    assert finding.details["imbalance_ratio"] == pytest.approx(sizes[0] / sizes[1])


def test_copies_are_counted_once_beside_the_images() -> None:
    labels = ["a"] * 30 + ["b"] * 30
    finding = _by_code(check_coverage(_evidence(labels), groups=[*range(30), *[1000] * 30]))["class-balance"]
    assert finding.details["different_images"] == {"b": 1}


def test_classes_are_too_small_when_their_interval_is_too_wide() -> None:
    least = least_test_images()
    low, high = wilson_interval(0.9, least)
    assert high - low <= 0.30 < np.subtract(*wilson_interval(0.9, least - 1)[::-1])
    labels = ["a"] * 400 + ["b"] * 400 + ["c"] * 60
    finding = _by_code(check_coverage(_evidence(labels)))["small-classes"]
    assert (finding.severity, finding.count) == ("warning", 1)
    assert finding.title == "c has too few images to be evaluated: c gets about 9 test images"
    assert finding.details["classes"][0]["class"] == "c"
    larger = _by_code(check_coverage(_evidence(labels), shares=SplitShares(train=0.5, val=0.1, test=0.4)))
    assert larger["small-classes"].severity == "passed"


def test_the_test_split_that_the_data_brings_decides() -> None:
    labels = ["a"] * 100 + ["b"] * 100
    splits = (["train"] * 50 + ["test"] * 50) + (["train"] * 97 + ["test"] * 3)
    finding = _by_code(check_coverage(_evidence(labels, splits)))["small-classes"]
    assert finding.title == "b has too few images to be evaluated: b gets 3 test images"


def test_without_labels_only_the_images_are_judged() -> None:
    assert set(_by_code(check_coverage(_evidence([None] * 30)))) == {"quality-good"}


@pytest.fixture(scope="module")
def spoilt(five_flowers: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Photos of three kinds of flowers, some of them spoilt, and many of one class blurred."""
    root = tmp_path_factory.mktemp("spoilt")
    for name in ("daisy", "rose", "tulip"):
        shutil.copytree(five_flowers / name, root / name)
        with Image.open(min((root / name).iterdir())) as image:
            photo = image.convert("RGB")
        grey = Image.new("RGB", photo.size, (128, 128, 128))
        spoils = {
            "dark": ImageEnhance.Brightness(photo).enhance(0.12),
            "bright": Image.blend(photo, Image.new("RGB", photo.size, (255, 255, 255)), 0.93),
            "flat": Image.blend(photo, grey, 0.9),
            "small": photo.resize((40, 40)),
        }
        for kind, spoilt in spoils.items():
            if name != "tulip":
                spoilt.save(root / name / f"{kind}.png")
    for number, path in enumerate(sorted((root / "tulip").iterdir())[:50]):
        with Image.open(path) as image:
            blurred = image.convert("RGB").filter(ImageFilter.GaussianBlur(6))
        blurred.save(root / "tulip" / f"blurred-{number}.png")
    return root


def test_spoilt_photos_are_found_by_what_is_wrong_with_them(spoilt: Path, evidence_of: EvidenceOf) -> None:
    findings = _by_code(check_quality(evidence_of(spoilt)))
    for kind in ("dark", "bright", "flat", "small"):
        finding = findings[f"{kind}-images"]
        named = {example.images[0].source for example in finding.examples}
        assert {f"daisy/{kind}.png", f"rose/{kind}.png"} <= named
        assert finding.severity == "note"
    assert findings["blurred-images"].severity == "warning"  # most of them in one class
    assert "of tulip" in findings["blurred-images"].title
    worst = [example.images[0].source for example in findings["blurred-images"].examples]
    assert sum("blurred-" in source for source in worst) >= 10


def test_a_dark_set_is_not_dark_image_by_image(five_flowers: Path, evidence_of: EvidenceOf, tmp_path: Path) -> None:
    for name in ("daisy", "rose"):
        (tmp_path / name).mkdir()
        for path in sorted((five_flowers / name).iterdir())[:20]:
            with Image.open(path) as image:
                ImageEnhance.Brightness(image.convert("RGB")).enhance(0.2).save(tmp_path / name / f"{path.stem}.png")
    evidence = evidence_of(tmp_path)
    assert (evidence.column("bright_end") < 0.32).all()
    findings = _by_code(check_quality(evidence))
    assert "dark-images" not in findings or findings["dark-images"].count <= 3  # dark even here


def _cloud(count: int = 200, width: int = 32) -> np.ndarray:
    vectors = np.random.default_rng(0).normal(size=(count, width)).astype(np.float32)
    vectors[:, 0] += 4
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def test_distances_are_those_of_scikit_learn() -> None:
    vectors = _cloud()
    expected, _ = NearestNeighbors(n_neighbors=11, metric="cosine").fit(vectors).kneighbors(vectors)
    found = neighbour_distances(vectors, np.arange(200))
    assert np.allclose(found, expected[:, 1:].mean(axis=1), atol=1e-5)


def test_copies_are_no_neighbours() -> None:
    vectors = _cloud()
    copied = np.concatenate([vectors, np.repeat(vectors[:1], 15, axis=0)])
    groups = np.array([*range(200), *[0] * 15])
    assert neighbour_distances(copied, groups)[0] == pytest.approx(
        neighbour_distances(vectors, np.arange(200))[0], abs=1e-6
    )
    assert neighbour_distances(copied, np.arange(215))[0] < 1e-3


def test_a_large_set_is_compared_with_a_sample(monkeypatch: pytest.MonkeyPatch) -> None:
    vectors = _cloud(2000)
    whole = neighbour_distances(vectors, np.arange(2000))
    monkeypatch.setattr(outliers, "MOST_COMPARED", 1000)
    sampled = neighbour_distances(vectors, np.arange(2000))
    assert np.corrcoef(whole, sampled)[0, 1] > 0.9


def test_images_unlike_all_others_come_first() -> None:
    vectors = _cloud(300)
    strange = [7, 70]
    vectors[strange] = -vectors[strange]
    evidence = _evidence(["a", "b"] * 150, embeddings=vectors)
    (finding,) = check_outliers(evidence)
    assert finding.severity == "warning"
    assert {example.images[0].id for example in finding.examples[:2]} == {evidence.ids[row] for row in strange}
    assert finding.count == 2


def test_a_cloud_without_outliers_raises_no_warning() -> None:
    assert all(
        finding.severity != "warning" for finding in check_outliers(_evidence(["a"] * 300, embeddings=_cloud(300)))
    )
    assert check_outliers(_evidence(["a"] * 30)) == []
    assert check_outliers(dataclasses.replace(_evidence(["a"] * 5), embeddings=_cloud(5))) == []


def test_scores_do_not_depend_on_the_unit() -> None:
    distances = np.random.default_rng(0).uniform(0.1, 0.5, 100)
    assert np.allclose(outlier_scores(distances), outlier_scores(7 * distances))
    assert np.isfinite(outlier_scores(np.zeros(20))).all()
