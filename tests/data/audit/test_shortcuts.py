"""Shortcuts: found where they are planted into real photos, and only there."""

from __future__ import annotations

import dataclasses
import io
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageOps

from eyebright.data.audit import shortcuts
from eyebright.data.audit.evidence import Evidence
from eyebright.data.audit.findings import Finding
from eyebright.data.audit.shortcut_families import name_patterns, property_families
from eyebright.data.audit.shortcuts import check_shortcuts

EvidenceOf = Callable[[Path], Evidence]
Change = Callable[[Image.Image], bytes]


def _jpeg(image: Image.Image, quality: int = 75, **options: object) -> bytes:
    stream = io.BytesIO()
    image.save(stream, "JPEG", quality=quality, **options)
    return stream.getvalue()


def _png(image: Image.Image) -> bytes:
    stream = io.BytesIO()
    image.save(stream, "PNG")
    return stream.getvalue()


def _with_camera(image: Image.Image, model: str) -> bytes:
    exif = Image.Exif()
    exif[0x110] = model
    return _jpeg(image, exif=exif)


def _with_date(image: Image.Image, year: int) -> bytes:
    exif = Image.Exif()
    exif.get_ifd(0x8769)[0x9003] = f"{year}:06:01 12:00:00"
    return _jpeg(image, exif=exif)


# Two sets of photos with a fault in each class: what is done to its photos, the finding, how grave it is.
PLANTED: list[dict[str, tuple[Change, str, str]]] = [
    {
        "rose": (lambda image: _jpeg(image, 60), "shortcut-jpeg", "critical"),
        "tulip": (lambda image: _jpeg(image.resize((160, 160))), "shortcut-dimensions", "critical"),
        "daisy": (lambda image: _jpeg(ImageOps.expand(image.crop((4, 4, 124, 124)), 4)), "shortcut-frame", "warning"),
        "dandelion": (lambda image: _with_camera(image, "D90"), "shortcut-camera", "warning"),
        "sunflower": (lambda image: _with_date(image, 2015), "shortcut-date", "warning"),
    },
    {
        "rose": (lambda image: _jpeg(image, 70), "shortcut-jpeg", "critical"),
        "tulip": (_png, "shortcut-format", "critical"),
        "daisy": (lambda image: _jpeg(image.crop((1, 1, 127, 127))), "shortcut-dimensions", "warning"),
        "sunflower": (lambda image: _jpeg(image.convert("L")), "shortcut-format", "critical"),
    },
]


