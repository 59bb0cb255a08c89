"""The samples in one WebDataset shard: runs of members that share a name up to the first dot.

`0001.jpg` and `0001.cls` are one sample with the key `0001` (https://github.com/webdataset/webdataset). The label is
what `.cls` says (a number or a name), else the key `label`, `class` or `cls` of `.json`; other plain values of the
`.json`, and the text in `.txt`, are columns.

A tar is a WebDataset, and not an archive of class folders, when the images in it have members of the same key beside
them: a `.cls`; or a `.json` that gives a label; or, where all images lie in one folder, any `.json` or `.txt`.
"""

from __future__ import annotations

import dataclasses
import itertools
import json
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import PurePosixPath
from typing import BinaryIO, NamedTuple

from eyebright.data.sources.base import Stray
from eyebright.data.sources.folder import IMAGE_SUFFIXES
from eyebright.data.sources.members import SteadyFile
from eyebright.data.sources.tar import TarIndex, TarMember

LABEL_KEYS = ("label", "class", "cls")
# The members that are read: they describe the image.
SIDECARS = ("cls", "json", "txt")
MAX_SIDECAR_BYTES = 1 << 20
MAX_LABEL_LETTERS = 200
_NO_LABEL = f"its label is neither a whole number nor a name of one line and at most {MAX_LABEL_LETTERS} letters"


@dataclasses.dataclass(frozen=True, slots=True)
class Sample:
    """An image and what is said of it.

    Attributes:
        name: the image's member, without a leading `./`.
        offset, size: its bytes in the plain tar.
        label: as the shard has it: a number, a text, a list of several; None when it says nothing.
        extra: further values by name.
    """

    name: str
    offset: int
    size: int
    label: object
    extra: dict[str, object]


class _Part(NamedTuple):
    """A member of a sample; the extension is all that comes after the first dot, in lower case."""

    name: str
    key: str
    extension: str
    member: TarMember

    @property
    def is_image(self) -> bool:
        return f".{self.extension.rpartition('.')[2]}" in IMAGE_SUFFIXES


def is_webdataset(file: SteadyFile, members: Iterable[TarMember]) -> bool:
    """Whether a tar is a WebDataset rather than an archive of folders, by the rule above.

    Args:
        file: the plain tar.
        members: its members, or the first of them: those of one sample are neighbours.
    """
    parts = [part for member in members if (part := _part(member)) is not None]
    folders = {part.key: PurePosixPath(part.name).parent for part in parts if part.is_image}
    beside = [part for part in parts if part.key in folders and part.extension in SIDECARS]
    if any(part.extension == "cls" for part in beside):
        return True
    described = next((part for part in beside if part.extension == "json"), None)
    if described is not None:
        with file.opened() as handle:
            values, _ = _parsed(handle, described)
        if any(values.get(key) is not None for key in LABEL_KEYS):
            return True
    return bool(beside) and len(set(folders.values())) == 1


def read_samples(index: TarIndex) -> tuple[list[Sample], list[Stray]]:
    """The samples of a shard that have an image, and strays: whatever belongs to none, and labels that say nothing.

    Sources of strays are names within the shard, "" for the shard itself.
    """
    strays = [Stray("", stray.reason) for stray in index.strays]
    parts: list[_Part] = []
    outside = 0
    for member in index.members:
        part = _part(member)
        if part is not None:
            parts.append(part)
        elif member.kind != "folder":
            outside += 1
    if outside:
        reason = f"{_members(outside)} outside samples: links, hidden files, names without a dot or not in UTF-8"
        strays.append(Stray("", reason))
    samples: list[Sample] = []
    seen: set[str] = set()
    others: Counter[str] = Counter()
    with index.file.opened() as handle:
        for key, group in itertools.groupby(parts, key=lambda part: part.key):
            if key in seen:
                reason = "its key was used before in this shard: the members of a sample must follow each other"
                strays += [Stray(part.name, reason) for part in group]
                continue
            seen.add(key)
            by_extension = _by_extension(group, strays)
            image = _image(by_extension)
            if image is None:
                strays.append(Stray(key, f"a sample without an image: it has .{', .'.join(by_extension)}"))
                continue
            label, extra = _described(handle, by_extension, strays)
            samples.append(Sample(image.name, image.member.place, image.member.size, label, extra))
            others.update(by_extension.keys() - {image.extension, *SIDECARS})
    for extension, count in sorted(others.items()):
        strays.append(
            Stray(f"*.{extension}", f"{_members(count)} of samples, neither the image nor a description of it")
        )
    return samples, strays


