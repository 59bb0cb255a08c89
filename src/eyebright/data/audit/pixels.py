"""What is measured on the pixels of one image: colour, light, sharpness, perceptual hash.

Photos are looked at with at most 256 pixels on the shortest side, about what a network sees of them; smaller ones as
they are. A blurred photo of 12 megapixels that is sharp at that size is sharp for our purpose.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageChops

from eyebright.data.audit.hashing import perceptual_hash

WORKING_SIDE = 256  # most pixels on the shortest side
_LONGEST = 4 * WORKING_SIDE  # most pixels on the longest, for panoramas
BORDER_SHARE = 1 / 16  # width of the border, of the width and the height
_COLOUR_SIDE = 128  # least pixels on the shortest side for the mean colours
_DARK = 26  # levels of luma below this (a tenth of 255) are dark
_LEVELS = np.arange(256)


def measure_pixels(picture: Image.Image) -> dict[str, float | bytes]:
    """The columns of `properties.PROPERTIES_SCHEMA` that come from pixels.

    Args:
        picture: mode `RGB`, upright, of any size.
    """
    luma = _at_working_size(picture.convert("L"))
    # Mean colours need no more; whole factors are averaged fast.
    factor = max(1, min(picture.size) // _COLOUR_SIDE)
    found: dict[str, float | bytes] = {
        **_colours(picture if factor == 1 else picture.reduce(factor)),
        **_light(luma),
        **_edges(luma),
    }
    found["hash"], found["hash_mirrored"] = perceptual_hash(luma)
    return found


def laplacian_variance(luma: npt.NDArray[np.uint8]) -> float:
    """Variance of the Laplacian (4 neighbours) of the inner pixels, in levels of 0 to 255; 0 below 3x3 pixels.

    The measure of sharpness of Pech-Pacheco et al., Diatom autofocusing in brightfield microscopy (2000).
    """
    if min(luma.shape) < 3:
        return 0.0
    level = luma.astype(np.int16)
    laplacian = level[1:-1, 1:-1] * np.int16(-4)
    for neighbour in (level[:-2, 1:-1], level[2:, 1:-1], level[1:-1, :-2], level[1:-1, 2:]):
        laplacian += neighbour
    values = laplacian.ravel().astype(np.float32)
    values -= values.mean(dtype=np.float64)
    return float(values @ values) / values.size


def _at_working_size(luma: Image.Image) -> Image.Image:
    width, height = luma.size
    scale = min(1.0, WORKING_SIDE / min(width, height), _LONGEST / max(width, height))
    if scale == 1.0:
        return luma
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    return luma.resize(size, Image.Resampling.HAMMING, reducing_gap=2.0)


def _colours(picture: Image.Image) -> dict[str, float]:
    """Mean colour of the whole and of the border, and the saturation, each from 0 to 1."""
    width, height = picture.size
    across, down = max(1, round(width * BORDER_SHARE)), max(1, round(height * BORDER_SHARE))
    total = _channel_sums(picture)
    inner_pixels = max(0, width - 2 * across) * max(0, height - 2 * down)
    inner = _channel_sums(picture.crop((across, down, width - across, height - down))) if inner_pixels else 0.0
    mean = total / (width * height)
    border = (total - inner) / (width * height - inner_pixels)
    red, green, blue = picture.split()
    highest = ImageChops.lighter(ImageChops.lighter(red, green), blue)
    lowest = ImageChops.darker(ImageChops.darker(red, green), blue)
    chroma = np.array(ImageChops.subtract(highest, lowest).histogram()) @ _LEVELS / (width * height)
    return {
        **{f"mean_{name}": float(value) / 255 for name, value in zip(("red", "green", "blue"), mean, strict=True)},
        **{f"border_{name}": float(value) / 255 for name, value in zip(("red", "green", "blue"), border, strict=True)},
        "saturation": float(chroma) / 255,
    }


def _channel_sums(picture: Image.Image) -> npt.NDArray[np.float64]:
    return np.asarray(np.array(picture.histogram()).reshape(3, 256) @ _LEVELS, dtype=np.float64)


def _light(luma: Image.Image) -> dict[str, float]:
    """What the histogram of the luma tells."""
    histogram = np.array(luma.histogram())
    share = histogram / histogram.sum()
    mean = float(share @ _LEVELS)
    cumulative = np.cumsum(share)
    present = share[share > 0]
    return {
        "brightness": mean / 255,
        "contrast": float(np.sqrt(share @ (_LEVELS - mean) ** 2)) / 255,
        "dark_end": int(np.searchsorted(cumulative, 0.05)) / 255,
        "bright_end": int(np.searchsorted(cumulative, 0.99)) / 255,
        "dark_share": float(share[:_DARK].sum()),
        "entropy": max(0.0, float(-(present @ np.log2(present)))),
    }


def _edges(luma: Image.Image) -> dict[str, float]:
    level = np.asarray(luma)
    ring = np.concatenate([level[0], level[-1], level[1:-1, 0], level[1:-1, -1]])
    return {"sharpness": laplacian_variance(level), "edge_contrast": float(ring.std()) / 255}
