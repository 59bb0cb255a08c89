"""Heat laid over a picture, at the place of the original picture that the network saw there."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw

from eyebright.preprocess import Preprocess

Heat = npt.NDArray[np.float32]

COLOURS = "inferno"
"""A perceptually uniform map, from black over purple and orange to pale yellow; readable with any colour vision."""
STRENGTH = 0.72
"""How opaque the hottest place is."""


def overlay(picture: Image.Image, heat: Heat) -> Image.Image:
    """The picture with its heat in colour over it; where there is none, the picture shines through in grey.

    Args:
        picture: of any size and mode.
        heat: float32 (height, width) of the picture, in [0, 1]; NaN where the network saw nothing, as `placed` gives
            it: there the picture stays as it is, outside a thin frame.

    Returns:
        RGB, of the picture's size.
    """
    colour = np.asarray(picture.convert("RGB"), dtype=np.float32)
    assert heat.shape == colour.shape[:2], (heat.shape, colour.shape)
    seen = ~np.isnan(heat)
    hot = np.where(seen, heat, 0.0)
    grey = np.asarray(picture.convert("L"), dtype=np.float32)[..., None]
    dull = 0.35 * colour + 0.65 * grey
    opaque = (STRENGTH * np.sqrt(hot))[..., None]
    laid = np.where(seen[..., None], (1 - opaque) * dull + opaque * coloured(hot), colour)
    made = Image.fromarray(laid.round().clip(0, 255).astype(np.uint8))
    if not seen.all() and seen.any():
        _frame(made, seen)
    return made


def placed(heat: Heat, preprocess: Preprocess, size: tuple[int, int]) -> Heat:
    """Heat of the network's input, moved to where its pixels come from in the picture.

    Args:
        heat: float32 (preprocess.size, preprocess.size).
        preprocess: how the picture became the input.
        size: width and height of the picture, or of a smaller copy of it.

    Returns:
        float32 (height, width); NaN outside the centre crop, where the network saw nothing.
    """
    (across, left), (down, top) = _to_input(preprocess, size)
    width, height = size
    made = Image.fromarray(heat.astype(np.float32)).transform(
        size, Image.Transform.AFFINE, (across, 0.0, left, 0.0, down, top), Image.Resampling.BILINEAR
    )
    columns, rows = (np.arange(width) + 0.5) * across + left, (np.arange(height) + 0.5) * down + top
    side = preprocess.size
    seen = ((rows >= 0) & (rows < side))[:, None] & ((columns >= 0) & (columns < side))[None]
    return np.where(seen, np.asarray(made, dtype=np.float32), np.float32(np.nan)).clip(0, 1)


def coloured(heat: npt.NDArray[np.floating]) -> npt.NDArray[np.float32]:
    """Heat in [0, 1] as colours, float32 (..., 3) from 0 to 255."""
    from matplotlib import colormaps

    return np.asarray(colormaps[COLOURS](heat)[..., :3] * 255, dtype=np.float32)


def _to_input(preprocess: Preprocess, size: tuple[int, int]) -> tuple[tuple[float, float], tuple[float, float]]:
    """For x and y: scale and shift from a place in the picture to one in the input, both in pixels from the corner."""
    width, height = size
    side = preprocess.size
    if preprocess.resize == "squash":
        return (side / width, 0.0), (side / height, 0.0)
    if preprocess.resize == "pad":
        scale = side / max(width, height)
        wide, high = max(1, round(width * scale)), max(1, round(height * scale))
        return (wide / width, float((side - wide) // 2)), (high / height, float((side - high) // 2))
    shortest = min(width, height)
    scale = preprocess.resize_to / shortest
    margin = (preprocess.resize_to - side) // 2
    return (scale, -(width - shortest) / 2 * scale - margin), (scale, -(height - shortest) / 2 * scale - margin)


def _frame(picture: Image.Image, seen: npt.NDArray[np.bool_]) -> None:
    """A light line with a dark one inside around what was seen: one of them shows on any picture."""
    rows, columns = np.flatnonzero(seen.any(axis=1)), np.flatnonzero(seen.any(axis=0))
    left, top, right, bottom = int(columns[0]), int(rows[0]), int(columns[-1]), int(rows[-1])
    pen = ImageDraw.Draw(picture)
    for inset, colour in ((0, (255, 255, 255)), (1, (20, 20, 20))):
        if right - left > 2 * inset and bottom - top > 2 * inset:
            pen.rectangle((left + inset, top + inset, right - inset, bottom - inset), outline=colour)
