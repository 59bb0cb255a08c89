"""Families of properties that may give a label away, as numbers that a learner takes and as words for the reader."""

from __future__ import annotations

import dataclasses
import datetime
import re
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Literal

import numpy as np
import numpy.typing as npt

from eyebright.data.audit import words
from eyebright.data.audit.evidence import Evidence

# How far a family is from what the label is about, and thus how much it may tell before it is a fault.
#   file: made by whoever stored the image, and left in the pixels that a network sees
#   trace: depends on the content as well
#   appearance: as often as not the content itself (a sunflower is yellow)
#   provenance: a network never sees it, but it tells that the classes come from different places
#   name: as provenance; in most sets names are given class by class
Kind = Literal["file", "trace", "appearance", "provenance", "name"]
Numbers = npt.NDArray[np.float64]

_HEXADECIMAL = re.compile(r"(?=[a-f]*\d)(?=\d*[a-f])[0-9a-f]{6,}")
_NUMBER = re.compile(r"\d+")
_CHANNELS = ("red", "green", "blue")
_UNKNOWN = -1.0  # no property has this value


@dataclasses.dataclass(frozen=True, kw_only=True)
class Family:
    """One family of properties of N images.

    Attributes:
        name: for machines.
        title: for the reader.
        kind: see above.
        values: float32 (N, F); `_UNKNOWN` where an image lacks a property.
        rows: bool (N,): the images that it is asked of.
        describe: the property of the images of these rows, in a few words.
    """

    name: str
    title: str
    kind: Kind
    values: npt.NDArray[np.float32]
    rows: npt.NDArray[np.bool_]
    describe: Callable[[npt.NDArray[np.int64]], str]

    @property
    def constant(self) -> bool:
        """Whether all images agree in it, so that it can tell nothing."""
        values = self.values[self.rows]
        return len(values) == 0 or bool((values == values[0]).all())


def property_families(evidence: Evidence) -> list[Family]:
    """All families, plainer ones first; those that are the same for all of these images are included."""
    number = evidence.column
    width, height, size = number("width"), number("height"), number("bytes")
    dimensions = [f"{w:.0f}x{h:.0f}" for w, h in zip(width, height, strict=True)]
    mean, border = (np.stack([number(f"{of}_{name}") for name in _CHANNELS], axis=1) for of in ("mean", "border"))
    return [
        _format(evidence),
        _jpeg(evidence),
        _named("dimensions", "the dimensions", "file", dimensions, [width, height]),
        _measured("aspect", "the aspect ratio", "file", [width / height], "{:.2f} times as wide as high"),
        _measured(
            "frame", "the evenness of the edge", "trace", [number("edge_contrast")], "contrast along the edge {:.2f}"
        ),
        _measured("file-size", "the file size", "trace", [size, size / (width * height)], words.size),
        _coloured("mean-colour", "the mean colour", mean, [number("saturation")]),
        _coloured("border-colour", "the colour of the border", border),
        _measured("light", "the brightness and contrast", "appearance", _columns(evidence, "brightness", "contrast")),
        _measured(
            "sharpness", "the sharpness", "appearance", _columns(evidence, "sharpness", "entropy"), "sharpness {:.0f}"
        ),
        _camera(evidence),
        _date(evidence),
        _file_name(evidence),
    ]


def name_patterns(sources: Sequence[str], classes: Sequence[str]) -> list[str]:
    """File names without what is particular to one image, and without the name of any class.

    Digits become `#` (several as one: the numbers of a large class have more of them), long hexadecimal words `x`. The
    names of all classes are taken out, not that of the image's own: its absence would tell the label.
    """
    spellings = {r"[\W_]*".join(re.findall(r"[^\W_]+", name.lower())) for name in classes} - {""}
    named = re.compile("|".join(sorted(spellings, key=len, reverse=True)) or r"(?!)")
    patterns = []
    for source in sources:
        # `shard#12` names a row, which has no name of its own; `shard#photo.jpg` a file inside.
        shard, _, member = source.rpartition("#")
        name = "" if shard and member.isdigit() else member.rpartition("/")[2].lower()
        # The suffix tells the format, which is looked at by itself.
        stem = name.rpartition(".")[0] or name
        patterns.append(_NUMBER.sub("#", _HEXADECIMAL.sub("x", named.sub("", stem))))
    return patterns


def _jpeg(evidence: Evidence) -> Family:
    text = {name: evidence.properties[name].to_pylist() for name in ("jpeg_tables", "jpeg_subsampling", "progressive")}
    quality = evidence.column("jpeg_quality")
    described = [
        f"quality {value:.0f}, {subsampling}{', progressive' if progressive else ''}"
        for value, subsampling, progressive in zip(quality, text["jpeg_subsampling"], text["progressive"], strict=True)
    ]
    numbers = [quality, _codes(text["jpeg_tables"]), _codes(text["jpeg_subsampling"]), _codes(text["progressive"])]
    # Other formats have no quality; that they are others is told by the family of formats.
    return _named("jpeg", "the JPEG quality", "file", described, numbers, rows=~np.isnan(quality))


