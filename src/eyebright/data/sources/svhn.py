"""Street View House Numbers, cropped digits: `train_32x32.mat`, `test_32x32.mat` and `extra_32x32.mat`.

Source: Netzer et al., "Reading Digits in Natural Images with Unsupervised Feature Learning", 2011. In each file `X`
holds the images (32, 32, 3, N) and `y` the digits (N, 1), where 10 stands for the digit 0. The 531,131 images of
`extra` are further, easier training images; they are used where the file is there.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from eyebright.data.sources.array_rows import ArrayRowsSource, Rows
from eyebright.data.sources.base import Split, Stray
from eyebright.errors import DataError

SPLITS: dict[str, Split] = {"train_32x32.mat": "train", "extra_32x32.mat": "train", "test_32x32.mat": "test"}
_DIGITS = tuple("0123456789")
_LABEL_OF_ZERO = 10


def open_svhn(paths: list[Path], spec: str, beside: Sequence[Stray] = ()) -> ArrayRowsSource:
    """The images in one or more of the three files, each read at first use (`extra` takes 1.6 GB of memory).

    Raises:
        DataError: when an image is read: a file is damaged or something else.
    """
    files = {path.name: path for path in paths}
    return ArrayRowsSource(
        spec=spec,
        kind="svhn",
        parts={name: SPLITS.get(name) for name in sorted(files, key=[*SPLITS, *files].index)},
        load=lambda name: {name: _rows(files[name])},
        class_names=_DIGITS,
        strays=beside,
    )


def _rows(path: Path) -> Rows:
    from scipy.io import loadmat  # half a second of import that other sources do not pay

    try:
        content: dict[str, Any] = loadmat(path, variable_names=["X", "y"])
    except Exception as error:  # damaged bytes lead SciPy to errors of every kind
        raise DataError(
            f"{path} cannot be read as a MATLAB file: {str(error) or type(error).__name__}",
            expected="a whole file of version 5 to 7.2",
            remedy="fetch the file again",
        ) from error
    images, labels = (content.get(name) for name in ("X", "y"))
    if (
        not isinstance(images, np.ndarray)
        or not isinstance(labels, np.ndarray)
        or images.dtype != np.uint8
        or images.ndim != 4
        or labels.dtype.kind not in "iu"
    ):
        found = ", ".join(
            f"{name} {value.dtype} {value.shape}" if isinstance(value, np.ndarray) else f"{name} missing"
            for name, value in (("X", images), ("y", labels))
        )
        raise DataError(
            f"{path} is no file of house numbers: {found}",
            expected="X, bytes of shape (32, 32, 3, N), and y, whole numbers of shape (N, 1)",
            remedy="give a file of the cropped digits (train_32x32.mat), or save other images as folders",
        )
    digits = labels.reshape(-1).astype(np.int64)
    digits[digits == _LABEL_OF_ZERO] = 0
    return Rows(images=images.transpose(3, 0, 1, 2), labels=digits)  # (N, H, W, C), a view
