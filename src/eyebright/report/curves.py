"""Curves that a reader can look into: lines over epochs or learning rates, drawn as SVG that stands without a script.

The lines are drawn on a square of 1,000 units that an inner SVG stretches over the chart: to zoom in is to look at a
part of that square, which is all that the script (`templates/curves.js`) has to change, besides the axes. Everything
that it shows of a place is in the page as text already.
"""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from typing import Any, Literal

from markupsafe import Markup, escape

from eyebright.report.charts import round_ticks
from eyebright.report.wording import NARROW_SPACE, small_number

WIDTH, HEIGHT = 400, 236
SIDE, MARGIN = 1000, 25
"""The square that the lines are drawn on, and what is seen around it, so that no dot is cut off."""
_LEFT, _RIGHT, _TOP, _BOTTOM = 44, 6, 18, 26
_LETTER = 6.2
_MOST_LABELS = 8

Style = Literal["percent", "number", "rate"]
_SHOW: Mapping[Style, Callable[[float], str]] = {
    "percent": lambda value: f"{100 * value:.4g}{NARROW_SPACE}%",
    "number": "{:.4g}".format,
    "rate": small_number,
}
_SHOW_EXACTLY: Mapping[Style, Callable[[float], str]] = {
    "percent": lambda value: f"{100 * value:.1f}{NARROW_SPACE}%",
    "number": lambda value: f"{value:.3f}" if abs(value) < 100 else f"{value:.4g}",
    "rate": lambda value: small_number(value, digits=3),
}


@dataclasses.dataclass(frozen=True)
class Line:
    """One line of a chart: a value for each place, None where there is none."""

    name: str
    values: Sequence[float | None]
    style: str = "c-accent"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Across:
    """What runs from left to right, shared by all charts of a group.

    Attributes:
        positions: where each place lies, rising.
        labels: what stands below each place, where there is room.
        places: each place in words, such as "epoch 3".
        bands: parts of the axis with a name, as (name, first place, last place); a line is not drawn across them.
        logarithmic: positions are logarithms to base 10, and labels stand at powers of ten.
    """

    positions: Sequence[float]
    labels: Sequence[str]
    places: Sequence[str]
    bands: Sequence[tuple[str, int, int]] = ()
    logarithmic: bool = False

    @property
    def data(self) -> str:
        """The same for the script."""
        return _json({
            "x": list(self.positions), "labels": list(self.labels), "places": list(self.places),
            "bands": [list(band) for band in self.bands], "logarithmic": self.logarithmic,
            "frame": [WIDTH, HEIGHT, _LEFT, _RIGHT, _TOP, _BOTTOM], "side": SIDE, "margin": MARGIN,
        })  # fmt: skip

    def share(self, position: float) -> float:
        """How far to the right a position lies, from 0 to 1."""
        first, last = self.positions[0], self.positions[-1]
        return (position - first) / (last - first) if last > first else 0.5


@dataclasses.dataclass(frozen=True, kw_only=True)
class Curves:
    """A chart for the template: its drawing, and what its legend says at rest.

    Attributes:
        title: its heading.
        svg: the drawing.
        legend: name, style and value at rest of each line.
        rest: the place of those values in words.
        data: the values for the script.
    """

    title: str
    svg: Markup
    legend: Sequence[tuple[str, str, str]]
    rest: str
    data: str


