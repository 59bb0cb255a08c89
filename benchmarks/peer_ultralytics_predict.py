"""Classes of all images of a folder by Ultralytics' `predict`: a peer of bench.py, in an environment of its own.

    .venv-peers/ultralytics/bin/python benchmarks/peer_ultralytics_predict.py FOLDER --size 224 --output predictions.csv

Its smallest classifier, yolo11n-cls, is made from the description that the package carries, so the weights are random
and nothing is downloaded; the network is another than ours. The last line of the output is JSON.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import resource
import tempfile
from pathlib import Path

os.environ.update(YOLO_OFFLINE="true", YOLO_AUTOINSTALL="false", YOLO_VERBOSE="false")
os.environ.setdefault("YOLO_CONFIG_DIR", tempfile.mkdtemp(prefix="ultralytics-"))

import torch
import ultralytics


def main() -> None:
    """Predict, write, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--output", type=Path, required=True)
    given = parser.parse_args()

    model = ultralytics.YOLO("yolo11n-cls.yaml", task="classify")
    count = 0
    with given.output.open("w", newline="", encoding="utf-8") as handle:
        writer = csv.writer(handle)
        found = model.predict(
            f"{given.data}/**/*.jpg", imgsz=given.size, batch=given.batch_size, device="cpu", stream=True,
            verbose=False, save=False,
        )  # fmt: skip
        for result in found:
            writer.writerow([result.path, int(result.probs.top1), float(result.probs.top1conf)])
            count += 1
    print(json.dumps({
        "images": count,
        "peak_gib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20,
        "versions": f"Ultralytics {ultralytics.__version__} (yolo11n-cls), PyTorch {torch.__version__}",
    }))  # fmt: skip


if __name__ == "__main__":
    main()
