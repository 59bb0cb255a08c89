"""What lies in the cache: its parts, their sizes, when they were last of use, and whether a process works with them.

    packs/<key>/                    decoded images; <key>.partial/ while they are made, <key>.lock beside them
    embeddings/<network>-...-<key>/ features of images and the graph that gave them
    properties/v<number>/           what the audit has measured of each image
    archives/<key>-....tar          compressed archives, unpacked
    remote/<key>/                   files that were fetched from an address
    hub/<name>@<commit>.json        which files a data set of the Hugging Face hub has
    data/                           published sets; people put files there themselves, so they are theirs to remove

Nothing here follows a symbolic link, and what has another name than these is `unknown`.
"""

from __future__ import annotations

import contextlib
import dataclasses
import fcntl
import json
import os
import re
import time
from collections.abc import Iterator
from pathlib import Path

from eyebright.atomic import TEMPORARY_SUFFIX
from eyebright.errors import UsageError, did_you_mean

BLOCK_BYTES = 512  # unit of `st_blocks`, whatever the file system's own
LEFT_OVER_SECONDS = 3600.0
"""A temporary file whose process is gone is left over when nothing was written for so long: the process may run on
another machine that shares the cache."""

_TEMPORARY = re.compile(r"\..+\.(?P<process>\d+)-[0-9a-f]{8}" + re.escape(TEMPORARY_SUFFIX))
_HASH = "[0-9a-f]{32}"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Kind:
    """A folder of the cache.

    Attributes:
        line: what it holds.
        again: what making it again costs.
        name: pattern of the names of its parts.
        inside: pattern of the paths of the files within a part; None where a part is a single file.
    """

    line: str
    again: str
    name: str
    inside: str | None


KINDS = {
    "packs": Kind(
        line="decoded images", again="the images are decoded again", name=rf"{_HASH}(\.partial)?",
        inside=r"(pack|plan)\.json|ids\.txt|(pixels|done)\.bin|failures/\d+\.json",
    ),
    "embeddings": Kind(
        line="features of images, by network", again="the features are computed again", name=r".+-\d+-[0-9a-f]{12}",
        inside=r"[^/]+\.(onnx|npz|json)",
    ),
    "properties": Kind(
        line="what the audit has measured", again="the images are measured again", name=r"v\d+",
        inside=r"[0-9a-f]+\.parquet",
    ),
    "archives": Kind(
        line="unpacked archives", again="the archive is unpacked again", name=rf"{_HASH}-\d+-\d+\.tar", inside=None
    ),
    "remote": Kind(line="fetched files", again="the files are fetched again", name=_HASH, inside=r".+"),
    "hub": Kind(line="lists of files", again="the list is asked for again", name=r".+@.+\.json", inside=None),
}  # fmt: skip
"""What can be made again, by the name of its folder."""

OWN = "data"
STATES = ("ready", "half-done", "in use", "left over", "yours", "unknown")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Part:
    """One part of the cache.

    Attributes:
        kind: a key of `KINDS`, `data` or `unknown`.
        path: the file or folder.
        bytes: what it takes on the disk, so that holes of a file count nothing.
        made: when its oldest file was written, in seconds since 1970.
        used: when it was last of use (`mark_used`) or written, in seconds since 1970.
        state: `ready`; `half-done`, a pack whose making was stopped; `in use` by a process; `left over` from a process
            that died while it wrote; `yours`; `unknown`.
        details: what it holds, or why it is left alone.
    """

    kind: str
    path: Path
    bytes: int
    made: float
    used: float
    state: str
    details: str = ""


def check_kind(kind: str) -> str:
    """The kind itself.

    Raises:
        UsageError: there is no such kind.
    """
    if kind not in KINDS:
        raise UsageError(
            f"the cache has no kind {kind!r}{did_you_mean(kind, KINDS)}", expected=f"one of {', '.join(KINDS)}"
        )
    return kind


def list_parts(cache: Path) -> list[Part]:
    """All parts of the cache, in the order of `KINDS`, those that were not of use for longest first."""
    root = cache.resolve()  # the cache itself may be a link to a larger disk; nothing in it is followed
    if not root.is_dir():
        return []
    used_now = open_files(root)
    parts: list[Part] = []
    for entry in _entries(root):
        if entry.name in KINDS and entry.is_dir(follow_symlinks=False):
            for inner in _entries(Path(entry.path)):
                if not (entry.name == "packs" and inner.name.endswith(".lock")):
                    parts.append(_part(entry.name, inner, used_now))
        elif entry.name == OWN and entry.is_dir(follow_symlinks=False):
            about = _Look(Path(entry.path))
            parts.append(about.part(OWN, "yours", "published sets: downloaded, or put there by hand"))
        else:
            parts.append(_Look(Path(entry.path)).part("unknown", "unknown", _strange(entry)))
    order = [*KINDS, OWN, "unknown"]
    return sorted(parts, key=lambda part: (order.index(part.kind), part.used, part.path.name))


def lock_of(pack: Path) -> Path:
    """The lock of a pack, finished or in the making: whoever makes it holds it."""
    return pack.with_name(pack.name.removesuffix(TEMPORARY_SUFFIX) + ".lock")


