"""A figure for each image: the picture, the picture with its heat, and the heat alone with its scale."""

from __future__ import annotations

import io
from collections.abc import Mapping

import numpy as np
import numpy.typing as npt
from PIL import Image

from eyebright.explain.overlay import COLOURS, overlay

Heat = npt.NDArray[np.float32]

SIDE = 480
"""Pixels of the longer side of a picture in a panel."""
_DOTS_PER_INCH = 100
_INK, _FAINT = "#1f2328", "#59636e"
_NOT_SEEN = "#d8dadd"
_ALONE, _MANY = 3, 4


def panel_size(width: int, height: int) -> tuple[int, int]:
    """Width and height of a picture in a panel: the longer side has `SIDE` pixels."""
    scale = SIDE / max(width, height)
    return max(1, round(width * scale)), max(1, round(height * scale))


def draw_panel(picture: Image.Image, heats: Mapping[str, Heat], *, title: str, note: str) -> bytes:
    """A PNG.

    Args:
        picture: RGB, of `panel_size`.
        heats: for each method's title, float32 (height, width) of the picture, NaN where the network saw nothing. One
            is shown as overlay and alone with its scale, several as an overlay each.
        title: what the classifier said.
        note: how the map was made.
    """
    tiles: list[tuple[str, Image.Image | Heat]] = [("the picture", picture)]
    if len(heats) == 1:
        (heat,) = heats.values()
        tiles += [("what speaks for it", overlay(picture, heat)), ("the heat alone", heat)]
    else:
        tiles += [(name, overlay(picture, heat)) for name, heat in heats.items()]
    return _drawn(tiles, title, note, columns=_ALONE if len(heats) == 1 else _MANY)


def _drawn(tiles: list[tuple[str, Image.Image | Heat]], title: str, note: str, columns: int) -> bytes:
    from matplotlib import colormaps
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.cm import ScalarMappable
    from matplotlib.figure import Figure

    first = tiles[0][1]
    assert isinstance(first, Image.Image)
    columns = min(columns, len(tiles))
    rows = -(-len(tiles) // columns)
    # Everything in pixels, so that nothing depends on a layout engine.
    margin, gap, above, caption, bar = 24, 20, 78, 30, 86
    wide, high = first.width, first.height
    width = 2 * margin + columns * wide + (columns - 1) * gap + bar
    height = above + rows * (high + caption) + (rows - 1) * gap // 2 + margin
    figure = Figure(figsize=(width / _DOTS_PER_INCH, height / _DOTS_PER_INCH), dpi=_DOTS_PER_INCH, facecolor="white")
    canvas = FigureCanvasAgg(figure)
    figure.text(margin / width, 1 - 16 / height, title, fontsize=16, fontweight="bold", color=_INK, va="top")
    figure.text(margin / width, 1 - 46 / height, note, fontsize=11, color=_FAINT, va="top")
    shade = colormaps[COLOURS].with_extremes(bad=_NOT_SEEN)
    for number, (name, shown) in enumerate(tiles):
        row, column = divmod(number, columns)
        left = margin + column * (wide + gap)
        top = above + row * (high + caption + gap // 2)
        axes = figure.add_axes((left / width, 1 - (top + caption + high) / height, wide / width, high / height))
        axes.set_axis_off()
        if isinstance(shown, Image.Image):
            axes.imshow(np.asarray(shown), interpolation="nearest", aspect="auto")
        else:
            axes.imshow(shown, cmap=shade, vmin=0, vmax=1, interpolation="nearest", aspect="auto")
        figure.text(left / width, 1 - (top + caption - 8) / height, name, fontsize=12, color=_INK, va="bottom")
    left, top = width - margin - bar + 22, above + caption
    scale = figure.add_axes((left / width, 1 - (top + high) / height, 14 / width, high / height))
    drawn = figure.colorbar(ScalarMappable(cmap=shade), cax=scale, ticks=[0, 0.5, 1])
    drawn.outline.set_visible(False)
    scale.tick_params(labelsize=11, colors=_FAINT, length=0)
    scale.set_yticklabels(["least", "", "most"])
    buffer = io.BytesIO()
    canvas.print_png(buffer)  # type: ignore[no-untyped-call]
    return buffer.getvalue()
