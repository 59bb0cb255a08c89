"""Training steps of a timm network on random tensors that lie on the device: the limit that bench_gpu.py compares with.

    python benchmarks/peer_torch_limit.py --model resnet50 --size 224 --batch-size 256 --device cuda

A compiled forward and backward in bf16 and channels-last, AdamW; no data is loaded, augmented or scored. Nothing of
Eyebright is imported. The last line of the output is JSON: images/s of every repeat after the compilation.
"""

from __future__ import annotations

import argparse
import json
import resource
import time

import timm
import torch
from torch import nn


def main() -> None:
    """Compile, warm up, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True)
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--batch-size", type=int, default=256)
    parser.add_argument("--classes", type=int, default=10)
    parser.add_argument("--steps", type=int, default=30, help="of one repeat")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--no-compile", action="store_true")
    given = parser.parse_args()

    device = torch.device(given.device)
    on_gpu = device.type == "cuda"
    model = timm.create_model(given.model, num_classes=given.classes).to(device, memory_format=torch.channels_last)
    compiled = model if given.no_compile else torch.compile(model)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4, fused=True)
    criterion = nn.CrossEntropyLoss()
    x = torch.randn(given.batch_size, 3, given.size, given.size, device=device).to(memory_format=torch.channels_last)
    y = torch.randint(given.classes, (given.batch_size,), device=device)

    def steps(count: int) -> None:
        for _ in range(count):
            optimizer.zero_grad()
            with torch.autocast(device.type, torch.bfloat16, enabled=on_gpu):
                loss = criterion(compiled(x), y)
            loss.backward()
            optimizer.step()
        if on_gpu:
            torch.cuda.synchronize()

    model.train()
    steps(5 if on_gpu else 1)
    figures = []
    for _ in range(given.repeats):
        began = time.perf_counter()
        steps(given.steps)
        figures.append(given.steps * given.batch_size / (time.perf_counter() - began))
    print(json.dumps({
        "figures": figures,
        "peak_gib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20,
        "device": torch.cuda.get_device_name(device) if on_gpu else device.type,
        "versions": f"timm {timm.__version__}, PyTorch {torch.__version__}",
    }))  # fmt: skip


if __name__ == "__main__":
    main()
