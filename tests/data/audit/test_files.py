"""Findings about files: each kind of trouble under its own code, none on clean images."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from eyebright.data.audit.evidence import Evidence, gather_evidence
from eyebright.data.audit.files import check_files
from eyebright.data.audit.findings import Finding
from eyebright.data.audit.properties import probe_images
from eyebright.data.manifest import Manifest

EvidenceOf = Callable[[Path], Evidence]
Folder = Callable[..., Path]


def _photo(
    seed: int = 0, size: tuple[int, int] = (96, 96), format: str = "PNG", mode: str = "RGB", **options: Any
) -> bytes:
    random = np.random.default_rng([seed, *size])
    image = Image.fromarray(random.integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)).convert(mode)
    stream = io.BytesIO()
    image.save(stream, format, **options)
    return stream.getvalue()


def _plain(count: int = 6) -> dict[str, bytes]:
    return {f"{'ab'[number % 2]}/{number}.png": _photo(number) for number in range(count)}


def _by_code(evidence: Evidence) -> dict[str, Finding]:
    findings = {finding.code: finding for finding in check_files(evidence)}
    assert all(finding.section == "files" for finding in findings.values())
    return findings


def test_clean_files_give_one_passed_finding(make_folder: Folder, evidence_of: EvidenceOf) -> None:
    findings = _by_code(evidence_of(make_folder(_plain())))
    assert list(findings) == ["files-clean"]
    assert findings["files-clean"].severity == "passed"


def test_every_kind_of_broken_file_is_listed_under_its_own_code(make_folder: Folder, evidence_of: EvidenceOf) -> None:
    whole = _photo(9, (200, 200))
    files = _plain() | {
        "a/empty.jpg": b"",
        "a/cut.png": whole[: len(whole) // 2],
        "b/header.png": whole[:20],
        "b/page.jpg": b"<html>404</html>",
        "b/noise.jpg": b"\xff\xd8\xff" + bytes(range(200)),
    }
    findings = _by_code(evidence_of(make_folder(files)))
    assert {code: finding.count for code, finding in findings.items()} == {
        "files-empty": 1,
        "files-truncated": 2,
        "files-not-an-image": 1,
        "files-unreadable": 1,
    }
    assert all(finding.severity == "warning" for finding in findings.values())
    (empty,) = findings["files-empty"].examples
    assert empty.images[0].source == "a/empty.jpg"
    assert "empty" in empty.images[0].note


def test_missing_files_are_listed(memory_source: Callable[..., Any]) -> None:
    source = memory_source(4)
    del source.contents["2.png"]
    manifest = Manifest.scan(source)
    properties, _ = probe_images(manifest, source)
    finding = _by_code(gather_evidence(manifest, properties))["files-missing"]
    assert finding.count == 1
    assert finding.examples[0].images[0].id is None


def test_strays_that_may_be_data_weigh_more_than_those_of_tools(make_folder: Folder, evidence_of: EvidenceOf) -> None:
    of_tools = _plain() | {"a/notes.txt": b"hello", ".DS_Store": b"x", "__MACOSX/._photo.png": b"x"}
    findings = _by_code(evidence_of(make_folder(of_tools)))
    assert findings["stray-folders"].severity == findings["stray-files"].severity == "note"
    assert findings["files-readable"].severity == "passed"
    findings = _by_code(evidence_of(make_folder(of_tools | {"unsorted.png": _photo(50), "c/readme.md": b"no image"})))
    assert findings["stray-folders"].severity == findings["stray-files"].severity == "warning"
    assert findings["stray-files"].examples[0].images[0].source == "unsorted.png"
    assert findings["stray-folders"].examples[0].images[0].source == "c/"


def test_an_extension_of_another_format_is_found(make_folder: Folder, evidence_of: EvidenceOf) -> None:
    files = _plain() | {
        "a/photo.jpg": _photo(10),
        "b/photo.JPEG": _photo(11, format="JPEG"),
        "b/x.jfif": _photo(12, format="JPEG"),
    }
    finding = _by_code(evidence_of(make_folder(files)))["wrong-extension"]
    assert [example.images[0].source for example in finding.examples] == ["a/photo.jpg"]
    assert finding.examples[0].images[0].note == "named .jpg, is PNG"


@pytest.mark.parametrize(
    ("mode", "format"), [("CMYK", "JPEG"), ("P", "PNG"), ("1", "PNG"), ("I;16", "PNG"), ("RGBA", "PNG"), ("LA", "PNG")]
)
def test_odd_modes_are_found(make_folder: Folder, evidence_of: EvidenceOf, mode: str, format: str) -> None:
    if mode == "I;16":
        image = Image.fromarray(np.full((96, 96), 30000, dtype=np.uint16))
    else:
        image = Image.open(io.BytesIO(_photo(20))).convert(mode)
    if mode in ("RGBA", "LA"):
        image.putalpha(128)
    stream = io.BytesIO()
    image.save(stream, format)
    findings = _by_code(evidence_of(make_folder(_plain() | {f"a/odd.{format.lower()}": stream.getvalue()})))
    assert findings["unusual-modes"].count == 1
    assert findings["unusual-modes"].details["modes"][0]["mode"] == mode


def test_an_alpha_channel_that_hides_nothing_is_not_odd(make_folder: Folder, evidence_of: EvidenceOf) -> None:
    assert list(_by_code(evidence_of(make_folder(_plain() | {"a/x.png": _photo(20, mode="RGBA")})))) == ["files-clean"]


def test_grey_images_among_colour_ones_are_counted_by_class(make_folder: Folder, evidence_of: EvidenceOf) -> None:
    stored_grey, looks_grey = _photo(20, mode="L"), io.BytesIO()
    Image.open(io.BytesIO(_photo(21, mode="L"))).convert("RGB").save(looks_grey, "JPEG", quality=60)
    files = _plain() | {"b/stored.png": stored_grey, "b/looks.jpg": looks_grey.getvalue()}
    finding = _by_code(evidence_of(make_folder(files)))["mixed-grey-and-colour"]
    assert finding.details["counts"] == {"b": 2}
    assert "grey images among colour" in finding.title


def test_a_set_that_is_all_grey_is_not_mixed(make_folder: Folder, evidence_of: EvidenceOf) -> None:
    files = {f"{'ab'[number % 2]}/{number}.png": _photo(number, mode="L") for number in range(4)}
    assert list(_by_code(evidence_of(make_folder(files)))) == ["files-clean"]


def test_turned_and_animated_images_are_found(make_folder: Folder, evidence_of: EvidenceOf) -> None:
    exif = Image.Exif()
    exif[0x112] = 6
    moving = io.BytesIO()
    frames = [Image.open(io.BytesIO(_photo(number))).convert("P") for number in (30, 31, 32)]
    frames[0].save(moving, "GIF", save_all=True, append_images=frames[1:])
    files = _plain() | {"a/turned.jpg": _photo(33, format="JPEG", exif=exif), "b/moving.gif": moving.getvalue()}
    findings = _by_code(evidence_of(make_folder(files)))
    assert findings["exif-rotated"].examples[0].images[0].note == "stored sideways"
    assert findings["several-frames"].examples[0].images[0].note == "3 frames"


def test_sizes_are_judged_against_the_rest(make_folder: Folder, evidence_of: EvidenceOf) -> None:
    files = _plain(10) | {
        "a/tiny.png": _photo(40, (20, 90)),
        "a/huge.png": _photo(41, (2400, 2000)),
        "b/long.png": _photo(42, (400, 96)),
    }
    findings = _by_code(evidence_of(make_folder(files)))
    places = {
        code: {image.source for e in finding.examples for image in e.images} for code, finding in findings.items()
    }
    assert places["tiny"] == {"a/tiny.png"}
    assert places["huge"] == {"a/huge.png"}
    assert places["extreme-aspect"] == {"b/long.png", "a/tiny.png"}


def test_a_set_of_small_images_has_no_tiny_ones(make_folder: Folder, evidence_of: EvidenceOf) -> None:
    files = {f"{'ab'[number % 2]}/{number}.png": _photo(number, (8, 8)) for number in range(6)}
    assert list(_by_code(evidence_of(make_folder(files)))) == ["files-clean"]