def draw_curves(
    title: str, lines: Sequence[Line], across: Across, *,
    style: Style, marked: int | None = None, marked_name: str = "", target: float | None = None,
    limits: tuple[float, float] | None = None,
) -> Curves | None:  # fmt: skip
    """Lines over the places of an axis; None when no line has a value.

    Args:
        marked: the place that is marked with a line and dots, and whose values the legend shows at rest.
        marked_name: what the marked place is, such as "best".
        target: a value to draw a dashed line at.
        limits: the values at the bottom and the top; left out, those of the lines and the target.
    """
    lines = [line for line in lines if _known(line.values)]
    if not lines:
        return None
    known = [value for line in lines for value in _known(line.values)] + ([] if target is None else [target])
    ticks = round_ticks(*(limits or (min(known), max(known))))
    low, high = ticks[0], ticks[-1]
    rest = marked
    if rest is None:
        rest = max(index for line in lines for index, value in enumerate(line.values) if _is_number(value))
    data = {
        "style": style, "y": [low, high], "rest": rest, "rest_name": marked_name if marked is not None else "",
        "lines": [
            {
                "values": [float(f"{value:.6g}") if _is_number(value) else None for value in line.values],
                "texts": [_text_of(value, style) for value in line.values],
            }
            for line in lines
        ],
    }  # fmt: skip
    body = [
        '<g class="axes">', *_axes(ticks, across, _SHOW[style]), "</g>",
        f'<svg class="plot" aria-hidden="true" x="{_LEFT}" y="{_TOP}" width="{WIDTH - _LEFT - _RIGHT}" '
        f'height="{HEIGHT - _TOP - _BOTTOM}" viewBox="{-MARGIN} {-MARGIN} {SIDE + 2 * MARGIN} {SIDE + 2 * MARGIN}" '
        'preserveAspectRatio="none">',
        *_plot(lines, across, low, high, marked, target), "</svg>",
    ]  # fmt: skip
    if target is not None:
        words = f"target {_SHOW_EXACTLY[style](target)}"
        body.append(f'<text class="target-name" x="{WIDTH - _RIGHT}" y="{_TOP - 6}" text-anchor="end">{words}</text>')
    name = escape(title)
    svg = Markup(
        f'<svg class="chart curve" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{name}">'
        f"<title>{name}</title>{''.join(body)}</svg>"
    )
    return Curves(
        title=title, svg=svg, data=_json(data),
        legend=[(line.name, line.style, _text_of(line.values[rest], style)) for line in lines],
        rest=f"{marked_name}: {across.places[rest]}" if marked is not None and marked_name else across.places[rest],
    )  # fmt: skip


def _json(values: Any) -> str:
    return json.dumps(values, ensure_ascii=False, allow_nan=False, separators=(",", ":"))


def _is_number(value: float | None) -> bool:
    return value is not None and math.isfinite(value)


def _known(values: Sequence[float | None]) -> list[float]:
    return [value for value in values if value is not None and math.isfinite(value)]


def _text_of(value: float | None, style: Style) -> str:
    return _SHOW_EXACTLY[style](value) if value is not None and math.isfinite(value) else "–"


def _in_frame(share: float, start: float, length: float) -> float:
    """Where in the frame a share of the square lies, its margin counted."""
    return start + length * (share * SIDE + MARGIN) / (SIDE + 2 * MARGIN)


def _axes(ticks: Sequence[float], across: Across, show: Callable[[float], str]) -> list[str]:
    """Grid lines, values at the left, places below, names of bands above."""
    wide, tall = WIDTH - _LEFT - _RIGHT, HEIGHT - _TOP - _BOTTOM
    body = []
    for tick in ticks:
        y = _in_frame(1 - (tick - ticks[0]) / (ticks[-1] - ticks[0]), _TOP, tall)
        body.append(f'<path class="grid" d="M{_LEFT} {y:.1f}H{WIDTH - _RIGHT}"/>')
        body.append(f'<text x="{_LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{escape(show(tick))}</text>')
    for position, label in labels_below(across):
        x = _in_frame(across.share(position), _LEFT, wide)
        body.append(f'<text x="{x:.1f}" y="{HEIGHT - 8}" text-anchor="middle">{escape(label)}</text>')
    for name, first, last in across.bands:
        start, end = (_in_frame(edge, _LEFT, wide) for edge in _edges(across, first, last))
        if len(name) * _LETTER < end - start - 6:
            body.append(f'<text class="band-name" x="{start + 4:.1f}" y="{_TOP + 11}">{escape(name)}</text>')
    return body


