"""Files from an address, fetched once: a table, a list, an archive, the Parquet files of a data set.

They lie in the cache under a key of their addresses and of what the server says about their version (ETag, time,
size). One that changes is fetched again; one whose server says nothing about its version is fetched each time.
Everything in the cache can be deleted at any time.
"""

from __future__ import annotations

import hashlib
import json
import logging
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from eyebright.atomic import replacing_file
from eyebright.data.cache import default_cache
from eyebright.data.sources.address import file_name, printable
from eyebright.data.sources.remote import Connection
from eyebright.data.sources.trouble import Trouble
from eyebright.errors import DataError

_LOG = logging.getLogger(__name__)
# What file systems call the things that change with the content; in lower case.
_VERSION_FACTS = (
    *("etag", "last-modified", "lastmodified", "mtime", "updated", "modified", "created", "generation"),
    *("md5hash", "content-md5", "crc32c", "sha", "digest"),
)


def fetch_file(address: str, connection: Connection) -> Path:
    """The file at `address`, on this machine; raises as `fetch_files` does."""
    return fetch_files([address], [file_name(address)], connection) / _local_name(file_name(address))


def fetch_files(addresses: Sequence[str], names: Sequence[str], connection: Connection) -> Path:
    """A folder of this machine that holds the files at `addresses` under `names`.

    Args:
        addresses: one file each.
        names: paths within the folder, with forward slashes; letters that a file system may refuse become `_`.
        connection: to the server of all of them.

    Raises:
        DataError: a file is not there, may not be read, or no server answers.
        StorageError: the cache cannot be written.
    """
    facts = [_facts(address, connection) for address in addresses]
    # Two signed addresses of one file differ in their signature only: the key is without it.
    key = json.dumps([[printable(address), *fact] for address, fact in zip(addresses, facts, strict=True)])
    folder = default_cache() / "remote" / hashlib.blake2b(key.encode(), digest_size=16).hexdigest()
    for address, name, (version, size) in zip(addresses, names, facts, strict=True):
        target = folder / _local_name(name)
        if version and target.is_file():
            continue
        _LOG.info("fetching %s (%s bytes)", printable(address), "unknown" if size is None else size)
        with replacing_file(target) as temporary:
            try:
                connection.fetch(connection.path(address), temporary)
            except Trouble as trouble:
                raise trouble.as_data_error(address) from None
            _check_size(temporary, size, address)
    return folder


def _facts(address: str, connection: Connection) -> tuple[dict[str, str], int | None]:
    """What the server says about the version of a file, and its size in bytes."""
    try:
        facts = connection.info(connection.path(address))
    except Trouble as trouble:
        raise trouble.as_data_error(address) from None
    known = {key: facts[key] for key in sorted(facts) if key.lower() in _VERSION_FACTS and facts[key] is not None}
    size: Any = facts.get("size")
    return {key: str(value) for key, value in known.items()}, size if isinstance(size, int) else None


def _check_size(path: Path, size: int | None, address: str) -> None:
    received = path.stat().st_size
    if size is not None and received != size:
        raise DataError(
            f"{printable(address)} came incomplete: {received} of {size} bytes",
            expected="the whole file",
            remedy="try again",
        )


def _local_name(name: str) -> str:
    parts = [re.sub(r"[^\w.+-]", "_", part)[-100:] for part in name.split("/") if part not in ("", ".", "..")]
    return "/".join(parts) or "file"
