"""CIFAR-10 by the PyPI package airbench (Keller Jordan 2024, arXiv:2404.00498): a peer of bench_gpu.py.

    python benchmarks/peer_airbench.py --images cifar10.npz --goal 94 --runs 5

An older and slower recipe than the record with Muon. It needs a CUDA device. `--images` is what cifar10net.py writes;
the package would otherwise download the set. A warm-up comes first; the figures are the seconds of training alone, on
images that lie on the device, scoring left out. The recipe's constants were chosen on the test images by its author.
The last line of the output is JSON.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import tempfile
import time
from importlib import metadata
from pathlib import Path

import airbench
import airbench.utils
import numpy as np
import torch

CLASSES = ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"]


def main() -> None:
    """Warm up, train, score, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=Path, required=True)
    parser.add_argument("--goal", type=int, choices=(94, 96), required=True)
    parser.add_argument("--runs", type=int, default=5)
    given = parser.parse_args()

    train = getattr(airbench, f"train{given.goal}")
    warm_up = getattr(airbench, f"warmup{given.goal}")
    with np.load(given.images) as arrays, tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        Path("cifar10").mkdir()
        for split in ("train", "test"):
            pixels, labels = (torch.from_numpy(arrays[f"{name}_{split}"]) for name in "xy")
            torch.save({"images": pixels, "labels": labels, "classes": CLASSES}, f"cifar10/{split}.pt")
        test = airbench.CifarLoader("cifar10", train=False, batch_size=2000)
        airbench.utils.CifarLoader = lambda *_, **__: test  # it would read the test images within the time of a run
        warm_up()
        figures, accuracies = [], []
        for run in range(given.runs):
            torch.manual_seed(run)
            images = loader(given.goal)
            torch.cuda.synchronize()
            began = time.perf_counter()
            model = train(train_loader=images, run=run, verbose=False)
            torch.cuda.synchronize()
            figures.append(time.perf_counter() - began)
            accuracies.append(float(airbench.evaluate(model, test, tta_level=2)))
        os.chdir("/")
    print(json.dumps({
        "figures": figures,
        "accuracies": accuracies,
        "peak_gib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20,
        "device": torch.cuda.get_device_name(),
        "versions": f"airbench {metadata.version('airbench')}, PyTorch {torch.__version__}",
    }))  # fmt: skip


def loader(goal: int) -> airbench.CifarLoader:
    """The training images as the recipe itself loads them when none are given."""
    settings = __import__(f"airbench.lib_airbench{goal}", fromlist=["hyp"]).hyp
    return airbench.CifarLoader(
        "cifar10", train=True, batch_size=settings["opt"]["batch_size"], aug=settings["aug"], altflip=True
    )


if __name__ == "__main__":
    main()
