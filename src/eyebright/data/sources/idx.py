"""IDX files, the format of MNIST and its family: `train-images-idx3-ubyte[.gz]` with labels beside it.

Source: the format's description at the end of Yann LeCun's MNIST page (magic number 0, 0, type, dimensions, then the
sizes as big-endian 32-bit integers, then the data).
"""

from __future__ import annotations

import gzip
import math
import re
import threading
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from eyebright.data.sources.base import SPLIT_ALIASES, Item, Split, Stray
from eyebright.decode import UndecodableImage
from eyebright.errors import DataError

_IMAGES = re.compile(r"^(?P<prefix>.*?)[-_.]?images[-_.]idx3-ubyte(?:\.gz)?$", re.IGNORECASE)
_UNSIGNED_BYTES = 8


class Pair(NamedTuple):
    """Two IDX files that belong together."""

    images: Path
    labels: Path
    split: Split | None


def is_images_file(name: str) -> bool:
    """Whether a file name is that of IDX images."""
    return _IMAGES.match(name) is not None


def find_pairs(folder: Path, only: str | None = None) -> list[Pair]:
    """Files of images in `folder` with their labels, sorted; `only` restricts to one file name.

    Raises:
        DataError: a file of images has no labels beside it.
    """
    names = {path.name for path in folder.iterdir()}
    pairs: dict[str, Pair] = {}
    for name in sorted(names):
        match = _IMAGES.match(name)
        if match is None or (only is not None and name != only):
            continue
        bare = name.removesuffix(".gz")
        wanted = re.sub("images(.)idx3", r"labels\1idx1", bare, flags=re.IGNORECASE)
        labels = next((other for other in (wanted, f"{wanted}.gz") if other in names), None)
        if labels is None:
            raise DataError(f"{folder / name} has no labels beside it", expected=f"{wanted} or {wanted}.gz")
        prefix = match["prefix"].lower()
        split = "test" if prefix == "t10k" else SPLIT_ALIASES.get(re.split(r"[-_.]", prefix)[-1])
        # Unpacked and packed copies of the same file lie beside each other after some downloads.
        pairs.setdefault(bare, Pair(folder / name, folder / labels, split))
    return list(pairs.values())


class IdxSource:
    """The images of one or more pairs of IDX files.

    Args:
        pairs: files of images and labels.
        spec: what the user gave.
        class_names: names by label number; the numbers themselves when None.

    Raises:
        DataError: a file is broken, or images and labels differ in number.
    """

    kind = "idx"

    def __init__(self, pairs: Sequence[Pair], spec: str, class_names: tuple[str, ...] | None = None) -> None:
        self.spec = spec
        self._pairs = {pair.images.name.removesuffix(".gz"): pair for pair in pairs}
        self._labels = {name: read_idx(pair.labels, dimensions=1) for name, pair in self._pairs.items()}
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
            for row, label in enumerate(self._labels[name]):
                yield Item(source=f"{name}#{row}", label=self._names[label], split=pair.split)

    def strays(self) -> list[Stray]:
        """None: every row is an image."""
        return []

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
                self._loaded[name] = read_idx(self._pairs[name].images, dimensions=3)
            return self._loaded[name]


def read_idx(path: Path, *, dimensions: int) -> npt.NDArray[np.uint8]:
    """The uint8 array in an IDX file, gzipped or not.

    Raises:
        DataError: the file is not IDX, is cut off, or has other than `dimensions` dimensions.
    """
    try:
        content = path.read_bytes()
        if content[:2] == b"\x1f\x8b":
            content = gzip.decompress(content)
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"{path} cannot be read: {error}", remedy="fetch the file again") from error
    header = 4 + 4 * dimensions
    if len(content) < header or content[:4] != bytes([0, 0, _UNSIGNED_BYTES, dimensions]):
        raise DataError(
            f"{path} starts with the bytes {content[:4].hex(' ')}",
            expected=f"an IDX file of unsigned bytes with {dimensions} dimensions (00 00 08 {dimensions:02x})",
        )
    shape = tuple(int.from_bytes(content[4 + 4 * axis : 8 + 4 * axis], "big") for axis in range(dimensions))
    if len(content) - header != math.prod(shape):
        raise DataError(
            f"{path} holds {len(content) - header} bytes of data where its header says {math.prod(shape)}",
            remedy="fetch the file again",
        )
    return np.frombuffer(content, dtype=np.uint8, offset=header).reshape(shape)
