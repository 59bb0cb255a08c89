"""Fine-tuning EfficientNet-Lite0 by fastai's `fine_tune`: a peer of bench.py and of time_to_accuracy.py.

    python benchmarks/peer_fastai_finetune.py FOLDER --size 128 --epochs 2
    python benchmarks/peer_fastai_finetune.py rows.json --size 128 --epochs 2

A folder has `train` and `val` with a folder for each class; a file of rows holds (path, label, split), and its test
images are scored once, at the end. `aug_transforms`, 2 workers, `fine_tune(epochs)` with its default rates: one epoch
of the head, then the whole network, of whose epochs the images/s of the training are the figures. Nothing of Eyebright
is imported. The last line of the output is JSON.
"""

from __future__ import annotations

import argparse
import json
import resource
import time
from pathlib import Path
from typing import Any

import fastai
import pandas
import torch
from fastai.vision.all import (
    Callback,
    CategoryBlock,
    ColReader,
    ColSplitter,
    DataBlock,
    DataLoaders,
    ImageBlock,
    ImageDataLoaders,
    Learner,
    Normalize,
    Resize,
    accuracy,
    aug_transforms,
    default_split,
    set_seed,
)
from fastai.vision.learner import create_head
from torch import nn

from main_job import lite0


def loaders_of(given: argparse.Namespace) -> tuple[DataLoaders, Any]:
    """Training and validation images, and what gives the test images where there are any."""
    looks = [*aug_transforms(size=given.size), Normalize.from_stats([0.5] * 3, [0.5] * 3)]
    if given.data.is_dir():
        return ImageDataLoaders.from_folder(
            given.data, train="train", valid="val", item_tfms=Resize(given.size), bs=given.batch_size, num_workers=2,
            batch_tfms=looks,
        ), None  # fmt: skip
    rows = json.loads(given.data.read_text(encoding="utf-8"))
    frame = pandas.DataFrame(rows, columns=["path", "label", "split"])
    block = DataBlock(
        blocks=(ImageBlock, CategoryBlock), get_x=ColReader("path"), get_y=ColReader("label"),
        splitter=ColSplitter("is_valid"), item_tfms=Resize(given.size * 5 // 4), batch_tfms=looks,
    )  # fmt: skip
    learning = frame[frame.split != "test"].assign(is_valid=frame.split == "val")
    loaders = block.dataloaders(learning, bs=given.batch_size, num_workers=2)
    return loaders, loaders.test_dl(frame[frame.split == "test"], with_labels=True)


class Clock(Callback):
    """Images/s of the training part of every epoch."""

    def __init__(self) -> None:
        self.rates: list[float] = []

    def before_train(self) -> None:
        self.began, self.count = time.perf_counter(), 0

    def after_batch(self) -> None:
        if self.training:
            self.count += len(self.yb[0])

    def after_train(self) -> None:
        self.rates.append(self.count / (time.perf_counter() - self.began))


def main() -> None:
    """Train, and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--size", type=int, default=128)
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()

    set_seed(given.seed)
    loaders, test = loaders_of(given)
    body = lite0(0)
    body.global_pool = nn.Identity()
    network = nn.Sequential(body, create_head(1280, len(loaders.vocab)))
    clock = Clock()
    learner = Learner(loaders, network, metrics=accuracy, splitter=default_split, cbs=clock)
    with learner.no_bar(), learner.no_logging():
        learner.fine_tune(given.epochs)
        tested = {}
        if test is not None:
            probabilities, truth = learner.get_preds(dl=test)
            tested = {"accuracy": float(accuracy(probabilities, truth)), "test_images": len(truth)}
    print(json.dumps({
        **tested,
        "figures": clock.rates[1:],
        "val_accuracy": float(learner.recorder.values[-1][-1]),
        "peak_gib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20,
        "versions": f"fastai {fastai.__version__}, PyTorch {torch.__version__}, {torch.get_num_threads()} threads",
    }))  # fmt: skip


if __name__ == "__main__":
    main()
