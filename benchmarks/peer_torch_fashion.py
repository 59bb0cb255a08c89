"""The Fashion-MNIST networks in a plain PyTorch loop, as its tutorials show it: a peer of fashion_mnist.py.

    python benchmarks/peer_torch_fashion.py --images fashion.npz --network fashion-cnn --epochs 3

Tensors in a `TensorDataset`, a shuffling `DataLoader`, an `nn.Sequential`, Adam. Nothing of Eyebright is imported.
`--images` is what fashion_mnist.py writes. An epoch's seconds include the scoring of the validation images. The test
images are scored once, at the end. The last line of the output is JSON.
"""

from __future__ import annotations

import argparse
import copy
import json
import resource
import time

import numpy as np
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

CLASSES = 10


def fashion_ann() -> nn.Sequential:
    return nn.Sequential(
        nn.Flatten(),
        nn.Linear(28 * 28, 128), nn.ReLU(), nn.Dropout(0.2),
        nn.Linear(128, 64), nn.ReLU(), nn.Dropout(0.2),
        nn.Linear(64, CLASSES),
    )  # fmt: skip


def fashion_cnn() -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(1, 32, 3), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(32, 64, 3), nn.ReLU(), nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(64 * 5 * 5, 128), nn.ReLU(), nn.Dropout(0.5),
        nn.Linear(128, CLASSES),
    )  # fmt: skip


def fashion_deep_cnn() -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(1, 32, 3, padding=1), nn.ReLU(), nn.BatchNorm2d(32),
        nn.Conv2d(32, 32, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Dropout(0.25),
        nn.Conv2d(32, 64, 3, padding=1), nn.ReLU(), nn.BatchNorm2d(64),
        nn.Conv2d(64, 64, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Dropout(0.25),
        nn.Flatten(),
        nn.Linear(64 * 7 * 7, 256), nn.ReLU(), nn.BatchNorm1d(256), nn.Dropout(0.5),
        nn.Linear(256, CLASSES),
    )  # fmt: skip


NETWORKS = {"fashion-ann": fashion_ann, "fashion-cnn": fashion_cnn, "fashion-deep-cnn": fashion_deep_cnn}


def train_epoch(model: nn.Module, loader: DataLoader, optimizer: torch.optim.Optimizer) -> None:
    """One pass over the training images."""
    criterion = nn.CrossEntropyLoss()
    model.train()
    for images, labels in loader:
        optimizer.zero_grad()
        loss = criterion(model(images), labels)
        loss.backward()
        optimizer.step()


@torch.no_grad()
def evaluate(model: nn.Module, loader: DataLoader) -> tuple[float, float]:
    """Mean loss and accuracy."""
    criterion = nn.CrossEntropyLoss(reduction="sum")
    model.eval()
    loss, correct, count = 0.0, 0, 0
    for images, labels in loader:
        logits = model(images)
        loss += criterion(logits, labels).item()
        correct += int((logits.argmax(1) == labels).sum())
        count += len(labels)
    return loss / count, correct / count


def main() -> None:
    """Train, score the test images, print the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", required=True)
    parser.add_argument("--network", required=True, choices=NETWORKS)
    parser.add_argument("--epochs", required=True, type=int)
    parser.add_argument("--patience", type=int, help="stop early on the validation loss and restore the best weights")
    parser.add_argument("--batch-size", type=int, default=128)
    parser.add_argument("--learning-rate", type=float, default=1e-3)
    parser.add_argument("--training-images", type=int, default=51_000)
    parser.add_argument("--validation-images", type=int, default=9_000)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()

    torch.manual_seed(given.seed)
    with np.load(given.images) as arrays:
        x, y = torch.from_numpy(arrays["x_train"])[:, None].float() / 255, torch.from_numpy(arrays["y_train"])
        x_test, y_test = torch.from_numpy(arrays["x_test"])[:, None].float() / 255, torch.from_numpy(arrays["y_test"])
    train, val = slice(given.training_images), slice(len(x) - given.validation_images, None)
    train_loader = DataLoader(TensorDataset(x[train], y[train]), batch_size=given.batch_size, shuffle=True)
    val_loader = DataLoader(TensorDataset(x[val], y[val]), batch_size=given.batch_size)
    test_loader = DataLoader(TensorDataset(x_test, y_test), batch_size=given.batch_size)

    model = NETWORKS[given.network]()
    optimizer = torch.optim.Adam(model.parameters(), lr=given.learning_rate)
    best_loss, best_state, waited = float("inf"), None, 0
    seconds: list[float] = []
    val_accuracies: list[float] = []
    for epoch in range(given.epochs):
        began = time.perf_counter()
        train_epoch(model, train_loader, optimizer)
        val_loss, val_accuracy = evaluate(model, val_loader)
        seconds.append(time.perf_counter() - began)
        val_accuracies.append(val_accuracy)
        print(f"epoch {epoch + 1}: {seconds[-1]:.1f} s, val loss {val_loss:.4f}, val accuracy {val_accuracy:.4f}")
        if given.patience is None:
            continue
        if val_loss < best_loss:
            best_loss, best_state, waited = val_loss, copy.deepcopy(model.state_dict()), 0
        elif (waited := waited + 1) >= given.patience:
            break
    if best_state is not None:
        model.load_state_dict(best_state)
    _, accuracy = evaluate(model, test_loader)
    figures = {
        "accuracy": accuracy,
        "test_images": len(x_test),
        "val_accuracies": val_accuracies,
        "epoch_seconds": seconds,
        "epochs": len(seconds),
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
        "peak_gib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20,
        "versions": f"PyTorch {torch.__version__}, {torch.get_num_threads()} threads",
    }
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
