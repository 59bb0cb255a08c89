"""Writing that is never half done: a temporary name beside the target, flushed, then renamed.

A reader therefore finds the old file, the new file or none, whatever is killed and whenever. Failures of the
file system (full disk, read-only folder, missing rights) become `StorageError` with the path and the remedy.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import shutil
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from eyebright.errors import StorageError

TEMPORARY_SUFFIX = ".partial"
_OTHER_PLACES = "(`--output DIR` for runs, EYEBRIGHT_CACHE for the image cache)"


@contextlib.contextmanager
def explained(path: str | os.PathLike[str]) -> Iterator[None]:
    """Turn an `OSError` raised inside while writing `path` into a `StorageError` that says what to do."""
    try:
        yield
    except StorageError:
        raise
    except OSError as error:
        raise storage_error(path, error) from error


def storage_error(path: str | os.PathLike[str], error: OSError) -> StorageError:
    """The `StorageError` that explains why `path` could not be written."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return StorageError(
            f"the disk is full: {os.fspath(path)} could not be written",
            expected="free space for the file",
            remedy=f"free some space or choose another place {_OTHER_PLACES}",
        )
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return StorageError(
            f"{os.fspath(path)} cannot be written: {error.strerror}",
            expected="a folder that you may write to",
            remedy=f"choose another place {_OTHER_PLACES} or change the rights",
        )
    return StorageError(
        f"{os.fspath(path)} could not be written: {error.strerror or error}",
        expected="a folder that you may write to",
        remedy=f"choose another place {_OTHER_PLACES}",
    )


def _temporary_beside(path: Path) -> Path:
    return path.with_name(f".{path.name}.{os.getpid()}-{uuid.uuid4().hex[:8]}{TEMPORARY_SUFFIX}")


@contextlib.contextmanager
def replacing_file(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Yield a temporary path beside `path`; on success flush it to disk and rename it over `path`.

    On any error the temporary file is removed and `path` stays as it was.
    """
    target = Path(path)
    with explained(target):
        target.parent.mkdir(parents=True, exist_ok=True)
        temporary = _temporary_beside(target)
        try:
            yield temporary
            with open(temporary, "rb+") as handle:
                os.fsync(handle.fileno())
            os.replace(temporary, target)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise


@contextlib.contextmanager
def replacing_folder(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Yield a new empty folder beside `path`; on success it takes the name `path`, replacing a former folder.

    On any error the new folder is removed and `path` stays as it was.
    """
    target = Path(path)
    with explained(target):
        target.parent.mkdir(parents=True, exist_ok=True)
        temporary = _temporary_beside(target)
        temporary.mkdir()
        try:
            yield temporary
            for file in temporary.rglob("*"):
                if file.is_file():
                    with open(file, "rb+") as handle:
                        os.fsync(handle.fileno())
            former = _temporary_beside(target) if target.exists() else None
            if former is not None:
                os.replace(target, former)
            os.replace(temporary, target)
            if former is not None:
                shutil.rmtree(former, ignore_errors=True)
        except BaseException:
            shutil.rmtree(temporary, ignore_errors=True)
            raise


def write_bytes(path: str | os.PathLike[str], content: bytes) -> None:
    """Write `content` to `path`, whole or not at all."""
    with replacing_file(path) as temporary:
        temporary.write_bytes(content)


def write_text(path: str | os.PathLike[str], content: str) -> None:
    """Write `content` as UTF-8 to `path`, whole or not at all."""
    write_bytes(path, content.encode("utf-8"))


def write_json(path: str | os.PathLike[str], content: Any) -> None:
    """Write `content` as indented JSON to `path`, whole or not at all. NaN and infinity are refused."""
    write_text(path, json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False) + "\n")
