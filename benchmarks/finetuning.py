"""What one choice of fine-tuning is worth: accuracy on validation and test of one setting, without a budget.

    python benchmarks/finetuning.py ../shared/data/trashnet --size 224 --frozen 0.4 --epochs 6 --set augment.mixup=0.2

Choose by the validation accuracy; the test accuracy is printed to see how far the two agree.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

from machine import describe


def main() -> None:
    """Train once and print one line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data")
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--frozen", type=float, default=0.4)
    parser.add_argument("--epochs", type=int, default=6)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--set", action="append", default=[], dest="settings")
    given = parser.parse_args()

    import dataclasses

    import torch

    from eyebright.allocator import keep_freed_memory
    from eyebright.data.sources import open_source
    from eyebright.jobs.assemble import assemble_config
    from eyebright.jobs.prepare import data_facts, pack, pixel_set, scan
    from eyebright.progress import Silent
    from eyebright.recipes import auto
    from eyebright.recipes.base import Context
    from eyebright.training.hooks import StopSignal
    from eyebright.training.loop import score

    keep_freed_memory()
    settings = ["augment.mixup=0.0", *given.settings]
    config = assemble_config(given.data, epochs=given.epochs, size=given.size, seed=given.seed, settings=settings)
    source, silent = open_source(given.data), Silent()
    manifest = scan(source, config, silent)
    with tempfile.TemporaryDirectory() as folder:
        context = Context(
            config=config, facts=data_facts(manifest, source), device=torch.device("cpu"), deadline=None,
            checkpoint=Path(folder), progress=silent, stop=StopSignal(), record=lambda line: None,
        )  # fmt: skip
        plan = dataclasses.replace(auto.plan(context), frozen_share=given.frozen)
        manifest, packed = pack(manifest, source, plan.preprocess, config, silent)
        sets = {
            split: pixel_set(manifest, packed, split, plan.preprocess, context.device)
            for split in ("train", "val", "test")
        }
        began = time.monotonic()
        outcome = auto.fit(plan, context, sets["train"], sets["val"])
        seconds = time.monotonic() - began
        scores = {split: score(outcome.network, sets[split]).accuracy for split in ("val", "test")}
    print(describe())
    print(
        f"{Path(given.data).name} {given.size} px, {given.frozen:.0%} of the layers frozen, {given.epochs} epochs, "
        f"seed {given.seed}, {' '.join(settings)}: val {scores['val']:.4f}, test {scores['test']:.4f}, {seconds:.0f} s"
    )
    for reason in outcome.reasons:
        print(f"  {reason}")


if __name__ == "__main__":
    main()
