"""Work done ahead of time in threads, handed over in order, never more of it than was agreed.

Whoever consumes the results works at the same time as the threads: while a network looks at one batch of images, the
next ones are decoded. Python threads are enough, because Pillow, pyarrow and ONNX Runtime free the interpreter while
they compute.
"""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

_Item = TypeVar("_Item")
_Result = TypeVar("_Result")


def looked_ahead(
    work: Callable[[_Item], _Result], items: Iterable[_Item], *, threads: int, ahead: int
) -> Generator[_Result, None, None]:
    """`work` of every item, in order, done in threads while the caller is busy with former results.

    Args:
        work: may be called from several threads at once. What it raises is raised where its result would have come.
        items: taken one by one as results are handed over; may be endless.
        threads: how many work at once.
        ahead: items that are worked on or wait for the caller, at most; memory does not depend on anything else.
    """
    pending: deque[Future[_Result]] = deque()
    rest = iter(items)
    pool = ThreadPoolExecutor(max(1, threads), thread_name_prefix="look-ahead")
    try:
        for item in itertools.islice(rest, max(1, ahead)):
            pending.append(pool.submit(work, item))
        while pending:
            result = pending.popleft().result()
            for item in itertools.islice(rest, 1):
                pending.append(pool.submit(work, item))
            yield result
    finally:
        # After an error, Ctrl-C or a caller that wants no more: what was not begun is not begun.
        pool.shutdown(wait=True, cancel_futures=True)


def in_groups(items: Iterable[_Item], size: int) -> Iterator[list[_Item]]:
    """Lists of `size` items, the last one shorter."""
    rest = iter(items)
    while group := list(itertools.islice(rest, size)):
        yield group
