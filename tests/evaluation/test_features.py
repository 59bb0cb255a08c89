"""Features of a run as a file."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from eyebright.errors import CorruptBundleError, ForeignBundleError
from eyebright.evaluation.features import Features


def features() -> Features:
    return Features(
        ids=np.array(["a", "b", "ä"]),
        splits=np.array(["train", "val", "val"]),
        labels=np.array([1, -1, 0]),
        values=np.array([[0.1, 2], [3, -4], [1e30, -1e30]], dtype=np.float32),
    )


def test_what_was_written_is_read_to_half_precision(tmp_path: Path) -> None:
    features().write(tmp_path / "features.npz")
    back = Features.read(tmp_path / "features.npz")
    assert (back.ids.tolist(), back.splits.tolist(), back.labels.tolist()) == (
        ["a", "b", "ä"], ["train", "val", "val"], [1, -1, 0]
    )  # fmt: skip
    np.testing.assert_allclose(back.values[:2], features().values[:2], rtol=1e-3)
    assert np.isfinite(back.values).all()  # a value too large for half precision is not made infinite
    assert [path.name for path in tmp_path.iterdir()] == ["features.npz"]


def test_a_split_is_its_images_in_order() -> None:
    assert features().select("val").ids.tolist() == ["b", "ä"]
    assert len(features().select("test")) == 0


def test_an_absent_file_and_a_damaged_one_are_told_apart(tmp_path: Path) -> None:
    with pytest.raises(ForeignBundleError, match="train again"):
        Features.read(tmp_path / "features.npz")
    features().write(tmp_path / "features.npz")
    content = (tmp_path / "features.npz").read_bytes()
    (tmp_path / "features.npz").write_bytes(content[: len(content) // 2])
    with pytest.raises(CorruptBundleError):
        Features.read(tmp_path / "features.npz")


def test_a_pickle_is_not_executed(tmp_path: Path) -> None:
    np.savez(tmp_path / "features.npz", ids=np.array([{"a": 1}], dtype=object), splits=[], labels=[], values=[])
    with pytest.raises(CorruptBundleError):
        Features.read(tmp_path / "features.npz")
