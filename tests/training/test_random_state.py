"""Random states: what is put back goes on with the same numbers."""

from __future__ import annotations

import json
import random

import numpy as np
import pytest
import torch

from eyebright.training.random_state import capture, restore


def draw() -> list[float]:
    """Numbers of every generator; normal ones too, since two of them come from one pair."""
    return [
        random.random(), random.gauss(0, 1), float(np.random.normal()), float(np.random.random()),
        float(torch.rand(())), float(torch.randn(())),
    ]  # fmt: skip


def test_all_generators_go_on_where_they_were() -> None:
    draw()  # leaves half of a pair of normal numbers in Python's and NumPy's
    tensors, values = capture()
    expected = [draw() for _ in range(3)]
    random.seed(1)
    np.random.seed(1)
    torch.manual_seed(1)
    assert draw() != expected[0]
    assert restore(tensors, json.loads(json.dumps(values))) == ()
    assert [draw() for _ in range(3)] == expected


def test_the_state_of_a_device_that_is_not_here_is_named() -> None:
    tensors, values = capture()
    tensors["torch-cuda-99"] = torch.get_rng_state()
    assert restore(tensors, values) == ("torch-cuda-99",)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_cuda_goes_on_too() -> None:
    torch.rand(3, device="cuda")
    tensors, values = capture()
    expected = torch.rand(3, device="cuda")
    torch.cuda.manual_seed_all(1)
    restore(tensors, values)
    assert torch.equal(torch.rand(3, device="cuda"), expected)
