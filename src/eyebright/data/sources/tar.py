"""A tar archive read in place: an index of its members is made once, then each is read by its position.

A compressed tar (gzip, bzip2, xz) can only be read from its beginning. It is therefore unpacked once, as a plain tar,
into the cache (`$EYEBRIGHT_CACHE/archives`), and read there from then on; a change of the archive replaces the copy.
"""

from __future__ import annotations

import bz2
import contextlib
import gzip
import hashlib
import lzma
import struct
import tarfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

from eyebright.atomic import replacing_file
from eyebright.data.cache import default_cache
from eyebright.data.sources.base import Stray
from eyebright.data.sources.members import Member, MemberTree, SteadyFile
from eyebright.errors import DataError

TarMember = Member[int]
"""A member of a plain tar; its place is the position of its first byte."""

_Stream = gzip.GzipFile | bz2.BZ2File | lzma.LZMAFile
_ZSTANDARD = b"\x28\xb5\x2f\xfd"
_COMPRESSIONS: dict[bytes, Callable[[Path], _Stream]] = {
    b"\x1f\x8b": gzip.GzipFile,
    b"BZh": bz2.BZ2File,
    b"\xfd7zXZ\x00": lzma.LZMAFile,
}
_COPY_BYTES = 1 << 20
# What a damaged or hostile archive leads the parsers to.
_TAR_ERRORS = (tarfile.TarError, ValueError, OverflowError, EOFError, struct.error, LookupError, RecursionError)
_STREAM_ERRORS = (OSError, EOFError, zlib.error, lzma.LZMAError)


class TarIndex(NamedTuple):
    """What a tar holds.

    Attributes:
        file: the plain tar: the archive itself, or its unpacked copy in the cache.
        members: in the order of the archive.
        strays: a note when the archive seems to be cut off.
    """

    file: SteadyFile
    members: list[TarMember]
    strays: list[Stray]


class TarTree(MemberTree[int]):
    """The files in a tar archive, packed or not.

    Args:
        path: the archive.
        spec: what the user gave.
        index: what `index_tar` found, when it was asked before.

    Raises:
        DataError: it is no whole tar archive.
        StorageError: it is compressed, and the cache has no room for the unpacked copy.
    """

    def __init__(self, path: Path, spec: str | None = None, index: TarIndex | None = None) -> None:
        spec = str(path) if spec is None else spec
        self._archive, members, strays = index_tar(path, spec) if index is None else index
        super().__init__(spec, members, strays)

    def _bytes_of(self, member: TarMember, count: int) -> bytes:
        return self._archive.read(member.place, count)


def index_tar(path: Path, spec: str | None = None) -> TarIndex:
    """Find every member of a tar archive; a compressed one is unpacked into the cache first.

    Raises:
        DataError: it is no whole tar archive; the message says how far it could be read.
        StorageError: the cache has no room for the unpacked copy.
    """
    spec = str(path) if spec is None else spec
    with _readable(spec):
        packed = _opener(path, spec)
    plain = path if packed is None else _unpacked_copy(path, packed, spec)
    with _readable(spec):
        file = SteadyFile(plain)
        members, end = _read_headers(plain, spec)
    strays = [] if end else [Stray(path.name, "the archive has no end mark: members may be missing")]
    return TarIndex(file, members, strays)


def first_members(path: Path, count: int) -> list[TarMember]:
    """The first members of a plain tar, to see of what kind it is.

    Raises:
        DataError: they cannot be read.
    """
    with _readable(str(path)):
        return _read_headers(path, str(path), count)[0]


