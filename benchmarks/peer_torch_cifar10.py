"""The published 181,942-parameter CIFAR-10 network in a plain PyTorch loop: a peer of cifar10net.py.

    python benchmarks/peer_torch_cifar10.py --images cifar10.npz --epochs 3

As its source does it: arrays in memory, an Albumentations pipeline in the data set, a `DataLoader` with 2 workers, Adam
1e-3 with weight decay 1e-4, batch 128, ReduceLROnPlateau on the validation accuracy, and the end when the target is
reached. The network is written out here; nothing of Eyebright is imported. `--images` is what cifar10net.py writes. An
epoch's seconds include the scoring of the validation images. The test images are scored once, at the end, with the
weights that were best on validation. The last line of the output is JSON.
"""

from __future__ import annotations

import argparse
import copy
import json
import os
import resource
import time

os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")  # or it asks the network for a newer version

import albumentations as A
import numpy as np
import torch
from albumentations.pytorch import ToTensorV2
from torch import nn
from torch.utils.data import DataLoader, Dataset

MEAN, STD = (0.4914, 0.4822, 0.4465), (0.2023, 0.1994, 0.2010)
DROPOUT = 0.1
CLASSES = 10


def conv(inputs: int, outputs: int, size: int, stride: int = 1) -> nn.Sequential:
    """Convolution without bias, batch norm, ReLU, dropout."""
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, size, stride=stride, padding=size // 2, bias=False),
        nn.BatchNorm2d(outputs), nn.ReLU(), nn.Dropout(DROPOUT),
    )  # fmt: skip


class Net(nn.Module):
    """Four blocks, three transitions that halve the side, global average pooling, one linear layer."""

    def __init__(self) -> None:
        super().__init__()
        self.block1 = nn.Sequential(conv(3, 16, 3), conv(16, 16, 3), conv(16, 16, 3))
        self.transition1 = nn.Sequential(conv(16, 32, 1), conv(32, 32, 3, stride=2))
        self.block2 = nn.Sequential(conv(32, 32, 3), conv(32, 32, 3), conv(32, 32, 3))
        self.transition2 = nn.Sequential(conv(32, 52, 1), conv(52, 52, 3, stride=2))
        self.block3 = nn.Sequential(
            conv(52, 52, 3),
            nn.Conv2d(52, 52, 3, padding=2, dilation=2, bias=False), nn.BatchNorm2d(52), nn.Dropout(DROPOUT),
            nn.Conv2d(52, 52, 3, padding=1, groups=52, bias=False), nn.BatchNorm2d(52),
            nn.Conv2d(52, 52, 1, bias=False), nn.BatchNorm2d(52), nn.Dropout(DROPOUT),
        )  # fmt: skip
        self.transition3 = nn.Sequential(conv(52, 52, 1), conv(52, 52, 3, stride=2))
        self.block4 = nn.Sequential(conv(52, 52, 3), conv(52, 52, 1), conv(52, 52, 1), conv(52, 52, 1))
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.classifier = nn.Linear(52, CLASSES)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(B, 3, 32, 32) to logits (B, 10)."""
        x = self.transition1(self.block1(x))
        x = self.transition2(self.block2(x))
        x = self.transition3(self.block3(x))
        return self.classifier(self.pool(self.block4(x)).flatten(1))


class Images(Dataset):
    """Arrays in memory with an Albumentations pipeline."""

    def __init__(self, images: np.ndarray, labels: np.ndarray, transform: A.Compose) -> None:
        self.images, self.labels, self.transform = images, labels, transform

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        return self.transform(image=self.images[index])["image"], int(self.labels[index])


def training_transform() -> A.Compose:
    """Flip, shift, scale and rotate, one square hole, normalisation."""
    return A.Compose([
        A.HorizontalFlip(p=0.5),
        A.Affine(translate_percent=(-0.1, 0.1), scale=(0.9, 1.1), rotate=(-15, 15), keep_ratio=True, p=0.5),
        A.CoarseDropout(num_holes_range=(1, 1), hole_height_range=(16, 16), hole_width_range=(16, 16), p=0.3),
        A.Normalize(MEAN, STD),
        ToTensorV2(),
    ])  # fmt: skip


def train_epoch(model: nn.Module, loader: DataLoader, optimizer: torch.optim.Optimizer, device: torch.device) -> None:
    """One pass over the training images."""
    criterion = nn.CrossEntropyLoss()
    model.train()
    for images, labels in loader:
        images, labels = images.to(device), labels.to(device)
        optimizer.zero_grad()
        loss = criterion(model(images), labels)
        loss.backward()
        optimizer.step()


@torch.no_grad()
def evaluate(model: nn.Module, loader: DataLoader, device: torch.device) -> float:
    """Accuracy."""
    model.eval()
    correct, count = 0, 0
    for images, labels in loader:
        logits = model(images.to(device))
        correct += int((logits.argmax(1) == labels.to(device)).sum())
        count += len(labels)
    return correct / count


def main() -> None:
    """Train, score the test images, print the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", required=True)
    parser.add_argument("--epochs", required=True, type=int)
    parser.add_argument("--target", type=float, help="stop when the validation accuracy reaches this share")
    parser.add_argument("--batch-size", type=int, default=128)
    parser.add_argument("--training-images", type=int, default=45_000)
    parser.add_argument("--validation-images", type=int, default=5_000)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()

    chosen = ("cuda" if torch.cuda.is_available() else "cpu") if given.device == "auto" else given.device
    device = torch.device(chosen)
    torch.manual_seed(given.seed)
    with np.load(given.images) as arrays:
        x, y, x_test, y_test = (arrays[name] for name in ("x_train", "y_train", "x_test", "y_test"))
    train, val = slice(given.training_images), slice(len(x) - given.validation_images, None)
    plain = A.Compose([A.Normalize(MEAN, STD), ToTensorV2()])
    options = {"batch_size": given.batch_size, "num_workers": 2, "pin_memory": device.type == "cuda"}
    train_loader = DataLoader(Images(x[train], y[train], training_transform()), shuffle=True, **options)
    val_loader = DataLoader(Images(x[val], y[val], plain), **options)
    test_loader = DataLoader(Images(x_test, y_test, plain), **options)

    model = Net().to(device)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3, weight_decay=1e-4)
    scheduler = torch.optim.lr_scheduler.ReduceLROnPlateau(
        optimizer, mode="max", factor=0.5, patience=2, min_lr=1e-6
    )  # fmt: skip
    best, best_state = -1.0, model.state_dict()
    seconds: list[float] = []
    val_accuracies: list[float] = []
    for epoch in range(given.epochs):
        began = time.perf_counter()
        train_epoch(model, train_loader, optimizer, device)
        val_accuracy = evaluate(model, val_loader, device)
        scheduler.step(val_accuracy)
        seconds.append(time.perf_counter() - began)
        val_accuracies.append(val_accuracy)
        print(f"epoch {epoch + 1}: {seconds[-1]:.1f} s, val accuracy {val_accuracy:.4f}", flush=True)
        if val_accuracy > best:
            best, best_state = val_accuracy, copy.deepcopy(model.state_dict())
        if given.target is not None and val_accuracy >= given.target:
            break
    model.load_state_dict(best_state)
    figures = {
        "accuracy": evaluate(model, test_loader, device),
        "test_images": len(x_test),
        "val_accuracy": best,
        "val_accuracies": val_accuracies,
        "epoch_seconds": seconds,
        "epochs": len(seconds),
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
        "peak_gib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20,
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else device.type,
        "versions": f"PyTorch {torch.__version__}, {torch.get_num_threads()} threads, Albumentations {A.__version__}",
    }
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
