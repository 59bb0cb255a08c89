"""The range test on the loop's own steps: it finds a usable rate and leaves no trace."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import torch

from eyebright.config import build_config
from eyebright.data.batches import PixelSet
from eyebright.models.small import SmallNet
from eyebright.preprocess import Preprocess
from eyebright.training.optim import make_optimiser
from eyebright.training.rate_search import search_rate
from eyebright.training.stage import Stage

CONFIG = build_config({"optim": {"batch_size": 16, "layer_decay": 1.0}, "augment": {"flip": False, "mixup": 0.2}})
STAGE = Stage(
    name="train", steps=1, most_steps=1, evaluate_every=1, size=16, batch_size=16, learning_rate=1e-3, layer_decay=1.0
)


def stripes(count: int) -> PixelSet:
    generator = np.random.default_rng(0)
    targets = generator.integers(0, 2, count)
    wave = np.sin(np.arange(16) * 1.3)[None, :, None, None] * np.ones((1, 1, 16, 3))
    images = np.where(targets[:, None, None, None] == 0, wave, wave.swapaxes(1, 2)) * 90 + 128
    pixels = (images + generator.normal(0, 20, (count, 16, 16, 3))).clip(0, 255).astype(np.uint8)
    preprocess = Preprocess(size=16, mean=(0.5,) * 3, std=(0.25,) * 3)
    return PixelSet(pixels, np.arange(count), targets, preprocess=preprocess, device=torch.device("cpu"))


def bits(network: torch.nn.Module, optimiser: torch.optim.Optimizer) -> dict[str, Any]:
    """Everything that a test of rates could have touched."""
    return {
        "weights": {name: value.numpy().tobytes() for name, value in network.state_dict().items()},
        "gradients": [None if p.grad is None else p.grad.numpy().tobytes() for p in network.parameters()],
        "trained": [p.requires_grad for p in network.parameters()],
        "modes": [module.training for module in network.modules()],
        "optimiser": str(optimiser.state_dict()),
        "torch": torch.get_rng_state().numpy().tobytes(),
        "numpy": str(np.random.get_state()),
        "python": random.getstate(),
    }


def test_it_finds_the_descent_and_leaves_model_optimiser_and_random_state_untouched() -> None:
    torch.manual_seed(0)
    network = SmallNet(2, width=8, drop_rate=0.2).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    optimiser = make_optimiser(network, CONFIG.optim)
    network(torch.randn(4, 3, 16, 16)).sum().backward()
    optimiser.step()
    before = bits(network, optimiser)
    curve = search_rate(network, stripes(80), config=CONFIG, stage=STAGE, steps=60, lowest=1e-6)
    assert bits(network, optimiser) == before
    assert curve.suggestion is not None
    assert 1e-4 < curve.suggestion < 1e-1
    assert min(curve.losses) < 0.7 * curve.losses[0]


def test_training_after_it_is_training_without_it() -> None:
    """A frozen body stays what it was in name too: the stage's own freezing is undone."""
    torch.manual_seed(0)
    network = SmallNet(2, width=8).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    body = Stage(**{**STAGE.as_dict(), "frozen": "body"})
    search_rate(network, stripes(40), config=CONFIG, stage=body, steps=20)
    assert all(parameter.requires_grad for parameter in network.parameters())