def _read_headers(plain: Path, spec: str, count: int | None = None) -> tuple[list[TarMember], bytes]:
    """The members, or the first of them, and the block where the header of a next one would be."""
    members: list[TarMember] = []
    try:
        with tarfile.open(plain, "r:", encoding="utf-8", errors="surrogateescape") as archive:
            former = -1
            while len(members) != count and (found := archive.next()) is not None:
                if archive.offset <= former:
                    raise ValueError("a member has a negative size")
                former = archive.offset
                members.append(_member_of(found))
                archive.members.clear()  # type: ignore[attr-defined]  # would keep a kilobyte for each
            assert archive.fileobj is not None
            archive.fileobj.seek(archive.offset)
            end = archive.fileobj.read(tarfile.BLOCKSIZE)
        if any(end) and len(members) != count:
            raise ValueError(f"there is no header of a member at byte {archive.offset}")
    except _TAR_ERRORS as error:
        where = f"after {len(members)} members" if members else "at its beginning"
        raise DataError(
            f"{spec} is cut off or damaged {where}: {error}",
            expected="a whole tar archive",
            remedy="fetch the file again; `tar -tf` tests it",
        ) from error
    return members, end


def _member_of(found: tarfile.TarInfo) -> TarMember:
    if found.isdir():
        return Member(found.name, "folder", 0, 0)
    if found.issym() or found.islnk():
        return Member(found.name, "link" if found.issym() else "hard-link", 0, 0, found.linkname)
    # A sparse file lies in pieces.
    plain = found.isreg() and not found.issparse()
    return Member(found.name, "file" if plain else "other", found.size, found.offset_data)


def _opener(path: Path, spec: str) -> Callable[[Path], _Stream] | None:
    """How to open what is compressed, by its first bytes; None for what is not."""
    with open(path, "rb") as handle:
        start = handle.read(max(map(len, _COMPRESSIONS)))
    if start.startswith(_ZSTANDARD):
        raise DataError(
            f"{spec} is compressed with Zstandard, which cannot be read here",
            expected="a tar archive, plain or compressed with gzip, bzip2 or xz",
            remedy="unpack it to a plain tar (`zstd -d`), which is read in place",
        )
    return next((opener for magic, opener in _COMPRESSIONS.items() if start.startswith(magic)), None)


def _unpacked_copy(path: Path, opener: Callable[[Path], _Stream], spec: str) -> Path:
    """The plain tar in the cache, made now unless it is there."""
    facts = path.stat()
    place = hashlib.blake2b(str(path.resolve()).encode("utf-8", "surrogateescape"), digest_size=16).hexdigest()
    folder = default_cache() / "archives"
    copy = folder / f"{place}-{facts.st_size}-{facts.st_mtime_ns}.tar"
    if copy.exists():
        return copy
    with replacing_file(copy) as temporary, opener(path) as packed, open(temporary, "wb") as target:
        for block in _blocks(packed, spec):
            target.write(block)
    for former in folder.glob(f"{place}-*.tar"):
        if former != copy:
            with contextlib.suppress(OSError):  # removed by another run at the same time
                former.unlink()
    return copy


def _blocks(packed: _Stream, spec: str) -> Iterator[bytes]:
    """What is unpacked, in large blocks; errors of reading are told apart from those of writing."""
    total = 0
    while True:
        try:
            block = packed.read(_COPY_BYTES)
            if total == 0:
                _refuse_strangers(block)
        except (*_STREAM_ERRORS, tarfile.HeaderError) as error:
            raise DataError(
                f"{spec} is cut off or damaged after {total:,} unpacked bytes: {error}",
                expected="a whole compressed tar archive",
                remedy="fetch the file again; `tar -tf` tests it",
            ) from error
        if not block:
            return
        total += len(block)
        yield block


def _refuse_strangers(block: bytes) -> None:
    """Raise before gigabytes are unpacked that are no tar."""
    start = block[: tarfile.BLOCKSIZE]
    if any(start):  # an archive without members begins with its end mark
        tarfile.TarInfo.frombuf(start, "utf-8", "surrogateescape")


@contextlib.contextmanager
def _readable(spec: str) -> Iterator[None]:
    """Turn failures of opening the archive into an error for the user."""
    try:
        yield
    except OSError as error:
        raise DataError(
            f"{spec} cannot be read: {error.strerror or error}", remedy="check the file's rights"
        ) from error
