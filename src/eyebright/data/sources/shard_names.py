"""Which tar files a text names: `shards/train-{000000..000009}.tar`, `{train,val}-*.tar`."""

from __future__ import annotations

import glob
import re
from pathlib import Path

from eyebright.errors import DataError

TAR_ENDINGS = (".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tbz", ".tbz2", ".tar.xz", ".txz", ".tar.zst", ".tzst")
# A typing error in a range should not fill the memory.
MAX_SHARDS = 100_000

_BRACES = re.compile(r"\{([^{}]*)\}")
_RANGE = re.compile(r"(\d+)\.\.(\d+)")
_WILDCARD = re.compile(r"[*?\[]")


def is_shard_pattern(text: str) -> bool:
    """Whether `text` names several tar files by braces or wildcards."""
    return text.lower().endswith(TAR_ENDINGS) and bool(_BRACES.search(text) or _WILDCARD.search(text))


def expand_shards(spec: str) -> list[Path]:
    """The files that a pattern names, in its order; those of one wildcard sorted.

    Raises:
        DataError: one is missing, nothing matches, or there are more than `MAX_SHARDS`.
    """
    paths: list[Path] = []
    for text in expand_braces(spec):
        expanded = Path(text).expanduser()
        if _WILDCARD.search(text) and not expanded.exists():
            # pathlib reads no pattern that begins with a slash.
            paths += [Path(found) for found in sorted(glob.glob(str(expanded)))]  # noqa: PTH207
        else:
            paths.append(expanded)
    missing = [path for path in paths if not path.is_file()]
    if missing:
        raise DataError(
            f"{len(missing)} of the {len(paths)} shards that {spec} names are missing, the first is {missing[0]}",
            expected="every shard of the pattern",
            remedy="fetch the missing shards, or narrow the range in the pattern",
        )
    if not paths:
        raise DataError(
            f"no shard matches {spec}",
            expected="tar files, such as shards/train-{000000..000009}.tar",
            remedy="check the folder and the pattern",
        )
    return list(dict.fromkeys(paths))


def expand_braces(text: str) -> list[str]:
    """`a-{0..2}` as `a-0`, `a-1`, `a-2`, and `{x,y}` as `x`, `y`, as a shell does; other braces stay.

    Numbers keep the leading zeros of the first one.

    Raises:
        DataError: there are more than `MAX_SHARDS`.
    """
    finished: list[str] = []
    pending = [text]
    while pending:
        current = pending.pop()
        match = next((match for match in _BRACES.finditer(current) if _alternatives(match[1], text)), None)
        if match is None:
            finished.append(current)
        else:
            words = _alternatives(match[1], text)
            pending += [current[: match.start()] + word + current[match.end() :] for word in reversed(words)]
        if len(finished) + len(pending) > MAX_SHARDS:
            raise _too_many(text)
    return list(dict.fromkeys(finished))


def _alternatives(inside: str, text: str) -> list[str]:
    """What stands for braces with this inside; nothing when they are no alternatives."""
    numbers = _RANGE.fullmatch(inside)
    if numbers is None:
        return inside.split(",") if "," in inside else []
    first, last = int(numbers[1]), int(numbers[2])
    if abs(last - first) >= MAX_SHARDS:
        raise _too_many(text)
    width = len(numbers[1]) if numbers[1].startswith("0") else 0
    step = 1 if last >= first else -1
    return [f"{number:0{width}d}" for number in range(first, last + step, step)]


def _too_many(text: str) -> DataError:
    return DataError(
        f"{text} names more than {MAX_SHARDS:,} shards",
        expected="a range of shards that exist",
        remedy="check the range",
    )
