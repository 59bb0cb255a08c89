"""What a classifier costs to keep and to run on this machine."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
from torch import nn

from eyebright.bundle import ONNX_FILE, WEIGHTS_FILE, Bundle
from eyebright.classifier import Classifier
from eyebright.data.probing import available_cores
from eyebright.models.catalog import count_parameters

WARM_UP, MOST_CALLS, MOST_SECONDS = 3, 100, 3.0


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
    classifier = Classifier(bundle)
    pixels = bundle.golden().pixels[:1]
    times: list[float] = []
    started = time.perf_counter()
    for call in range(WARM_UP + MOST_CALLS):
        begun = time.perf_counter()
        classifier.predict_pixels(pixels)
        if call >= WARM_UP:
            times.append(1000 * (time.perf_counter() - begun))
        if times and time.perf_counter() - started > MOST_SECONDS:
            break
    p50, p99 = np.percentile(times, [50, 99])
    return {
        "parameters": count_parameters(network),
        "weights_bytes": bundle.file(WEIGHTS_FILE).stat().st_size,
        "onnx_bytes": bundle.file(ONNX_FILE).stat().st_size,
        "latency_ms": {"p50": float(p50), "p99": float(p99), "calls": len(times), "threads": available_cores()},
        "images_per_second": images_per_second,
    }
