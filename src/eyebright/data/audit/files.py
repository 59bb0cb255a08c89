"""What is wrong with files: what cannot be read, what is not used, and what is read otherwise than one may think."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from pathlib import PurePosixPath
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute

from eyebright.data.audit import words
from eyebright.data.audit.evidence import Evidence
from eyebright.data.audit.findings import Example, Finding, ImageRef, Severity
from eyebright.data.sources.folder import STRAY_FOLDERS
from eyebright.decode import STATUSES, Status

_SIXTEEN_BIT = ("I;16", "I;16L", "I;16B", "I;16N", "I", "F")  # as Pillow calls them
_GREY_MODES = ("L", "LA", "La", "1", *_SIXTEEN_BIT)
# What becomes of modes that are neither 8-bit RGB nor 8-bit grey.
_READ_AS = {
    "CMYK": "turned into RGB without its colour profile",
    "YCbCr": "turned into RGB",
    "LAB": "turned into RGB",
    "HSV": "turned into RGB",
    "P": "a palette, turned into RGB",
    "PA": "a palette, turned into RGB",
    "1": "black and white, turned into grey",
} | dict.fromkeys(_SIXTEEN_BIT, "more than 8 bits, scaled to 8")
_TRANSPARENT = "transparent, laid on white"
_SUFFIXES = {
    "JPEG": (".jpg", ".jpeg", ".jpe", ".jfif"),
    "PNG": (".png", ".apng"),
    "WebP": (".webp",),
    "GIF": (".gif",),
    "BMP": (".bmp", ".dib"),
    "TIFF": (".tif", ".tiff"),
    "JPEG 2000": (".jp2", ".j2k", ".jpf", ".jpx"),
    "AVIF": (".avif",),
    "PPM": (".ppm", ".pgm", ".pbm", ".pnm"),
}
_FORMAT_OF_SUFFIX = {suffix: name for name, suffixes in _SUFFIXES.items() for suffix in suffixes}
_FORMAT_OF_SUFFIX |= {".heic": "HEIC", ".heif": "HEIC"}
TINY_PIXELS = 32  # a shortest side below this ...
TINY_SHARE = 0.25  # ... or below this share of the median is tiny
HUGE_TIMES = 16  # so many times the pixels of the median, ...
HUGE_PIXELS = 4_000_000  # ... and at least so many, is huge
LONG_RATIO = 3.0  # longest by shortest side
GREY_SATURATION = 0.5 / 255  # mean difference of the channels: less than half a level is no colour
_EXAMPLES = 12
_LISTED_REASONS = 20


class _Broken(NamedTuple):
    title: tuple[str, str]  # of one file, of several
    why: str
    remedy: str


_BROKEN: dict[Status, _Broken] = {
    "missing": _Broken(
        ("is named but is not there", "are named but are not there"),
        "The list names files that are not found: the classes may have lost images unevenly.",
        "Correct the paths, or fetch the files again.",
    ),
    "empty": _Broken(
        ("is empty (0 bytes)", "are empty (0 bytes)"),
        "An empty file is what a broken download or a full disk leaves; no image can be read from it.",
        "Fetch the files again, or remove them.",
    ),
    "truncated": _Broken(
        ("is cut off", "are cut off"),
        "The file ends before the image does. Other tools fill the rest with grey and train on it.",
        "Fetch the files again, or remove them.",
    ),
    "not-an-image": _Broken(
        ("is no image", "are no images"),
        "The file has the name of an image and holds something else, such as the error page of a download.",
        "Remove the files, or fetch the images again.",
    ),
    "unreadable": _Broken(
        ("cannot be read", "cannot be read"),
        "The file is damaged, or may not be opened.",
        "Repair, replace or remove the files.",
    ),
    "too-large": _Broken(
        ("is too large to be read", "are too large to be read"),
        "An image of that many pixels can fill the memory, so it is left out.",
        "Make it smaller, or pass `--set data.max_pixels=N`.",
    ),
}


def check_files(evidence: Evidence) -> list[Finding]:
    """One finding for each kind of trouble; `files-clean` when there is none, `files-readable` when all can be read."""
    broken = [finding for status in STATUSES if (finding := _unusable(evidence, status))]
    found = [
        *broken,
        *_strays(evidence),
        *(
            finding
            for check in (
                _wrong_extensions,
                _unusual_modes,
                _mixed_grey,
                _rotated,
                _animated,
                _tiny,
                _huge,
                _long,
            )
            if len(evidence) and (finding := check(evidence))
        ),
    ]
    if broken:
        return found
    files = words.plural(len(evidence), "file")
    passed = Finding(
        code="files-readable" if found else "files-clean",
        section="files",
        severity="passed",
        title=f"{files} can be read whole" if found else f"Nothing is wrong with the {files}",
        count=0,
        why="Every image was decoded once, to its last pixel.",
    )
    return [*found, passed]


def _unusable(evidence: Evidence, status: Status) -> Finding | None:
    rows = _rows(evidence, status)
    if not rows:
        return None
    one, many = _BROKEN[status].title
    reasons = Counter(row["reason"] for row in rows)
    return Finding(
        code=f"files-{status}",
        section="files",
        severity="warning",
        title=f"{words.plural(len(rows), 'file')} {one if len(rows) == 1 else many}",
        count=len(rows),
        why=_BROKEN[status].why,
        remedy=_BROKEN[status].remedy,
        examples=[_of_row(row) for row in rows[:_EXAMPLES]],
        details={"reasons": dict(reasons.most_common(_LISTED_REASONS)), **_by_class(row["label"] for row in rows)},
    )


def _strays(evidence: Evidence) -> list[Finding]:
    """Folders and files that are used for nothing. Those that tools make are no reason to worry, images are."""
    rows = _rows(evidence, "stray")
    folders = [row for row in rows if row["source"].endswith("/")]
    files = [row for row in rows if not row["source"].endswith("/")]
    found = []
    for code, kind, some in (("stray-folders", "folder", folders), ("stray-files", "file", files)):
        if not some:
            continue
        lost = [row for row in some if _may_be_data(row)]
        found.append(
            Finding(
                code=code,
                section="files",
                severity="warning" if lost else "note",
                title=f"{words.plural(len(some), kind)} {'is' if len(some) == 1 else 'are'} used for nothing",
                count=len(some),
                why=f"{words.plural(len(lost), kind)} of these may hold data that should be used: other tools take a "
                "stray folder for a class."
                if lost
                else "They were made by tools, or are no images. Other tools take a stray folder for a class.",
                remedy="Move images into the folder of their class; remove the rest."
                if lost
                else "Remove them, or leave them where they are.",
                examples=[_of_row(row) for row in [*lost, *(row for row in some if row not in lost)][:_EXAMPLES]],
                details={"reasons": dict(Counter(row["reason"] for row in some).most_common(_LISTED_REASONS))},
            )
        )
    return found


def _may_be_data(row: dict[str, str]) -> bool:
    """Whether a stray may be an image, or a folder of some, that somebody meant to use."""
    path = PurePosixPath(row["source"])
    if path.name.startswith(".") or "by the mapping" in row["reason"]:
        return False
    if row["source"].endswith("/"):
        return path.name.lower() not in STRAY_FOLDERS
    return path.suffix.lower() in _FORMAT_OF_SUFFIX


def _wrong_extensions(evidence: Evidence) -> Finding | None:
    formats = evidence.properties["format"].to_pylist()
    named = [_FORMAT_OF_SUFFIX.get(PurePosixPath(source).suffix.lower()) for source in evidence.sources]
    wrong = np.array([name not in (None, found) for name, found in zip(named, formats, strict=True)])
    return _about(
        evidence,
        wrong & (np.array(formats) != "array"),
        code="wrong-extension",
        title=("file has the extension of another format", "files have the extension of another format"),
        why="Eyebright goes by the content and reads them. Tools that go by the name fail on them, or skip them.",
        remedy="Rename the files.",
        note=lambda row: f"named {PurePosixPath(evidence.sources[row]).suffix}, is {formats[row]}",
    )


def _unusual_modes(evidence: Evidence) -> Finding | None:
    modes, transparent = evidence.properties["mode"].to_pylist(), evidence.column("transparent")
    read_as = [
        _TRANSPARENT if clear > 0 else _READ_AS.get(mode) for mode, clear in zip(modes, transparent, strict=True)
    ]
    kinds = Counter((mode, text) for mode, text in zip(modes, read_as, strict=True) if text)
    return _about(
        evidence,
        np.array([text is not None for text in read_as]),
        code="unusual-modes",
        title=("image is not stored as plain RGB or grey", "images are not stored as plain RGB or grey"),
        why="They are converted; another tool may do that in another way, so that colours and backgrounds differ.",
        remedy="Nothing, if the images look right; else store them as RGB.",
        note=lambda row: f"{modes[row]}: {read_as[row]}",
        details={"modes": [{"mode": mode, "images": n, "read": text} for (mode, text), n in kinds.most_common()]},
    )


def _mixed_grey(evidence: Evidence) -> Finding | None:
    modes = evidence.properties["mode"].to_pylist()
    grey = np.isin(np.array(modes), _GREY_MODES) | (evidence.column("saturation") < GREY_SATURATION)
    if grey.all() or not grey.any():
        return None
    rare = grey if 2 * grey.sum() <= len(grey) else ~grey
    one, other = ("grey", "colour") if rare is grey else ("colour", "grey")
    return _about(
        evidence,
        rare,
        code="mixed-grey-and-colour",
        title=(f"{one} image among {other} ones", f"{one} images among {other} ones"),
        why="Where more of one class than of the others is grey, a network takes the lack of colour for a sign of it.",
        remedy="Look at the counts of the classes. Where they are uneven, make all images grey, or leave these out.",
        note=lambda row: one,
    )


def _rotated(evidence: Evidence) -> Finding | None:
    orientation = evidence.column("orientation")
    turned = {3: "upside down", 6: "sideways", 8: "sideways", 5: "sideways and mirrored", 7: "sideways and mirrored"}
    return _about(
        evidence,
        np.nan_to_num(orientation, nan=1) != 1,
        code="exif-rotated",
        title=("image is turned by its EXIF data", "images are turned by their EXIF data"),
        why="Eyebright turns them upright. Tools that do not read EXIF data see them lying on their side.",
        remedy="Nothing for Eyebright. Whatever else reads the images must turn them as well.",
        note=lambda row: f"stored {turned.get(int(orientation[row]), 'mirrored')}",
    )


def _animated(evidence: Evidence) -> Finding | None:
    frames = evidence.column("frames")
    # A JPEG of several frames is a photo with its preview or depth map.
    several = (frames > 1) & (np.array(evidence.properties["format"].to_pylist()) != "JPEG")
    return _about(
        evidence,
        several,
        code="several-frames",
        title=("image has several frames", "images have several frames"),
        why="Only the first frame is used, and it may be blank or a title.",
        remedy="Look at the first frames; store the frames that matter as images of their own.",
        note=lambda row: f"{int(frames[row])} frames",
        score=frames,
    )


def _tiny(evidence: Evidence) -> Finding | None:
    shortest = np.minimum(evidence.column("width"), evidence.column("height"))
    middle = float(np.median(shortest))
    # Where most are small (digits of 8x8 pixels), small is what they should be.
    least = max(TINY_PIXELS, TINY_SHARE * middle) if middle >= 2 * TINY_PIXELS else TINY_SHARE * middle
    return _about(
        evidence,
        shortest < least,
        code="tiny",
        title=("image is tiny", "images are tiny"),
        why=f"Their shortest side is under {least:.0f} pixels, where {middle:.0f} are usual. Enlarged to the size that "
        "the network takes they are a blur, and icons or previews are often among them.",
        remedy="Look for larger versions, or remove them.",
        note=lambda row: _dimensions(evidence, row),
        score=-shortest,
    )


def _huge(evidence: Evidence) -> Finding | None:
    pixels = evidence.column("width") * evidence.column("height")
    middle = float(np.median(pixels))
    return _about(
        evidence,
        pixels > max(HUGE_PIXELS, HUGE_TIMES * middle),
        code="huge",
        title=("image is much larger than the rest", "images are much larger than the rest"),
        why=f"They have more than {HUGE_TIMES} times the pixels of the median ({middle / 1e6:.2g} million): slow to "
        "decode, and what they show may be small when the whole is scaled down.",
        remedy="Crop them to what matters.",
        note=lambda row: _dimensions(evidence, row),
        score=pixels,
    )


def _long(evidence: Evidence) -> Finding | None:
    width, height = evidence.column("width"), evidence.column("height")
    ratio = np.maximum(width / height, height / width)
    # Where most are long (text lines, say), the odd ones are no fault.
    return _about(
        evidence,
        (ratio > LONG_RATIO) & (float(np.median(ratio)) <= LONG_RATIO),
        code="extreme-aspect",
        title=("image is very long or very high", "images are very long or very high"),
        why=f"One side is more than {LONG_RATIO:.0f} times the other: a crop to a square loses most of the image, "
        "squashing distorts it.",
        remedy="Crop them to what matters, or train with `--set image.resize=pad`.",
        note=lambda row: _dimensions(evidence, row),
        score=ratio,
    )


def _about(
    evidence: Evidence,
    concerned: npt.NDArray[np.bool_],
    *,
    code: str,
    title: tuple[str, str],
    why: str,
    remedy: str,
    note: Callable[[int], str],
    score: npt.NDArray[np.float64] | None = None,
    details: Mapping[str, Any] | None = None,
    severity: Severity = "note",
) -> Finding | None:
    """A finding about these images, the highest scores first; None when there are none."""
    rows = np.flatnonzero(concerned)
    if len(rows) == 0:
        return None
    if score is not None:
        rows = rows[np.argsort(-score[rows], kind="stable")]
    return Finding(
        code=code,
        section="files",
        severity=severity,
        title=f"{words.count(len(rows))} {title[0] if len(rows) == 1 else title[1]}",
        count=len(rows),
        why=why,
        remedy=remedy,
        examples=[
            Example((evidence.ref(int(row), note(int(row))),), score=None if score is None else float(score[row]))
            for row in rows[:_EXAMPLES]
        ],
        details={**(details or {}), **_by_class(evidence.labels[row] for row in rows)},
    )


def _by_class(labels: Iterable[str | None]) -> dict[str, Any]:
    counts = Counter(label for label in labels if label is not None)
    return {"counts": dict(counts.most_common())} if counts else {}


def _rows(evidence: Evidence, status: str) -> list[dict[str, Any]]:
    table = evidence.manifest.table.select(["id", "source", "label", "split", "status", "reason"])
    return list(table.filter(pa.compute.equal(table["status"], status)).to_pylist())


def _of_row(row: Mapping[str, Any]) -> Example:
    return Example((ImageRef(row["id"], row["source"], row["label"], row["split"], row["reason"]),))


def _dimensions(evidence: Evidence, row: int) -> str:
    width, height = (evidence.properties[name][row].as_py() for name in ("width", "height"))
    return f"{width}x{height}"
