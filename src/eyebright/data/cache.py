"""Where files are kept that can be made again at any time: packs, embeddings, archives that had to be unpacked."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path


def default_cache() -> Path:
    """`$EYEBRIGHT_CACHE`, or `eyebright` in the user's cache folder."""
    own = os.environ.get("EYEBRIGHT_CACHE")
    if own:
        return Path(own).expanduser()
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache").expanduser() / "eyebright"


def mark_used(path: Path) -> None:
    """Say that a part of the cache, a file or a folder, was of use just now: `eyebright cache clean` keeps it longer.

    The time of the last change is set, because that of the last reading is not kept by most file systems (`relatime`).
    A cache that may only be read, or a part that has just been removed, is no reason to fail.
    """
    with contextlib.suppress(OSError):
        os.utime(path)
