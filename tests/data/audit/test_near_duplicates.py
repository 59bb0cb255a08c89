"""Near-duplicates of real photos, from the files to the findings."""

from __future__ import annotations

import io
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageOps

from eyebright.data.audit.duplicates import check_duplicates
from eyebright.data.audit.evidence import Evidence, gather_evidence
from eyebright.data.audit.findings import Finding
from eyebright.data.audit.near_duplicates import components, find_near_duplicates
from eyebright.data.audit.properties import probe_images
from eyebright.data.manifest import Manifest
from eyebright.data.sources import open_source


def _recompress(photo: Path, target: Path) -> None:
    with Image.open(photo) as image:
        image.save(target, "JPEG", quality=35)


@pytest.fixture(scope="module")
def planted(flowers_sample: Path, natural_twins: set[frozenset[str]], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Real photos in train and test folders, with copies whose places say what they are."""
    root = tmp_path_factory.mktemp("planted")
    for name in ("daisy", "tulip"):
        natural = {twin for pair in natural_twins for twin in pair}
        photos = [photo for photo in sorted((flowers_sample / name).iterdir()) if photo.name not in natural]
        for split, part in (("train", photos[:20]), ("test", photos[20:30])):
            (root / split / name).mkdir(parents=True)
            for photo in part:
                shutil.copyfile(photo, root / split / name / photo.name)
    daisies = sorted((root / "train" / "daisy").iterdir())
    tulips = sorted((root / "train" / "tulip").iterdir())
    _recompress(daisies[0], root / "test" / "daisy" / "leak.jpg")
    _recompress(daisies[1], root / "train" / "tulip" / "contradiction.jpg")
    with Image.open(daisies[2]) as image:
        image.resize((90, 90)).save(root / "train" / "daisy" / "small.png")
    with Image.open(tulips[0]) as image:
        ImageOps.mirror(image).save(root / "train" / "tulip" / "mirrored.jpg", quality=90)
    shutil.copyfile(daisies[3], root / "test" / "daisy" / "same-bytes.jpg")
    shutil.copyfile(daisies[4], root / "train" / "daisy" / "repeat.jpg")
    shutil.copyfile(tulips[4], root / "train" / "daisy" / "two-labels.jpg")
    return root


def _gather(root: Path) -> tuple[Evidence, object]:
    source = open_source(root)
    manifest = Manifest.scan(source)
    properties, failures = probe_images(manifest, source)
    return gather_evidence(manifest.mark(failures), properties), source


def _named(evidence: Evidence, links: list) -> set[frozenset[str]]:
    return {frozenset(Path(evidence.sources[index]).name for index in (link.one, link.other)) for link in links}


@pytest.fixture(scope="module")
def found(planted: Path) -> tuple[Evidence, list, dict[str, Finding], list]:
    evidence, source = _gather(planted)
    links = find_near_duplicates(evidence, source)  # type: ignore[arg-type]
    findings, suggestions = check_duplicates(evidence, links)
    return evidence, links, {finding.code: finding for finding in findings}, suggestions


def test_copies_are_found_by_hash_alone_and_nothing_else(planted: Path, found: tuple) -> None:
    evidence, links, _, _ = found
    daisies = sorted(path.name for path in (planted / "train" / "daisy").iterdir() if path.name[0].isdigit())
    tulips = sorted(path.name for path in (planted / "train" / "tulip").iterdir() if path.name[0].isdigit())
    assert _named(evidence, links) == {
        frozenset({daisies[0], "leak.jpg"}),
        frozenset({daisies[1], "contradiction.jpg"}),
        frozenset({daisies[2], "small.png"}),
        frozenset({tulips[0], "mirrored.jpg"}),
    }
    mirrored = next(
        link for link in links if "mirrored.jpg" in evidence.sources[link.one] + evidence.sources[link.other]
    )
    assert mirrored.placement.mirrored


def test_each_copy_stands_in_the_finding_that_it_belongs_to(found: tuple) -> None:
    _, _, findings, _ = found
    assert findings["near-duplicates-across-splits"].count == 1
    assert findings["near-duplicates-across-splits"].severity == "critical"
    assert findings["near-duplicates-across-splits"].details["test_images"] == 1
    assert findings["near-duplicates-across-classes"].count == 1
    assert findings["near-duplicates"].count == 4
    assert findings["exact-duplicates-across-splits"].count == 1
    assert findings["exact-duplicates-across-splits"].severity == "critical"
    assert findings["exact-duplicates"].count == 1
    assert findings["exact-duplicates-across-classes"].count == 2


def test_the_training_copy_of_a_leak_is_to_be_dropped_and_the_test_kept(found: tuple) -> None:
    _, _, _, suggestions = found
    dropped = {suggestion.sources[0] for suggestion in suggestions if suggestion.action == "drop"}
    assert len(dropped) == 2
    assert all(place.startswith("train/daisy/") for place in dropped)


def test_copies_become_groups_whatever_their_class(found: tuple) -> None:
    _, _, _, suggestions = found
    groups = [suggestion for suggestion in suggestions if suggestion.action == "group"]
    assert sorted(len(suggestion.ids) for suggestion in groups) == [2, 2, 2, 2]
    assert all(suggestion.accept for suggestion in groups)


def test_of_real_photos_those_that_a_person_calls_the_same_are_found(
    flowers_sample: Path, natural_twins: set[frozenset[str]]
) -> None:
    evidence, source = _gather(flowers_sample)
    links = find_near_duplicates(evidence, source)  # type: ignore[arg-type]
    assert _named(evidence, links) == natural_twins
    findings, _ = check_duplicates(evidence, links)
    assert [finding.code for finding in findings if finding.severity != "passed"] == ["near-duplicates"]


def test_components_join_chains() -> None:
    numbers = components(6, [(0, 1), (1, 4), (3, 5)])
    assert len({numbers[0], numbers[1], numbers[4]}) == 1
    assert numbers[3] == numbers[5] != numbers[0]
    assert len(np.unique(numbers)) == 3
    assert len(np.unique(components(3, []))) == 3


def test_tiny_pictures_are_compared_byte_for_byte_only() -> None:
    """Many of the handwritten digits of 8x8 pixels look alike; none is a copy."""
    source = open_source("digits")
    manifest = Manifest.scan(source)
    properties, failures = probe_images(manifest, source)
    assert not failures
    assert find_near_duplicates(gather_evidence(manifest, properties), source) == []


def test_a_photo_that_vanishes_between_the_passes_matches_nothing(flowers_sample: Path, tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    photo = sorted((flowers_sample / "daisy").iterdir())[0]
    buffer = io.BytesIO()
    with Image.open(photo) as image:
        image.save(buffer, "JPEG", quality=40)
    (tmp_path / "a" / "one.jpg").write_bytes(photo.read_bytes())
    (tmp_path / "a" / "two.jpg").write_bytes(buffer.getvalue())
    evidence, source = _gather(tmp_path)
    assert len(find_near_duplicates(evidence, source)) == 1  # type: ignore[arg-type]
    (tmp_path / "a" / "two.jpg").unlink()
    assert find_near_duplicates(evidence, source) == []  # type: ignore[arg-type]
