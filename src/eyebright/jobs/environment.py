"""What surrounds a run: versions, hardware, the exact command and the state of the user's repository."""

from __future__ import annotations

import datetime
import os
import platform
import subprocess
import sys
from importlib import metadata
from pathlib import Path
from typing import Any

import torch

from eyebright.allocator import peak_memory_bytes
from eyebright.cores import available_cores, physical_cores
from eyebright.data.sources.address import without_secrets
from eyebright.training.threads import default_threads

PACKAGES = (
    "eyebright",
    "torch",
    "torchvision",
    "timm",
    "numpy",
    "pillow",
    "pyarrow",
    "scikit-learn",
    "onnx",
    "onnxruntime",
    "safetensors",
)


def versions() -> dict[str, str]:
    """Versions of Python and of the packages that results depend on."""
    found = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            found[package] = "not installed"
    return found


def now() -> str:
    """The time in UTC, ISO 8601, in seconds."""
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")


def describe_environment(device: torch.device, *, allocator: bool) -> dict[str, Any]:
    """Facts for `environment.json`; see `finished` for what is added at the end."""
    return {
        "created": now(),
        "command": [without_secrets(argument) for argument in sys.argv],
        "versions": versions(),
        "platform": platform.platform(),
        "processor": _processor(),
        "cores": os.cpu_count(),
        "usable_cores": available_cores(),
        "physical_cores": physical_cores(),
        "threads": default_threads(),  # unless the plan says otherwise, in compute.threads
        "memory_bytes": _memory_bytes(),
        "device": _device_name(device),
        "keeps_freed_memory": allocator,
        "git": _git_state(Path.cwd()),
    }


def peak_memory(device: torch.device) -> dict[str, int]:
    """The largest memory use so far, in bytes."""
    peaks = {"peak_memory_bytes": peak_memory_bytes()}
    if device.type == "cuda":
        peaks["peak_gpu_memory_bytes"] = int(torch.cuda.max_memory_allocated(device))
    return peaks


def _device_name(device: torch.device) -> str:
    return torch.cuda.get_device_name(device) if device.type == "cuda" else device.type


def _processor() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass  # not Linux: the platform module has a coarser answer
    return platform.processor() or platform.machine()


def _memory_bytes() -> int | None:
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (ValueError, OSError, AttributeError):
        return None


def _git_state(folder: Path) -> dict[str, Any] | None:
    def git(*arguments: str) -> str:
        return subprocess.run(
            ["git", *arguments], cwd=folder, capture_output=True, text=True, timeout=5, check=True
        ).stdout.strip()

    try:
        return {
            "commit": git("rev-parse", "HEAD"),
            "changed": bool(git("status", "--porcelain", "--untracked-files=no")),
        }
    except (OSError, subprocess.SubprocessError):
        return None  # not a repository, or no git
