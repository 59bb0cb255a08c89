"""Images that a table or a list names: by a path beside it, or by an address of their own."""

from __future__ import annotations

import dataclasses
import threading
from collections.abc import Sequence
from urllib.parse import urlsplit

from eyebright.data.sources.address import HTTP, is_address, printable, protocol_of
from eyebright.data.sources.base import Item
from eyebright.data.sources.remote import Connection, RemoteTree
from eyebright.data.sources.tree import LocalTree, Tree
from eyebright.data.sources.trouble import Trouble
from eyebright.errors import DataError

_OF_THIS_MACHINE = ("file", "local", "memory")
# One connection reads from every server or bucket; with others, such as ftp, each server has its own.
_ONE_FOR_ALL = (*HTTP, "s3", "s3a", "gs", "gcs", "memory")


class ListedImages:
    """Reads what a table or list names. Paths are relative to `tree`; addresses are read as they are.

    A table that came from elsewhere may not name files of this machine by `file://`.
    """

    def __init__(self, tree: Tree) -> None:
        self._tree = tree
        self._addresses: dict[str, str] = {}
        self._connections: dict[tuple[str, str], Connection] = {}
        self._lock = threading.Lock()

    def named(self, items: Sequence[Item]) -> list[Item]:
        """The items, addresses without what gives access; `read` still knows them.

        Raises:
            DataError: an address of a protocol that may not be used here.
        """
        return [
            dataclasses.replace(item, source=self._name(item.source)) if is_address(item.source) else item
            for item in items
        ]

    def read(self, source: str) -> bytes:
        """The bytes of one image."""
        address = self._addresses.get(source)
        if address is None:
            return self._tree.read(source)
        try:
            connection = self._connection(address)
            return connection.read(connection.path(address))
        except Trouble as trouble:
            raise trouble.as_image_outcome(address) from None

    def _name(self, address: str) -> str:
        protocol = protocol_of(address)
        own = self._tree.protocol if isinstance(self._tree, RemoteTree) else None
        if protocol in _OF_THIS_MACHINE and protocol != own and not isinstance(self._tree, LocalTree):
            raise DataError(
                f"the table at {self._tree.spec} names a file of this machine: {printable(address)}",
                expected="paths relative to the table, or addresses that others can read too",
                remedy="correct that row",
            )
        self._connection(address)  # an unknown protocol or a missing package is told before anything is read
        name = shown = printable(address)
        number = 1
        while self._addresses.setdefault(name, address) != address:  # two addresses that differ in what is not shown
            number += 1
            name = f"{shown}#{number}"
        return name

    def _connection(self, address: str) -> Connection:
        protocol = protocol_of(address)
        server = (protocol, "" if protocol in _ONE_FOR_ALL else urlsplit(address).netloc)
        with self._lock:
            if server not in self._connections:
                self._connections[server] = Connection(address)
            return self._connections[server]
