"""WebDataset: images and labels in tar files ("shards"), as OpenCLIP, timm and the library webdataset read them.

What a sample is stands in `samples`. Names of numbered classes are the lines of `classnames.txt` or `classes.txt`
beside the shards, as in the sets of OpenCLIP; without them numbers stay numbers, in their order. Splits are named by
the files (`train-000000.tar`, `test/0.tar`).
"""

from __future__ import annotations

import dataclasses
import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from eyebright.data.sources.base import SPLIT_ALIASES, Item, Stray, refuse_colliding_class_names, split_in_name
from eyebright.data.sources.members import MAX_MEMBER_BYTES, SteadyFile
from eyebright.data.sources.multi_label import one_class, refuse_several_classes
from eyebright.data.sources.samples import Sample, is_webdataset, read_samples
from eyebright.data.sources.shard_names import expand_shards
from eyebright.data.sources.tar import TarIndex, first_members, index_tar
from eyebright.decode import UndecodableImage
from eyebright.errors import DataError

CLASS_NAME_FILES = ("classnames.txt", "classes.txt")
# Enough to see what kind of tar it is, however large.
_LOOKED_AT = 300
# Of neighbours that are read together. Between two images lie headers, labels and the like.
_STRETCH_BYTES = 4 << 20
_GAP_BYTES = 64 << 10
# `.cls` holds numbers as Python writes them; `007` is a name.
_NUMBER = re.compile(r"-?(?:0|[1-9][0-9]{0,17})")

_Place = tuple[int, int, int]
"""Which shard an image is in, where, and its bytes."""


def open_shards(spec: str) -> WebDatasetSource:
    """The samples in the shards that a pattern such as `shards/train-{000000..000009}.tar` names.

    Raises:
        DataError: a shard is missing or damaged.
    """
    paths = [path.absolute() for path in expand_shards(spec)]
    root = Path(os.path.commonpath([path.parent for path in paths]))
    return WebDatasetSource(root, paths, spec)


def open_shard_folder(folder: Path, spec: str) -> WebDatasetSource | None:
    """The samples in the plain tar files in `folder`, or in the folders directly below it; None without such files.

    A tar that cannot be read counts when another one is a shard, so that it is not left out unnoticed.
    """
    found = sorted(path for path in folder.glob("*.tar") if path.is_file())
    found = found or sorted(path for path in folder.glob("*/*.tar") if path.is_file())
    looks = {path: _looks_like_a_shard(path) for path in found}
    if True not in looks.values():
        return None
    shards = [path for path in found if looks[path] is not False]
    others = [path for path in {shard.parent for shard in shards} | {folder} for path in path.iterdir()]
    holding = {shard.parent for shard in shards}
    strays = [
        Stray(path.relative_to(folder).as_posix() + "/" * path.is_dir(), "beside the shards, and none of them")
        for path in sorted(others)
        if path not in shards and path not in holding and path.name not in CLASS_NAME_FILES
    ]
    return WebDatasetSource(folder, shards, spec, strays=strays)


class WebDatasetSource:
    """The samples of one or more shards.

    Args:
        root: the folder that the names of the shards are relative to.
        shards: tar files below `root`.
        spec: what the user gave.
        indexed: what `index_tar` found, for shards that it was asked of before.
        strays: what lies beside the shards.

    Raises:
        DataError: a shard is damaged, a sample has several classes, or a label is none of the declared classes.
        StorageError: a shard is compressed, and the cache has no room for an unpacked copy.
    """

    kind = "webdataset"

    def __init__(
        self,
        root: Path,
        shards: Sequence[Path],
        spec: str,
        *,
        indexed: Mapping[Path, TarIndex] | None = None,
        strays: Sequence[Stray] = (),
    ) -> None:
        self.spec = spec
        self._strays = list(strays)
        files: list[SteadyFile] = []
        places: dict[str, _Place] = {}
        samples: dict[str, Sample] = {}
        for shard in shards:
            name = shard.relative_to(root).as_posix()
            index = (indexed or {}).get(shard) or index_tar(shard)
            found, left = read_samples(index)
            samples |= {f"{name}#{sample.name}": sample for sample in found}
            places |= {f"{name}#{s.name}": (len(files), s.offset, s.size) for s in found}
            self._strays += [Stray(f"{name}#{stray.source}" if stray.source else name, stray.reason) for stray in left]
            files.append(index.file)
        self._members = _Members(spec, files, places)
        labels = {source: sample.label for source, sample in samples.items()}
        refuse_several_classes(labels.items(), column="cls or label", table=spec)
        declared = _declared_names([root, *dict.fromkeys(shard.parent for shard in shards)])
        classes = {source: _class_of(one_class(label), declared, source) for source, label in labels.items()}
        self.class_names = declared or _numbers_in_order({name for name in classes.values() if name is not None})
        refuse_colliding_class_names(
            {name for name in classes.values() if name is not None}, remedy="write one spelling into the shards"
        )
        self._items = [
            Item(
                source=source,
                label=classes[source],
                split=split_in_name(source.partition("#")[0]),
                extra=sample.extra,
            )
            for source, sample in samples.items()
        ]

    def items(self) -> Iterator[Item]:
        """All images, in the order of the shards and of the samples in each."""
        return iter(self._items)

    def has_items(self) -> bool:
        """Whether there is any image."""
        return bool(self._items)

    def strays(self) -> list[Stray]:
        """What belongs to no image, and labels that say nothing."""
        return list(self._strays)

    def read(self, source: str) -> bytes:
        """The encoded bytes of one image."""
        return self._members.read(source)

    def read_many(self, sources: Sequence[str]) -> Iterator[bytes | UndecodableImage]:
        """What `read` gives or raises for each: neighbours in a shard are read together, in a few megabytes at once."""
        return self._members.read_many(sources)

    def reader(self) -> Callable[[str], bytes]:
        """What reads like `read` and holds no list of items, for another process."""
        return self._members.read


