"""Our side of bench.py's feature rows: EfficientNet-Lite0 in the runtime that the trial on this machine chose.

    python benchmarks/our_features.py --size 224

uint8 pixels (32, size, size, 3) in memory to features (32, 1280), normalisation included; nothing is decoded. The
trial and the export of the graph come before the clock. The last line of the output is JSON.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from pathlib import Path
from typing import Any

NETWORK = "tf_efficientnet_lite0"
MANY_IMAGES = 100_000  # so many that a trial pays


def chosen_runtime(size: int, pixels: Any, cache: Path) -> Any:
    """What Eyebright takes for many images on this machine (eyebright.runtimes.trial.Chosen)."""
    import torch

    from eyebright.models.catalog import create_network, network_facts
    from eyebright.preprocess import Preprocess
    from eyebright.runtimes.trial import choose_runtime

    network = create_network(NETWORK, classes=2, pretrained=True).eval()
    facts = network_facts(NETWORK)
    return choose_runtime(
        network, Preprocess(size=size, mean=facts.mean, std=facts.std), device=torch.device("cpu"), samples=[pixels],
        images=MANY_IMAGES, graph=lambda: cache / "graph.onnx",
    )  # fmt: skip


def main() -> None:
    """Warm up, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, required=True)
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--seconds", type=float, default=4.0, help="length of one repeat")
    parser.add_argument("--repeats", type=int, default=3)
    given = parser.parse_args()

    import numpy as np

    from eyebright.allocator import keep_freed_memory, peak_memory_bytes

    keep_freed_memory()
    pixels = np.random.default_rng(0).integers(0, 256, (given.batch_size, given.size, given.size, 3), dtype=np.uint8)
    with tempfile.TemporaryDirectory() as cache:
        chosen = chosen_runtime(given.size, pixels, Path(cache))
        for _ in range(2):
            chosen.run(pixels)
        figures = []
        for _ in range(given.repeats):
            began, batches = time.perf_counter(), 0
            while (passed := time.perf_counter() - began) < given.seconds:
                assert chosen.run(pixels).shape == (given.batch_size, 1280)
                batches += 1
            figures.append(batches * given.batch_size / passed)
    print(json.dumps({
        "figures": figures,
        "peak_gib": peak_memory_bytes() / 2**30,
        "versions": f"features by {chosen.runtime}, chosen among {', '.join(chosen.tried)}",
        "sentence": chosen.sentence,
    }))  # fmt: skip


if __name__ == "__main__":
    main()
