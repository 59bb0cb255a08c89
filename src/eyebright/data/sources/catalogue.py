"""The catalogue: data sets that the user gave a name, one small YAML file each.

An entry says where the images are, never what they are: it holds a path, a URL, or the parts of a combined set with
the mapping of their classes. Removing an entry removes that file and no image.
"""

from __future__ import annotations

import dataclasses
import os
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import yaml

from eyebright.atomic import explained, write_text
from eyebright.data.sources import named
from eyebright.data.sources.address import is_address, printable
from eyebright.data.sources.class_mapping import ClassMapping
from eyebright.data.sources.mapping_file import read_mapping
from eyebright.data.sources.pattern import is_pattern
from eyebright.errors import DataError, UsageError, did_you_mean

FORMAT_NAME = "eyebright-dataset"
FORMAT_VERSION = 1
NAME_RULE = (
    "a name of up to 64 letters (a to z), digits, dots, dashes and underscores that begins with a letter or digit"
)
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_SUFFIX = ".yaml"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Reference:
    """Where a set or a part of one is: exactly one of the two.

    Attributes:
        path: an absolute path, a pattern of such, or a URL.
        name: the name of a set, built in or in the catalogue.
    """

    path: str | None = None
    name: str | None = None

    def __str__(self) -> str:
        return self.path or self.name or ""

    def as_dict(self) -> dict[str, str]:
        """Plain values for YAML."""
        return {"path": self.path} if self.path is not None else {"name": str(self.name)}


@dataclasses.dataclass(frozen=True, kw_only=True)
class CatalogueEntry:
    """One data set with a name: a place (`reference`), or several parts and what becomes of their classes."""

    name: str
    reference: Reference | None = None
    parts: Mapping[str, Reference] = dataclasses.field(default_factory=dict)
    mapping: ClassMapping = dataclasses.field(default_factory=ClassMapping)

    @property
    def kind(self) -> str:
        """`combined`, `url` or `path`."""
        if self.reference is None:
            return "combined"
        return "url" if is_address(str(self.reference)) else "path"

    def as_dict(self) -> dict[str, Any]:
        """Plain values for YAML and JSON; `_parse` reads them back."""
        head = {"format": FORMAT_NAME, "version": FORMAT_VERSION}
        if self.reference is not None:
            return {**head, **self.reference.as_dict()}
        parts = {part: reference.as_dict() for part, reference in self.parts.items()}
        return {**head, "parts": parts, "mapping": self.mapping.as_dict()}


def catalogue_folder() -> Path:
    """`$EYEBRIGHT_CATALOGUE`, or `eyebright/datasets` in the user's data folder (`$XDG_DATA_HOME`)."""
    own = os.environ.get("EYEBRIGHT_CATALOGUE")
    if own:
        return Path(own).expanduser()
    data = os.environ.get("XDG_DATA_HOME")
    return (Path(data) if data else Path.home() / ".local" / "share") / "eyebright" / "datasets"


def entry_names() -> list[str]:
    """Names in the catalogue, sorted."""
    try:
        found = [path.name.removesuffix(_SUFFIX) for path in catalogue_folder().iterdir() if path.suffix == _SUFFIX]
    except OSError:  # no catalogue yet, or one that may not be read: there is nothing to be found by name
        return []
    return sorted(name for name in found if _NAME.fullmatch(name))


def read_entry(name: str) -> CatalogueEntry:
    """The entry of a name.

    Raises:
        UsageError: the catalogue has no such name.
        DataError: its file is broken, or of a later version.
    """
    if name not in entry_names():
        raise unknown_name(name)
    path = _file(name)
    return _parse(name, read_mapping(path, "the catalogue entry"), path)


def add_entry(entry: CatalogueEntry, *, replace: bool = False) -> Path:
    """Write an entry; returns its file.

    Raises:
        UsageError: the name is no name, hides a built-in one, or is taken and `replace` was not given.
        StorageError: the catalogue cannot be written.
    """
    check_new_name(entry.name, replace=replace)
    path = _file(entry.name)
    write_text(path, str(yaml.safe_dump(entry.as_dict(), sort_keys=False, allow_unicode=True)))
    return path


def remove_entry(name: str) -> None:
    """Remove an entry from the catalogue. No image is touched.

    Raises:
        UsageError: there is no such entry, or a combined set has it as a part.
    """
    if name not in entry_names():
        raise unknown_name(name)
    users = [other for other in entry_names() if other != name and name in part_names(other)]
    if users:
        raise UsageError(
            f"{name!r} is a part of {', '.join(map(repr, users))}",
            expected="the name of a set that no combined set needs",
            remedy=f"remove {' and '.join(map(repr, users))} first, or change what {name!r} stands for with "
            f"`eyebright datasets add {name} PATH --replace`",
        )
    path = _file(name)
    with explained(path):
        path.unlink()


