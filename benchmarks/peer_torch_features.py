"""Features of EfficientNet-Lite0 by timm as its documentation shows it: a peer of bench.py.

    python benchmarks/peer_torch_features.py --size 224
    python benchmarks/peer_torch_features.py --size 224 --channels-last

`model.eval()`, `torch.no_grad()`, a batch of 32 normalised float images in NCHW that stays in memory; nothing is
decoded, nothing of Eyebright is imported. The last line of the output is JSON.
"""

from __future__ import annotations

import argparse
import json
import resource
import time

import timm
import torch

from main_job import lite0


def main() -> None:
    """Warm up, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, required=True)
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--seconds", type=float, default=4.0, help="length of one repeat")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--channels-last", action="store_true")
    given = parser.parse_args()

    model = lite0(0).eval()
    x = torch.rand(given.batch_size, 3, given.size, given.size) * 2 - 1
    if given.channels_last:
        model, x = model.to(memory_format=torch.channels_last), x.to(memory_format=torch.channels_last)
    figures = []
    with torch.no_grad():
        for _ in range(2):
            model(x)
        for _ in range(given.repeats):
            began, batches = time.perf_counter(), 0
            while (passed := time.perf_counter() - began) < given.seconds:
                assert model(x).shape == (given.batch_size, 1280)
                batches += 1
            figures.append(batches * given.batch_size / passed)
    print(json.dumps({
        "figures": figures,
        "peak_gib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20,
        "versions": f"timm {timm.__version__}, PyTorch {torch.__version__}, {torch.get_num_threads()} threads",
    }))  # fmt: skip


if __name__ == "__main__":
    main()
