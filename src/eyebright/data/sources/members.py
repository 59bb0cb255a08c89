"""The members of an archive as a tree of files. Nothing is ever written under a member's name.

Links are followed within the archive only. A name that leads out of it, or that a later member takes, is a stray.
"""

from __future__ import annotations

import abc
import contextlib
import dataclasses
import os
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import BinaryIO, Generic, Literal, TypeVar

from eyebright.data.sources.base import Stray
from eyebright.data.sources.tree import HEAD_BYTES, Entry, EntryKind
from eyebright.decode import UndecodableImage
from eyebright.errors import DataError

# Room for 100 million pixels of 16-bit colour; what is larger unpacked is a bomb rather than an image.
MAX_MEMBER_BYTES = 1 << 30
# Each level costs memory, and one name in a zip archive has room for 32,000 of them.
MAX_DEPTH = 100
# As many as Linux follows in one path.
MAX_LINKS = 40
_DRIVE = re.compile(r"[A-Za-z]:[/\\]")

Place = TypeVar("Place")


@dataclasses.dataclass(frozen=True, slots=True)
class Member(Generic[Place]):
    """One member of an archive.

    Attributes:
        name: as the archive has it.
        kind: a `hard-link` names its target from the root of the archive, a `link` from its own folder.
        size: bytes when unpacked, as the archive declares it.
        place: where its bytes are, for the reader of this kind of archive.
        target: where a link leads.
    """

    name: str
    kind: Literal["folder", "file", "link", "hard-link", "other"]
    size: int
    place: Place
    target: str = ""


