"""Archives that tests write, member by member, and what a source says of them."""

from __future__ import annotations

import io
import tarfile
import zipfile
from pathlib import Path

import pytest

from eyebright.data.sources.base import Source
from eyebright.decode import UndecodableImage


def write_zip(path: Path, members: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return path


def write_tar(path: Path, members: dict[str, bytes], links: dict[str, tuple[bytes, str]] | None = None) -> Path:
    with tarfile.open(path, "w") as archive:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
        for name, (kind, target) in (links or {}).items():
            info = tarfile.TarInfo(name)
            info.type, info.linkname = kind, target
            archive.addfile(info)
    return path


def reasons(source: Source) -> dict[str, str]:
    return {stray.source: stray.reason for stray in source.strays()}


def read_reason(source: Source, name: str) -> UndecodableImage:
    with pytest.raises(UndecodableImage) as caught:
        source.read(name)
    return caught.value


def patched(path: Path, *changes: tuple[bytes, bytes]) -> Path:
    """The file with each first part replaced wherever it is."""
    content = path.read_bytes()
    for old, new in changes:
        assert old in content
        content = content.replace(old, new)
    path.write_bytes(content)
    return path
