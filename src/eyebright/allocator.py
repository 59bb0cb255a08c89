"""Keep freed memory instead of handing it back to the kernel, where that makes a CPU training step faster.

A step allocates and frees large temporary tensors. glibc returns them to the kernel, which must zero and map every
page again at the next step: that costs more than half of the time of a small network on a CPU. Three `mallopt`
settings keep the memory in the process. They raise the resident size, so they belong into the process that computes,
never into a loader, and the peak is reported with every run.
"""

from __future__ import annotations

import ctypes
import os
import resource
import sys

_M_TRIM_THRESHOLD, _M_TOP_PAD, _M_MMAP_MAX = -1, -2, -4
_TRIM_THRESHOLD_BYTES = 2**31 - 1
_TOP_PAD_BYTES = 2**28


def keep_freed_memory() -> bool:
    """Set the allocator of this process to keep freed memory; call it before the first large tensor.

    `EYEBRIGHT_ALLOCATOR=system` leaves the allocator alone.

    Returns:
        True when all settings were accepted; False on other C libraries or when the user asked for none.
    """
    if os.environ.get("EYEBRIGHT_ALLOCATOR") == "system" or not sys.platform.startswith("linux"):
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):
        return False
    settings = ((_M_MMAP_MAX, 0), (_M_TRIM_THRESHOLD, _TRIM_THRESHOLD_BYTES), (_M_TOP_PAD, _TOP_PAD_BYTES))
    accepted = [mallopt(parameter, value) == 1 for parameter, value in settings]  # all are set, whatever the first says
    return all(accepted)


def peak_memory_bytes() -> int:
    """The largest resident size that this process has had so far, in bytes."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
