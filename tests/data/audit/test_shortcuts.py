"""Shortcuts: found where they are planted into real photos, and only there."""

from __future__ import annotations

import io
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageOps

from eyebright.data.audit.evidence import Evidence
from eyebright.data.audit.findings import Finding
from eyebright.data.audit.shortcut_families import name_patterns, property_families
from eyebright.data.audit.shortcuts import check_shortcuts

EvidenceOf = Callable[[Path], Evidence]
Change = Callable[[Image.Image], bytes]
ODD = "rose"


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


# What is done to the photos of one class, and to the others; the finding and how grave it is.
PLANTED: dict[str, tuple[Change, Change | None, str, str]] = {
    "JPEG quality 60": (lambda image: _jpeg(image, 60), None, "shortcut-jpeg", "critical"),
    "JPEG quality 70": (lambda image: _jpeg(image, 70), None, "shortcut-jpeg", "critical"),
    "PNG": (_png, None, "shortcut-format", "critical"),
    "grey": (lambda image: _jpeg(image.convert("L")), None, "shortcut-format", "critical"),
    "another size": (lambda image: _jpeg(image.resize((160, 160))), None, "shortcut-dimensions", "critical"),
    "two pixels less": (lambda image: _jpeg(image.crop((1, 1, 127, 127))), None, "shortcut-dimensions", "warning"),
    "black border": (
        lambda image: _jpeg(ImageOps.expand(image.crop((4, 4, 124, 124)), 4)), None, "shortcut-frame", "warning",
    ),
    "camera": (
        lambda image: _with_camera(image, "D90"), lambda image: _with_camera(image, "X100"), "shortcut-camera", "warning",
    ),
    "date": (lambda image: _with_date(image, 2015), lambda image: _with_date(image, 2020), "shortcut-date", "warning"),
}  # fmt: skip


@pytest.fixture(scope="module")
def plant(five_flowers: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    def make(change: Change, others: Change | None) -> Path:
        root = tmp_path_factory.mktemp("planted")
        for photo in sorted(five_flowers.rglob("*.jpg")):
            target = root / photo.relative_to(five_flowers)
            target.parent.mkdir(exist_ok=True)
            work = change if photo.parent.name == ODD else others
            if work is None:
                shutil.copyfile(photo, target)
                continue
            with Image.open(photo) as image:
                target.write_bytes(work(image.convert("RGB")))
        return root

    return make


def _grave(findings: list[Finding]) -> dict[str, Finding]:
    return {finding.code: finding for finding in findings if finding.severity in ("critical", "warning")}


def test_untouched_photos_have_no_shortcut(five_flowers_evidence: Evidence) -> None:
    findings = check_shortcuts(five_flowers_evidence)
    assert _grave(findings) == {}
    assert findings[-1].code == "shortcuts-together"
    assert findings[-1].severity == "passed"
    assert "JPEG quality" in findings[-1].details["the_same_for_all"]


@pytest.mark.parametrize("name", PLANTED)
def test_a_planted_shortcut_is_found_and_named(name: str, plant: Callable[..., Path], evidence_of: EvidenceOf) -> None:
    change, others, code, severity = PLANTED[name]
    findings = check_shortcuts(evidence_of(plant(change, others)))
    found = _grave(findings)
    assert code in found
    assert found[code].severity == severity
    assert found[code].details["classes"][0]["class"] == ODD
    assert found[code].count == 1
    (example,) = found[code].examples
    assert [image.label == ODD for image in example.images] == [True, True, True, False]
    assert example.images[0].note != example.images[-1].note
    assert findings[-1].severity == "note"


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
    first, second = (check_shortcuts(five_flowers_evidence, seed=3) for _ in range(2))
    assert [finding.details for finding in first] == [finding.details for finding in second]


def test_copies_of_photos_do_not_make_a_shortcut(five_flowers_evidence: Evidence) -> None:
    rows = np.tile(np.arange(0, len(five_flowers_evidence), 6), 6)
    copied = Evidence(
        manifest=five_flowers_evidence.manifest,
        ids=tuple(f"{row}-{number}" for number, row in enumerate(rows)),
        sources=tuple(five_flowers_evidence.sources[row] for row in rows),
        labels=five_flowers_evidence.labels[rows],
        splits=five_flowers_evidence.splits[rows],
        groups=five_flowers_evidence.groups[rows],
        properties=five_flowers_evidence.properties.take(rows),
    )
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