def _part(member: TarMember) -> _Part | None:
    """The member as part of a sample, or None for what is no part of one."""
    name = member.name.removeprefix("./")
    folder, slash, base = name.rpartition("/")
    stem, dot, extension = base.partition(".")
    if member.kind != "file" or not stem or not dot:
        return None
    try:
        name.encode("utf-8")
    except UnicodeEncodeError:
        return None
    return _Part(name, f"{folder}{slash}{stem}", extension.lower(), member)


def _by_extension(group: Iterable[_Part], strays: list[Stray]) -> dict[str, _Part]:
    found: dict[str, _Part] = {}
    for part in group:
        if found.setdefault(part.extension, part) is not part:
            strays.append(Stray(part.name, f"its sample has another .{part.extension} already"))
    return found


def _image(parts: Mapping[str, _Part]) -> _Part | None:
    """The image of a sample: `0001.jpg` rather than `0001.mask.png`."""
    images = [part for part in parts.values() if part.is_image]
    return next((part for part in images if "." not in part.extension), images[0] if images else None)


def _described(handle: BinaryIO, parts: Mapping[str, _Part], strays: list[Stray]) -> tuple[object, dict[str, object]]:
    """The label of a sample, and what else is said of it."""
    label: object = None
    extra: dict[str, object] = {}
    if "json" in parts:
        values, problem = _parsed(handle, parts["json"])
        if problem:
            strays.append(Stray(parts["json"].name, problem))
        key = None if "cls" in parts else next((key for key in LABEL_KEYS if values.get(key) is not None), None)
        label = values.get(key) if key else None
        extra = {
            str(_storable(name)): _storable(value) for name, value in values.items() if name != key and _is_plain(value)
        }
    for extension in ("cls", "txt"):
        if extension in parts:
            text, problem = _text(handle, parts[extension])
            if problem or not text:
                strays.append(Stray(parts[extension].name, problem or "it is empty"))
            elif extension == "cls":
                label = text
            else:
                extra["txt"] = text
    if not _may_be_a_label(label):
        strays.append(Stray(parts["cls" if "cls" in parts else "json"].name, _NO_LABEL))
        label = None
    return (label.strip() or None) if isinstance(label, str) else label, extra


def _parsed(handle: BinaryIO, part: _Part) -> tuple[dict[str, object], str]:
    """The values of a `.json`, or none and what is wrong with it."""
    text, problem = _text(handle, part)
    if problem:
        return {}, problem
    try:
        values = json.loads(text)
    except (ValueError, RecursionError) as error:
        return {}, f"it is no JSON: {error}"
    if not isinstance(values, dict):
        return {}, "it is no JSON object"
    return values, ""


def _text(handle: BinaryIO, part: _Part) -> tuple[str, str]:
    """The text of a member, or none and what is wrong with it."""
    if part.member.size > MAX_SIDECAR_BYTES:
        return "", f"it has {part.member.size:,} bytes: too many to describe an image"
    handle.seek(part.member.place)
    try:
        return handle.read(part.member.size).decode("utf-8-sig").strip(), ""
    except UnicodeDecodeError:
        return "", "it is not UTF-8 text"


def _is_plain(value: object) -> bool:
    return value is None or isinstance(value, (str, int, float))


def _storable(value: object) -> object:
    """The value as a table can hold it: JSON knows longer integers, and half of a character."""
    if isinstance(value, str):
        return value.encode("utf-8", "backslashreplace").decode("utf-8")
    return str(value) if isinstance(value, int) and abs(value) >> 63 else value


def _may_be_a_label(value: object) -> bool:
    """Whether it is nothing, a whole number, a name, or a list of such (one of several is refused later)."""
    if isinstance(value, float):
        return value.is_integer()
    if isinstance(value, list):
        return all(not isinstance(one, list) and _may_be_a_label(one) for one in value)
    if isinstance(value, str):
        return len(value) <= MAX_LABEL_LETTERS and len(value.splitlines()) <= 1 and _storable(value) == value
    return value is None or isinstance(value, int)


def _members(count: int) -> str:
    return f"{count} member{'s' * (count != 1)}"