@pytest.fixture(scope="module")
def plant(five_flowers: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    def make(changes: Mapping[str, Change]) -> Path:
        root = tmp_path_factory.mktemp("planted")
        for photo in sorted(five_flowers.rglob("*.jpg")):
            target = root / photo.relative_to(five_flowers)
            target.parent.mkdir(exist_ok=True)
            change = changes.get(photo.parent.name)
            if change is None:
                shutil.copyfile(photo, target)
                continue
            with Image.open(photo) as image:
                target.write_bytes(change(image.convert("RGB")))
        return root

    return make


def _grave(findings: list[Finding]) -> dict[str, Finding]:
    return {finding.code: finding for finding in findings if finding.severity in ("critical", "warning")}


def _rows(evidence: Evidence, rows: np.ndarray) -> Evidence:
    return dataclasses.replace(
        evidence,
        ids=tuple(evidence.ids[row] for row in rows),
        sources=tuple(evidence.sources[row] for row in rows),
        labels=evidence.labels[rows],
        splits=evidence.splits[rows],
        groups=evidence.groups[rows],
        properties=evidence.properties.take(rows),
    )


def test_untouched_photos_have_no_shortcut(five_flowers_evidence: Evidence) -> None:
    findings = check_shortcuts(five_flowers_evidence)
    assert _grave(findings) == {}
    assert findings[-1].code == "shortcuts-together"
    assert findings[-1].severity == "passed"
    assert "JPEG quality" in findings[-1].details["the_same_for_all"]


@pytest.mark.parametrize("planted", PLANTED)
def test_planted_shortcuts_are_found_and_named(
    planted: dict[str, tuple[Change, str, str]], plant: Callable[..., Path], evidence_of: EvidenceOf
) -> None:
    findings = check_shortcuts(evidence_of(plant({name: change for name, (change, _, _) in planted.items()})))
    found = _grave(findings)
    for name, (_, code, severity) in planted.items():
        assert found[code].severity == severity
        row = next(row for row in found[code].details["classes"] if row["class"] == name)
        assert row["AUC_from"] > 0.9
        assert row["typical"] != row["rest"]
        example = next(example for example in found[code].examples if example.images[0].label == name)
        assert [image.label == name for image in example.images] == [True, True, True, False]
        assert example.images[0].note != example.images[-1].note
    assert findings[-1].severity == "note"


def test_only_the_class_that_carries_the_shortcut_is_named(plant: Callable[..., Path], evidence_of: EvidenceOf) -> None:
    found = _grave(check_shortcuts(evidence_of(plant({"rose": lambda image: _jpeg(image, 60)}))))
    assert list(found) == ["shortcut-jpeg"]  # the file size follows from it
    assert found["shortcut-jpeg"].count == 1
    assert found["shortcut-jpeg"].title == "rose can be told by the JPEG quality alone (AUC 1.00)"


def test_two_classes_are_told_from_each_other(five_flowers: Path, evidence_of: EvidenceOf, tmp_path: Path) -> None:
    for name, quality in (("rose", 60), ("tulip", 80)):
        (tmp_path / name).mkdir()
        for photo in sorted((five_flowers / name).iterdir())[:40]:
            with Image.open(photo) as image:
                (tmp_path / name / photo.name).write_bytes(_jpeg(image, quality))
    finding = _grave(check_shortcuts(evidence_of(tmp_path)))["shortcut-jpeg"]
    assert finding.title.startswith("rose and tulip can be told by the JPEG quality alone")
    assert finding.details["accuracy"] == 1
    assert finding.details["chance"] == 0.5


def test_the_same_seed_gives_the_same_findings(five_flowers_evidence: Evidence) -> None:
    few = _rows(five_flowers_evidence, np.arange(0, len(five_flowers_evidence), 10))
    first, second = (check_shortcuts(few, seed=3) for _ in range(2))
    assert [finding.details for finding in first] == [finding.details for finding in second]


def test_of_a_large_set_a_sample_is_judged(five_flowers_evidence: Evidence, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shortcuts, "MOST_IMAGES", 100)
    *_, together = check_shortcuts(five_flowers_evidence)
    assert together.code == "shortcuts-together"
    low, high = (together.details["properties"][0][limit] for limit in ("low", "high"))
    assert high - low > 0.1  # as wide as 100 images make it


def test_copies_of_photos_do_not_make_a_shortcut(five_flowers_evidence: Evidence) -> None:
    rows = np.tile(np.arange(0, len(five_flowers_evidence), 10), 6)
    copied = _rows(five_flowers_evidence, rows)
    assert _grave(check_shortcuts(copied)) == {}  # the ids say which are copies
    copied = dataclasses.replace(copied, ids=tuple(str(number) for number in range(len(rows))))
    assert _grave(check_shortcuts(copied, groups=list(rows))) == {}
    # Without the groups the file size of every copy would be known.
    assert "shortcut-file-size" in _grave(check_shortcuts(copied))


def test_one_class_alone_or_small_classes_are_not_judged(
    five_flowers: Path, evidence_of: EvidenceOf, tmp_path: Path
) -> None:
    for name, count in (("rose", 30), ("tulip", 4)):
        (tmp_path / name).mkdir()
        for photo in sorted((five_flowers / name).iterdir())[:count]:
            shutil.copyfile(photo, tmp_path / name / photo.name)
    assert check_shortcuts(evidence_of(tmp_path)) == []


def test_file_names_lose_their_numbers_and_the_names_of_all_classes() -> None:
    sources = ["a/Cat-12.jpg", "a/dog_3.jpg", "b/hot_dog 7.png", "b/IMG_0012.JPG", "c/100080576_f52e8ee070_n.jpg"]
    assert name_patterns(sources, ["cat", "dog", "hot dog"]) == ["-#", "_#", " #", "img_#", "#_x_n"]
    assert name_patterns(["shard.parquet#12", "shard.tar#x/photo7.jpg"], ["a"]) == ["", "photo#"]


def test_the_description_of_a_family_is_in_words(five_flowers_evidence: Evidence) -> None:
    described = {family.name: family.describe(np.arange(20)) for family in property_families(five_flowers_evidence)}
    assert described["jpeg"] == "quality 75, 4:2:0"
    assert described["format"] == "JPEG (RGB)"
    assert described["dimensions"] == "128x128"
    assert described["date"] == "no date"
    assert described["mean-colour"].startswith("mean colour #")
