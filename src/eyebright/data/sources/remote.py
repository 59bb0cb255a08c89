"""Folders and files behind an address (`s3://`, `gs://`, `https://`, ...), through fsspec and its packages.

Naming an address is the user's consent to the network. Nothing is asked of it before, and no address but those that
the user, or a table or list of the user's, names. Credentials come from fsspec's own environment (`AWS_...`,
`GOOGLE_APPLICATION_CREDENTIALS`, `~/.netrc`, `FSSPEC_S3_ANON=true`, ...); messages show `printable` addresses only.
"""

from __future__ import annotations

import contextlib
import errno
import html
import importlib
import logging
import posixpath
import re
import threading
import time
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from eyebright.data.sources.address import HTTP, is_left_out, printable, protocol_of, quoted
from eyebright.data.sources.base import Stray
from eyebright.data.sources.tree import HEAD_BYTES, Entry, EntryKind
from eyebright.data.sources.trouble import TIMEOUT_SECONDS, TRIES, Trouble, trouble_of
from eyebright.decode import UndecodableImage
from eyebright.errors import DataError, MissingDependencyError, did_you_mean

FIRST_PAUSE_SECONDS = 0.5
CONNECT_SECONDS = 20
# After so many files in a row that no server answered for, the others are not waited for.
_GIVE_UP_AFTER = 5

_IN_THE_EXTRA = (*HTTP, "s3", "s3a", "gs", "gcs")
# They wrap another address, run a graph or are no place of files at all.
_NO_PLACES = (
    *("blockcache", "filecache", "simplecache", "cached", "dir", "generic", "async_wrapper", "asynclocal"),
    *("zip", "tar", "libarchive", "reference", "data", "dask", "root"),
)
_NO_SUCH_RANGE = 416
_LOCAL_DISK_ERRORS = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)


class Connection:
    """The file system behind an address. Safe to use from many threads; tries again when a server is busy.

    Raises:
        MissingDependencyError: the package for this protocol is not installed.
        DataError: there is no such protocol.
    """

    def __init__(self, address: str) -> None:
        self.protocol = protocol_of(address)
        if is_left_out(address):
            raise DataError(
                f"the query of {address} was left out when this was written down, because it gives access",
                expected="the whole address",
                remedy="name the data again with the address as it was given to you",
            )
        _quiet()
        file_system = _file_system_class(self.protocol)
        try:
            options = dict(file_system._get_kwargs_from_urls(address))
            self._files = file_system(**{**_options(self.protocol), **options})
        except ImportError as error:
            raise _missing_package(self.protocol, str(error)) from error
        except Exception as error:
            raise trouble_of(error).as_data_error(address) from None
        # Some packages try again by themselves; both together would wait for minutes.
        self._tries = TRIES
        if hasattr(self._files, "retries"):
            self._files.retries = TRIES
            self._tries = 1
        self._asynchronous = bool(getattr(self._files, "async_impl", False))
        # The others talk over one connection (ftp, sftp), one question at a time.
        self._lock = contextlib.nullcontext() if self._asynchronous else threading.Lock()
        self._silences: dict[str, int] = {}

    def path(self, address: str) -> str:
        """What the file system calls an address."""
        return str(self._files._strip_protocol(address))

    def read(self, path: str, count: int | None = None) -> bytes:
        """All bytes, or the first `count`. Raises `Trouble`."""
        part = {} if count is None else {"start": 0, "end": count}
        try:
            content = bytes(self._ask("cat_file", path, **part))
        except Trouble as trouble:
            if count is not None and trouble.status == _NO_SUCH_RANGE:  # the file is empty
                return b""
            raise
        return content if count is None else content[:count]

    def list(self, path: str) -> list[dict[str, Any]]:
        """What lies in a folder: `name` and `type` of each. Raises `Trouble`."""
        return list(self._ask("ls", path, detail=True))

    def info(self, path: str) -> dict[str, Any]:
        """`type`, `size` and what the server tells of the version. Raises `Trouble`."""
        return dict(self._ask("info", path))

    def count(self, path: str) -> int:
        """How many files lie below a folder. Raises `Trouble`."""
        return len(self._ask("find", path))

    def fetch(self, path: str, target: Path) -> None:
        """Write a whole file to `target`. Raises `Trouble`, and `OSError` when the disk does not take it."""
        # However large the file: only a silence of `TIMEOUT_SECONDS` ends it.
        self._ask("get_file", path, str(target), timeout=None)

    def _ask(self, method: str, *arguments: Any, timeout: float | None = TIMEOUT_SECONDS, **options: Any) -> Any:
        """Call a method of the file system, up to `TRIES` times where the trouble may pass."""
        server = urlsplit(str(arguments[0])).netloc if self.protocol in HTTP else ""
        silences = self._silences.get(server, 0)
        if silences >= _GIVE_UP_AFTER:
            raise Trouble("unreachable", f"no answer to the last {silences} questions")
        for number in range(self._tries):
            try:
                answer = self._call(method, *arguments, timeout=timeout, **options)
            except Exception as error:
                if isinstance(error, OSError) and error.errno in _LOCAL_DISK_ERRORS:
                    raise
                trouble = trouble_of(error)
                if not trouble.transient or number == self._tries - 1:
                    self._silences[server] = silences + 1 if trouble.kind == "unreachable" else 0
                    # The cause may hold a signature; `from None` keeps it out of what is printed.
                    raise trouble from None
                _pause(FIRST_PAUSE_SECONDS * 2**number)
            else:
                self._silences[server] = 0
                return answer
        raise AssertionError("the last try returns or raises")

    def _call(self, method: str, *arguments: Any, timeout: float | None, **options: Any) -> Any:
        if not self._asynchronous:
            with self._lock:
                return getattr(self._files, method)(*arguments, **options)
        asyn = importlib.import_module("fsspec.asyn")
        coroutine = getattr(self._files, f"_{method}")
        return asyn.sync(self._files.loop, coroutine, *arguments, timeout=timeout, **options)


