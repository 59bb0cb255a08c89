"""How many threads the arithmetic has on a CPU, while something is computed.

torch starts one for each core that it sees. In a container that sees 64 cores and may use two of them, 64 threads wait
for each other, so there are never more than the cores that this process may use. Two hyperthreads share the units of
one core: whether one thread a core or two are faster depends on the network, and is measured when training is long.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import torch

from eyebright.cores import available_cores, physical_cores


def default_threads() -> int:
    """Threads where none were asked for: torch's own number, but never more than the cores that may be used.

    torch's number is what `OMP_NUM_THREADS` or `torch.set_num_threads` say, so both keep their say.
    """
    return min(torch.get_num_threads(), available_cores())


@contextlib.contextmanager
def arithmetic_threads(count: int | None) -> Iterator[int]:
    """Compute with `count` threads, or `default_threads()` for None, while the context is open; gives their number."""
    former = torch.get_num_threads()
    threads = count or default_threads()
    if threads == former:
        yield threads  # asking torch for what it has would still start a pool
        return
    torch.set_num_threads(threads)
    try:
        yield threads
    finally:
        torch.set_num_threads(former)


def threads_in_question() -> tuple[int, ...]:
    """Numbers of threads worth a trial: one for each physical core, and one for each hyperthread; else none."""
    physical, available = physical_cores(), available_cores()
    if physical == available or torch.get_num_threads() < physical:  # fewer were asked for
        return ()
    return physical, available
