from __future__ import annotations

import gzip
import struct
from pathlib import Path

import numpy as np
import pytest

from eyebright.data.sources import open_source
from eyebright.data.sources.idx import read_idx
from eyebright.decode import UndecodableImage
from eyebright.errors import DataError

IMAGES = np.random.default_rng(0).integers(0, 256, (12, 7, 5), dtype=np.uint8)
LABELS = np.array([0, 1, 2, 10, 9, 3, 4, 5, 6, 7, 8, 1], dtype=np.uint8)


def idx(array: np.ndarray) -> bytes:
    return struct.pack(f">BBBB{array.ndim}I", 0, 0, 8, array.ndim, *array.shape) + array.tobytes()


def write_pairs(root: Path, suffix: str = "") -> None:
    pack = gzip.compress if suffix else bytes
    for prefix, part in (("train", slice(0, 8)), ("t10k", slice(8, 12))):
        (root / f"{prefix}-images-idx3-ubyte{suffix}").write_bytes(pack(idx(IMAGES[part])))
        (root / f"{prefix}-labels-idx1-ubyte{suffix}").write_bytes(pack(idx(LABELS[part])))


@pytest.mark.parametrize("suffix", ["", ".gz"])
def test_pairs_are_read_with_splits_and_numbers_in_order(tmp_path: Path, suffix: str) -> None:
    write_pairs(tmp_path, suffix)
    source = open_source(tmp_path)
    items = list(source.items())
    assert source.class_names == tuple(str(number) for number in range(11))
    assert [item.label for item in items] == [str(label) for label in [*LABELS[8:], *LABELS[:8]]]
    assert [item.split for item in items] == ["test"] * 4 + ["train"] * 8
    assert np.array_equal(source.read("train-images-idx3-ubyte#3"), IMAGES[3])
    with pytest.raises(UndecodableImage, match="no row"):
        source.read("train-images-idx3-ubyte#8")


def test_one_file_alone(tmp_path: Path) -> None:
    write_pairs(tmp_path)
    assert len(list(open_source(tmp_path / "t10k-images-idx3-ubyte").items())) == 4


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "starts with"),
        (idx(IMAGES)[:-1], "header says"),
        (idx(LABELS), "3 dimensions"),
        (gzip.compress(idx(IMAGES))[:-20], "cannot be read"),
        (b"\0\0\x0d\3" + bytes(12), "unsigned bytes"),
    ],
)
def test_broken_files_are_refused(tmp_path: Path, content: bytes, words: str) -> None:
    (tmp_path / "x").write_bytes(content)
    with pytest.raises(DataError, match=words):
        read_idx(tmp_path / "x", dimensions=3)


def test_labels_must_be_there_and_as_many(tmp_path: Path) -> None:
    write_pairs(tmp_path)
    (tmp_path / "train-labels-idx1-ubyte").write_bytes(idx(LABELS[:3]))
    with pytest.raises(DataError, match=r"8 images .* 3 labels"):
        list(open_source(tmp_path).items())
    (tmp_path / "train-labels-idx1-ubyte").unlink()
    with pytest.raises(DataError, match="no labels beside it"):
        open_source(tmp_path)