class SteadyFile:
    """A file that many threads read at many places, and that must stay as it was when it was listed.

    It is opened for each read: that costs some microseconds, needs no lock, and a thousand shards stay below the limit
    of open files.

    Raises:
        OSError: there is no such file, or its facts may not be read.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        facts = path.stat()
        self.size = facts.st_size
        self._changed_nanoseconds = facts.st_mtime_ns

    @contextlib.contextmanager
    def opened(self) -> Iterator[BinaryIO]:
        """The open file.

        Raises:
            UndecodableImage: it is gone, may not be read, or was changed.
        """
        try:
            with open(self.path, "rb") as handle:
                facts = os.fstat(handle.fileno())
                if (facts.st_size, facts.st_mtime_ns) != (self.size, self._changed_nanoseconds):
                    raise UndecodableImage("unreadable", f"{self.path} was changed after it had been listed")
                yield handle
        except FileNotFoundError as error:
            raise UndecodableImage("missing", f"the archive {self.path} is gone") from error
        except OSError as error:
            raise UndecodableImage("unreadable", f"{self.path} cannot be read: {error.strerror or error}") from error

    def read(self, offset: int, count: int) -> bytes:
        """`count` bytes from `offset`, or fewer at the end of the file; raises as `opened` does."""
        with self.opened() as handle:
            handle.seek(offset)
            # A declared count may be anything, and Python makes room for it before it reads.
            return handle.read(max(0, min(count, self.size - offset)))


class MemberTree(abc.ABC, Generic[Place]):
    """The tree that the members of an archive make, by their names.

    Args:
        spec: what the user gave.
        members: in the order of the archive.
        strays: what was found already that has no place in the tree.
    """

    def __init__(self, spec: str, members: Iterable[Member[Place]], strays: Iterable[Stray] = ()) -> None:
        self.spec = spec
        self._strays = list(strays)
        # What lies in each folder, by name; None is a folder.
        self._folders: dict[str, dict[str, Member[Place] | None]] = {"": {}}
        self._has_links = False
        for member in members:
            self._add(member)

    @abc.abstractmethod
    def _bytes_of(self, member: Member[Place], count: int) -> bytes:
        """The first `count` bytes of `member`, and one more when `count` is its size and it holds more.

        Raises:
            UndecodableImage: they cannot be read.
        """

    def entries(self, folder: str) -> list[Entry]:
        """What lies directly in `folder`, sorted by name."""
        found = self._resolve(folder)
        if found is None or found not in self._folders:
            raise DataError(f"there is no folder {folder} in {self.spec}")
        members = self._folders[found]
        return [Entry(name, self._kind(f"{found}/{name}", members[name])) for name in sorted(members)]

    def read(self, path: str) -> bytes:
        """All bytes of a file, unpacked.

        Raises:
            UndecodableImage: it is not there, is larger than `MAX_MEMBER_BYTES`, or is damaged.
        """
        member = self._file(path)
        if member.size > MAX_MEMBER_BYTES:
            raise UndecodableImage(
                "too-large",
                f"{path} declares {member.size / 1e9:.1f} GB when unpacked",
                expected=f"at most {MAX_MEMBER_BYTES / 1e9:.1f} GB",
            )
        content = self._bytes_of(member, member.size)
        if len(content) != member.size:
            more = "more" if len(content) > member.size else f"only {len(content)}"
            raise UndecodableImage("unreadable", f"{path} holds {more} of the {member.size} bytes that it declares")
        return content

    def head(self, path: str, count: int = HEAD_BYTES) -> bytes:
        """The first `count` bytes of a file, unpacked; raises as `read` does, but reads of any size of file."""
        member = self._file(path)
        return self._bytes_of(member, min(count, member.size))[:count]

    def identity(self, folder: str) -> str:
        """The path with every link followed."""
        found = self._resolve(folder)
        return folder if found is None else found

    def count_files(self, folder: str) -> int:
        """How many files lie below `folder`; links to folders are not followed."""
        count, pending = 0, [folder]
        while pending:
            current = pending.pop()
            for name, member in self._folders.get(current, {}).items():
                if member is None:
                    pending.append(f"{current}/{name}")
                else:
                    count += 1
        return count

    def strays(self) -> list[Stray]:
        """Members whose names lead out of the archive or are taken by others."""
        return list(self._strays)

    def _add(self, member: Member[Place]) -> None:
        parts = [part for part in member.name.split("/") if part not in ("", ".")]
        path = "/".join(parts)
        reason = None if parts or member.kind == "folder" else "it has no name"
        if member.name.startswith(("/", "\\")) or _DRIVE.match(member.name):
            reason = "its name is an absolute path, which leads out of the archive"
        elif ".." in parts:
            reason = "its name has `..` in it, which leads out of its folder"
        elif len(parts) > MAX_DEPTH:
            reason = f"it lies more than {MAX_DEPTH} folders deep"
        if reason is not None:
            # Names in full would fill pages where someone meant them to.
            self._strays.append(Stray(member.name[:1000], reason))
            return
        if member.kind == "folder":
            self._make_folders(parts, path)
            return
        if not self._make_folders(parts[:-1], path):
            return
        siblings = self._folders["/".join(parts[:-1])]
        if parts[-1] in siblings:
            if siblings[parts[-1]] is None:
                self._strays.append(Stray(path, "a folder in the archive has the same name"))
                return
            self._strays.append(Stray(path, "a later member of the archive has the same name and takes its place"))
        siblings[parts[-1]] = member
        self._has_links |= member.kind in ("link", "hard-link")

    def _make_folders(self, parts: list[str], path: str) -> bool:
        """Make the folder `parts` and those above it; False, and a stray, when a file is in the way."""
        folder = ""
        for part in parts:
            siblings = self._folders[folder]
            folder = f"{folder}/{part}" if folder else part
            if siblings.setdefault(part, None) is not None:
                self._strays.append(Stray(path, f"{folder} is a file in the archive, and no folder"))
                return False
            self._folders.setdefault(folder, {})
        return True

    def _file(self, path: str) -> Member[Place]:
        member = self._member(self._resolve(path))
        if member is None or member.kind != "file":
            raise UndecodableImage("missing", f"there is no file {path} in {self.spec}")
        return member

    def _member(self, resolved: str | None) -> Member[Place] | None:
        folder, _, name = (resolved or "").rpartition("/")
        return self._folders.get(folder, {}).get(name)

    def _kind(self, path: str, member: Member[Place] | None) -> EntryKind:
        if member is None:
            return "folder"
        if member.kind in ("link", "hard-link"):
            found = self._resolve(path)
            if found is None:
                return "dangling-link"
            if found in self._folders:
                return "folder"
            member = self._member(found)
            assert member is not None
        return "file" if member.kind == "file" else "other"

    def _resolve(self, path: str) -> str | None:
        """`path` with every link followed, or None when it leads nowhere or out of the archive."""
        if not self._has_links:
            return path
        done: list[str] = []
        pending = path.split("/")[::-1]
        followed = 0
        while pending:
            part = pending.pop()
            if part in ("", "."):
                continue
            if part == "..":
                if not done:
                    return None
                done.pop()
                continue
            siblings = self._folders.get("/".join(done))
            if siblings is None or part not in siblings:
                return None
            member = siblings[part]
            if member is None or member.kind not in ("link", "hard-link"):
                done.append(part)
                continue
            followed += 1
            if followed > MAX_LINKS or member.target.startswith("/"):
                return None
            if member.kind == "hard-link":
                done = []
            pending += member.target.split("/")[::-1]
        return "/".join(done)
