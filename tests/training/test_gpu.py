"""The loop on a CUDA device: it learns there, resumes there, and what it exports agrees with it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

import eyebright
from eyebright.run import open_run

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
]


def test_training_on_the_gpu_learns_and_its_bundle_agrees_with_it(stripes: Path, tmp_path: Path) -> None:
    run = eyebright.train(
        stripes, output=tmp_path, recipe="scratch", epochs=8, device="cuda", settings=["optim.batch_size=16"]
    )
    assert run.metrics["test"]["accuracy"]["value"] > 0.8
    assert all(replay.passed for replay in eyebright.verify(run.path))
    assert run.environment["outcome"]["peak_gpu_memory_bytes"] > 0


def test_auto_on_the_gpu_fine_tunes_the_pretrained_network(flowers_sample: Path, tmp_path: Path) -> None:
    run = eyebright.train(flowers_sample, output=tmp_path, epochs=2, size=128, device="cuda")
    assert [line["stage"] for line in run.history()] == ["probe", "fine-tune", "fine-tune"]
    assert run.metrics["val"]["accuracy"]["value"] > 0.6
    probabilities = eyebright.load(run.path).predict_proba(
        [str(path) for path in sorted(flowers_sample.rglob("*.jpg"))[:4]]
    )
    assert np.allclose(probabilities.sum(1), 1, atol=1e-5)
    assert open_run(run.path).environment["device"] == torch.cuda.get_device_name()
