"""Features that nobody had to learn: colour histogram, HOG and LBP, in torch operations.

All of them are exact: what is compared or counted are whole numbers, and sums stay below 2**24, where float32 is exact
in any order; the one normalisation that is not runs in float64. So torch and ONNX Runtime find the same features to the
last bit, and a classifier that compares them with thresholds, as trees do, decides alike in both.

Each family knows which cell of a 4x4 grid over the image each of its features comes from.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

GRID = 4
"""Cells a side, for histograms of colour and of LBP and for reports of what counts where."""
WHOLE = -1
"""The cell of a feature of the whole image."""
SMALLEST_SIDE, LARGEST_SIDE = 32, 512
"""Limits of the side in pixels: sums over larger cells would not be exact in float32."""

_EXACT = 2**24

Cells = npt.NDArray[np.int64]


class Family(nn.Module):
    """One kind of feature.

    Attributes:
        cells: int64 (F,), where in the image each of its F features comes from: row * 4 + column, or WHOLE.
    """

    cells: Cells

    def forward(self, levels: torch.Tensor) -> torch.Tensor:
        """Images float32 (B, C, S, S) of whole numbers from 0 to 255 to features float32 (B, F)."""
        raise NotImplementedError


class Colour(Family):
    """Histograms of colour, or of brightness where images are grey: of the whole image and of each cell.

    A colour is one of 12 hues, pale or vivid, dark or bright (48 bins), unless it is grey, dull or nearly black: then
    it is one of 8 levels of brightness. Each value is the root of the share of pixels, so that the inner product of two
    histograms compares them as Hellinger's distance does.

    Args:
        side: height and width of the images in pixels.
        channels: 3 (RGB) or 1 (grey).
    """

    HUES = 12
    BRIGHTNESS_BINS = 8
    GREY_BINS = 16

    def __init__(self, side: int, channels: int) -> None:
        super().__init__()
        self.bins = self.GREY_BINS if channels == 1 else 4 * self.HUES + self.BRIGHTNESS_BINS
        self.counts = CellCounts(_cells(side), self.bins)
        self.cells = self.counts.cells

    def forward(self, levels: torch.Tensor) -> torch.Tensor:
        """See `Family`."""
        grey = levels.shape[1] == 1
        bins = (levels[:, 0] * (self.GREY_BINS / 256)).floor() if grey else self._bins(levels)
        return self.counts(bins.to(torch.int64).flatten(1))  # type: ignore[no-any-return]

    def _bins(self, levels: torch.Tensor) -> torch.Tensor:
        red, green, blue = levels.unbind(1)
        high, low = levels.amax(1), levels.amin(1)
        chroma = high - low
        is_red, is_green = high == red, high == green
        offset = torch.where(is_red, green - blue, torch.where(is_green, blue - red, red - green))
        sector = torch.where(is_red, 0.0, torch.where(is_green, 2.0, 4.0))
        steps = self.HUES / 6
        # Bins are centred on red, yellow, ...: floor(steps * offset / chroma + 1/2). The other half keeps the quotient
        # off the whole numbers, so that no rounding decides on which side of one it lies.
        turn = ((2 * steps * offset + chroma + 0.5) / (2 * chroma.clamp(min=1))).floor() + steps * sector
        hue = torch.where(turn < 0, turn + self.HUES, turn)
        vivid, bright = 2 * chroma >= high, high >= 128
        coloured = 4 * hue + 2 * vivid.float() + bright.float()
        plain = 4 * self.HUES + (high * (self.BRIGHTNESS_BINS / 256)).floor()
        return torch.where((8 * chroma < high) | (high < 32), plain, coloured)


class LocalBinaryPatterns(Family):
    """Histograms of uniform local binary patterns (Ojala, Pietikainen and Maenpaa, TPAMI 24, 2002), R = 1, P = 8.

    A pattern says which of eight neighbours on a circle are at least as bright as the pixel. Uniform ones, with at most
    two changes around the circle, have a bin each (58), all others share one: the variant that keeps orientation. There
    is a histogram for each cell of the grid and one for the whole image; values are roots of shares.

    Args:
        side: height and width of the images in pixels.
    """

    UNIT = 4096
    SIDEWAYS = round(UNIT * math.sqrt(0.5) * (1 - math.sqrt(0.5)))
    """Weight of each of the two neighbours beside a diagonal point, in units; the diagonal one has UNIT / 2."""

    bin_of: torch.Tensor

    def __init__(self, side: int) -> None:
        super().__init__()
        bin_of = uniform_bins()
        self.register_buffer("bin_of", torch.from_numpy(bin_of), persistent=False)
        self.counts = CellCounts(_cells(side)[1:-1, 1:-1], int(bin_of.max()) + 1)
        self.cells = self.counts.cells

    def forward(self, levels: torch.Tensor) -> torch.Tensor:
        """See `Family`."""
        patterns = self.patterns(brightness(levels))
        return self.counts(self.bin_of[patterns].flatten(1))  # type: ignore[no-any-return]

    def patterns(self, grey: torch.Tensor) -> torch.Tensor:
        """Brightness (B, H, W), whole numbers, to patterns int64 (B, H - 2, W - 2) from 0 to 255.

        Bit k is the neighbour at k * 45 degrees, counter-clockwise from the right. Diagonal neighbours lie between
        pixels and are interpolated with whole weights, so that equal pixels compare as equal.
        """
        height, width = grey.shape[1:]

        def shifted(down: int, right: int) -> torch.Tensor:
            return grey[:, 1 + down : height - 1 + down, 1 + right : width - 1 + right]

        centre = shifted(0, 0)
        code = torch.zeros_like(centre)
        for bit, (down, right) in enumerate(((0, 1), (-1, 1), (-1, 0), (-1, -1), (0, -1), (1, -1), (1, 0), (1, 1))):
            if down and right:
                beside = self.SIDEWAYS * (shifted(down, 0) + shifted(0, right))
                own = self.UNIT // 2 - 2 * self.SIDEWAYS
                brighter = self.UNIT // 2 * shifted(down, right) + beside + own * centre >= self.UNIT * centre
            else:
                brighter = shifted(down, right) >= centre
            code = code + 2**bit * brighter.float()
        return code.to(torch.int64)


class OrientedGradients(Family):
    """Histograms of oriented gradients (Dalal and Triggs, CVPR 2005): 8x8 cells, blocks of 2x2, L2-Hys.

    Nine orientations from 0 to 180 degrees; of a colour image the channel with the strongest gradient counts at each
    pixel. The arithmetic is that of `skimage.feature.hog`, on the scale from 0 to 255, but for magnitudes rounded to
    1/512 (cells of 8 pixels) to 1/4 (of 64).

    Args:
        side: height and width of the images in pixels, a multiple of 8.
    """

    CELLS = 8
    ORIENTATIONS = 9
    CLIP = float(np.float32(0.2))
    EPSILON = 2.0**-17
    """Both are float32 numbers, because the ONNX exporter makes such of them: 1e-5 would be two different numbers."""

    where: torch.Tensor

    def __init__(self, side: int) -> None:
        super().__init__()
        self.cell = side // self.CELLS
        cell_of = np.arange(side) // self.cell
        where = (cell_of[:, None] * self.CELLS + cell_of[None]) * self.ORIENTATIONS
        self.register_buffer("where", torch.from_numpy(where.reshape(-1)), persistent=False)
        strongest = math.hypot(255, 255)
        self.unit = 2.0 ** math.floor(math.log2(_EXACT / (strongest * self.cell**2)))
        # A block lies in the cell of the grid that its centre falls into.
        blocks = (np.arange(1, self.CELLS) * GRID) // self.CELLS
        numbers = blocks[:, None] * GRID + blocks[None]
        self.cells = np.repeat(numbers.reshape(-1), 4 * self.ORIENTATIONS)

    def forward(self, levels: torch.Tensor) -> torch.Tensor:
        """See `Family`."""
        down, right = _strongest_gradient(levels)
        # (B, S, S): an angle in [0, 180) as a vector whose first part, `down`, is not negative.
        turned = (down < 0) | ((down == 0) & (right < 0))
        down, right = torch.where(turned, -down, down), torch.where(turned, -right, right)
        orientation = torch.zeros_like(down)
        for number in range(1, self.ORIENTATIONS):
            angle = math.pi * number / self.ORIENTATIONS
            # Never near zero but for a gradient of zero, which weighs nothing (tested for all gradients).
            orientation = orientation + (math.cos(angle) * down >= math.sin(angle) * right).float()
        magnitude = (exact_root(down * down + right * right) * self.unit).round() / self.unit
        index = self.where + orientation.to(torch.int64).flatten(1)
        size = self.CELLS**2 * self.ORIENTATIONS
        sums = magnitude.new_zeros((levels.shape[0], size)).scatter_add(1, index, magnitude.flatten(1))
        return self._blocks(wide(sums) / self.cell**2).float()

    def _blocks(self, means: torch.Tensor) -> torch.Tensor:
        maps = means.view(-1, self.CELLS, self.CELLS, self.ORIENTATIONS)
        end = self.CELLS - 1
        corners = [maps[:, row : row + end, column : column + end] for row in (0, 1) for column in (0, 1)]
        blocks = torch.cat(corners, dim=3)  # (B, 7, 7, 36)
        blocks = self._normalised(self._normalised(blocks).clamp(max=self.CLIP))
        return blocks.flatten(1)

    def _normalised(self, blocks: torch.Tensor) -> torch.Tensor:
        # blocks / sqrt(squares + epsilon**2). Not written so, because the ONNX optimiser takes an addend of 1e-10 for
        # zero and drops it, and a flat block would be 0 / 0.
        squares = (blocks * blocks).sum(dim=3, keepdim=True)
        return blocks / (self.EPSILON * torch.sqrt(squares / self.EPSILON**2 + 1))


class CellCounts(nn.Module):
    """Roots of the shares of pixels in each bin, for the whole image first and then for each cell of the grid.

    Args:
        cell_of: int64 (H, W), the cell that each pixel belongs to.
        bins: number of bins.
    """

    where: torch.Tensor
    pixels: torch.Tensor

    def __init__(self, cell_of: Cells, bins: int) -> None:
        super().__init__()
        self.bins = bins
        pixels = np.bincount(cell_of.reshape(-1), minlength=GRID**2)
        self.register_buffer("where", torch.from_numpy(cell_of.reshape(-1) * bins), persistent=False)
        totals = np.concatenate([[pixels.sum()], pixels]).astype(np.float32)
        self.register_buffer("pixels", torch.from_numpy(totals[:, None]), persistent=False)
        self.cells = np.repeat(np.arange(WHOLE, GRID**2), bins)

    def forward(self, bins: torch.Tensor) -> torch.Tensor:
        """Bins int64 (B, H * W) to float32 (B, 17 * bins)."""
        ones = torch.ones_like(bins, dtype=torch.float32)
        empty = ones.new_zeros((bins.shape[0], GRID**2 * self.bins))
        counts = empty.scatter_add(1, self.where + bins, ones).view(-1, GRID**2, self.bins)
        counts = torch.cat([counts.sum(1, keepdim=True), counts], dim=1)
        return exact_root(counts / self.pixels).flatten(1)


FAMILIES: Sequence[str] = ("colour", "hog", "lbp")
"""Names of the families, in the order in which their features stand."""


def make_family(name: str, side: int, channels: int) -> Family:
    """The family of that name, for images (channels, side, side)."""
    if name == "colour":
        return Colour(side, channels)
    if name == "hog":
        return OrientedGradients(side)
    assert name == "lbp", name
    return LocalBinaryPatterns(side)


def wide(values: torch.Tensor) -> torch.Tensor:
    """As float64; as they are on Apple's devices, which have none, so that there the last bits may differ."""
    return values if values.device.type == "mps" else values.double()


