"""Where files are kept that can be made again at any time: packs, archives that had to be unpacked."""

from __future__ import annotations

import os
from pathlib import Path


def default_cache() -> Path:
    """`$EYEBRIGHT_CACHE`, or `eyebright` in the user's cache folder."""
    own = os.environ.get("EYEBRIGHT_CACHE")
    if own:
        return Path(own).expanduser()
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache").expanduser() / "eyebright"
