"""Charts as inline SVG that take their colours from the page, so that they suit light and dark.

Every chart is drawn about as wide as a phone, so that its text has the same size everywhere, and the page sets
charts side by side where there is room. Colours are CSS classes: `c-accent`, `c-muted`, `c-wrong`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from markupsafe import Markup, escape

from eyebright.evaluation.calibrate import ReliabilityBin
from eyebright.evaluation.intervals import Floats


def round_ticks(low: float, high: float, about: int = 4) -> list[float]:
    """Round numbers that span `low` to `high`: the first at or below, the last at or above."""
    largest = max(abs(low), abs(high))
    # Values that differ by rounding alone, or hardly from zero, get a frame around them instead of no frame.
    span = high - low if high - low > 1e-9 * largest else largest
    span = span if span > 1e-100 else 1.0
    step = 10 ** math.floor(math.log10(span / about))
    step *= next(factor for factor in (1, 2, 2.5, 5, 10) if span / (step * factor) <= about + 0.5)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [float(f"{index * step:.12g}") for index in range(first, max(last, first + 1) + 1)]


def svg(width: float, height: float, title: str, body: Sequence[str], extra_class: str = "") -> Markup:
    """A whole drawing; every text in `body` was escaped where it was made."""
    content = "".join(body)
    return Markup(
        f'<svg class="chart {extra_class}" viewBox="0 0 {width:g} {height:g}" role="img" '
        f'aria-label="{escape(title)}"><title>{escape(title)}</title>{content}</svg>'
    )


def text_at(x: float, y: float, text: str, anchor: str = "middle", extra: str = "") -> str:
    """A word or number at a place; it is escaped here."""
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}"{extra}>{escape(text)}</text>'


def reliability_chart(bins: Sequence[ReliabilityBin], confidence: Floats, title: str) -> Markup:
    """Accuracy of each bin with Wilson's limits, the diagonal for reference, and a histogram of confidence (N,)."""
    side, left, top, strip = 250, 42, 10, 44
    width, height, floor = left + side + 12, top + side + strip + 34, top + side + strip

    def x_of(share: float) -> float:
        return left + side * share

    def y_of(share: float) -> float:
        return top + side * (1 - share)

    body = []
    for tick in (0, 0.25, 0.5, 0.75, 1):
        body.append(f'<path class="grid" d="M{left} {y_of(tick):.1f}H{left + side}"/>')
        body.append(text_at(left - 7, y_of(tick) + 4, f"{100 * tick:.0f}", "end"))
        body.append(text_at(x_of(tick), floor + 16, f"{100 * tick:.0f}"))
    body.append(f'<path class="line c-muted dashed" d="M{left} {top + side}L{left + side} {top}"/>')
    counts, edges = np.histogram(confidence, bins=25, range=(0, 1))
    for number, edge in zip(counts, edges[:-1], strict=True):
        tall = (strip - 10) * number / counts.max()
        if number:
            bar = f'x="{x_of(edge) + 0.5:.1f}" y="{floor - tall:.1f}" width="{side / 25 - 1:.1f}" height="{tall:.1f}"'
            body.append(f'<rect class="fill-muted" {bar}><title>{number} images</title></rect>')
    for row in bins:
        x, y = x_of(row.confidence), y_of(row.accuracy)
        detail = f"{row.count} images claim {100 * row.confidence:.1f} % and are right {100 * row.accuracy:.1f} %"
        dot = f'<circle class="dot c-accent" cx="{x:.1f}" cy="{y:.1f}" r="4"><title>{escape(detail)}</title></circle>'
        body.append(f'<path class="line c-accent thin" d="M{x:.1f} {y_of(row.low):.1f}V{y_of(row.high):.1f}"/>{dot}')
    body.append(text_at(left + side / 2, height - 3, "confidence, %"))
    body.append(text_at(12, top + side / 2, "right, %", "middle", f' transform="rotate(-90 12 {top + side / 2:g})"'))
    return svg(width, height, title, body, "square")


def heat_map(confusion: Sequence[Sequence[int]], classes: Sequence[str], title: str, *, labels: bool) -> Markup:
    """A confusion matrix without numbers, for many classes. Strength is the share of the true class.

    One path for each of eight strengths keeps a matrix of 1,000 classes small.
    """
    counts = np.asarray(confusion, dtype=np.float64)
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    # The root lifts rare mistakes into sight.
    levels = np.ceil(np.sqrt(shares) * 8).astype(int)
    number, side, margin = len(classes), 560, 110 if labels else 24
    cell = side / number
    right = np.eye(number, dtype=bool)
    body = [f'<g transform="translate({margin} {margin}) scale({cell:g})">']
    body.append(f'<rect class="sheet" width="{number}" height="{number}"/>')
    for level in range(1, 9):
        for style, chosen in (("fill-accent", right), ("fill-wrong", ~right)):
            rows, columns = np.nonzero((levels == level) & chosen)
            if len(rows):
                path = "".join(f"M{column} {row}h1v1h-1z" for row, column in zip(rows, columns, strict=True))
                body.append(f'<path class="{style}" fill-opacity="{level / 8:g}" d="{path}"/>')
    body.append("</g>")
    if labels:
        for index, name in enumerate(classes):
            short = name if len(name) <= 15 else name[:14] + "…"
            centre = margin + (index + 0.5) * cell + 4
            turn = f' transform="rotate(-90 {centre:.1f} {margin - 6})"'
            body.append(text_at(margin - 6, centre, short, "end"))
            body.append(text_at(centre, margin - 6, short, "start", turn))
    else:
        body.append(text_at(margin, 15, "predicted, in the order of the classes →", "start"))
        body.append(text_at(15, margin, "← true", "end", f' transform="rotate(-90 15 {margin})"'))
    return svg(margin + side + 4, margin + side + 4, title, body, "wide")


def column_chart(values: Sequence[int], title: str, words: Sequence[str] = ()) -> Markup:
    """Columns without names, for the sizes of many classes, in the order given; `words` says what each column is."""
    width, height, left = 640, 160, 48
    ticks = round_ticks(0, max([*values, 1]), about=3)
    step = (width - left) / max(1, len(values))
    body = []
    for tick in ticks:
        y = height - 8 - (height - 20) * tick / ticks[-1]
        body.append(f'<path class="grid" d="M{left} {y:.1f}H{width}"/>')
        body.append(text_at(left - 8, y + 4, f"{tick:g}", "end"))
    for index, value in enumerate(values):
        tall = (height - 20) * value / ticks[-1]
        gap = min(1.0, step * 0.2)
        x, y = left + index * step + gap / 2, height - 8 - tall
        detail = f"<title>{escape(words[index])}</title>" if words else ""
        box = f'x="{x:.2f}" y="{y:.1f}" width="{step - gap:.2f}" height="{tall:.1f}"'
        body.append(f'<rect class="fill-accent" {box}>{detail}</rect>')
    return svg(width, height, title, body, "wide")
