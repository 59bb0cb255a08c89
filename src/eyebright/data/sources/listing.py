"""The names in a folder of this machine, for recognising data sets by their files: what cannot be listed is empty."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from eyebright.data.sources.tree import LocalTree
from eyebright.errors import DataError


class Names(NamedTuple):
    """Names of files and of folders, printable; links count as what they lead to, or as files that cannot be read."""

    files: frozenset[str]
    folders: frozenset[str]


def names_in(folder: Path) -> Names:
    """What lies directly in `folder`; nothing where it does not exist or may not be listed."""
    try:
        entries = LocalTree(folder).entries("")
    except DataError:
        return Names(frozenset(), frozenset())
    folders = frozenset(printable(entry.name) for entry in entries if entry.kind == "folder")
    files = frozenset(printable(entry.name) for entry in entries if entry.kind in ("file", "dangling-link"))
    return Names(files, folders)


def printable(name: str) -> str:
    """A name as text that can be written anywhere; bytes that are not UTF-8 become escapes."""
    return name.encode("utf-8", "backslashreplace").decode("utf-8")