def _edges(across: Across, first: int, last: int) -> tuple[float, float]:
    """Where a band begins and ends, as shares: half-way to its neighbours."""
    positions, end = across.positions, len(across.positions) - 1
    outside = MARGIN / SIDE
    start = -outside if first == 0 else across.share((positions[first - 1] + positions[first]) / 2)
    return start, 1 + outside if last == end else across.share((positions[last] + positions[last + 1]) / 2)


def labels_below(across: Across) -> list[tuple[float, str]]:
    """Positions with what stands below them: powers of ten, else evenly spread places of the longest band."""
    if across.logarithmic:
        low, high = across.positions[0], across.positions[-1]
        powers = range(math.ceil(low - 1e-9), math.floor(high + 1e-9) + 1)
        if len(powers) > 1:
            every = -(-len(powers) // _MOST_LABELS)
            return [(power, small_number(10.0**power)) for power in powers[::every]]
    spans = [(first, last) for _, first, last in across.bands] or [(0, len(across.positions) - 1)]
    first, last = max(spans, key=lambda span: span[1] - span[0])
    every = next(step for step in _steps() if (last - first) // step < _MOST_LABELS)
    # Epochs count from one: of every fifth, 5, 10 and 15 read better than 1, 6 and 11.
    shown = [index for index in range(first, last + 1) if (index - first + 1) % every == 0]
    return [(across.positions[index], across.labels[index]) for index in shown]


def _steps() -> Sequence[int]:
    return [factor * 10**power for power in range(9) for factor in (1, 2, 5)]


def _plot(
    lines: Sequence[Line], across: Across, low: float, high: float, marked: int | None, target: float | None
) -> list[str]:
    """What is drawn on the square: bands, target, marked place, lines and dots."""

    def x_of(index: int) -> float:
        return SIDE * across.share(across.positions[index])

    def y_of(value: float) -> float:
        return SIDE * (1 - (value - low) / (high - low))

    body = []
    for _, first, last in across.bands[1::2]:
        start, end = (SIDE * edge for edge in _edges(across, first, last))
        body.append(f'<rect class="band" x="{start:.2f}" y="{-SIDE}" width="{end - start:.2f}" height="{3 * SIDE}"/>')
    if target is not None:
        body.append(f'<path class="target" d="M{-SIDE} {y_of(target):.2f}H{2 * SIDE}"/>')
    if marked is not None:
        body.append(f'<path class="marked" d="M{x_of(marked):.2f} {-SIDE}V{2 * SIDE}"/>')
    starts = {first for _, first, _ in across.bands}
    for line in reversed(lines):
        points = [None if not _is_number(value) else value for value in line.values]
        path, joined = [], False
        for index, value in enumerate(points):
            if value is None or index in starts:
                joined = False
            if value is not None:
                path.append(f"{'L' if joined else 'M'}{x_of(index):.2f} {y_of(value):.2f}")
                joined = True
        body.append(f'<path class="line {line.style}" d="{"".join(path)}"/>')
        for index, value in enumerate(points):
            if value is not None and (index == marked or _is_alone(points, index, starts)):
                # A line without length and with round ends stays round however the square is stretched.
                body.append(f'<path class="point {line.style}" d="M{x_of(index):.2f} {y_of(value):.2f}h0"/>')
    return body


def _is_alone(points: Sequence[float | None], index: int, starts: set[int]) -> bool:
    before = index > 0 and points[index - 1] is not None and index not in starts
    after = index + 1 < len(points) and points[index + 1] is not None and index + 1 not in starts
    return not before and not after


def bands_of(names: Sequence[str]) -> list[tuple[str, int, int]]:
    """Runs of the same name as (name, first, last); none when all are one run."""
    starts = [index for index in range(len(names)) if index == 0 or names[index] != names[index - 1]]
    if len(starts) < 2:
        return []
    return [(names[first], first, end - 1) for first, end in pairwise([*starts, len(names)])]
