"""Data sets by name: `digits`, which scikit-learn carries, and `fashion-mnist`, found on this machine or downloaded."""

from __future__ import annotations

import importlib
import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt

from eyebright.data.sources.base import Item, Source, Stray
from eyebright.data.sources.idx import IdxSource, find_pairs
from eyebright.decode import UndecodableImage
from eyebright.errors import MissingDependencyError, UsageError, did_you_mean

NAMES = ("digits", "fashion-mnist")
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
_DEBIAN_FOLDER = Path("/usr/share/datasets/fashion-mnist")
_DIGITS_MAXIMUM = 16


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


def _find_fashion_mnist(consent_download: bool) -> Path:
    own = os.environ.get("EYEBRIGHT_DATA")
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "eyebright" / "data"
    roots = [Path(own).expanduser()] if own else []
    candidates = [root / place for root in [*roots, cache] for place in ("fashion-mnist", "FashionMNIST/raw")]
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
    target = roots[0] if roots else cache
    _download_fashion_mnist(target)
    return target / "FashionMNIST" / "raw"


def _download_fashion_mnist(target: Path) -> None:
    try:
        # By name, because torchvision brings torch, which this package must not load for anything else.
        datasets = importlib.import_module("torchvision.datasets")
        for train in (True, False):
            datasets.FashionMNIST(str(target), train=train, download=True)
    except (ImportError, OSError, RuntimeError) as error:
        raise MissingDependencyError(
            f"fashion-mnist could not be downloaded to {target}: {error}",
            remedy="check the network, or install the package dataset-fashion-mnist (Debian, Ubuntu)",
        ) from error