def _format(evidence: Evidence) -> Family:
    formats, modes = evidence.properties["format"].to_pylist(), evidence.properties["mode"].to_pylist()
    see_through = evidence.column("transparent") > 0
    described = [
        f"{name} ({mode}{', transparent' if clear else ''})"
        for name, mode, clear in zip(formats, modes, see_through, strict=True)
    ]
    return _named(
        "format", "the file format", "file", described, [_codes(formats), _codes(modes), see_through.astype(np.float64)]
    )


def _camera(evidence: Evidence) -> Family:
    cameras, programs = evidence.properties["camera"].to_pylist(), evidence.properties["software"].to_pylist()
    described = [
        ", ".join(filter(None, (camera, program))) or "no camera named"
        for camera, program in zip(cameras, programs, strict=True)
    ]
    numbers = [_codes(cameras), _codes(programs), evidence.column("orientation")]
    return _named("camera", "the camera and software", "provenance", described, numbers)


def _date(evidence: Evidence) -> Family:
    taken = evidence.properties["taken"].to_pylist()
    days = np.array([_day(text) for text in taken])

    def describe(images: npt.NDArray[np.int64]) -> str:
        known = np.sort(days[images][days[images] != _UNKNOWN])
        if len(known) == 0:
            return "no date"
        first, last = (
            datetime.date.fromordinal(int(day)) for day in np.quantile(known, [0.05, 0.95], method="nearest")
        )
        without = 1 - len(known) / len(images)
        text = f"{first}" if first == last else f"{first} to {last}"
        return text + (f", {words.percent(without)} without" if without else "")

    rows = np.ones(len(days), dtype=np.bool_)
    values, title = _matrix([days]), "the date of the photo"
    return Family(name="date", title=title, kind="provenance", values=values, rows=rows, describe=describe)


def _file_name(evidence: Evidence) -> Family:
    patterns = name_patterns(evidence.sources, evidence.manifest.classes)
    starts = [re.split(r"[\W\d_]", pattern, maxsplit=1)[0] for pattern in patterns]
    lengths = np.array([len(pattern) for pattern in patterns], dtype=np.float64)
    return _named("file-name", "the file name", "name", patterns, [_codes(patterns), _codes(starts), lengths])


def _named(
    name: str,
    title: str,
    kind: Kind,
    described: Sequence[str],
    numbers: Sequence[Numbers],
    *,
    rows: npt.NDArray[np.bool_] | None = None,
) -> Family:
    """A family that few values are usual for: several images are described by the most common one."""

    def describe(images: npt.NDArray[np.int64]) -> str:
        value, times = Counter(described[image] for image in images).most_common(1)[0]
        return value if times == len(images) else f"{value} ({words.percent(times / len(images))})"

    everything = np.ones(len(described), dtype=np.bool_)
    rows = everything if rows is None else rows
    return Family(name=name, title=title, kind=kind, values=_matrix(numbers), rows=rows, describe=describe)


def _measured(
    name: str,
    title: str,
    kind: Kind,
    numbers: Sequence[Numbers],
    text: str | Callable[[float], str] = "brightness {:.2f}",
) -> Family:
    """A family of numbers: several images are described by the median of the first."""
    write = text.format if isinstance(text, str) else text

    def describe(images: npt.NDArray[np.int64]) -> str:
        return str(write(float(np.median(numbers[0][images]))))

    rows = np.ones(len(numbers[0]), dtype=np.bool_)
    return Family(name=name, title=title, kind=kind, values=_matrix(numbers), rows=rows, describe=describe)


def _coloured(name: str, title: str, colour: Numbers, more: Sequence[Numbers] = ()) -> Family:
    """A family of colours (N, 3) from 0 to 1: several images are described by the median of each channel."""

    def describe(images: npt.NDArray[np.int64]) -> str:
        levels = np.rint(255 * np.median(colour[images], axis=0)).astype(int)
        return f"{title.removeprefix('the ')} #{''.join(f'{level:02x}' for level in levels)}"

    values, rows = _matrix([*colour.T, *more]), np.ones(len(colour), dtype=np.bool_)
    return Family(name=name, title=title, kind="appearance", values=values, rows=rows, describe=describe)


def _columns(evidence: Evidence, *names: str) -> list[Numbers]:
    return [evidence.column(name) for name in names]


def _matrix(numbers: Sequence[Numbers]) -> npt.NDArray[np.float32]:
    return np.nan_to_num(np.stack(numbers, axis=1), nan=_UNKNOWN).astype(np.float32)


def _codes(values: Sequence[object]) -> Numbers:
    """A number for each value: 0 for the most common, so that the numbers do not depend on the labels."""
    ranked = sorted(Counter(values).items(), key=lambda pair: (-pair[1], str(pair[0])))
    code = {value: rank for rank, (value, _) in enumerate(ranked)}
    return np.array([code[value] for value in values], dtype=np.float64)


def _day(text: str | None) -> float:
    """Days since the year 1, with the part of the day; `_UNKNOWN` where there is no date, or an impossible one."""
    try:
        moment = datetime.datetime.fromisoformat(text or "")
    except ValueError:
        return _UNKNOWN
    return moment.toordinal() + (moment.hour * 60 + moment.minute) / 1440