@dataclasses.dataclass(frozen=True)
class _Members:
    """The images in shards, by their places: number of the shard, position of the first byte, bytes."""

    spec: str
    files: Sequence[SteadyFile]
    places: Mapping[str, _Place]

    def read(self, source: str) -> bytes:
        place = self.places.get(source)
        if place is None:
            raise UndecodableImage("missing", f"there is no image {source} in {self.spec}")
        shard, offset, size = place
        if size > MAX_MEMBER_BYTES:
            raise UndecodableImage("too-large", f"{source} has {size / 1e9:.1f} GB")
        return self.files[shard].read(offset, size)

    def read_many(self, sources: Sequence[str]) -> Iterator[bytes | UndecodableImage]:
        stretch: list[_Place] = []
        for source in sources:
            place = self.places.get(source)
            if place is not None and _continues(stretch, place):
                stretch.append(place)
                continue
            yield from self._stretch(stretch)
            stretch = []
            if place is not None and place[2] <= _STRETCH_BYTES:
                stretch = [place]
                continue
            try:
                content: bytes | UndecodableImage = self.read(source)
            except UndecodableImage as error:
                content = error
            yield content
        yield from self._stretch(stretch)

    def _stretch(self, places: Sequence[_Place]) -> Iterator[bytes | UndecodableImage]:
        if not places:
            return
        shard, first, _ = places[0]
        try:
            content = self.files[shard].read(first, places[-1][1] + places[-1][2] - first)
        except UndecodableImage as error:
            yield from [error] * len(places)
            return
        for _, offset, size in places:
            yield content[offset - first : offset - first + size]


def _continues(stretch: Sequence[_Place], place: _Place) -> bool:
    """Whether an image (shard, offset, bytes) comes soon after those, and the stretch does not get too long."""
    if not stretch:
        return False
    shard, offset, size = stretch[-1]
    gap = place[1] - offset - size
    return place[0] == shard and 0 <= gap <= _GAP_BYTES and place[1] + place[2] - stretch[0][1] <= _STRETCH_BYTES


def _looks_like_a_shard(path: Path) -> bool | None:
    """By its first members; None when they cannot be read."""
    try:
        return is_webdataset(SteadyFile(path), first_members(path, _LOOKED_AT))
    except (DataError, OSError):
        return None


def _declared_names(folders: Sequence[Path]) -> tuple[str, ...] | None:
    """The classes by number, from the first file of class names in these folders.

    Raises:
        DataError: a line is empty, a name is there twice, or the file cannot be read.
    """
    root = folders[0].absolute()
    # `set/test` may be given, where the names lie in `set`.
    above = [root.parent] if root.name.lower() in SPLIT_ALIASES else []
    candidates = [folder / name for folder in [*folders, *above] for name in CLASS_NAME_FILES]
    path = next((path for path in candidates if path.is_file()), None)
    if path is None:
        return None
    try:
        names = [line.strip() for line in path.read_text(encoding="utf-8-sig").rstrip().splitlines()]
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(
            f"the class names {path} cannot be read: {error}", expected="UTF-8 text, a class in each line"
        ) from error
    for number, name in enumerate(names):
        if not name or name in names[:number]:
            problem = f"repeats {name!r}" if name else "is empty"
            raise DataError(
                f"line {number + 1} of {path} {problem}",
                expected="a different name in each line: the first is that of class 0",
                remedy="correct the file, or remove it and keep the numbers as names",
            )
    refuse_colliding_class_names(names, remedy=f"rename one of them in {path}")
    return tuple(names)


def _class_of(label: object, declared: tuple[str, ...] | None, source: str) -> str | None:
    """The name of the class; None for a label that says nothing, such as -1."""
    if label is None:
        return None
    if isinstance(label, bool):
        text = str(label).lower()
    elif isinstance(label, float):
        text = str(int(label))
    else:
        text = str(label)
    is_number = _NUMBER.fullmatch(text) is not None
    if is_number and int(text) < 0:
        return None
    if declared is None or text in declared:
        return text
    if is_number and int(text) < len(declared):
        return declared[int(text)]
    raise DataError(
        f"{source} has the label {text!r}, and {len(declared)} class names are declared",
        expected=f"a number below {len(declared)}, or one of the names",
        remedy=f"correct {' or '.join(CLASS_NAME_FILES)} beside the shards",
    )


def _numbers_in_order(classes: set[str]) -> tuple[str, ...] | None:
    """The classes as sorted numbers, or None when some are none."""
    return tuple(sorted(classes, key=int)) if all(map(_NUMBER.fullmatch, classes)) else None
