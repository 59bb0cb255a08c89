"""A tree of files to list and read, wherever it lies: what `FolderSource` needs of a folder, and the local one.

Paths are relative to the root, with forward slashes and without one at either end; the root itself is "".
"""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path
from typing import Literal, Protocol

from eyebright.data.sources.base import Stray
from eyebright.decode import UndecodableImage, read_image_file
from eyebright.errors import DataError

HEAD_BYTES = 16

EntryKind = Literal["folder", "file", "dangling-link", "other"]


@dataclasses.dataclass(frozen=True, slots=True)
class Entry:
    """One name in a folder.

    Attributes:
        name: without the folder; of a local file it may hold surrogates, where the name is not UTF-8.
        kind: links count as what they lead to; `other` is a device, a socket or a pipe.
    """

    name: str
    kind: EntryKind


class Tree(Protocol):
    """Folders and files below one root. Reading is safe from many threads.

    Attributes:
        spec: what the user gave.
    """

    spec: str

    def entries(self, folder: str) -> list[Entry]:
        """What lies directly in `folder`, sorted by name.

        Raises:
            DataError: it cannot be listed.
        """
        ...

    def read(self, path: str) -> bytes:
        """All bytes of a file.

        Raises:
            UndecodableImage: it is not there (`missing`) or may not be read (`unreadable`).
        """
        ...

    def head(self, path: str, count: int = HEAD_BYTES) -> bytes:
        """The first `count` bytes of a file, or fewer when it is shorter; raises as `read` does."""
        ...

    def identity(self, folder: str) -> str:
        """The same for two names of one folder, so that a link back to a folder above ends."""
        ...

    def count_files(self, folder: str) -> int:
        """How many files lie below `folder`, at any depth."""
        ...

    def strays(self) -> list[Stray]:
        """What is in the container but has no place in the tree, such as a member of an archive named `../x`."""
        ...


class LocalTree:
    """A folder of this machine."""

    def __init__(self, root: Path, spec: str | None = None) -> None:
        self.root = root
        self.spec = str(root) if spec is None else spec

    def entries(self, folder: str) -> list[Entry]:
        """What lies directly in `folder`, sorted by name."""
        try:
            with os.scandir(self.root / folder) as found:
                return sorted((Entry(entry.name, _kind(entry)) for entry in found), key=lambda entry: entry.name)
        except OSError as error:
            raise DataError(
                f"the folder {self.root / folder} cannot be listed: {error.strerror}",
                remedy="change its rights, or point to another folder",
            ) from error

    def read(self, path: str) -> bytes:
        """All bytes of a file."""
        return read_image_file(self.root / path)

    def head(self, path: str, count: int = HEAD_BYTES) -> bytes:
        """The first `count` bytes of a file."""
        try:
            with open(self.root / path, "rb") as handle:
                return handle.read(count)
        except (FileNotFoundError, NotADirectoryError) as error:
            raise UndecodableImage("missing", f"there is no file {self.root / path}") from error
        except (OSError, ValueError) as error:
            raise UndecodableImage("unreadable", f"{self.root / path} cannot be read: {error}") from error

    def identity(self, folder: str) -> str:
        """The path with every link followed."""
        return os.path.realpath(self.root / folder)

    def count_files(self, folder: str) -> int:
        """How many files lie below `folder`; links to folders are not followed."""
        return sum(len(files) for _, _, files in os.walk(self.root / folder))

    def strays(self) -> list[Stray]:
        """None: every file of a folder has a place in it."""
        return []


def _kind(entry: os.DirEntry[str]) -> EntryKind:
    try:
        if entry.is_dir():
            return "folder"
        if entry.is_file():
            return "file"
    except OSError:  # a link to itself, or into a folder that may not be entered
        pass
    return "dangling-link" if entry.is_symlink() else "other"
