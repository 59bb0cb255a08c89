"""IDX files, the format of MNIST and its family: `train-images-idx3-ubyte[.gz]` with labels beside it.

Two sets of the family differ from MNIST. EMNIST's images are stored column by column, and one folder holds up to six
sets (`emnist-letters-train-...`), which overlap. QMNIST's labels are rows of eight integers, the digit first.

Sources: the format's description at the end of Yann LeCun's MNIST page (magic number 0, 0, type, dimensions, then the
sizes as big-endian 32-bit integers, then the data); Cohen et al., "EMNIST: an extension of MNIST to handwritten
letters", 2017; Yadav and Bottou, "Cold Case: The Lost MNIST Digits", 2019.
"""

from __future__ import annotations

import gzip
import math
import re
import threading
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from eyebright.data.sources.base import SPLIT_ALIASES, Item, Split, Stray
from eyebright.decode import UndecodableImage
from eyebright.errors import DataError

_IMAGES = re.compile(r"^(?P<prefix>.*?)[-_.]?images[-_.]idx3-ubyte(?:\.gz)?$", re.IGNORECASE)
_EMNIST_SET = re.compile(r"^(?P<set>emnist-[a-z]+)-", re.IGNORECASE)
# Type codes of the format.
_UNSIGNED_BYTES = 0x08
_INTEGERS = 0x0C
_QMNIST_COLUMNS = 8
_QMNIST_WRITER = 2


class Pair(NamedTuple):
    """Two IDX files that belong together."""

    images: Path
    labels: Path
    split: Split | None


def is_images_file(name: str) -> bool:
    """Whether a file name is that of IDX images."""
    return _IMAGES.match(name) is not None


def find_pairs(folder: Path, only: str | None = None) -> list[Pair]:
    """Files of images in `folder` with their labels, sorted.

    Args:
        folder: where they lie.
        only: the name of one file of images; of EMNIST, it stands for both splits of its set.

    Raises:
        DataError: a file of images has no labels beside it, or several sets of EMNIST lie there and `only` is None.
    """
    names = {path.name for path in folder.iterdir()}
    images = sorted(name for name in names if is_images_file(name))
    emnist = {name: match["set"].lower() for name in images if (match := _EMNIST_SET.match(name))}
    if only in emnist:
        images = [name for name in images if emnist.get(name) == emnist[only]]
    elif only is not None:
        images = [name for name in images if name == only]
    elif len(set(emnist.values())) > 1:
        raise DataError(
            f"{folder} holds several sets of EMNIST: {', '.join(sorted(set(emnist.values())))}",
            expected="one of them, since they share images",
            remedy=f"give one file, such as {folder / next(iter(emnist))}: its other split is used too",
        )
    pairs: dict[str, Pair] = {}
    for name in images:
        pair = _pair(folder, name, names)
        # Unpacked and packed copies of the same file lie beside each other after some downloads.
        pairs.setdefault(name.removesuffix(".gz"), pair)
    return list(pairs.values())


def _pair(folder: Path, name: str, names: set[str]) -> Pair:
    bare = name.removesuffix(".gz")
    wanted = re.sub("images(.)idx3", r"labels\1idx1", bare, flags=re.IGNORECASE)
    integers = re.sub("images(.)idx3-ubyte", r"labels\1idx2-int", bare, flags=re.IGNORECASE)
    labels = next((other for other in (wanted, f"{wanted}.gz", integers, f"{integers}.gz") if other in names), None)
    if labels is None:
        raise DataError(f"{folder / name} has no labels beside it", expected=f"{wanted} or {wanted}.gz")
    match = _IMAGES.match(name)
    assert match is not None
    prefix = match["prefix"].lower()
    split = "test" if prefix == "t10k" else SPLIT_ALIASES.get(re.split(r"[-_.]", prefix)[-1])
    return Pair(folder / name, folder / labels, split)


