"""How many cores a process may use, from files as Linux writes them."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

import eyebright.cores
from eyebright.cores import available_cores, core_quota, has_bfloat16, physical_cores

USABLE = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def put(root: Path, path: str, text: str) -> None:
    (root / path).parent.mkdir(parents=True, exist_ok=True)
    (root / path).write_text(text)


def test_version_2_the_strictest_group_counts(tmp_path: Path) -> None:
    put(tmp_path, "proc/self/cgroup", "0::/system/job\n")
    put(tmp_path, "sys/fs/cgroup/system/job/cpu.max", "max 100000\n")
    put(tmp_path, "sys/fs/cgroup/system/cpu.max", "250000 100000\n")
    put(tmp_path, "sys/fs/cgroup/cpu.max", "800000 100000\n")
    assert core_quota(tmp_path) == 2.5


def test_version_2_without_a_limit(tmp_path: Path) -> None:
    put(tmp_path, "proc/self/cgroup", "0::/\n")
    put(tmp_path, "sys/fs/cgroup/cpu.max", "max 100000\n")
    assert core_quota(tmp_path) is None


def test_version_1_inside_a_container_whose_path_is_the_host_s(tmp_path: Path) -> None:
    put(tmp_path, "proc/self/cgroup", "5:memory:/docker/abc\n4:cpu,cpuacct:/docker/abc\n0::/\n")
    put(tmp_path, "sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us", "150000\n")
    put(tmp_path, "sys/fs/cgroup/cpu,cpuacct/cpu.cfs_period_us", "50000\n")
    assert core_quota(tmp_path) == 3.0


def test_version_1_without_a_limit_or_without_files(tmp_path: Path) -> None:
    assert core_quota(tmp_path) is None
    put(tmp_path, "proc/self/cgroup", "4:cpu:/\n")
    put(tmp_path, "sys/fs/cgroup/cpu/cpu.cfs_quota_us", "-1\n")
    put(tmp_path, "sys/fs/cgroup/cpu/cpu.cfs_period_us", "100000\n")
    assert core_quota(tmp_path) is None


@pytest.mark.parametrize(("quota", "cores"), [(None, USABLE), (0.4, 1), (1.9, 1), (1e6, USABLE)])
def test_a_quota_lowers_the_cores_and_never_below_one(
    quota: float | None, cores: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(eyebright.cores, "core_quota", lambda: quota)
    assert available_cores() == cores


def test_hyperthreads_of_one_core_count_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1, 2, 3})
    monkeypatch.setattr(eyebright.cores, "core_quota", lambda: None)
    for number in range(4):
        folder = f"sys/devices/system/cpu/cpu{number}/topology/thread_siblings_list"
        put(tmp_path, folder, f"{number % 2},{number % 2 + 2}\n")
    assert physical_cores(tmp_path) == 2
    assert physical_cores(tmp_path / "nowhere") == 4


@pytest.mark.parametrize(
    ("line", "has"),
    [
        ("flags\t\t: fpu avx512f avx512_bf16 clzero", True),
        ("flags\t\t: fpu amx_bf16 amx_tile", True),
        ("Features\t: fp asimd bf16 i8mm", True),
        ("flags\t\t: fpu avx2 avx512f avx512_vnni", False),
    ],
)
def test_bfloat16_is_read_from_the_flags(line: str, has: bool, tmp_path: Path) -> None:
    put(tmp_path, "proc/cpuinfo", f"processor\t: 0\nmodel name\t: some CPU\n{line}\n\nprocessor\t: 1\n")
    assert has_bfloat16(tmp_path) is has
    assert not has_bfloat16(tmp_path / "nowhere")
