"""What a benchmark says of the machine that it ran on, so that its figures can be read later."""

from __future__ import annotations

import os
import platform
import time
from importlib import metadata
from pathlib import Path


def describe() -> str:
    """One line: processor, cores, load, versions, date."""
    name = next(
        (
            line.partition(":")[2].strip()
            for line in Path("/proc/cpuinfo").read_text().splitlines()
            if "model name" in line
        ),
        platform.processor(),
    )
    versions = ", ".join(
        f"{package} {metadata.version(package)}" for package in ("torch", "timm", "pillow", "onnxruntime")
    )
    load = os.getloadavg()[0]
    return f"{name}, {os.cpu_count()} cores, load {load:.1f} at start, {versions}, {time.strftime('%Y-%m-%d')}"