def check_new_name(name: str, *, replace: bool = False) -> None:
    """Raise when an entry of this name may not be written.

    Raises:
        UsageError: the name is no name, hides a built-in one, or is taken and `replace` was not given.
    """
    if not _NAME.fullmatch(name):
        raise UsageError(f"{name!r} cannot be the name of a data set", expected=NAME_RULE)
    built_in = next((known for known in named.NAMES if known.lower() == name.lower()), None)
    if built_in is not None:
        raise UsageError(
            f"{name!r} would hide the built-in data set {built_in!r}",
            expected=f"another name than {', '.join(named.NAMES)}",
        )
    taken = next((known for known in entry_names() if known.lower() == name.lower()), None)
    if taken is not None and not (replace and taken == name):
        raise UsageError(
            f"there is a data set named {taken!r} already",
            expected="a name that is free",
            remedy=f"choose another name, or pass --replace to write over {taken!r}"
            if taken == name
            else "choose a name that differs by more than upper and lower case",
        )


def unknown_name(name: str) -> UsageError:
    """The error for a name that the catalogue does not have."""
    names = entry_names()
    if name in named.NAMES:
        return UsageError(f"{name!r} is built in, not in the catalogue", expected=_known(names))
    return UsageError(
        f"the catalogue has no data set named {name!r}{did_you_mean(name, names)}", expected=_known(names)
    )


def refer(spec: str) -> Reference:
    """What a path, name or URL stands for, so that it stands for the same in another folder and on another day.

    A path that exists comes before a name, as in `open_source`.

    Raises:
        UsageError: it is a URL that holds a password or a signature.
    """
    if is_address(spec):
        if printable(spec) != spec:
            raise UsageError(
                f"{printable(spec)} was given with a password or a signature, which would be written to the catalogue",
                expected="a URL that gives no access by itself",
                remedy="leave it out, and give credentials in the environment, where fsspec finds them",
            )
        return Reference(path=spec)
    path = Path(spec).expanduser()
    if path.exists():
        return Reference(path=str(path.absolute()))
    if spec in named.NAMES or spec in entry_names():
        return Reference(name=spec)
    return Reference(path=str(path.absolute()) if is_pattern(spec) else spec)


def part_names(name: str) -> set[str]:
    """Every name that the entry `name` needs, directly or through combined sets inside it.

    Broken and absent entries need nothing: opening them says what is wrong.
    """
    found: set[str] = set()
    pending = [name]
    while pending:
        try:
            entry = read_entry(pending.pop())
        except (UsageError, DataError):
            continue
        new = {part.name for part in entry.parts.values() if part.name is not None} - found
        found |= new
        pending += sorted(new)
    return found


def refuse_loop(name: str, needed: Iterable[str]) -> None:
    """Raise when a combined set would contain itself.

    Args:
        name: of the combined set.
        needed: the names of its parts.

    Raises:
        DataError: naming the part through which it contains itself.
    """
    for part in needed:
        if part == name or name in part_names(part):
            raise DataError(
                f"{name!r} would be a part of itself{'' if part == name else f', through {part!r}'}",
                expected="parts that do not contain the set that they are put into",
                remedy="choose another name for the combined set, or other parts",
            )


def _file(name: str) -> Path:
    return catalogue_folder() / f"{name}{_SUFFIX}"


def _known(names: list[str]) -> str:
    return f"one of {', '.join(names)}" if names else "a name that was added with `eyebright datasets add NAME PATH`"


def _parse(name: str, content: Mapping[str, Any], path: Path) -> CatalogueEntry:
    remedy = f"remove it with `eyebright datasets remove {name}` and add the data set again"
    if content.get("format") != FORMAT_NAME:
        raise DataError(
            f"{path} is no catalogue entry", expected=f"a YAML file with `format: {FORMAT_NAME}`", remedy=remedy
        )
    version = content.get("version")
    if not (isinstance(version, str) and version.isdecimal() and int(version) <= FORMAT_VERSION):
        raise DataError(
            f"the catalogue entry {path} has version {version!r}",
            expected=f"version {FORMAT_VERSION} or earlier",
            remedy="update Eyebright",
        )
    if "parts" not in content:
        return CatalogueEntry(name=name, reference=_reference(content, path, remedy))
    parts = content["parts"] if isinstance(content["parts"], dict) else {}
    mapping = content.get("mapping")
    if len(parts) < 2 or not isinstance(mapping, dict):
        raise DataError(f"{path} lacks its parts or their mapping", expected="two or more parts", remedy=remedy)
    return CatalogueEntry(
        name=name,
        parts={part: _reference(value, path, remedy) for part, value in parts.items()},
        mapping=ClassMapping.from_dict(mapping, str(path)) if mapping else ClassMapping(),
    )


def _reference(content: Any, path: Path, remedy: str) -> Reference:
    if isinstance(content, dict):
        for key in ("path", "name"):
            if isinstance(content.get(key), str) and content[key]:
                return Reference(**{key: content[key]})
    raise DataError(f"{path} does not say where its images are", expected="a path or a name", remedy=remedy)
