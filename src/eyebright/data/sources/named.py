"""Data sets by name: `digits`, which scikit-learn carries, and others, found on this machine or downloaded.

They are looked for in EYEBRIGHT_DATA, in Eyebright's cache and in Keras', and nowhere else: no folder of the user's is
taken for a data set because it happens to be called `data`.
"""

from __future__ import annotations

import importlib
import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt

from eyebright.data.sources.base import Item, Source, Stray
from eyebright.data.sources.idx import IdxSource, find_pairs
from eyebright.data.sources.idx_sets import FASHION_MNIST_CLASSES
from eyebright.data.sources.published import FoundSet, find_sets
from eyebright.decode import UndecodableImage
from eyebright.errors import MissingDependencyError, UsageError, did_you_mean

NAMES = ("digits", "fashion-mnist", "mnist", "cifar10", "cifar100")
_DEBIAN_FOLDER = Path("/usr/share/datasets/fashion-mnist")
_DIGITS_MAXIMUM = 16
# torchvision's name, and the size of its download in MB.
_TORCHVISION = {
    "fashion-mnist": ("FashionMNIST", 30),
    "mnist": ("MNIST", 10),
    "cifar10": ("CIFAR10", 170),
    "cifar100": ("CIFAR100", 170),
}


def open_named(name: str, *, consent_download: bool = False) -> Source:
    """Open the data set `name`.

    Raises:
        UsageError: there is no data set of that name.
        MissingDependencyError: it is not on this machine and no consent to a download was given.
    """
    if name == "digits":
        return DigitsSource()
    if name == "fashion-mnist":
        pairs = find_pairs(_find_fashion_mnist(consent_download))
        return IdxSource(pairs, spec=name, class_names=FASHION_MNIST_CLASSES)
    if name in _TORCHVISION:
        return _find(name, consent_download).open(name, ())
    raise UsageError(
        f"there is no data set named {name!r}{did_you_mean(name, NAMES)}", expected=f"one of {', '.join(NAMES)}"
    )


class DigitsSource:
    """1,797 handwritten digits of 8x8 pixels (Alpaydin and Kaynak, UCI), carried by scikit-learn; no split."""

    spec = "digits"
    kind = "digits"
    class_names: tuple[str, ...] | None = tuple("0123456789")

    def __init__(self) -> None:
        from sklearn.datasets import load_digits  # a second of import that other sources do not pay

        digits = load_digits()
        # (N, 8, 8), values 0 to 16
        self._images = np.rint(digits.images * (255 / _DIGITS_MAXIMUM)).astype(np.uint8)
        self._labels = [str(label) for label in digits.target]

    def items(self) -> Iterator[Item]:
        """All images, in scikit-learn's order."""
        for row, label in enumerate(self._labels):
            yield Item(source=f"digits#{row}", label=label)

    def strays(self) -> list[Stray]:
        """None: every row is an image."""
        return []

    def read(self, source: str) -> npt.NDArray[np.uint8]:
        """One image (8, 8), uint8, 0 to 255."""
        name, _, row = source.rpartition("#")
        if name != "digits" or not 0 <= int(row) < len(self._images):
            raise UndecodableImage("missing", f"there is no row {source}")
        image: npt.NDArray[np.uint8] = self._images[int(row)]
        return image


def _places() -> list[Path]:
    """Where data sets may lie: EYEBRIGHT_DATA, Eyebright's cache, Keras' cache."""
    own = os.environ.get("EYEBRIGHT_DATA")
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "eyebright" / "data"
    keras = Path(os.environ.get("KERAS_HOME") or Path.home() / ".keras").expanduser() / "datasets"
    return [*([Path(own).expanduser()] if own else []), cache, keras]


def _download_target() -> Path:
    """EYEBRIGHT_DATA if it is set, else Eyebright's cache."""
    return _places()[0]


def _find(name: str, consent_download: bool) -> FoundSet:
    """The published set `name`; where several forms of it lie, the first of the first place."""
    found = _look_for(name)
    if found is None and consent_download:
        _download(name, _download_target())
        found = _look_for(name)
    if found is not None:
        return found
    dataset, megabytes = _TORCHVISION[name]
    places = ", ".join(map(str, _places()))
    raise MissingDependencyError(
        f"{name} is not on this machine: neither in EYEBRIGHT_DATA nor in the caches of Eyebright and Keras",
        expected=f"its files, as published or as torchvision or Keras keep them, in one of {places}",
        remedy=f"set EYEBRIGHT_DATA to the folder that holds them (the root of torchvision's {dataset}), give their "
        f"path instead of the name, or agree to a download of {megabytes} MB (`--download`)",
    )


def _look_for(name: str) -> FoundSet | None:
    found = (each for place in _places() for each in find_sets(place) if each.data_set == name)
    return next(found, None)


def _find_fashion_mnist(consent_download: bool) -> Path:
    candidates = [root / place for root in _places() for place in ("fashion-mnist", "FashionMNIST/raw")]
    for folder in [*candidates, _DEBIAN_FOLDER]:
        if folder.is_dir() and len(find_pairs(folder)) >= 2:
            return folder
    if not consent_download:
        raise MissingDependencyError(
            "fashion-mnist is not on this machine: neither in EYEBRIGHT_DATA nor in Debian's package",
            expected=f"its four IDX files in one of {', '.join(map(str, [*candidates, _DEBIAN_FOLDER]))}",
            remedy="install the package dataset-fashion-mnist (Debian, Ubuntu), set EYEBRIGHT_DATA to the folder above "
            "fashion-mnist, or agree to a download of 30 MB (`--download`)",
        )
    target = _download_target()
    _download_fashion_mnist(target)
    return target / "FashionMNIST" / "raw"


def _download_fashion_mnist(target: Path) -> None:
    _download("fashion-mnist", target)


def _download(name: str, target: Path) -> None:
    try:
        # By name, because torchvision brings torch, which this package must not load for anything else.
        datasets = importlib.import_module("torchvision.datasets")
        for train in (True, False):
            getattr(datasets, _TORCHVISION[name][0])(str(target), train=train, download=True)
    except (ImportError, OSError, RuntimeError) as error:
        debian = ", or install the package dataset-fashion-mnist (Debian, Ubuntu)" if name == "fashion-mnist" else ""
        raise MissingDependencyError(
            f"{name} could not be downloaded to {target}: {error}",
            remedy=f"check the network{debian}",
        ) from error
