"""Which classes the parts of a combined data set become.

A mapping is a YAML file. The short form maps the classes of every part:

    cane: dog                     the class cane is called dog
    sfondo: null                  left out on purpose
    bird: [gallina, oca]          these become one class, on purpose

The long form has the same lines below `classes`, lines for one part below `parts`, and the names that several parts
mean alike:

    same_names: [daisy]           or true: every name that several parts have
    classes:
      cane: dog
      dog: [photos/cane, web/dog] one class of one part each
    parts:
      web:
        hotdog: null

A line for a part comes before one for all. Where there is a line for any class, every class needs one. Two classes
become one only by a list or by `same_names`: a line `old: new` alone never merges.
"""

from __future__ import annotations

import dataclasses
import unicodedata
from collections import defaultdict
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import yaml

from eyebright.data.sources.base import refuse_colliding_class_names
from eyebright.data.sources.mapping_file import read_mapping
from eyebright.errors import DataError, did_you_mean

_KEYS = ("same_names", "classes", "parts")
_EXPECTED = "lines `old: new`, `old: null` (left out) or `new: [old, old]` (merged on purpose)"
_TRUE, _FALSE = ("true", "yes"), ("false", "no")


@dataclasses.dataclass(frozen=True)
class _Line:
    """One line of the mapping; `merges` where it was written as a list."""

    old: tuple[str, ...]
    new: str | None
    merges: bool


@dataclasses.dataclass(frozen=True, kw_only=True)
class ClassMapping:
    """What the user says of the classes of all parts.

    Attributes:
        same_names: whether a name that several parts have is one class: all such names, or these.
        everywhere: lines for every part, as they stand in the file: text, None, or a list of names.
        by_part: the same for single parts.
    """

    same_names: bool | tuple[str, ...] = False
    everywhere: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    by_part: Mapping[str, Mapping[str, Any]] = dataclasses.field(default_factory=dict)

    @classmethod
    def read(cls, path: Path) -> ClassMapping:
        """Read a mapping file.

        Raises:
            DataError: it cannot be read or is no mapping.
        """
        return cls.from_dict(read_mapping(path, "the class mapping"), str(path))

    @classmethod
    def from_dict(cls, content: Mapping[str, Any], where: str) -> ClassMapping:
        """Read what `as_dict` gives, or what stands in a mapping file; `where` names it in messages.

        Raises:
            DataError: a key or value is none that a mapping has.
        """
        if not set(content) & set(_KEYS):
            content = {"classes": content}
        for key in content:
            if key not in _KEYS:
                beside = ", ".join(known for known in _KEYS if known in content)
                raise DataError(
                    f"{where} has the key {key!r}{did_you_mean(key, _KEYS)} beside {beside}",
                    expected=f"only {', '.join(_KEYS)}, or only lines for classes",
                    remedy="put the lines for classes below `classes:`",
                )
        parts = _mapping(content.get("parts"), f"{where}, parts")
        return cls(
            same_names=_same_names(content.get("same_names"), where),
            everywhere=_mapping(content.get("classes"), f"{where}, classes"),
            by_part={name: _mapping(lines, f"{where}, parts, {name}") for name, lines in parts.items()},
        )

    def as_dict(self) -> dict[str, Any]:
        """Plain values for YAML and JSON, without what is empty."""
        same = list(self.same_names) if isinstance(self.same_names, tuple) else self.same_names
        values = {"same_names": same, "classes": dict(self.everywhere), "parts": _plain(self.by_part)}
        return {key: value for key, value in values.items() if value}

    def resolve(
        self, present: Mapping[str, Iterable[str]], declared: Mapping[str, Iterable[str]] | None = None
    ) -> dict[str, dict[str, str | None]]:
        """The new class of every class of every part, None for one that is left out.

        Args:
            present: for every part, the classes that have images.
            declared: for every part, further classes that it knows of; they may be mapped, but need not be.

        Raises:
            DataError: naming every class that is left unmapped, does not exist, is mapped twice, or would be merged
                with another without the user having said so; or new names that differ only by spelling.
        """
        resolution = _Resolution(self, {part: list(names) for part, names in present.items()}, declared or {})
        if resolution.problems:
            listed = "".join(f"\n  {problem}" for problem in resolution.problems)
            raise DataError(
                f"the classes of the parts cannot be put together:{listed}",
                expected=f"a mapping that says of every class what becomes of it: {_EXPECTED}",
                remedy="add or correct these lines in the mapping (--map FILE)",
            )
        names = [new for classes in resolution.new.values() for new in classes.values() if new is not None]
        remedy = "write one spelling in the mapping (--map FILE); `new: [old, old]` makes them one class"
        refuse_colliding_class_names(names, remedy)
        _refuse_differing_accents(names, remedy)
        return resolution.new


