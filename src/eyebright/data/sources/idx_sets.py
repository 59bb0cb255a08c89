"""The sets of the MNIST family by name: their folders in torchvision's and Keras' caches, and their class names.

Source of the names: Xiao et al., "Fashion-MNIST", 2017; Clanuwat et al., "Deep Learning for Classical Japanese
Literature", 2018 (KMNIST, in romanised form); the mapping files of EMNIST.
"""

from __future__ import annotations

import re
import string
from collections.abc import Sequence
from pathlib import Path

from eyebright.data.sources import idx
from eyebright.data.sources.base import Stray
from eyebright.data.sources.listing import names_in

FASHION_MNIST_CLASSES = (
    "T-shirt/top",
    "Trouser",
    "Pullover",
    "Dress",
    "Coat",
    "Sandal",
    "Shirt",
    "Sneaker",
    "Bag",
    "Ankle boot",
)
KMNIST_CLASSES = ("o", "ki", "su", "tsu", "na", "ha", "ma", "ya", "re", "wo")
# torchvision keeps each set in the folder `raw` of one of these, Keras has `fashion-mnist`.
TORCHVISION_FOLDERS = ("MNIST", "FashionMNIST", "KMNIST", "QMNIST", "EMNIST")
KERAS_FASHION_MNIST = "fashion-mnist"

_CLASSES_BY_FOLDER = {
    "fashionmnist": FASHION_MNIST_CLASSES,
    KERAS_FASHION_MNIST: FASHION_MNIST_CLASSES,
    "kmnist": KMNIST_CLASSES,
}
# Names that differ by case alone are refused everywhere, so capital and small letters are called that.
_CAPITALS = tuple(f"capital {letter}" for letter in string.ascii_uppercase)
# Small letters that look like their capitals are one class with them in the merged sets.
_UNLIKE_CAPITALS = tuple(f"small {letter}" for letter in "abdefghnqrt")
_EMNIST_CLASSES = {
    "byclass": (*string.digits, *_CAPITALS, *(f"small {letter}" for letter in string.ascii_lowercase)),
    "bymerge": (*string.digits, *_CAPITALS, *_UNLIKE_CAPITALS),
    "balanced": (*string.digits, *_CAPITALS, *_UNLIKE_CAPITALS),
    "letters": ("N/A", *string.ascii_lowercase),  # labels count from 1
    "digits": tuple(string.digits),
    "mnist": tuple(string.digits),
}


def holds_pairs(folder: Path) -> bool:
    """Whether there is any file of IDX images in `folder`."""
    return any(map(idx.is_images_file, names_in(folder).files))


def open_pairs(folder: Path, spec: str, only: str | None = None, strays: Sequence[Stray] = ()) -> idx.IdxSource:
    """The IDX images in `folder`, under their class names where folder or file tell which set it is.

    Raises:
        DataError: as `idx.find_pairs`, or a file is damaged.
    """
    pairs = idx.find_pairs(folder, only=only)
    return idx.IdxSource(pairs, spec, _class_names(folder, pairs), strays)


def name_of_folder(folder: Path) -> str:
    """The folder's name, or where that is torchvision's `raw`, the one above."""
    resolved = folder.absolute()
    return (resolved.parent if resolved.name == "raw" else resolved).name


def _class_names(folder: Path, pairs: Sequence[idx.Pair]) -> tuple[str, ...] | None:
    emnist = re.match(r"emnist-([a-z]+)-", pairs[0].images.name.lower())
    if emnist:
        return _EMNIST_CLASSES.get(emnist[1])
    return _CLASSES_BY_FOLDER.get(name_of_folder(folder).lower())
