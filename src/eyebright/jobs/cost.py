"""What a classifier costs to keep and to run on this machine."""

from __future__ import annotations

from typing import Any

import numpy as np
from torch import nn

from eyebright.bundle import ONNX_FILE, WEIGHTS_FILE, Bundle
from eyebright.classifier import Classifier
from eyebright.data.probing import available_cores
from eyebright.jobs.timing import latencies_ms
from eyebright.models.catalog import count_parameters
from eyebright.progress import Silent

MOST_CALLS, MOST_SECONDS = 100, 3.0


def measure_cost(bundle: Bundle, network: nn.Module, *, images_per_second: float) -> dict[str, Any]:
    """Parameters, sizes in bytes, and the time for one image from pixels to answer.

    Args:
        bundle: what runs, on ONNX Runtime.
        network: the same in torch, to count its parameters.
        images_per_second: measured elsewhere, over many images.

    Returns:
        Plain values: `parameters, weights_bytes, onnx_bytes, latency_ms` (`p50`, `p99`, `calls`, `threads`),
        `images_per_second`.
    """
    (times,) = latencies_ms(
        {bundle.path: Classifier(bundle)}, rounds=MOST_CALLS, most_seconds=MOST_SECONDS, progress=Silent()
    ).values()
    p50, p99 = np.percentile(times, [50, 99])
    return {
        "parameters": count_parameters(network),
        "weights_bytes": bundle.file(WEIGHTS_FILE).stat().st_size,
        "onnx_bytes": bundle.file(ONNX_FILE).stat().st_size,
        "latency_ms": {"p50": float(p50), "p99": float(p99), "calls": len(times), "threads": available_cores()},
        "images_per_second": images_per_second,
    }