def exact_root(values: torch.Tensor) -> torch.Tensor:
    """The root, rounded once: runtimes differ in the last bit of a float32 root (ONNX Runtime approximates it)."""
    return torch.sqrt(wide(values)).float()


def brightness(levels: torch.Tensor) -> torch.Tensor:
    """Brightness of images (B, C, H, W) as whole numbers (B, H, W): ITU-R BT.601 in 256ths, rounded."""
    if levels.shape[1] == 1:
        return levels[:, 0]
    red, green, blue = levels.unbind(1)
    return ((77 * red + 150 * green + 29 * blue + 128) / 256).floor()


def uniform_bins() -> npt.NDArray[np.int64]:
    """Bin of each of the 256 patterns: 0 to 57 for uniform ones, in their order, and 58 for the others."""
    codes = np.arange(256)
    bits = (codes[:, None] >> np.arange(8)) & 1
    uniform = (bits != np.roll(bits, 1, axis=1)).sum(1) <= 2
    return np.where(uniform, np.cumsum(uniform) - 1, uniform.sum())


def _cells(side: int) -> Cells:
    """The cell of each pixel, int64 (side, side)."""
    part = np.arange(side) * GRID // side
    return np.asarray(part[:, None] * GRID + part[None], dtype=np.int64)


def _strongest_gradient(levels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Central differences down and right (B, S, S) of the channel where they are strongest; 0 at the border."""
    down = torch.nn.functional.pad(levels[:, :, 2:] - levels[:, :, :-2], (0, 0, 1, 1))
    right = torch.nn.functional.pad(levels[:, :, :, 2:] - levels[:, :, :, :-2], (1, 1))
    strength = down * down + right * right
    best, kept_down, kept_right = strength[:, 0], down[:, 0], right[:, 0]
    for channel in range(1, levels.shape[1]):
        stronger = strength[:, channel] > best
        best = torch.where(stronger, strength[:, channel], best)
        kept_down = torch.where(stronger, down[:, channel], kept_down)
        kept_right = torch.where(stronger, right[:, channel], kept_right)
    return kept_down, kept_right