class RemoteTree:
    """The folders and files below one address.

    Attributes:
        spec: the address as it may be shown.
        protocol: `s3`, `https`, ...
    """

    def __init__(self, address: str, connection: Connection | None = None) -> None:
        self.spec = printable(address)
        self.protocol = protocol_of(address)
        self._connection = connection or Connection(address)
        self._address = address
        root = self._connection.path(address).rstrip("/")
        if self.protocol in HTTP:
            parts = urlsplit(root)
            root = f"{parts.scheme}://{parts.netloc}{quoted(unquote(parts.path))}"
        self._root = root

    def entries(self, folder: str) -> list[Entry]:
        """What lies directly in `folder`, sorted by name."""
        path = self._path(folder)
        try:
            listed = self._connection.list(f"{path}/" if self.protocol in HTTP else path)
        except Trouble as trouble:
            raise trouble.as_data_error(self._shown(folder)) from None
        kinds: dict[str, EntryKind] = {}
        for found in listed:
            name = self._name(str(found["name"]), path)
            if name:
                kinds[name] = "folder" if found["type"] == "directory" else "file"
        return [Entry(name, kind) for name, kind in sorted(kinds.items())]

    def read(self, path: str) -> bytes:
        """All bytes of a file."""
        try:
            return self._connection.read(self._path(path))
        except Trouble as trouble:
            raise self._of_one_file(trouble, path) from None

    def head(self, path: str, count: int = HEAD_BYTES) -> bytes:
        """The first `count` bytes of a file."""
        try:
            return self._connection.read(self._path(path), count)
        except Trouble as trouble:
            raise self._of_one_file(trouble, path) from None

    def identity(self, folder: str) -> str:
        """The path: there are no links."""
        return self._path(folder)

    def count_files(self, folder: str) -> int:
        """How many files lie below `folder`."""
        try:
            return self._connection.count(self._path(folder))
        except Trouble as trouble:
            raise trouble.as_data_error(self._shown(folder)) from None

    def strays(self) -> list[Stray]:
        """None: every file has a place."""
        return []

    def _path(self, path: str) -> str:
        """A path below the root as the file system wants it; `..` leads no higher than the host or the bucket."""
        if not path:
            return self._root
        if self.protocol in HTTP:
            parts = urlsplit(self._root)
            below = posixpath.normpath(posixpath.join(unquote(parts.path) or "/", path))
            return f"{parts.scheme}://{parts.netloc}{quoted(below)}"
        if path.startswith("/"):
            raise UndecodableImage("missing", f"{path} is a path of another machine, not one below {self.spec}")
        joined = posixpath.normpath(f"{self._root}/{path}")
        top = self._root.strip("/").partition("/")[0]
        if joined.startswith("..") or (top and joined.strip("/").partition("/")[0] != top):
            raise UndecodableImage("missing", f"{path} leads out of {self.spec}")
        return joined

    def _name(self, name: str, folder: str) -> str:
        """The name of what was listed in `folder`, or nothing when it is no file or folder directly in it."""
        if self.protocol not in HTTP:
            name = name.rstrip("/")
            return "" if name == folder else posixpath.basename(name)
        # The links of a page: sorting (`?C=N`), the way up and mail addresses are no files.
        link = html.unescape(name).removeprefix(f"{folder}/").rstrip("/")
        if re.search(r"[/?#]|^[a-z]+:|^\.\.?$", link):
            return ""
        return unquote(link)

    def _of_one_file(self, trouble: Trouble, path: str) -> DataError:
        # Without a connection no other file of the tree can be read either: the work ends here.
        shown = self._shown(path)
        return trouble.as_data_error(shown) if trouble.kind == "unreachable" else trouble.as_image_outcome(shown)

    def _shown(self, path: str) -> str:
        return f"{self._address.rstrip('/')}/{path}" if path else self._address


