"""Whether two images show the same picture: one is laid over a window of the other, and correlation decides.

Embeddings say that two images are alike; two photos of one kind of flower are alike too. What tells copies apart is
that their details lie at the same places. Each pair goes through two steps, both on detail (luma less its blurred
self), which does not change with brightness and hardly with recompression or scale:

    coarse   normalised cross-correlation at 48 pixels over all places of windows of some sizes, mirrored too (Lewis,
             "Fast normalized cross-correlation", 1995: numerator by FFT, denominator by summed-area tables)
    fine     for pairs that pass: the window is moved and scaled in small steps at 96 pixels until nothing improves
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import scipy.fft
from PIL import Image
from scipy.ndimage import gaussian_filter1d

COARSE_SIDE = 48
FINE_SIDE = 96

# Sides of the window over COARSE_SIDE, height then width: the copy may be cut down to about a quarter of the area.
_UNIFORM = (48, 46, 44, 42, 40, 38, 36, 34, 31, 28, 25)
_ONE_SIDED = (44, 40, 36, 32, 27)
_WINDOWS = (
    *((side, side) for side in _UNIFORM),
    *((COARSE_SIDE, side) for side in _ONE_SIDED),
    *((side, COARSE_SIDE) for side in _ONE_SIDED),
)
_COARSE_BLUR = 2.0
_FINE_BLUR = 3.0
_BATCH_PAIRS = 256
_COARSE_SURE = 0.97
# Crops of 64 to 90 % of flowers reach 0.86 at least; half of the pairs of different photos stay below.
_COARSE_LEAST = 0.6
_FINE_STEPS = (0.02, 0.01, 0.005)
_MOST_MOVES = 6
# Detail of one grey level (of 255) in the root mean square is noise: a flat image matches nothing.
_LEAST_CONTRAST = 1.0

Picture = Callable[[int], Image.Image]


class Placement(NamedTuple):
    """Where one image lies in the other.

    Attributes:
        correlation: -1 to 1, of the details.
        window: left, top, width and height as shares of the whole.
        mirrored: the part had to be mirrored.
        swapped: the whole is the second image of the pair.
    """

    correlation: float
    window: tuple[float, float, float, float]
    mirrored: bool
    swapped: bool

    @property
    def share(self) -> float:
        """Area of the window over the area of the whole, 0 to 1."""
        return self.window[2] * self.window[3]


def detail(picture: Image.Image) -> npt.NDArray[np.float32]:
    """The detail of a grey image squashed to float32 (COARSE_SIDE, COARSE_SIDE), for `align`."""
    luma = np.asarray(picture.resize((COARSE_SIDE, COARSE_SIDE), Image.Resampling.LANCZOS), dtype=np.float32)
    return luma - _blurred(luma, _COARSE_BLUR)


def align(
    details: npt.NDArray[np.float32],
    pairs: npt.NDArray[np.int64],
    picture: Picture,
    *,
    advance: Callable[[int], None] = lambda count: None,
) -> list[Placement]:
    """The best placement of each pair that was found.

    Args:
        details: float32 (N, COARSE_SIDE, COARSE_SIDE) as `detail` gives them.
        pairs: int64 (P, 2), indices of images.
        picture: the grey image of an index, at least FINE_SIDE pixels a side where the file has them.
        advance: told how many pairs are done.
    """
    found: list[Placement] = []
    for start in range(0, len(pairs), _BATCH_PAIRS):
        batch = pairs[start : start + _BATCH_PAIRS]
        for (one, other), coarse in zip(batch.tolist(), _coarse(details, batch), strict=True):
            if coarse.correlation < _COARSE_LEAST:
                found.append(coarse)
                continue
            whole, part = (other, one) if coarse.swapped else (one, other)
            found.append(_refine(picture(whole), picture(part), coarse))
        advance(len(batch))
    return found


def _coarse(details: npt.NDArray[np.float32], pairs: npt.NDArray[np.int64]) -> list[Placement]:
    best = [Placement(-1.0, (0.0, 0.0, 1.0, 1.0), False, False)] * len(pairs)
    for mirrored in (False, True):
        for swapped in (False, True):
            rows = np.array([row for row, place in enumerate(best) if place.correlation < _COARSE_SURE], dtype=np.int64)
            if not len(rows):
                return best
            parts = details[pairs[rows, 0 if swapped else 1]]
            _try_windows(
                details[pairs[rows, 1 if swapped else 0]],
                parts[:, :, ::-1] if mirrored else parts,
                rows,
                best,
                mirrored=mirrored,
                swapped=swapped,
            )
    return best


def _try_windows(
    wholes: npt.NDArray[np.float32],
    parts: npt.NDArray[np.float32],
    rows: npt.NDArray[np.int64],
    best: list[Placement],
    *,
    mirrored: bool,
    swapped: bool,
) -> None:
    """Look for each part in its whole at every window size, and note in `best` where it fits better than before."""
    side = COARSE_SIDE
    centred = wholes - wholes.mean(axis=(1, 2), keepdims=True)
    spectrum = scipy.fft.rfft2(centred)
    sums, squares = _summed(centred), _summed(centred**2)
    for height, width in _WINDOWS:
        template = np.einsum("hi,pij,wj->phw", _shrink(height), parts, _shrink(width), optimize=True)
        template -= template.mean(axis=(1, 2), keepdims=True)
        area = height * width
        floor = _LEAST_CONTRAST * np.sqrt(area)
        norm = np.maximum(np.sqrt((template**2).sum(axis=(1, 2))), floor)
        product = spectrum * scipy.fft.rfft2(template, s=(side, side)).conj()
        numerator = scipy.fft.irfft2(product, s=(side, side))[:, : side - height + 1, : side - width + 1]
        variance = _window_sums(squares, height, width) - _window_sums(sums, height, width) ** 2 / area
        correlation = numerator / (np.sqrt(np.maximum(variance, floor**2)) * norm[:, None, None])
        flat = correlation.reshape(len(rows), -1)
        for index, place in enumerate(flat.argmax(axis=1).tolist()):
            if flat[index, place] > best[rows[index]].correlation:
                top, left = divmod(place, correlation.shape[2])
                window = (left / side, top / side, width / side, height / side)
                best[rows[index]] = Placement(float(flat[index, place]), window, mirrored, swapped)


def _summed(images: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]:
    """Summed-area tables, float64 (P, side + 1, side + 1)."""
    table = np.zeros((len(images), images.shape[1] + 1, images.shape[2] + 1))
    table[:, 1:, 1:] = images.cumsum(axis=1, dtype=np.float64).cumsum(axis=2)
    return table


def _window_sums(table: npt.NDArray[np.float64], height: int, width: int) -> npt.NDArray[np.float64]:
    sums: npt.NDArray[np.float64] = (
        table[:, height:, width:]
        - table[:, :-height, width:]
        - table[:, height:, :-width]
        + table[:, :-height, :-width]
    )
    return sums


@functools.cache
def _shrink(size: int) -> npt.NDArray[np.float32]:
    """The matrix (size, COARSE_SIDE) that resizes one axis by area-weighted means."""
    edges = np.linspace(0, COARSE_SIDE, size + 1)
    low, high = edges[:-1, None], edges[1:, None]
    pixel = np.arange(COARSE_SIDE)[None, :]
    overlap = np.clip(np.minimum(high, pixel + 1) - np.maximum(low, pixel), 0, None)
    return np.asarray(overlap / (high - low), dtype=np.float32)


def _refine(whole: Image.Image, part: Image.Image, coarse: Placement) -> Placement:
    """Climb from the coarse window to the best one nearby; the correlation is that of the fine details."""
    target = _unit_detail(part.resize((FINE_SIDE, FINE_SIDE), Image.Resampling.BICUBIC))
    if coarse.mirrored:
        target = target[:, ::-1]

    def score(window: tuple[float, float, float, float]) -> float:
        left, top, width, height = window
        right, bottom = min(1.0, left + width), min(1.0, top + height)
        box = (max(0.0, left) * whole.width, max(0.0, top) * whole.height, right * whole.width, bottom * whole.height)
        if box[2] - box[0] < 2 or box[3] - box[1] < 2:
            return -1.0
        seen = whole.resize((FINE_SIDE, FINE_SIDE), Image.Resampling.BICUBIC, box=box)
        return float((_unit_detail(seen) * target).sum())

    window, best = coarse.window, score(coarse.window)
    for step in _FINE_STEPS:
        for _ in range(_MOST_MOVES):
            tried = [(score(moved), moved) for moved in _neighbours(window, step)]
            value, moved = max(tried)
            if value <= best + 1e-4:
                break
            window, best = moved, value
    left, top, width, height = window
    inside = (max(0.0, left), max(0.0, top), min(1.0, left + width), min(1.0, top + height))
    window = (inside[0], inside[1], inside[2] - inside[0], inside[3] - inside[1])
    return Placement(best, window, coarse.mirrored, coarse.swapped)


def _neighbours(window: tuple[float, float, float, float], step: float) -> list[tuple[float, float, float, float]]:
    left, top, width, height = window
    moves = [
        (step, 0.0, 0.0, 0.0), (-step, 0.0, 0.0, 0.0), (0.0, step, 0.0, 0.0), (0.0, -step, 0.0, 0.0),
        (-step, -step, 2 * step, 2 * step), (step, step, -2 * step, -2 * step),
        (-step, 0.0, 2 * step, 0.0), (step, 0.0, -2 * step, 0.0),
        (0.0, -step, 0.0, 2 * step), (0.0, step, 0.0, -2 * step),
    ]  # fmt: skip
    return [(left + a, top + b, width + c, height + d) for a, b, c, d in moves]


def _unit_detail(picture: Image.Image) -> npt.NDArray[np.float32]:
    """Fine detail with mean zero and length one, or shorter where there is hardly any."""
    luma = np.asarray(picture, dtype=np.float32)
    fine = luma - _blurred(luma, _FINE_BLUR)
    fine -= fine.mean()
    return np.asarray(fine / max(float(np.linalg.norm(fine)), _LEAST_CONTRAST * FINE_SIDE), dtype=np.float32)


def _blurred(luma: npt.NDArray[np.float32], sigma: float) -> npt.NDArray[np.float32]:
    blur = _blur(len(luma), sigma)
    return np.asarray(blur @ luma @ blur.T, dtype=np.float32)


@functools.cache
def _blur(side: int, sigma: float) -> npt.NDArray[np.float32]:
    """The matrix (side, side) that blurs one axis: at these sizes a product is ten times as fast as a filter."""
    return np.asarray(gaussian_filter1d(np.eye(side), sigma, axis=0), dtype=np.float32)
