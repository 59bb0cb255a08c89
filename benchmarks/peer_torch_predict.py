"""Classes of all images of a folder by a plain torchvision and timm script: a peer of bench.py.

    python benchmarks/peer_torch_predict.py FOLDER --size 224 --classes 6 --output predictions.csv

A data set of files, a DataLoader with 2 workers, `model.eval()`, `torch.no_grad()`, softmax, one line of CSV for an
image with all probabilities. The head is fresh: only the time matters. Nothing of Eyebright is imported. The last line
of the output is JSON; the figure is for who runs this to make, from the time of the whole process.
"""

from __future__ import annotations

import argparse
import csv
import json
import resource
from pathlib import Path

import timm
import torch
from PIL import Image
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms

from main_job import lite0


class Files(Dataset):
    """Images of a folder and of the folders below it."""

    def __init__(self, folder: Path, size: int) -> None:
        self.paths = sorted(path for path in folder.rglob("*") if path.suffix.lower() in (".jpg", ".jpeg", ".png"))
        self.transform = transforms.Compose([
            transforms.Resize((size, size)), transforms.ToTensor(), transforms.Normalize([0.5] * 3, [0.5] * 3),
        ])  # fmt: skip

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, str]:
        path = self.paths[index]
        return self.transform(Image.open(path).convert("RGB")), str(path)


def main() -> None:
    """Predict, write, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--classes", type=int, default=6)
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--output", type=Path, required=True)
    given = parser.parse_args()

    files = Files(given.data, given.size)
    model = lite0(given.classes).eval()
    with torch.no_grad(), given.output.open("w", newline="", encoding="utf-8") as handle:
        writer = csv.writer(handle)
        for images, paths in DataLoader(files, batch_size=given.batch_size, num_workers=2):
            probabilities = model(images).softmax(1)
            for path, row in zip(paths, probabilities.tolist(), strict=True):
                writer.writerow([path, max(range(len(row)), key=row.__getitem__), *row])
    print(json.dumps({
        "images": len(files),
        "peak_gib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20,
        "versions": f"timm {timm.__version__}, PyTorch {torch.__version__}, {torch.get_num_threads()} threads",
    }))  # fmt: skip


if __name__ == "__main__":
    main()