class _Resolution:
    """Works out the new names and collects all problems."""

    def __init__(
        self, mapping: ClassMapping, present: dict[str, list[str]], declared: Mapping[str, Iterable[str]]
    ) -> None:
        self.problems: list[str] = []
        self._mapping = mapping
        self._present = present
        self._known = {part: {*names, *declared.get(part, ())} for part, names in present.items()}
        # The lines that speak of a class of a part, those for this part alone first.
        self._own: dict[tuple[str, str], list[_Line]] = defaultdict(list)
        self._shared: dict[tuple[str, str], list[_Line]] = defaultdict(list)
        for line in _lines(mapping.everywhere, "classes", self.problems):
            self._place(line, None)
        for part, content in mapping.by_part.items():
            if part not in present:
                hint = did_you_mean(part, present)
                self.problems.append(f"there is no part {part!r}{hint}: the parts are {', '.join(present)}")
                continue
            for line in _lines(content, f"parts, {part}", self.problems):
                self._place(line, part)
        for name in mapping.same_names if isinstance(mapping.same_names, tuple) else ():
            if sum(name in names for names in self._known.values()) < 2:
                shared = [known for names in present.values() for known in names]
                hint = did_you_mean(name, set(shared) - {name})
                self.problems.append(f"same_names: no two parts have a class {name!r}{hint}")
        has_lines = bool(mapping.everywhere or mapping.by_part)
        self.new: dict[str, dict[str, str | None]] = {part: {} for part in present}
        unmapped: dict[str, list[str]] = defaultdict(list)
        self._line_of: dict[tuple[str, str], _Line] = {}
        for part, names in present.items():
            for name in names:
                lines = self._own[part, name] or self._shared[part, name]
                if len(lines) > 1:
                    targets = " and ".join(repr(line.new) for line in lines)
                    self.problems.append(f"{name!r} of {part!r} is mapped more than once: to {targets}")
                elif lines:
                    self.new[part][name] = lines[0].new
                    self._line_of[part, name] = lines[0]
                elif has_lines:
                    unmapped[name].append(part)
                else:
                    self.new[part][name] = name
        for name, parts in sorted(unmapped.items()):
            self.problems.append(f"{name!r} of {_listed(parts)} is not mapped: add `{_quoted(name)}: {_quoted(name)}`")
        self._look_for_merges()

    def _place(self, line: _Line, part: str | None) -> None:
        for name in line.old:
            if part is not None:
                found, own = [part] if name in self._known[part] else [], True
            else:
                found, own = [other for other, names in self._known.items() if name in names], False
                if not found:
                    prefix, separator, rest = name.partition("/")
                    if separator and rest in self._known.get(prefix, ()):
                        found, own, name = [prefix], True, rest
            if not found:
                known = [known for other in self._known if part in (None, other) for known in self._known[other]]
                if part is None:
                    known += [f"{other}/{known}" for other, names in self._known.items() for known in names]
                where = "any part" if part is None else repr(part)
                self.problems.append(f"there is no class {name!r} in {where}{did_you_mean(name, sorted(known))}")
            for other in found:
                (self._own if own else self._shared)[other, name].append(line)

    def _look_for_merges(self) -> None:
        sources: dict[str, list[tuple[str, str]]] = defaultdict(list)
        for part, names in self.new.items():
            for old, new in names.items():
                if new is not None:
                    sources[new].append((part, old))
        shared: dict[str, list[str]] = {}
        for new, several in sorted(sources.items()):
            groups = self._consented(several)
            if len(groups) < 2:
                continue
            olds = sorted({old for _, old in several})
            if len(olds) == 1:
                shared[olds[0]] = [part for part, _ in several]
                continue
            listed = _listed([f"{old!r} of {part!r}" for part, old in several], quote=False)
            one_part_each = len({old for _, old in several}) == len(several)
            written = olds if one_part_each else [f"{part}/{old}" for part, old in several]
            self.problems.append(
                f"{listed} would become the one class {new!r}: to merge them, write "
                f"`{_quoted(new)}: [{', '.join(map(_quoted, written))}]` in place of their lines"
            )
        if shared:
            both = [f"{name!r} ({', '.join(parts)})" for name, parts in shared.items()]
            self.problems.append(
                f"names that several parts have: {', '.join(both)}: if they mean the same there, add "
                f"`same_names: [{', '.join(map(_quoted, shared))}]` or pass --same-names; otherwise rename them"
            )

    def _consented(self, sources: list[tuple[str, str]]) -> list[set[tuple[str, str]]]:
        """The sources in groups of which the user said that they are one class."""
        groups: list[set[tuple[str, str]]] = []
        for source in sources:
            joined = [group for group in groups if any(self._is_one(source, other) for other in group)]
            groups = [group for group in groups if group not in joined] + [{source}.union(*joined)]
        return groups

    def _is_one(self, one: tuple[str, str], other: tuple[str, str]) -> bool:
        line = self._line_of.get(one)
        if line is not None and line.merges and line is self._line_of.get(other):
            return True
        same = self._mapping.same_names
        return one[1] == other[1] and (same is True or (isinstance(same, tuple) and one[1] in same))


