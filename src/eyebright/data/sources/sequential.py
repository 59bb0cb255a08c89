"""Many images of one source read one after the other, in the order of their places in the files.

A source that can read neighbours together says so by two methods that no other source needs:

    read_many(names)   what `read` gives or raises for each, in the given order
    pieces(names)      int64 (N,), the part of a file that each is read with; ascending where the names are, or None
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import numpy as np
import numpy.typing as npt

from eyebright.data.sources.base import Source
from eyebright.decode import UndecodableImage

Content = bytes | npt.NDArray[np.uint8]
_READERS = 8  # of files: enough to keep a network disk busy, and few enough to stay near one place
_READ_AHEAD = 2 * _READERS


def read_in_order(source: Source, names: Sequence[str]) -> Iterator[Content | UndecodableImage]:
    """What `source.read` gives or raises for each of these, in this order; they should be in that of the files."""
    inner: Any = source
    if hasattr(inner, "read_many"):
        yield from inner.read_many(names)
        return
    pending: deque[Future[Content | UndecodableImage]] = deque()
    pool = ThreadPoolExecutor(_READERS, thread_name_prefix="eyebright-read")

    def read(name: str) -> Content | UndecodableImage:
        try:
            return source.read(name)
        except UndecodableImage as error:
            return error

    try:
        for name in names:
            pending.append(pool.submit(read, name))
            if len(pending) > _READ_AHEAD:
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def pieces_of(source: Source, names: Iterable[str]) -> npt.NDArray[np.int64] | None:
    """The part of a file that each image is read with, int64 (N,); None where each is read by itself."""
    inner: Any = source
    found: npt.NDArray[np.int64] | None = inner.pieces(names) if hasattr(inner, "pieces") else None
    return found
