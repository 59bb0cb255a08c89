"""How faithful a heat map is: what the classifier says when the hot places are taken away, or are all that it gets.

Deletion and insertion (Petsiuk, Das and Saenko 2018, arXiv:1806.07421). Deletion takes places away, hottest first, and
a faithful map makes the class's probability fall fast: a small area under the curve is good. Insertion begins with a
blurred image and puts places back, hottest first: a large area is good. Insertion minus deletion sums both up.

Places are the cells of a grid of at most 28 x 28: single pixels taken from all over an image make a noise on which
networks fail whatever is taken. What is deleted takes the image's mean colour; a blurred image has lost details finer
than a tenth of its side.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from eyebright.evaluation.estimate import Estimate
from eyebright.progress import Progress, Silent

Floats = npt.NDArray[np.float64]
Heat = npt.NDArray[np.float32]
Pixels = npt.NDArray[np.uint8]
Predict = Callable[[Pixels], npt.NDArray[Any]]
"""Calibrated probabilities (N, classes) of pixels uint8 (N, H, W, C)."""

STEPS = 12
CELLS = 28
BLUR_SHARE = 0.1
RANDOM, CENTRE = "random order", "centre"
"""What a map must beat: cells in any order, and a spot in the middle of every image."""
RESAMPLES = 2000
_METHOD = "bootstrap over images"
_AT_A_TIME = 64


@dataclasses.dataclass(frozen=True, kw_only=True)
class Faithfulness:
    """How faithful one method is.

    Attributes:
        method: its name.
        deletion: mean area under the deletion curve, 0 to 1; smaller is better.
        insertion: mean area under the insertion curve, 0 to 1; larger is better.
        difference: insertion minus deletion; larger is better.
        seconds_per_image: to make one map; None where that was not measured.
        images: on how many images.
    """

    method: str
    deletion: Estimate
    insertion: Estimate
    difference: Estimate
    seconds_per_image: float | None
    images: int

    def as_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return dataclasses.asdict(self)


def deletion_and_insertion(
    predict: Predict, pixels: Pixels, heat: Heat, classes: npt.NDArray[np.int64], *, steps: int = STEPS
) -> tuple[Floats, Floats]:
    """Areas under the deletion and the insertion curve of each image.

    Args:
        predict: the classifier.
        pixels: uint8 (N, H, W, C).
        heat: float32 (N, H, W); only its order matters. Places that are equally hot come in any order.
        classes: whose probability is followed, (N,).
        steps: in how many equal steps the image goes.

    Returns:
        Two float64 (N,), between 0 and 1.
    """
    areas = np.empty((len(pixels), 2))
    each = max(1, _AT_A_TIME // (2 * (steps + 1)))
    for first in range(0, len(pixels), each):
        part = slice(first, first + each)
        frames = np.stack([_frames(image, hot, steps) for image, hot in zip(pixels[part], heat[part], strict=True)])
        rows = predict(frames.reshape(-1, *pixels.shape[1:])).astype(np.float64)
        rows = rows.reshape(*frames.shape[:3], -1)  # (images, 2, steps + 1, classes)
        followed = np.take_along_axis(rows, classes[part][:, None, None, None], axis=3)[..., 0]
        areas[part] = np.trapezoid(followed, dx=1 / steps, axis=2)
    return areas[:, 0], areas[:, 1]


def compare_methods(
    predict: Predict,
    pixels: Pixels,
    classes: npt.NDArray[np.int64],
    maps: Mapping[str, Callable[[Pixels, npt.NDArray[np.int64]], Heat]],
    *,
    seed: int = 0,
    progress: Progress | None = None,
) -> list[Faithfulness]:
    """Measure methods on the same images, with cells in random order and a spot in the centre for comparison.

    Args:
        predict: the classifier.
        pixels: uint8 (N, H, W, C), ten images or more.
        classes: whose probability is followed, (N,): the predicted ones.
        maps: for each method's name, what makes heat maps (N, H, W) of pixels and classes.
        seed: of the random order and the intervals.
        progress: told of each method.

    Returns:
        One row for each method, most faithful first; then the two comparisons.
    """
    rows = []
    with (progress or Silent()).task("how faithful each method is", len(maps) + 2, "methods") as task:
        for name, make in maps.items():
            begun = time.perf_counter()
            heat = make(pixels, classes)
            seconds = (time.perf_counter() - begun) / max(1, len(pixels))
            rows.append(_measured(name, deletion_and_insertion(predict, pixels, heat, classes), seconds, seed))
            task.advance()
        rows.sort(key=lambda row: -row.difference.value)
        for name, heat in ((RANDOM, random_maps(pixels.shape[:3], seed)), (CENTRE, centre_maps(pixels.shape[:3]))):
            rows.append(_measured(name, deletion_and_insertion(predict, pixels, heat, classes), None, seed))
            task.advance()
    return rows


def random_maps(shape: tuple[int, int, int], seed: int = 0) -> Heat:
    """Heat (N, H, W) that orders the cells by chance."""
    return np.random.default_rng(seed).random(shape, dtype=np.float32)


def centre_maps(shape: tuple[int, int, int]) -> Heat:
    """The same round spot in the middle of every image, (N, H, W); its deviation is a quarter of the side."""
    count, height, width = shape
    rows = (np.arange(height) + 0.5) / height - 0.5
    columns = (np.arange(width) + 0.5) / width - 0.5
    spot = np.exp(-(rows[:, None] ** 2 + columns[None] ** 2) / (2 * 0.25**2))
    return np.broadcast_to(spot.astype(np.float32), (count, height, width)).copy()


def _measured(name: str, areas: tuple[Floats, Floats], seconds: float | None, seed: int) -> Faithfulness:
    deletion, insertion = areas
    drawn = np.random.default_rng(seed).integers(0, len(deletion), (RESAMPLES, len(deletion)))
    return Faithfulness(
        method=name,
        deletion=_estimate(deletion, drawn),
        insertion=_estimate(insertion, drawn),
        difference=_estimate(insertion - deletion, drawn),
        seconds_per_image=seconds,
        images=len(deletion),
    )


def _estimate(values: Floats, drawn: npt.NDArray[np.int64]) -> Estimate:
    low, high = np.percentile(values[drawn].mean(axis=1), [2.5, 97.5])
    return Estimate(float(values.mean()), float(low), float(high), _METHOD)


def _frames(image: Pixels, heat: Heat, steps: int) -> Pixels:
    """The image with more and more cells deleted, and with more and more inserted: (2, steps + 1, H, W, C)."""
    height, width, _ = image.shape
    rank = _rank_of_cells(heat)  # (H, W), 0 for the hottest cell
    deviation = BLUR_SHARE * min(height, width)
    blurred = ndimage.gaussian_filter(image.astype(np.float32), (deviation, deviation, 0)).round().astype(np.uint8)
    mean = image.reshape(-1, image.shape[2]).mean(axis=0).round().astype(np.uint8)
    cells = int(rank.max()) + 1
    reached = np.array([rank < round(step * cells / steps) for step in range(steps + 1)])[
        ..., None
    ]  # (steps + 1, H, W, 1)
    return np.stack([np.where(reached, mean, image), np.where(reached, image, blurred)])


def _rank_of_cells(heat: Heat) -> npt.NDArray[np.int64]:
    """For each pixel the place of its cell in the order of heat, hottest first; equally hot cells in any order."""
    rows, columns = (np.arange(side) * min(CELLS, side) // side for side in heat.shape)
    cell = rows[:, None] * (columns[-1] + 1) + columns[None]
    mean = np.bincount(cell.ravel(), heat.ravel()) / np.bincount(cell.ravel())
    shuffled = np.random.default_rng(0).permutation(len(mean))
    order = shuffled[np.argsort(-mean[shuffled], kind="stable")]
    rank = np.empty(len(mean), dtype=np.int64)
    rank[order] = np.arange(len(mean))
    return np.asarray(rank[cell])