@contextlib.contextmanager
def locked(path: Path, *, shared: bool = False) -> Iterator[bool]:
    """Try to hold a lock file without waiting; yields whether it is held. `shared` only asks and makes no file."""
    flags = os.O_RDONLY if shared else os.O_RDWR | os.O_CREAT
    try:
        descriptor = os.open(path, flags | os.O_NOFOLLOW, 0o644)
    except FileNotFoundError:
        yield True  # nobody has ever made this one here
        return
    try:
        try:
            fcntl.flock(descriptor, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
            return
        yield True
    finally:
        os.close(descriptor)


def open_files(root: Path) -> set[Path]:
    """Files below `root` that a process of this machine has open or mapped into its memory.

    Read from /proc: processes of other users, and systems without it, show nothing.
    """
    found: set[Path] = set()
    prefix = f"{root}/"
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):  # it ended meanwhile, or is another user's
            text = (process / "maps").read_text(encoding="utf-8", errors="surrogateescape")
            found |= {Path(prefix + line.split(prefix, 1)[1]) for line in text.splitlines() if prefix in line}
        with contextlib.suppress(OSError):
            for handle in os.scandir(process / "fd"):
                with contextlib.suppress(OSError):
                    target = Path(handle.path).readlink()
                    if target.is_relative_to(root):
                        found.add(target)
    return found


def _entries(folder: Path) -> list[os.DirEntry[str]]:
    try:
        return sorted(os.scandir(folder), key=lambda entry: entry.name)
    except OSError:
        return []


def _part(kind: str, entry: os.DirEntry[str], used_now: set[Path]) -> Part:
    path, facts = Path(entry.path), KINDS[kind]
    look = _Look(path)
    temporary = _TEMPORARY.fullmatch(entry.name)
    if temporary is not None and not entry.is_symlink():
        return look.part(kind, "left over" if _dead(temporary, look.newest) else "in use", "a file half written")
    is_right = entry.is_file(follow_symlinks=False) if facts.inside is None else entry.is_dir(follow_symlinks=False)
    if entry.is_symlink() or not is_right or re.fullmatch(facts.name, entry.name) is None:
        return look.part("unknown", "unknown", _strange(entry))
    strangers = look.strangers(facts.inside)
    if strangers:
        more = f" and {len(strangers) - 1} more" if len(strangers) > 1 else ""
        return look.part("unknown", "unknown", f"holds what Eyebright did not write: {strangers[0]}{more}")
    details = _pack_details(path) if kind == "packs" else ""
    if look.being_written or any(file == path or path in file.parents for file in used_now):
        return look.part(kind, "in use", details)
    if kind == "packs":
        with locked(lock_of(path), shared=True) as free:
            if not free:
                return look.part(kind, "in use", details)
        if entry.name.endswith(TEMPORARY_SUFFIX):
            return look.part(kind, "half-done", details)
    return look.part(kind, "ready", details)


def _dead(temporary: re.Match[str], newest: float) -> bool:
    """Whether nobody will finish a temporary file: its process is gone, and nobody has written for long."""
    try:
        os.kill(int(temporary["process"]), 0)
    except (ProcessLookupError, OverflowError):
        return time.time() - newest > LEFT_OVER_SECONDS
    except PermissionError:
        pass
    return False


def _strange(entry: os.DirEntry[str]) -> str:
    return "a symbolic link: not followed" if entry.is_symlink() else "not a name that Eyebright gives"


def _pack_details(folder: Path) -> str:
    """`1,651 images of 128x128x3`, and how much of them is there."""
    try:
        name = "pack.json" if (folder / "pack.json").is_file() else "plan.json"
        facts = json.loads((folder / name).read_text(encoding="utf-8"))
        images, height, width, channels = map(int, facts["shape"])
        text = f"{images:,} images of {width}x{height}x{channels}"
        if name == "plan.json":
            blocks = -(-images // int(facts["block_images"]))
            done = (folder / "done.bin").read_bytes()[:blocks].count(1)
            text += f", {done} of {blocks} parts there"
    except (OSError, ValueError, KeyError, TypeError, ZeroDivisionError):
        return "its description cannot be read"
    return text


class _Look:
    """One pass over a file, or a folder and all below it."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.bytes = 0
        self.being_written = False
        self._files: list[str] = []
        self._odd: list[str] = []
        times: list[float] = []
        with contextlib.suppress(OSError):
            top = path.lstat()
            self.bytes = top.st_blocks * BLOCK_BYTES
            times.append(top.st_mtime)
            if path.is_dir() and not path.is_symlink():
                self._walk(path, times)
        self.newest = max(times, default=0.0)
        files = times[1:] or times  # the folder's own time says when it was last of use
        self._oldest = min(files, default=0.0)

    def part(self, kind: str, state: str, details: str) -> Part:
        return Part(
            kind=kind, path=self._path, bytes=self.bytes, made=self._oldest, used=self.newest, state=state,
            details=details,
        )  # fmt: skip

    def strangers(self, inside: str | None) -> list[str]:
        """Files that nobody here wrote, and links."""
        if inside is None:
            return []
        return self._odd + [name for name in self._files if re.fullmatch(inside, name) is None]

    def _walk(self, folder: Path, times: list[float]) -> None:
        for entry in _entries(folder):
            try:
                facts = entry.stat(follow_symlinks=False)
            except OSError:  # removed meanwhile
                continue
            self.bytes += facts.st_blocks * BLOCK_BYTES
            name = Path(entry.path).relative_to(self._path).as_posix()
            if entry.is_dir(follow_symlinks=False):
                self._walk(Path(entry.path), times)
                continue
            times.append(facts.st_mtime)
            temporary = _TEMPORARY.fullmatch(entry.name)
            if entry.is_symlink() or not entry.is_file(follow_symlinks=False):
                self._odd.append(name)
            elif temporary is None:
                self._files.append(name)
            elif not _dead(temporary, facts.st_mtime):
                self.being_written = True
