"""Clean the cache: choose the parts that were not of use for longest, and remove those that nobody works with.

A part is given a temporary name first and removed then, so that no run finds half of it; a clean that is killed leaves
only what the next one recognises as left over. A process that has mapped a pack into its memory keeps its pages even
when another machine removes the pack; one that begins later decodes the images again.
"""

from __future__ import annotations

import dataclasses
import os
import re
import shutil
import time
import uuid
from collections.abc import Collection, Sequence
from pathlib import Path

from eyebright.atomic import TEMPORARY_SUFFIX, explained
from eyebright.data.cache_contents import KINDS, Part, check_kind, list_parts, lock_of, locked
from eyebright.errors import UsageError

STALE_SECONDS = 24 * 3600.0
"""A half-done pack on which nobody has worked for so long goes with every clean, whatever else is asked for."""

_DAY_SECONDS = 24 * 3600.0
_BYTES_IN = {"": 1, "B": 1} | {
    f"{letter}{unit}": base**power
    for power, letter in enumerate("KMGT", start=1)
    for unit, base in (("iB", 1024), ("B", 1000), ("", 1024))
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Wanted:
    """Which parts to remove: all of these conditions together.

    Attributes:
        kinds: of these kinds; every kind when empty.
        older_than_seconds: not of use for longer than this.
        larger_than_bytes: larger than this.
        keep_bytes: only until the parts of these kinds take no more than this together.
    """

    kinds: Collection[str] = ()
    older_than_seconds: float | None = None
    larger_than_bytes: int | None = None
    keep_bytes: int | None = None


@dataclasses.dataclass(frozen=True, kw_only=True)
class Choice:
    """What a clean would do.

    Attributes:
        remove: parts to remove, in this order.
        spared: parts that meet the conditions and stay, because somebody works with them.
    """

    remove: tuple[Part, ...]
    spared: tuple[Part, ...]

    @property
    def bytes(self) -> int:
        """What removing gives back."""
        return sum(part.bytes for part in self.remove)


def choose(cache: Path, wanted: Wanted, *, now: float | None = None) -> Choice:
    """Choose the parts to remove, those that were not of use for longest first. Nothing is removed yet.

    Args:
        cache: root of the cache.
        wanted: the conditions.
        now: seconds since 1970; the clock's when None.

    Raises:
        UsageError: there is no such kind.
    """
    now = time.time() if now is None else now
    kinds = {check_kind(kind) for kind in wanted.kinds} or set(KINDS)
    parts = sorted((part for part in list_parts(cache) if part.kind in kinds), key=lambda part: part.used)
    left = sum(part.bytes for part in parts)
    remove: list[Part] = []
    spared: list[Part] = []
    for part in parts:
        age = now - part.used
        rubbish = part.state == "left over" or (part.state == "half-done" and age > STALE_SECONDS)
        old = wanted.older_than_seconds is None or age > wanted.older_than_seconds
        large = wanted.larger_than_bytes is None or part.bytes > wanted.larger_than_bytes
        above = wanted.keep_bytes is None or left > wanted.keep_bytes
        if rubbish or (old and large and above):
            if part.state == "in use":
                spared.append(part)
                continue
            remove.append(part)
            left -= part.bytes
    return Choice(remove=tuple(remove), spared=tuple(spared))


def remove_parts(parts: Sequence[Part]) -> tuple[list[Part], list[Part]]:
    """Remove these parts of the cache.

    Returns:
        Those that were removed, and those that somebody has begun to work with meanwhile, or removed.

    Raises:
        StorageError: the cache may not be changed.
    """
    removed: list[Part] = []
    kept: list[Part] = []
    for part in parts:
        if part.kind == "packs":
            with explained(part.path), locked(lock_of(part.path)) as held:
                gone = held and _remove(part.path)
        else:
            gone = _remove(part.path)
        (removed if gone else kept).append(part)
    return removed, kept


def _remove(path: Path) -> bool:
    """Take a part out of sight, then remove it; False when it is not there any more."""
    hidden = path.with_name(f".{path.name}.{os.getpid()}-{uuid.uuid4().hex[:8]}{TEMPORARY_SUFFIX}")
    with explained(path):
        try:
            path.rename(hidden)
        except FileNotFoundError:
            return False
        if hidden.is_dir() and not hidden.is_symlink():
            shutil.rmtree(hidden)  # removes links as links
        else:
            hidden.unlink()
    return True


def parse_age(text: str) -> float:
    """Seconds in `30d`, `12h` and the like.

    Raises:
        UsageError: the text is not a time.
    """
    days = re.fullmatch(r"(\d+(?:\.\d+)?)d", text.strip().lower())
    if days is not None:
        return float(days[1]) * _DAY_SECONDS
    from eyebright.config.quantities import parse_duration  # its package checks types with pydantic: slow to load

    try:
        return parse_duration(text)
    except UsageError as error:
        raise UsageError(f"{text!r} is not an age", expected="a time such as 30d, 12h or 90m") from error


def parse_bytes(text: str) -> int:
    """Bytes in `10GiB`, `500MB`, `2G` (as GiB) or `1000`.

    Raises:
        UsageError: the text is not a number of bytes.
    """
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([A-Za-z]*)", text.strip())
    units = {unit.lower(): count for unit, count in _BYTES_IN.items()}
    if match is None or match[2].lower() not in units:
        raise UsageError(f"{text!r} is not an amount of storage", expected="an amount such as 10GiB, 500MB or 0")
    return int(float(match[1]) * units[match[2].lower()])
