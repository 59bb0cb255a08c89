"""Check a run or a bundle: hashes, then golden samples on every runtime."""

from __future__ import annotations

from pathlib import Path

from eyebright.bundle import read_bundle
from eyebright.export.verify import Replay, verify_bundle


def verify(path: str | Path) -> list[Replay]:
    """Open the bundle of a run or folder (which checks its hashes) and replay its golden samples.

    Raises:
        BundleError: it cannot be opened.
        VerificationError: it says something else than when it was made.
    """
    return verify_bundle(read_bundle(path))
