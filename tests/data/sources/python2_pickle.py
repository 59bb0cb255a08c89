"""Writes pickles as Python 2 did, byte for byte: the form in which CIFAR's files are published."""

from __future__ import annotations

import struct
from collections.abc import Callable

import numpy as np

_BATCH = 1000


def dumps(value: object) -> bytes:
    """Protocol 2 with `str` as bytes; for None, numbers, bytes, lists, tuples, dictionaries and arrays."""
    return b"\x80\x02" + _Writer().save(value) + b"."


class _Writer:
    def __init__(self) -> None:
        self._stored = 0

    def save(self, value: object) -> bytes:
        if value is None:
            return b"N"
        if isinstance(value, bool):
            return b"\x88" if value else b"\x89"
        if isinstance(value, int):
            return self._integer(value)
        if isinstance(value, bytes):
            head = b"U" + bytes([len(value)]) if len(value) < 256 else b"T" + struct.pack("<i", len(value))
            return head + value + self._store()
        if isinstance(value, tuple):
            return self._tuple(value)
        if isinstance(value, list):
            return b"]" + self._store() + self._batches([self._lazy(item) for item in value], b"a", b"e")
        if isinstance(value, dict):
            pairs = [self._lazy(*pair) for pair in value.items()]
            return b"}" + self._store() + self._batches(pairs, b"s", b"u")
        assert isinstance(value, np.ndarray)
        return self._array(value)

    def _store(self) -> bytes:
        self._stored += 1
        return b"q" + bytes([self._stored]) if self._stored < 256 else b"r" + struct.pack("<I", self._stored)

    def _lazy(self, *values: object) -> Callable[[], bytes]:
        return lambda: b"".join(self.save(value) for value in values)

    @staticmethod
    def _batches(items: list[Callable[[], bytes]], one: bytes, several: bytes) -> bytes:
        written = b""
        for start in range(0, len(items), _BATCH):
            part = items[start : start + _BATCH]
            body = b"".join(item() for item in part)
            written += body + one if len(part) == 1 else b"(" + body + several
        return written

    @staticmethod
    def _integer(value: int) -> bytes:
        if 0 <= value < 256:
            return b"K" + bytes([value])
        if 0 <= value < 65536:
            return b"M" + struct.pack("<H", value)
        return b"J" + struct.pack("<i", value)

    def _tuple(self, values: tuple[object, ...]) -> bytes:
        if not values:
            return b")"
        body = b"".join(self.save(value) for value in values)
        return (body + bytes([0x84 + len(values)]) if len(values) < 4 else b"(" + body + b"t") + self._store()

    def _array(self, array: np.ndarray) -> bytes:
        # NumPy's own state, under the names that it had then.
        _, _, (version, shape, kind, by_columns, raw) = array.__reduce__()
        written = b"cnumpy.core.multiarray\n_reconstruct\n" + self._store()
        written += b"cnumpy\nndarray\n" + self._store() + self._tuple((0,)) + self.save(b"b")
        written += b"\x87" + self._store() + b"R" + self._store()
        state = b"(" + self.save(version) + self._tuple(shape)
        state += b"cnumpy\ndtype\n" + self._store() + self._tuple((kind.str[1:].encode(), 0, 1))
        state += b"R" + self._store() + b"(" + b"".join(map(self.save, (3, kind.str[:1].encode(), None, None, None)))
        state += b"".join(map(self.save, (-1, -1, 0))) + b"t" + self._store() + b"b"
        return written + state + self.save(by_columns) + self.save(raw) + b"t" + self._store() + b"b"
