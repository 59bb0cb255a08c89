"""What several tests of the review share."""

from __future__ import annotations

from pathlib import Path

import pytest
from sitting import Sitting, make_sitting


@pytest.fixture
def sitting(flowers_sample: Path, tmp_path: Path) -> Sitting:
    """An audit of real photos with ten suggestions."""
    return make_sitting(flowers_sample, tmp_path)
