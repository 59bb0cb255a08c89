"""Real photos as the corruptions take them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

Photos = Callable[..., torch.Tensor]


@pytest.fixture(scope="session")
def photos(shared_data: Path) -> Photos:
    """Makes batches: `photos(side, channels=3, number=4)` gives uint8 (N, S, S, C) of things to throw away."""
    files = [
        file
        for name in ("plastic", "metal", "paper", "glass")
        for file in sorted((shared_data / "trashnet" / name).iterdir())[3:5]
    ]

    def make(side: int, channels: int = 3, number: int = 4) -> torch.Tensor:
        mode = "RGB" if channels == 3 else "L"
        pictures = [Image.open(file).convert(mode).resize((side, side)) for file in files[:number]]
        return torch.from_numpy(np.stack([np.array(one).reshape(side, side, channels) for one in pictures]))

    return make
