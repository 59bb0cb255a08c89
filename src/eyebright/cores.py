"""How many cores this process may use, and what they can do: as Linux tells it, and no more than that elsewhere.

A container often sees all cores of its host and may use a few. Its share is a quota of time in a control group
(cgroup), which neither `os.cpu_count` nor torch or OpenMP look at: as many threads as there are cores then wait for
each other.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

_SYSTEM = Path("/")
_BFLOAT16_FLAGS = frozenset({"avx512_bf16", "amx_bf16", "bf16"})  # two of x86, and Arm's


def available_cores() -> int:
    """Cores that this process may use: by its affinity, and by the quota of its control group, rounded down."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quota = core_quota()
    return cores if quota is None else max(1, min(cores, math.floor(quota)))


def physical_cores(system: Path = _SYSTEM) -> int:
    """Physical cores among those that this process may use; all of them where hyperthreads cannot be told apart."""
    available = available_cores()
    if not hasattr(os, "sched_getaffinity"):
        return available
    siblings = set()
    for number in os.sched_getaffinity(0):
        topology = system / f"sys/devices/system/cpu/cpu{number}/topology"
        try:
            siblings.add((topology / "thread_siblings_list").read_text(encoding="ascii").strip())
        except OSError:
            return available
    return min(available, len(siblings))


def core_quota(system: Path = _SYSTEM) -> float | None:
    """Cores' worth of time that the control groups of this process grant it; None where they set no limit.

    Both versions are read: `cpu.max` of version 2, `cpu.cfs_quota_us` of version 1. The strictest limit counts, from
    the process's own group up to the root: inside a container that root is the container's.
    """
    try:
        lines = (system / "proc/self/cgroup").read_text(encoding="utf-8").splitlines()
    except OSError:
        return None
    quotas = []
    for line in lines:
        _, controllers, group = line.split(":", 2)
        if not controllers:
            roots = [system / "sys/fs/cgroup", system / "sys/fs/cgroup/unified"]
            quotas += [_quota_2(folder) for folder in _upwards(roots, group)]
        elif "cpu" in controllers.split(","):
            roots = [system / "sys/fs/cgroup" / controllers, system / "sys/fs/cgroup/cpu"]
            quotas += [_quota_1(folder) for folder in _upwards(roots, group)]
    return min((quota for quota in quotas if quota is not None), default=None)


def has_bfloat16(system: Path = _SYSTEM) -> bool:
    """Whether the CPU multiplies bfloat16 by itself (AVX512_BF16, AMX or Arm's); where that is unknown, it does not."""
    try:
        lines = (system / "proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return False
    flags = next((line.partition(":")[2] for line in lines if line.startswith(("flags", "Features"))), "")
    return not _BFLOAT16_FLAGS.isdisjoint(flags.split())


def _upwards(roots: list[Path], group: str) -> Iterator[Path]:
    """The folders of a group and of those above it. Inside a container the path may be the host's: only its root is."""
    inside = PurePosixPath(group.lstrip("/"))
    for root in roots:
        yield root / inside
        yield from (root / above for above in inside.parents)


def _quota_2(folder: Path) -> float | None:
    try:
        quota, period = (folder / "cpu.max").read_text(encoding="ascii").split()
        return None if quota == "max" else int(quota) / int(period)
    except (OSError, ValueError):
        return None


def _quota_1(folder: Path) -> float | None:
    try:
        quota, period = (
            int((folder / name).read_text(encoding="ascii")) for name in ("cpu.cfs_quota_us", "cpu.cfs_period_us")
        )
        return quota / period if quota > 0 and period > 0 else None
    except (OSError, ValueError):
        return None
