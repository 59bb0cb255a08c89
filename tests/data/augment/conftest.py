"""Real photos as tensors, and settings that change nothing."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from eyebright.config import AugmentConfig

SIDE = 48


@pytest.fixture(scope="session")
def nothing() -> AugmentConfig:
    """Everything off."""
    return AugmentConfig(flip=False, min_area=1.0, aspect=0.0, brightness=0.0, contrast=0.0, mixup=0.0)


@pytest.fixture(scope="session")
def levels(shared_data: Path) -> torch.Tensor:
    """12 flowers: uint8 (12, 3, 48, 48)."""
    files = [
        file for name in ("daisy", "rose", "tulip") for file in sorted((shared_data / "flowers" / name).iterdir())[:4]
    ]
    photos = [np.asarray(Image.open(file).convert("RGB").resize((SIDE, SIDE))) for file in files]
    return torch.from_numpy(np.stack(photos)).permute(0, 3, 1, 2).contiguous()


@pytest.fixture(scope="session")
def photos(levels: torch.Tensor) -> torch.Tensor:
    """The same on the scale from 0 to 1: float32 (12, 3, 48, 48)."""
    return levels.float() / 255


@pytest.fixture(scope="session")
def many(photos: torch.Tensor) -> torch.Tensor:
    """240 images for counting: float32 (240, 3, 48, 48)."""
    return photos.repeat(20, 1, 1, 1)