def _file_system_class(protocol: str) -> Any:
    if protocol in _NO_PLACES:
        raise DataError(
            f"an address that begins with {protocol}:// was given",
            expected="the address of a folder, a table, a list, an archive or a Parquet file",
            remedy="name the file or folder itself, as https://host/photos.zip",
        )
    registry = importlib.import_module("fsspec.registry")
    known = sorted({*registry.known_implementations, *registry.registry})
    if protocol not in known:
        raise DataError(
            f"the protocol {protocol}:// is not known{did_you_mean(protocol, known)}",
            expected="s3://, gs://, https://, ftp://, hf://datasets/OWNER/NAME, or another one that fsspec knows",
            remedy="check the address",
        )
    try:
        return registry.get_filesystem_class(protocol)
    except ImportError as error:
        raise _missing_package(protocol, str(error)) from error


def _missing_package(protocol: str, words: str) -> MissingDependencyError:
    if protocol in _IN_THE_EXTRA:
        return MissingDependencyError(
            f"the package that reads {protocol}:// is not installed: {words}",
            expected="aiohttp for https://, s3fs for s3://, gcsfs for gs://",
            remedy="pip install 'eyebright[remote]'",
        )
    return MissingDependencyError(
        f"the package that reads {protocol}:// is not installed",
        expected="the package that fsspec needs for it",
        remedy=f"install that package: {words}",
    )


def _quiet() -> None:
    """Keep what the packages log out of the user's screen, which gets our words for it; a real log still gets it."""
    for name in ("fsspec", "s3fs", "gcsfs", "aiobotocore", "botocore", "google"):
        logger = logging.getLogger(name)
        if not logger.handlers:
            logger.addHandler(logging.NullHandler())


def _options(protocol: str) -> dict[str, Any]:
    """How a file system is to be opened: no stale listings, no endless waiting, files as they lie on the server."""
    options: dict[str, Any] = {"skip_instance_cache": True, "use_listings_cache": False}
    if protocol in HTTP:
        aiohttp = importlib.import_module("aiohttp")
        limits = aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_SECONDS, sock_read=TIMEOUT_SECONDS)
        # `trust_env`: proxies and ~/.netrc. Without `identity` a packed file would come unpacked.
        client = {"timeout": limits, "trust_env": True}
        options |= {"client_kwargs": client, "headers": {"Accept-Encoding": "identity"}}
    elif protocol == "ftp":
        options |= {"timeout": TIMEOUT_SECONDS}
    return options


def _pause(seconds: float) -> None:
    time.sleep(seconds)
