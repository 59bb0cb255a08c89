"""Fine-tuning EfficientNet-Lite0 as a user of timm writes it: a peer of bench.py.

    python benchmarks/peer_torch_finetune.py FOLDER --size 128 --epochs 2

`FOLDER` has `train` and `val` with a folder for each class. ImageFolder, a DataLoader with 2 workers, AdamW; one epoch
of the head alone, then `--epochs` of the whole network, of which the images/s of the training are the figures. Nothing
of Eyebright is imported. The last line of the output is JSON.
"""

from __future__ import annotations

import argparse
import json
import resource
import time
from pathlib import Path

import timm
import torch
from torch import nn
from torch.utils.data import DataLoader
from torchvision import datasets, transforms

from main_job import lite0


def train_epoch(model: nn.Module, loader: DataLoader, optimizer: torch.optim.Optimizer) -> float:
    """One pass; images/s."""
    criterion = nn.CrossEntropyLoss()
    model.train()
    began, count = time.perf_counter(), 0
    for images, labels in loader:
        optimizer.zero_grad()
        loss = criterion(model(images), labels)
        loss.backward()
        optimizer.step()
        count += len(labels)
    return count / (time.perf_counter() - began)


@torch.no_grad()
def evaluate(model: nn.Module, loader: DataLoader) -> float:
    """Accuracy."""
    model.eval()
    correct, count = 0, 0
    for images, labels in loader:
        correct += int((model(images).argmax(1) == labels).sum())
        count += len(labels)
    return correct / count


def main() -> None:
    """Train the head, then everything, and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--size", type=int, default=128)
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()

    torch.manual_seed(given.seed)
    ending = [transforms.ToTensor(), transforms.Normalize([0.5] * 3, [0.5] * 3)]
    look = transforms.Compose([transforms.RandomResizedCrop(given.size, scale=(0.5, 1.0)),
                               transforms.RandomHorizontalFlip(), *ending])  # fmt: skip
    plain = transforms.Compose([transforms.Resize((given.size, given.size)), *ending])
    train_set = datasets.ImageFolder(str(given.data / "train"), look)
    train = DataLoader(train_set, batch_size=given.batch_size, shuffle=True, num_workers=2)
    val = DataLoader(datasets.ImageFolder(str(given.data / "val"), plain), batch_size=given.batch_size, num_workers=2)

    model = lite0(len(train_set.classes))
    for parameter in model.parameters():
        parameter.requires_grad = False
    for parameter in model.get_classifier().parameters():
        parameter.requires_grad = True
    train_epoch(model, train, torch.optim.AdamW(model.get_classifier().parameters(), lr=2e-3))
    evaluate(model, val)
    for parameter in model.parameters():
        parameter.requires_grad = True
    optimizer = torch.optim.AdamW(model.parameters(), lr=5e-4, weight_decay=0.01)
    figures, accuracy = [], 0.0
    for _ in range(given.epochs):
        figures.append(train_epoch(model, train, optimizer))
        accuracy = evaluate(model, val)
    print(json.dumps({
        "figures": figures,
        "val_accuracy": accuracy,
        "peak_gib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20,
        "versions": f"timm {timm.__version__}, PyTorch {torch.__version__}, {torch.get_num_threads()} threads",
    }))  # fmt: skip


if __name__ == "__main__":
    main()
