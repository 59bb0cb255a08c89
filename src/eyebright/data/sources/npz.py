"""NumPy archives with images and labels, such as Keras' `mnist.npz`: the arrays `x_train, y_train, x_test, y_test`.

MedMNIST's names (`train_images`, `train_labels`, ...) are known too. Arrays of Python objects are refused: they are
pickles, which could run commands.
"""

from __future__ import annotations

import contextlib
import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from eyebright.data.sources.array_rows import ArrayRowsSource, Rows
from eyebright.data.sources.base import Split, Stray
from eyebright.errors import DataError

# Name of the images, name of their labels, their split.
_PAIRS: tuple[tuple[str, str, Split], ...] = (
    ("x_train", "y_train", "train"),
    ("x_val", "y_val", "val"),
    ("x_test", "y_test", "test"),
    ("train_images", "train_labels", "train"),
    ("val_images", "val_labels", "val"),
    ("test_images", "test_labels", "test"),
)
_EXPECTED = "the arrays x_train, y_train, x_test and y_test: images (N, H, W) or (N, H, W, C) of bytes, and labels (N,)"
_CHANNELS = (1, 3, 4)


def holds_images(path: Path) -> bool:
    """Whether a file is a NumPy archive with images; reads the headers of its arrays only."""
    try:
        with zipfile.ZipFile(path) as archive:
            names = {name.removesuffix(".npy") for name in archive.namelist()}
            return any(
                images in names and labels in names and _is_images_header(archive, f"{images}.npy")
                for images, labels, _ in _PAIRS
            )
    except Exception:  # whatever a stranger's bytes lead `zipfile` to
        return False


def open_npz(path: Path, spec: str, beside: Sequence[Stray] = ()) -> ArrayRowsSource:
    """The images in a NumPy archive. Classes are the labels found: numbers in their order, or text sorted.

    Raises:
        DataError: it is damaged, or holds no such arrays.
    """
    with _opened(path) as archive:
        names = list(archive.files)
        pairs = {images: (labels, split) for images, labels, split in _PAIRS if images in names and labels in names}
        if not pairs:
            raise DataError(
                f"{path} holds {', '.join(map(repr, names[:8])) or 'nothing'}",
                expected=_EXPECTED,
                remedy="save it with `numpy.savez(path, x_train=..., y_train=..., x_test=..., y_test=...)`",
            )
        labels = {images: _labels(archive[name], f"{path}: {name}") for images, (name, _) in pairs.items()}
    if len({values.dtype.kind == "U" for values in labels.values()}) > 1:
        raise DataError(f"some labels in {path} are numbers and some are text", expected="one of the two")
    classes = np.unique(np.concatenate(list(labels.values())))

    def load(part: str) -> dict[str, Rows]:
        with _opened(path) as archive:
            images = _images(archive[part], f"{path}: {part}")
        return {part: Rows(images=images, labels=np.searchsorted(classes, labels[part]).astype(np.int64))}

    used = {*pairs, *(name for name, _ in pairs.values())}
    return ArrayRowsSource(
        spec=spec,
        kind="npz",
        parts={images: split for images, (_, split) in pairs.items()},
        load=load,
        class_names=tuple(str(value) for value in classes.tolist()),
        strays=[*(Stray(name, "no array of images or labels") for name in names if name not in used), *beside],
    )


def _is_images_header(archive: zipfile.ZipFile, name: str) -> bool:
    with archive.open(name) as stream:
        version = np.lib.format.read_magic(stream)
        read_header = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        shape, _, dtype = read_header(stream)
    return dtype == np.uint8 and _is_images_shape(shape)


def _is_images_shape(shape: tuple[int, ...]) -> bool:
    return len(shape) == 3 or (len(shape) == 4 and shape[3] in _CHANNELS)


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[Any]:
    try:
        # Opened here, because NumPy leaves a file open that turns out to be no archive.
        with open(path, "rb") as handle:
            archive = np.load(handle, allow_pickle=False)
            if not isinstance(archive, np.lib.npyio.NpzFile):
                raise DataError(f"{path} holds a single array", expected=_EXPECTED)
            with archive:
                yield archive
    except DataError:
        raise
    except Exception as error:  # NumPy and zipfile raise whatever damaged bytes lead them to
        raise DataError(
            f"{path} cannot be read: {str(error) or type(error).__name__}",
            expected="a NumPy archive (.npz) of plain arrays",
            remedy="fetch or save the file again, without arrays of objects",
        ) from error


def _images(array: npt.NDArray[Any], where: str) -> npt.NDArray[np.uint8]:
    if array.dtype != np.uint8 or not _is_images_shape(array.shape):
        raise DataError(
            f"{where} is of the type {array.dtype} and shape {array.shape}",
            expected="images as bytes (uint8) of shape (N, H, W) or (N, H, W, C) with 1, 3 or 4 channels",
            remedy="save them with values from 0 to 255 and the channels last",
        )
    return array


def _labels(array: npt.NDArray[Any], where: str) -> npt.NDArray[Any]:
    """Whole numbers from 0 up, or text; (N,)."""
    if array.ndim == 2 and array.shape[1] == 1:  # as Keras gives the labels of CIFAR
        array = array[:, 0]
    if array.dtype.kind == "S":
        array = np.char.decode(array, "utf-8")
    if array.ndim != 1 or array.dtype.kind not in "iuU" or (array.dtype.kind in "iu" and (array < 0).any()):
        raise DataError(
            f"{where} is of the type {array.dtype} and shape {array.shape}",
            expected="one label an image: whole numbers from 0 up, or text, of shape (N,)",
            remedy="turn one-hot rows into class numbers with `labels.argmax(axis=1)`",
        )
    return array