class IdxSource:
    """The images of one or more pairs of IDX files.

    Args:
        pairs: files of images and labels.
        spec: what the user gave.
        class_names: names by label number; the numbers themselves when None.
        strays: what lies beside and is not used.

    Raises:
        DataError: a file is broken, or images and labels differ in number.
    """

    kind = "idx"

    def __init__(
        self,
        pairs: Sequence[Pair],
        spec: str,
        class_names: tuple[str, ...] | None = None,
        strays: Sequence[Stray] = (),
    ) -> None:
        self.spec = spec
        self._strays = list(strays)
        self._pairs = {pair.images.name.removesuffix(".gz"): pair for pair in pairs}
        self._labels: dict[str, npt.NDArray[Any]] = {}
        self._writers: dict[str, npt.NDArray[np.int32]] = {}
        for name, pair in self._pairs.items():
            if _has_integer_labels(pair):
                table = _read_qmnist_labels(pair.labels)
                self._labels[name], self._writers[name] = table[:, 0], table[:, _QMNIST_WRITER]
            else:
                self._labels[name] = read_idx(pair.labels, dimensions=1)
        self._loaded: dict[str, npt.NDArray[np.uint8]] = {}
        self._lock = threading.Lock()
        highest = max((int(labels.max()) for labels in self._labels.values() if labels.size), default=-1)
        if class_names is not None and highest >= len(class_names):
            raise DataError(f"label {highest} was found where {len(class_names)} class names are known")
        # As numbers, 2 comes before 10.
        self._names = class_names or tuple(str(number) for number in range(highest + 1))
        self.class_names: tuple[str, ...] | None = self._names

    def items(self) -> Iterator[Item]:
        """All images, file by file."""
        for name, pair in self._pairs.items():
            count = len(self._pixels(name))
            if count != len(self._labels[name]):
                raise DataError(f"{pair.images} has {count} images and {pair.labels} {len(self._labels[name])} labels")
            writers = self._writers.get(name)
            for row, label in enumerate(self._labels[name]):
                yield Item(
                    source=f"{name}#{row}",
                    label=self._names[label],
                    split=pair.split,
                    extra={} if writers is None else {"writer": int(writers[row])},
                )

    def strays(self) -> list[Stray]:
        """What lies beside the files and is not used."""
        return list(self._strays)

    def read(self, source: str) -> npt.NDArray[np.uint8]:
        """One image (H, W), uint8."""
        name, _, row = source.rpartition("#")
        if name not in self._pairs or not 0 <= int(row) < len(self._pixels(name)):
            raise UndecodableImage("missing", f"there is no row {source}")
        image: npt.NDArray[np.uint8] = self._pixels(name)[int(row)]
        return image

    def _pixels(self, name: str) -> npt.NDArray[np.uint8]:
        """All images (N, H, W) of one file, read at first use."""
        with self._lock:
            if name not in self._loaded:
                pixels = read_idx(self._pairs[name].images, dimensions=3)
                self._loaded[name] = pixels.transpose(0, 2, 1) if _EMNIST_SET.match(name) else pixels
            return self._loaded[name]


def read_idx(path: Path, *, dimensions: int) -> npt.NDArray[np.uint8]:
    """The uint8 array in an IDX file, gzipped or not.

    Raises:
        DataError: the file is not IDX, is cut off, or has other than `dimensions` dimensions.
    """
    shape, data = _read_idx(path, _UNSIGNED_BYTES, dimensions)
    return np.frombuffer(data, dtype=np.uint8).reshape(shape)


def _has_integer_labels(pair: Pair) -> bool:
    return "idx2-int" in pair.labels.name.lower()


def _read_qmnist_labels(path: Path) -> npt.NDArray[np.int32]:
    """QMNIST's table (N, 8): digit, series, writer, the writer's digit, NIST class, NIST index, two unused."""
    shape, data = _read_idx(path, _INTEGERS, dimensions=2)
    table = np.frombuffer(data, dtype=">i4").reshape(shape).astype(np.int32)
    if shape[1] != _QMNIST_COLUMNS or not ((table[:, 0] >= 0) & (table[:, 0] <= 9)).all():
        raise DataError(
            f"{path} holds labels of shape {shape}",
            expected=f"{_QMNIST_COLUMNS} columns with a digit in the first",
            remedy="fetch the file again",
        )
    return table


def _read_idx(path: Path, type_code: int, dimensions: int) -> tuple[tuple[int, ...], memoryview]:
    """The shape and the bytes in an IDX file of one type of elements."""
    try:
        content = path.read_bytes()
        if content[:2] == b"\x1f\x8b":
            content = gzip.decompress(content)
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"{path} cannot be read: {error}", remedy="fetch the file again") from error
    header = 4 + 4 * dimensions
    if len(content) < header or content[:4] != bytes([0, 0, type_code, dimensions]):
        kind = "unsigned bytes" if type_code == _UNSIGNED_BYTES else "integers"
        raise DataError(
            f"{path} starts with the bytes {content[:4].hex(' ')}",
            expected=f"an IDX file of {kind} with {dimensions} dimensions (00 00 {type_code:02x} {dimensions:02x})",
        )
    shape = tuple(int.from_bytes(content[4 + 4 * axis : 8 + 4 * axis], "big") for axis in range(dimensions))
    size = math.prod(shape) * (1 if type_code == _UNSIGNED_BYTES else 4)
    if len(content) - header != size:
        raise DataError(
            f"{path} holds {len(content) - header} bytes of data where its header says {size}",
            remedy="fetch the file again",
        )
    return shape, memoryview(content)[header:]
