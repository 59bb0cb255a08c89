"""STL-10, the folder `stl10_binary`: `train_X.bin` and `test_X.bin` with labels and class names beside them.

Source: Coates, Lee and Ng, "An Analysis of Single Layer Networks in Unsupervised Feature Learning", 2011. An image is
96x96 bytes each of red, green and blue, column by column; labels count from 1. The 100,000 images without labels are
not used. Images stay on the disk and are memory-mapped.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from eyebright.data.sources.array_rows import ArrayRowsSource, Rows
from eyebright.data.sources.base import Split, Stray
from eyebright.data.sources.listing import names_in
from eyebright.errors import DataError

FOLDER = "stl10_binary"
IMAGES_FILE = "train_X.bin"
_SIDE_PIXELS = 96
_IMAGE_BYTES = 3 * _SIDE_PIXELS * _SIDE_PIXELS
_PARTS: dict[str, Split] = {"train": "train", "test": "test"}
_CLASS_NAMES = "class_names.txt"
_UNUSED = {
    "unlabeled_X.bin": "100,000 images without labels",
    "fold_indices.txt": "the folds of the authors' protocol",
}


def open_stl10(folder: Path, spec: str, beside: Sequence[Stray] = ()) -> ArrayRowsSource:
    """The labelled images of STL-10.

    Raises:
        DataError: a file is missing.
    """
    names = names_in(folder).files
    needed = [_CLASS_NAMES, *(f"{part}_{what}.bin" for part in _PARTS for what in "Xy")]
    missing = [name for name in needed if name not in names]
    if missing:
        raise DataError(
            f"{folder} lacks {', '.join(missing)}",
            expected=f"the files of STL-10: {', '.join(needed)}",
            remedy="unpack the archive stl10_binary.tar.gz again",
        )
    lines = (folder / _CLASS_NAMES).read_text(encoding="utf-8", errors="replace").splitlines()
    strays = [Stray(name, _UNUSED.get(name, "no part of the data set")) for name in sorted(names - set(needed))]
    return ArrayRowsSource(
        spec=spec,
        kind="stl10",
        parts=_PARTS,
        load=lambda part: {part: _rows(folder, part)},
        class_names=tuple(line.strip() for line in lines if line.strip()),
        strays=[*strays, *beside],
    )


def _rows(folder: Path, part: str) -> Rows:
    path = folder / f"{part}_X.bin"
    try:
        size = path.stat().st_size
        if not size or size % _IMAGE_BYTES:
            raise DataError(
                f"{path} has {size:,} bytes",
                expected=f"a multiple of {_IMAGE_BYTES:,}, the size of an image",
                remedy="unpack the archive stl10_binary.tar.gz again",
            )
        pixels = np.memmap(path, dtype=np.uint8, mode="r", shape=(size // _IMAGE_BYTES, 3, _SIDE_PIXELS, _SIDE_PIXELS))
        labels = np.fromfile(folder / f"{part}_y.bin", dtype=np.uint8)
    except OSError as error:
        raise DataError(f"{path} or its labels cannot be read: {error}") from error
    # (N, C, W, H) on the disk, (N, H, W, C) here; the first class is number 1.
    return Rows(images=pixels.transpose(0, 3, 2, 1), labels=labels.astype(np.int64) - 1)
