"""What the header of a JPEG tells about its maker: quantisation tables, estimated quality, chroma subsampling."""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt
from PIL import JpegImagePlugin

# Annex K of ITU-T T.81, row by row: what libjpeg (IJG) scales by the quality that the user asks for.
_LUMINANCE = (
    16, 11, 10, 16, 24, 40, 51, 61,
    12, 12, 14, 19, 26, 58, 60, 55,
    14, 13, 16, 24, 40, 57, 69, 56,
    14, 17, 22, 29, 51, 87, 80, 62,
    18, 22, 37, 56, 68, 109, 103, 77,
    24, 35, 55, 64, 81, 104, 113, 92,
    49, 64, 78, 87, 103, 121, 120, 101,
    72, 92, 95, 98, 112, 100, 103, 99,
)  # fmt: skip
_CHROMINANCE = (
    17, 18, 24, 47, 99, 99, 99, 99,
    18, 21, 26, 66, 99, 99, 99, 99,
    24, 26, 56, 99, 99, 99, 99, 99,
    47, 66, 99, 99, 99, 99, 99, 99,
    *([99] * 32),
)  # fmt: skip
_SUBSAMPLINGS = {(1, 1): "4:4:4", (2, 1): "4:2:2", (2, 2): "4:2:0", (4, 1): "4:1:1", (1, 2): "4:4:0"}


def standard_tables(quality: int) -> npt.NDArray[np.int64]:
    """The IJG tables for a quality of 1 to 100, int64 (2, 64): luminance, then chrominance, row by row."""
    scale = 5000 // quality if quality < 50 else 200 - 2 * quality
    scaled = (np.array([_LUMINANCE, _CHROMINANCE], dtype=np.int64) * scale + 50) // 100
    return np.clip(scaled, 1, 255).astype(np.int64)


def describe_tables(quantization: Mapping[int, Sequence[int]]) -> tuple[float, str] | None:
    """The estimated quality (1 to 100) and a short name of these tables; None when there are none.

    The quality is exact for files of libjpeg and whatever is built on it. The tables of other makers get the quality at
    which libjpeg's luminance table is as coarse on average.

    Args:
        quantization: tables of 64 values by number, as Pillow gives them: 0 is the luminance's.
    """
    tables = tuple(tuple(int(value) for value in quantization[number]) for number in sorted(quantization))
    if not tables or any(len(table) != 64 for table in tables):
        return None
    return _describe(tables)


# A set of images knows a handful of tables; a set collected from many cameras some hundreds.
@functools.lru_cache(maxsize=4096)
def _describe(tables: tuple[tuple[int, ...], ...]) -> tuple[float, str]:
    standard = _all_standard_tables()  # (100, 2, 64)
    name = hashlib.blake2b(repr(tables).encode(), digest_size=4).hexdigest()
    fits = np.abs(standard[:, 0] - np.array(tables[0])).sum(axis=1) == 0
    if not fits.any():
        # The scale that libjpeg would have used, on average over the frequencies, turned into its quality.
        scale = float(np.mean(np.array(tables[0]) / np.array(_LUMINANCE))) * 100
        quality = 5000 / scale if scale > 100 else 100 - scale / 2
        return float(np.clip(quality, 1, 100)), name
    # Few qualities share a table of luminance (those below 2, all 255): the last of them is named.
    return float(1 + np.flatnonzero(fits).max()), name


@functools.cache
def _all_standard_tables() -> npt.NDArray[np.int64]:
    return np.stack([standard_tables(quality) for quality in range(1, 101)])


def describe_subsampling(image: JpegImagePlugin.JpegImageFile) -> str:
    """`4:2:0` and the like, `grey` for one channel; the sampling factors as they are where it has no such name."""
    layers = [(int(horizontal), int(vertical)) for _, horizontal, vertical, _ in image.layer]
    if len(layers) == 1:
        return "grey"
    if all(layer == (1, 1) for layer in layers[1:]) and layers[0] in _SUBSAMPLINGS:
        return _SUBSAMPLINGS[layers[0]]
    return " ".join(f"{horizontal}x{vertical}" for horizontal, vertical in layers)
