"""Opening what an address names: a folder, a pattern, or one file that is fetched first."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path, PurePosixPath

from eyebright.data.sources import hf_parquet
from eyebright.data.sources.address import HTTP, file_name, parent, printable, protocol_of
from eyebright.data.sources.base import Source
from eyebright.data.sources.fetch import fetch_file, fetch_files
from eyebright.data.sources.folder import IMAGE_SUFFIXES
from eyebright.data.sources.metadata import FILE_NAMES
from eyebright.data.sources.pattern import PatternSource, is_pattern
from eyebright.data.sources.remote import Connection, RemoteTree
from eyebright.data.sources.tree import Tree
from eyebright.data.sources.trouble import Trouble
from eyebright.errors import DataError

# Opens a file of this machine; what it names lies in the tree.
OpenFile = Callable[[Path, str, Tree], Source]
OpenTree = Callable[[Tree, str], Source]

_SHOWN_NAMES = 8
# `labels.csv` is a file; `v1.0` is none, and neither is a page.
_FILE_SUFFIX = re.compile(r"\.(?!html?$|php$|aspx?$)[a-z][a-z0-9]{1,7}$|-ubyte$", re.IGNORECASE)


def open_address(address: str, *, open_file: OpenFile, open_tree: OpenTree) -> Source:
    """Open the images at `address`.

    Args:
        address: a folder of images, a table, a list, an archive or a Parquet file, or a pattern.
        open_file: opens a fetched file.
        open_tree: opens a folder of images.

    Raises:
        DataError: there is nothing, it may not be read, or no server answers.
        MissingDependencyError: the package for this protocol is not installed.
    """
    connection = Connection(address)
    spec = printable(address)
    if _has_wildcards(address) and not _is_there(address, connection):
        base, segments = _fixed_part(address)
        return PatternSource(RemoteTree(base, connection), segments, spec)
    if not _is_file(address, connection):
        return _open_folder(address, connection, spec, open_tree)
    if PurePosixPath(file_name(address)).suffix.lower() in IMAGE_SUFFIXES:
        raise DataError(
            f"{spec} is a single image",
            expected="many labelled images: a folder with a folder for each class, or a table",
            remedy="point to the folder above, or to a table that names the images",
        )
    return open_file(fetch_file(address, connection), spec, RemoteTree(parent(address), connection))


def _open_folder(address: str, connection: Connection, spec: str, open_tree: OpenTree) -> Source:
    tree = RemoteTree(address, connection)
    shards = _parquet_files(tree)
    if shards:
        addresses = [f"{address.rstrip('/')}/{path}" for path in shards]
        folder = fetch_files(addresses, shards, connection)
        with_images = hf_parquet.find_shards(folder)
        if with_images:
            return hf_parquet.HfParquetSource(folder, with_images, spec)
    source = open_tree(tree, spec)
    if next(iter(source.items()), None) is None:
        names = [f"{entry.name}/" if entry.kind == "folder" else entry.name for entry in tree.entries("")]
        more = f" and {len(names) - _SHOWN_NAMES} more" if len(names) > _SHOWN_NAMES else ""
        raise DataError(
            f"there are no images at {spec}: "
            + (f"found {', '.join(names[:_SHOWN_NAMES])}{more}" if names else "the server lists nothing there"),
            expected="a folder of images for each class; over https:// a page that links to its files",
            remedy="name a table of the images, or an archive",
        )
    return source


def _parquet_files(tree: RemoteTree) -> list[str]:
    """Parquet files that may hold images, in the folder or in its folder `data`."""
    entries = tree.entries("")
    found = [entry.name for entry in entries if entry.kind == "file"]
    if not any(name.endswith(".parquet") for name in found) and any(entry.name == "data" for entry in entries):
        found = [f"data/{entry.name}" for entry in tree.entries("data") if entry.kind == "file"]
    return [name for name in found if name.endswith(".parquet") and name not in FILE_NAMES]


def _is_file(address: str, connection: Connection) -> bool:
    if connection.protocol in HTTP:  # a server of pages does not tell them apart
        return not address.endswith("/") and _FILE_SUFFIX.search(file_name(address)) is not None
    try:
        return bool(connection.info(connection.path(address))["type"] != "directory")
    except Trouble as trouble:
        raise trouble.as_data_error(address) from None


def _is_there(address: str, connection: Connection) -> bool:
    if connection.protocol in HTTP:
        return False
    try:
        connection.info(connection.path(address))
    except Trouble as trouble:
        if trouble.kind == "missing":
            return False
        raise trouble.as_data_error(address) from None
    return True


def _has_wildcards(address: str) -> bool:
    """Over http a `?` begins a query."""
    path = address.partition("://")[2]
    return is_pattern(path.partition("?")[0] if protocol_of(address) in HTTP else path)


def _fixed_part(address: str) -> tuple[str, list[str]]:
    protocol, _, rest = address.partition("://")
    parts = rest.split("/")
    # The first part is the host or the bucket.
    first = next(number for number, part in enumerate(parts) if number > 0 and is_pattern(part))
    return f"{protocol}://{'/'.join(parts[:first])}", [part for part in parts[first:] if part]
