"""One pass of torchvision's ImageFolder through a DataLoader with 2 workers: a peer of bench.py.

    python benchmarks/peer_torch_loader.py FOLDER --size 224

`Resize`, `ToTensor`, batches of 32. Nothing of Eyebright is imported. The last line of the output is JSON.
"""

from __future__ import annotations

import argparse
import json
import resource
import time
from pathlib import Path

import torchvision
from torch.utils.data import DataLoader
from torchvision import datasets, transforms


def main() -> None:
    """Measure, and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--size", type=int, default=224)
    given = parser.parse_args()

    look = transforms.Compose([transforms.Resize((given.size, given.size)), transforms.ToTensor()])
    began = time.perf_counter()
    loader = DataLoader(datasets.ImageFolder(str(given.data), look), batch_size=32, num_workers=2)
    count = sum(len(targets) for _, targets in loader)
    seconds = time.perf_counter() - began
    print(json.dumps({
        "figures": [count / seconds],
        "images": count,
        "peak_gib": max(resource.getrusage(who).ru_maxrss
                        for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)) / 2**20,
        "versions": f"torchvision {torchvision.__version__}",
    }))  # fmt: skip


if __name__ == "__main__":
    main()