def _lines(content: Mapping[str, Any], where: str, problems: list[str]) -> list[_Line]:
    lines = []
    for key, value in content.items():
        if value is None:
            lines.append(_Line((key,), None, False))
        elif isinstance(value, str) and value.strip() and key.strip():
            lines.append(_Line((key,), value, False))
        elif isinstance(value, list) and key.strip() and _are_names(value):
            lines.append(_Line(tuple(value), key, True))
        else:
            problems.append(f"{where}: {key!r} has a value that is no class name and no list of them: {value!r}")
    return lines


def _are_names(values: list[Any]) -> bool:
    names = [value for value in values if isinstance(value, str) and value]
    return bool(values) and len(names) == len(values) == len(set(names))


def _mapping(value: Any, where: str) -> dict[str, Any]:
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise DataError(f"{where}: {value!r} is no mapping", expected=_EXPECTED)
    return value


def _same_names(value: Any, where: str) -> bool | tuple[str, ...]:
    if isinstance(value, bool) or value is None:
        return bool(value)
    if isinstance(value, str) and value.lower() in (*_TRUE, *_FALSE):
        return value.lower() in _TRUE
    if isinstance(value, list) and all(isinstance(name, str) for name in value):
        return tuple(value)
    raise DataError(f"{where}: same_names is {value!r}", expected="true, or a list of class names as [daisy, rose]")


def _plain(by_part: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    return {part: dict(lines) for part, lines in by_part.items() if lines}


def _refuse_differing_accents(names: Iterable[str], remedy: str) -> None:
    spellings: dict[str, list[str]] = defaultdict(list)
    for name in sorted(set(names)):
        letters = "".join(letter for letter in unicodedata.normalize("NFKD", name) if not unicodedata.combining(letter))
        spellings[letters.casefold()].append(name)
    collisions = [same for same in spellings.values() if len(same) > 1]
    if collisions:
        listed = "; ".join(" and ".join(map(repr, same)) for same in collisions)
        raise DataError(
            f"class names that differ only by accents: {listed}", expected="one spelling for each class", remedy=remedy
        )


def _listed(names: list[str], *, quote: bool = True) -> str:
    shown = [repr(name) for name in names] if quote else names
    return shown[0] if len(shown) == 1 else f"{', '.join(shown[:-1])} and {shown[-1]}"


def _quoted(name: str) -> str:
    """A name as it must be written in a line of YAML."""
    plain = name.replace(" ", "").replace("-", "").replace("_", "").replace("/", "").isalnum()
    keeps = plain and name == name.strip() and name.lower() not in ("null", "~")
    quoted = str(yaml.safe_dump(name, default_style='"', allow_unicode=True, width=float("inf")))
    return name if keeps else quoted.rstrip("\n")
