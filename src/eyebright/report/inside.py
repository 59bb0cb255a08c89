"""Pictures of a network's inside as files: filters, feature maps, and images that it takes for alike."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image

from eyebright.atomic import replacing_file
from eyebright.report.figures import INK, RIGHT, WRONG, new_figure


def write_sheet(path: Path, sheet: npt.NDArray[np.float32], title: str) -> None:
    """One image (H, W) or (H, W, 3) in [0, 1], pixels as squares, under a title."""
    figure = new_figure(7.0, 7.0 * sheet.shape[0] / sheet.shape[1] + 0.5)
    axes = figure.subplots()
    axes.imshow(sheet, cmap="gray", vmin=0, vmax=1, interpolation="nearest")
    axes.set_title(title, loc="left", fontsize=11, color=INK)
    axes.axis("off")
    _write(path, figure)


def write_maps(
    path: Path, picture: Image.Image, maps: npt.NDArray[np.float32], channels: Sequence[int], title: str
) -> None:
    """A picture and feature maps (M, h, w) of it, each from its own lowest to its own highest value."""
    columns = min(6, len(maps) + 1)
    rows = -(-(len(maps) + 1) // columns)
    figure = new_figure(1.45 * columns + 0.2, 1.7 * rows + 0.4)
    figure.suptitle(title, x=0.01, ha="left", fontsize=11, color=INK)
    every = figure.subplots(rows, columns, squeeze=False).ravel()
    for axes in every:
        axes.axis("off")
    every[0].imshow(np.asarray(picture), cmap="gray", vmin=0, vmax=255)
    every[0].set_title("image", fontsize=8, color=INK)
    for axes, channel, values in zip(every[1:], channels, maps, strict=False):
        axes.imshow(values, cmap="viridis", interpolation="nearest")
        axes.set_title(f"channel {channel}", fontsize=8, color=INK)
    _write(path, figure)


def write_neighbours(
    path: Path, picture: Image.Image, caption: str, neighbours: Sequence[tuple[Image.Image | None, str, bool]]
) -> None:
    """A picture and the training images most like it.

    Args:
        caption: what stands under the picture.
        neighbours: for each its picture (None when it is gone), a caption, and whether its class is the predicted one.
    """
    figure = new_figure(1.7 * (len(neighbours) + 1) + 0.3, 2.5)
    every = figure.subplots(1, len(neighbours) + 1, squeeze=False).ravel()
    for axes, (shown, words, colour) in zip(
        every,
        [(picture, caption, INK), *((one, words, RIGHT if alike else WRONG) for one, words, alike in neighbours)],
        strict=True,
    ):
        axes.set(xticks=[], yticks=[], frame_on=False)
        if shown is not None:
            axes.imshow(np.asarray(shown), cmap="gray", vmin=0, vmax=255)
        axes.set_xlabel(words, fontsize=8, color=colour, loc="left")
    figure.suptitle("The image, and the training images most like it", x=0.01, ha="left", fontsize=10, color=INK)
    _write(path, figure)


def _write(path: Path, figure: Figure) -> None:
    FigureCanvasAgg(figure)
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing_file(path) as temporary:
        figure.savefig(temporary, format="png")
