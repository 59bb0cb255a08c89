"""A second level of labels: the superclass above every class, laid over any source.

A rule says where superclasses come from: `folders` (`animal/dog/1.jpg`: superclass, class, image), `column:NAME` (a
further column of a table or Parquet file), or the path of a YAML file with lines `superclass: [class, class]` or
`class: superclass`. Every class has exactly one superclass; images are read as before.
"""

from __future__ import annotations

import dataclasses
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from eyebright.data.sources.base import Item, Source, Stray, refuse_colliding_class_names
from eyebright.data.sources.mapping_file import read_mapping
from eyebright.data.sources.sequential import Content, pieces_of, read_in_order
from eyebright.decode import UndecodableImage
from eyebright.errors import DataError, UsageError, did_you_mean

FOLDERS = "folders"
COLUMN = "column:"
EXPECTED_RULE = "`folders`, `column:NAME`, or a YAML file (.yaml, .yml) with lines `superclass: [class, class]`"
_YAML_SUFFIXES = (".yaml", ".yml")
_FOLDER_KINDS = ("folder", "split-folders")
_SHOWN = 5


def with_superclasses(source: Source, rule: str | None) -> Source:
    """The same images with their superclasses; the source itself where there is no rule.

    Raises:
        UsageError: the rule is none.
        DataError: the rule does not fit the kind of source. Whatever else is wrong is found by the first call of
            `items`.
    """
    if rule is None:
        return source
    check_rule(rule)
    if rule == FOLDERS:
        return _FolderHierarchy(source)
    if rule.startswith(COLUMN):
        return _ColumnHierarchy(source, rule.removeprefix(COLUMN))
    return _FileHierarchy(source, Path(rule))


def check_rule(rule: str) -> None:
    """Raise when `rule` is none of the three kinds.

    Raises:
        UsageError: saying what was expected.
    """
    is_column = rule.startswith(COLUMN) and rule != COLUMN
    if rule != FOLDERS and not is_column and not rule.lower().endswith(_YAML_SUFFIXES):
        raise UsageError(
            f"{rule!r} says nothing about superclasses{did_you_mean(rule, [FOLDERS, COLUMN])}", expected=EXPECTED_RULE
        )


def absolute_rule(rule: str | None) -> str | None:
    """The rule with the path of its file made absolute, so that it means the same from another folder.

    Raises:
        UsageError: it is no rule.
    """
    if rule is None:
        return None
    check_rule(rule)
    is_file = rule != FOLDERS and not rule.startswith(COLUMN)
    return str(Path(rule).expanduser().absolute()) if is_file else rule


class _Hierarchy:
    """A source whose items get a superclass; what differs is where from."""

    def __init__(self, source: Source) -> None:
        self.spec = source.spec
        self.kind = source.kind
        self.class_names = source.class_names
        self._source = source
        self._checked = False

    def items(self) -> Iterator[Item]:
        """All images with their superclasses; all are checked before the first comes."""
        if not self._checked:
            self._check()
            self._checked = True
        return map(self._placed, self._source.items())

    def strays(self) -> list[Stray]:
        """What the source does not use."""
        return self._source.strays()

    def read(self, source: str) -> bytes | npt.NDArray[np.uint8]:
        """The bytes or pixels of one image, from the source."""
        return self._source.read(source)

    def reader(self) -> Callable[[str], bytes | npt.NDArray[np.uint8]]:
        """A function that reads like `read` and holds no list of items, where the source has one."""
        inner: Any = self._source
        read: Callable[[str], bytes | npt.NDArray[np.uint8]] = (
            inner.reader() if hasattr(inner, "reader") else inner.read
        )
        return read

    def read_many(self, names: Sequence[str]) -> Iterator[Content | UndecodableImage]:
        """See `sequential`: as the source does it."""
        return read_in_order(self._source, names)

    def pieces(self, names: Iterable[str]) -> npt.NDArray[np.int64] | None:
        """See `sequential`: as the source says."""
        return pieces_of(self._source, names)

    def _placed(self, item: Item) -> Item:
        raise NotImplementedError

    def _check(self) -> None:
        raise NotImplementedError


class _FolderHierarchy(_Hierarchy):
    """`animal/dog/1.jpg`: the first folder is the superclass, the second the class; deeper ones belong to the class."""

    def __init__(self, source: Source) -> None:
        if source.kind not in _FOLDER_KINDS:
            raise DataError(
                f"{source.spec} ({source.kind}) has no nested folders to take superclasses from",
                expected="a folder, or an archive of one, with images at SUPERCLASS/CLASS/IMAGE",
                remedy="give the superclasses as column:NAME or in a YAML file",
            )
        super().__init__(source)
        self.class_names = None
        # How many folders stand before that of the superclass: of the split, or wrapped around an archive.
        self._above = 0

    def _placed(self, item: Item) -> Item:
        if item.label is None:
            return item
        return dataclasses.replace(item, label=self._class_folder(item), superclass=item.label)

    def _class_folder(self, item: Item) -> str | None:
        """The folder below that of the superclass; None for an image that lies directly in that."""
        folders = _folders(item.source)[self._above :]
        return folders[1] if len(folders) > 1 else None

    def _check(self) -> None:
        self._above = self._find_superclasses()
        shallow: list[str] = []
        pairs: Counter[tuple[str, str]] = Counter()
        for item in self._source.items():
            if item.label is None:
                continue
            label = self._class_folder(item)
            if label is None:
                shallow.append(item.source)
            else:
                pairs[label, item.label] += 1
        if shallow or not pairs:
            found = f"{len(shallow)} images lie at another depth: {_listed(shallow)}" if shallow else "there are none"
            raise DataError(
                f"superclasses were to come from nested folders of {self.spec}, but {found}",
                expected="every image at SUPERCLASS/CLASS/IMAGE, as animal/dog/1.jpg",
                remedy="move them into a folder for their class, point to the folder that holds the superclasses, or "
                "give the superclasses in a YAML file",
            )
        _check_pairs(pairs, "rename one of the folders")

    def _find_superclasses(self) -> int:
        """The level of the folders after which the source names its labels; the outermost where several agree."""
        levels: set[int] | None = None
        for item in self._source.items():
            if item.label is not None:
                named = {level for level, name in enumerate(_folders(item.source)) if name == item.label}
                levels = named if levels is None else levels & named
        return min(levels or {0})


