"""Images that are in memory or in a list already: what a scikit-learn user calls X.

`as_images` and `FlatImages` turn X into a list of images, `identify` gives each its content id, and `divide` takes a
validation part off them. A run on a folder has `data.sources`, `data.manifest` and `data.split` for this.
"""

from __future__ import annotations

import dataclasses
import hashlib
import math
import os
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
from PIL import Image

from eyebright.decode import ImageInput, UndecodableImage, decode_image, inspect_image, read_image_file
from eyebright.errors import DataError
from eyebright.identity import content_id
from eyebright.preprocess import Preprocess

GREY_SAMPLES = 64
GREY_TOLERANCE = 2

Given = TypeVar("Given")
Result = TypeVar("Result")


@dataclasses.dataclass(frozen=True, kw_only=True)
class FlatImages:
    """How a row of a table becomes an image.

    Attributes:
        shape: (H, W) or (H, W, C) of the image that a row holds.
        low, high: values that become 0 and 255; what lies outside is clipped.
    """

    shape: tuple[int, ...]
    low: float
    high: float

    @classmethod
    def seen_in(cls, table: npt.NDArray[np.float64], shape: Sequence[int] | None) -> FlatImages:
        """Read the range off a table (N, D), and the shape when none is given: square, or one row.

        Raises:
            DataError: a row has another number of values than the shape.
        """
        columns = table.shape[1]
        side = math.isqrt(columns)
        if shape is None:
            shape = (side, side) if side * side == columns else (1, columns)
        if len(shape) not in (2, 3) or math.prod(shape) != columns:
            raise DataError(
                f"a row of X has {columns} values and image_shape is {tuple(shape)}",
                expected="(H, W) or (H, W, C) with as many values as X has columns",
            )
        return cls(shape=tuple(int(length) for length in shape), low=float(table.min()), high=float(table.max()))

    def images(self, table: npt.NDArray[np.float64]) -> list[ImageInput]:
        """Rows (N, D) as N uint8 arrays of `shape`."""
        # Halves, because the span of a table of the largest floats would be infinite.
        span = (self.high / 2 - self.low / 2) or 1.0
        shares = np.clip((table / 2 - self.low / 2) / span, 0.0, 1.0)
        return list(np.rint(shares * 255).astype(np.uint8).reshape(-1, *self.shape))


def as_images(X: Any) -> list[ImageInput] | None:
    """X as a list of images, or None when it is (or should be) a table of numbers.

    Raises:
        DataError: X is one image instead of several, or an array without any.
    """
    if isinstance(X, (str, bytes, os.PathLike, Image.Image)):
        raise DataError(f"X is one image ({type(X).__name__})", expected="several", remedy="give a list: [image]")
    if isinstance(X, np.ndarray) and X.ndim >= 3:
        if len(X) == 0:
            raise DataError(f"X of shape {X.shape} has no image (0 samples)", expected="at least one image")
        return list(X)
    if getattr(X, "ndim", 0) == 1 and hasattr(X, "to_numpy"):  # a column of a data frame
        X = X.to_numpy()
    if isinstance(X, (list, tuple)) or (isinstance(X, np.ndarray) and X.ndim == 1):
        first = X[0] if len(X) else None
        if isinstance(first, (str, bytes, os.PathLike, Image.Image)):
            return list(X)
        if isinstance(first, np.ndarray) and first.ndim > 1:
            return list(X)
    return None


def each_row(work: Callable[[Given], Result], given: Iterable[Given], rows: Iterable[int]) -> list[Result]:
    """`work` on what is given for every image, in threads; an image that fails is named by its row in X.

    Raises:
        DataError: `work` raised it; the problem now begins with `X[row]`.
    """

    def named(row: int, one: Given) -> Result:
        try:
            return work(one)
        except UndecodableImage as error:
            problem = f"X[{row}]: {error.problem}"
            raise UndecodableImage(error.status, problem, expected=error.expected, remedy=error.remedy) from error
        except DataError as error:
            raise DataError(f"X[{row}]: {error.problem}", expected=error.expected, remedy=error.remedy) from error

    with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
        return list(pool.map(named, rows, given))


def identify(image: ImageInput) -> tuple[str, int]:
    """The id of an image's content, and its shorter side in pixels.

    Files count by their bytes, as in a manifest; arrays and Pillow images by their pixels, whatever holds them.

    Raises:
        DataError: the image is missing or is none.
    """
    content: bytes | npt.NDArray[np.uint8]
    if isinstance(image, bytes):
        content = image
    elif isinstance(image, (str, os.PathLike)):
        content = read_image_file(image)
    else:
        content = np.asarray(decode_image(image))
    facts = inspect_image(content)
    return content_id(content), min(facts.width, facts.height)


def look_grey(images: Sequence[ImageInput], rows: Sequence[int]) -> bool:
    """Whether a sample of the images is grey, by the rule that runs follow."""

    def colour(image: ImageInput) -> int:
        return int(np.ptp(np.asarray(decode_image(image, at_least=32), dtype=np.int16), axis=2).max())

    step = max(1, len(images) // GREY_SAMPLES)
    return max(each_row(colour, images[::step], rows[::step])) <= GREY_TOLERANCE


def stack_pixels(images: Sequence[ImageInput], preprocess: Preprocess, rows: Sequence[int]) -> npt.NDArray[np.uint8]:
    """uint8 (N, resize_to, resize_to, channels), as a pack has them."""
    side = preprocess.resize_to
    pixels = np.empty((len(images), side, side, preprocess.channels), dtype=np.uint8)

    def fill(place: tuple[int, ImageInput]) -> None:
        pixels[place[0]] = preprocess.margin_pixels(place[1])

    each_row(fill, enumerate(images), rows)
    return pixels


def divide(ids: Sequence[str], targets: npt.NDArray[np.int64], *, share: float, seed: int) -> npt.NDArray[np.bool_]:
    """Which rows go to validation, bool (N,): class by class the images whose hash with `seed` is smallest.

    Unlike the split of a run, which judges every image by itself so that adding images moves none, this one keeps the
    share in every class: the sets are smaller here, and nobody adds to a fold of a cross-validation.

    Args:
        ids: N content ids. Rows that share one (an image under two labels) stay together and count for the first.
        targets: (N,), class indices.
        share: of a class's images: rounded, at least one where it has three, and never the last.
        seed: another one gives another division.
    """
    home: dict[str, int] = {}
    for image, target in zip(ids, targets.tolist(), strict=True):
        home.setdefault(image, target)
    members: dict[int, list[str]] = {}
    for image, target in home.items():
        members.setdefault(target, []).append(image)
    val: set[str] = set()
    for images in members.values():
        count = min(len(images) - 1, max(round(share * len(images)), int(len(images) >= 3)))
        val.update(sorted(images, key=lambda image: hashlib.blake2b(f"{seed}\n{image}".encode()).digest())[:count])
    # A class whose images all count for others may be in validation whole: it must be learnt from instead.
    learnt = {target for image, target in zip(ids, targets.tolist(), strict=True) if image not in val}
    val -= {image for image, target in zip(ids, targets.tolist(), strict=True) if target not in learnt}
    return np.array([image in val for image in ids], dtype=np.bool_)
