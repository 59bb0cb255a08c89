"""Decoding once against decoding every epoch: images a second of the pack, and of a plain PIL + torchvision loader.

    python benchmarks/packing.py ../shared/data/trashnet --size 224

Both read the same files and end with uint8 or float tensors of the same size. The two take turns, three times; the
median and the range are printed. After that, epochs a second over the finished pack.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from pathlib import Path

from machine import describe


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--rounds", type=int, default=3)
    given = parser.parse_args()

    import numpy as np
    import torch
    from torch.utils.data import DataLoader
    from torchvision import datasets, transforms

    from eyebright.data.batches import PixelSet
    from eyebright.data.manifest import Manifest
    from eyebright.data.pack import pack_images
    from eyebright.data.sources import open_source
    from eyebright.preprocess import Preprocess

    print(describe())
    look = transforms.Compose([transforms.Resize((given.size, given.size)), transforms.ToTensor()])
    loader = DataLoader(datasets.ImageFolder(str(given.data), look), batch_size=32, num_workers=2)
    source = open_source(given.data)
    preprocess = Preprocess(size=given.size)
    rates: dict[str, list[float]] = {"plain loader": [], "scan": [], "pack": []}
    for _ in range(given.rounds):
        began = time.perf_counter()
        count = sum(len(targets) for _, targets in loader)
        rates["plain loader"].append(count / (time.perf_counter() - began))
        began = time.perf_counter()
        manifest = Manifest.scan(source)
        rates["scan"].append(manifest.table.num_rows / (time.perf_counter() - began))
        with tempfile.TemporaryDirectory() as cache:
            began = time.perf_counter()
            pack = pack_images(manifest, source, preprocess, cache=Path(cache))
            rates["pack"].append(len(pack.ids) / (time.perf_counter() - began))
            rows = np.arange(len(pack.ids))
            images = PixelSet(pack.pixels, rows, rows * 0, preprocess=preprocess, device=torch.device("cpu"))
            began = time.perf_counter()
            epochs = 3
            for epoch in range(epochs):
                for _batch in images.shuffled(32, seed=0, epoch=epoch):
                    pass
            rates.setdefault("epochs from the pack (images)", []).append(
                epochs * len(rows) / (time.perf_counter() - began)
            )
    for name, values in rates.items():
        print(f"{name:<32} {statistics.median(values):9.0f} images/s ({min(values):.0f} to {max(values):.0f})")
    epoch_rate = statistics.median(rates["epochs from the pack (images)"]) / len(rows)
    print(
        f"epochs from the pack             {epoch_rate:9.2f} epochs/s of {len(rows)} images, normalised float32 batches"
    )


if __name__ == "__main__":
    main()