class _ColumnHierarchy(_Hierarchy):
    """A further column of a table or Parquet file."""

    def __init__(self, source: Source, column: str) -> None:
        super().__init__(source)
        self._column = column

    def _placed(self, item: Item) -> Item:
        value = _text(item.extra.get(self._column))
        return item if item.label is None else dataclasses.replace(item, superclass=value)

    def _check(self) -> None:
        pairs: Counter[tuple[str, str]] = Counter()
        without: Counter[str] = Counter()
        columns: dict[str, None] = {}
        for item in self._source.items():
            columns |= dict.fromkeys(item.extra)
            if item.label is None:
                continue
            value = _text(item.extra.get(self._column))
            if value is None:
                without[item.label] += 1
            else:
                pairs[item.label, value] += 1
        if self._column not in columns:
            raise DataError(
                f"{self.spec} has no column {self._column!r} for superclasses{did_you_mean(self._column, columns)}",
                expected=f"one of its further columns: {', '.join(columns) or 'it has none'}",
                remedy="name another column, or give the superclasses in a YAML file",
            )
        if without:
            listed = [f"{label!r} ({count} images)" for label, count in sorted(without.items())]
            raise DataError(
                f"the column {self._column!r} of {self.spec} is empty for images of {_listed(listed)}",
                expected="a superclass for every image that has a class",
                remedy="fill the column in, or give the superclasses in a YAML file",
            )
        _check_pairs(pairs, f"correct the column {self._column!r}")


class _FileHierarchy(_Hierarchy):
    """A YAML file that names the classes of every superclass, or the superclass of every class."""

    def __init__(self, source: Source, path: Path) -> None:
        super().__init__(source)
        self._path = path
        # Read when items are first asked for: a resumed run, which only reads images, works without the file.
        self._superclass_of: dict[str, str] = {}

    def _placed(self, item: Item) -> Item:
        return item if item.label is None else dataclasses.replace(item, superclass=self._superclass_of[item.label])

    def _check(self) -> None:
        labels = {item.label for item in self._source.items() if item.label is not None}
        known = labels | set(self._source.class_names or ())
        self._superclass_of, problems = _read_file(self._path)
        for label in sorted(labels - set(self._superclass_of)):
            problems.append(f"the class {label!r} has no superclass")
        for label in sorted(set(self._superclass_of) - known):
            problems.append(f"there is no class {label!r}{did_you_mean(label, sorted(known))}")
        if problems:
            raise DataError(
                f"the superclasses in {self._path} do not fit {self.spec}:"
                + "".join(f"\n  {line}" for line in problems),
                expected="every class once, in lines `superclass: [class, class]` or `class: superclass`",
                remedy=f"correct {self._path.name}",
            )
        _check_pairs({(label, self._superclass_of[label]) for label in labels}, f"correct {self._path.name}")


def _read_file(path: Path) -> tuple[dict[str, str], list[str]]:
    """The superclass of every class, and what contradicts itself."""
    superclass_of: dict[str, str] = {}
    problems: list[str] = []
    for key, value in read_mapping(path, "the file of superclasses").items():
        pairs = [(name, key) for name in value] if isinstance(value, list) else [(key, value)]
        if not pairs:
            problems.append(f"the superclass {key!r} has no class")
        for name, superclass in pairs:
            if not (isinstance(name, str) and name and isinstance(superclass, str) and superclass):
                problems.append(f"the line of {key!r} holds no names: {value!r}")
            elif superclass_of.setdefault(name, superclass) != superclass:
                problems.append(f"the class {name!r} has two superclasses, {superclass_of[name]!r} and {superclass!r}")
    return superclass_of, problems


def _check_pairs(pairs: Iterable[tuple[str, str]], remedy: str) -> None:
    """Raise unless every class has one superclass, there are two of them or more, and no names collide."""
    found: dict[str, list[str]] = defaultdict(list)
    for label, superclass in sorted(set(pairs)):
        found[label].append(superclass)
    several = [f"{label!r} ({' and '.join(map(repr, names))})" for label, names in found.items() if len(names) > 1]
    if several:
        raise DataError(
            f"a class has more than one superclass: {', '.join(several)}",
            expected="every class below one superclass",
            remedy=remedy,
        )
    superclasses = sorted({name for names in found.values() for name in names})
    refuse_colliding_class_names(found, remedy)
    refuse_colliding_class_names(superclasses, remedy)
    if len(superclasses) < 2:
        raise DataError(
            f"all classes have the superclass {superclasses[0]!r}" if superclasses else "no class has a superclass",
            expected="two superclasses or more",
            remedy="leave data.superclass (--superclass) out, or point to the folder that holds the superclasses",
        )


def _folders(source: str) -> list[str]:
    return [unicodedata.normalize("NFC", name) for name in source.split("/")[:-1]]


def _text(value: object) -> str | None:
    return None if value is None or str(value) == "" else str(value)


def _listed(names: list[str]) -> str:
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(names[:_SHOWN]) + more
