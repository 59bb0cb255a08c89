"""Every random state that a process has: torch on the CPU and on each device, NumPy's global one, Python's.

They are kept as tensors and plain values, so that a checkpoint needs no pickle.
"""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import torch


def capture() -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    """All random states as tensors (uint8 for torch's, int64 for the others) and as plain values for JSON.

    CUDA is asked only where this process has used it: asking would start it.
    """
    version, words, next_gauss = random.getstate()
    numpy_state: Any = np.random.get_state(legacy=True)
    tensors = {
        "torch-cpu": torch.get_rng_state(),
        "python": torch.tensor(words, dtype=torch.int64),
        "numpy": torch.from_numpy(numpy_state[1].astype(np.int64)),
    }
    if torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
        tensors |= {f"torch-cuda-{number}": state for number, state in enumerate(torch.cuda.get_rng_state_all())}
    if torch.backends.mps.is_available():
        tensors["torch-mps"] = torch.mps.get_rng_state()
    values = {
        "python": {"version": version, "next_gauss": next_gauss},
        "numpy": {
            "algorithm": str(numpy_state[0]),
            "position": int(numpy_state[2]),
            "has_gauss": int(numpy_state[3]),
            "cached_gauss": float(numpy_state[4]),
        },
    }
    return tensors, values


def restore(tensors: dict[str, torch.Tensor], values: dict[str, Any]) -> tuple[str, ...]:
    """Put back what `capture` gave.

    Returns:
        Names of the states of devices that are not here, such as `torch-cuda-1`: their numbers will be others.
    """
    random.setstate((values["python"]["version"], tuple(tensors["python"].tolist()), values["python"]["next_gauss"]))
    numpy_values = values["numpy"]
    np.random.set_state(
        (
            numpy_values["algorithm"],
            tensors["numpy"].numpy().astype(np.uint32),
            numpy_values["position"],
            numpy_values["has_gauss"],
            numpy_values["cached_gauss"],
        )
    )
    torch.set_rng_state(tensors["torch-cpu"])
    devices = {f"torch-cuda-{number}": number for number in range(torch.cuda.device_count())}
    absent = []
    for name, state in tensors.items():
        if name in devices:
            torch.cuda.set_rng_state(state, devices[name])
        elif name == "torch-mps" and torch.backends.mps.is_available():
            torch.mps.set_rng_state(state)
        elif name.startswith(("torch-cuda-", "torch-mps")):
            absent.append(name)
    return tuple(absent)
