"""Drawings for the section about confidence: reliability before and after, sizes of sets, outlier scores."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from markupsafe import Markup, escape

from eyebright.report.charts import round_ticks, svg, text_at

_WIDTH, _HEIGHT, _LEFT, _RIGHT, _TOP, _BOTTOM = 400, 210, 40, 8, 18, 36


def reliability_before_and_after(chosen: Mapping[str, Any], uncalibrated: Mapping[str, Any]) -> Markup:
    """Accuracy of images of similar confidence, after calibration (with Wilson's limits) and before (rings).

    Args:
        chosen, uncalibrated: `bins` and `confidence_counts` of `evaluation.decide.measure_decisions`.
    """
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
    counts = chosen["confidence_counts"]
    for index, number in enumerate(counts):
        if number:
            tall = max(0.5, (strip - 10) * number / max(counts))
            bar = f'x="{x_of(index / len(counts)) + 0.5:.1f}" y="{floor - tall:.1f}"'
            size = f'width="{side / len(counts) - 1:.1f}" height="{tall:.1f}"'
            body.append(f'<rect class="fill-muted" {bar} {size}><title>{number} images</title></rect>')
    for row in uncalibrated["bins"]:
        words = f"before: {_claim(row)}"
        place = f'cx="{x_of(row["confidence"]):.1f}" cy="{y_of(row["accuracy"]):.1f}"'
        body.append(f'<circle class="ring" {place} r="3.5"><title>{escape(words)}</title></circle>')
    for row in chosen["bins"]:
        x, y = x_of(row["confidence"]), y_of(row["accuracy"])
        body.append(f'<path class="line c-accent thin" d="M{x:.1f} {y_of(row["low"]):.1f}V{y_of(row["high"]):.1f}"/>')
        place = f'cx="{x:.1f}" cy="{y:.1f}"'
        body.append(f'<circle class="dot c-accent" {place} r="4"><title>{escape(_claim(row))}</title></circle>')
    body.append(text_at(left + side / 2, height - 3, "confidence, %"))
    body.append(text_at(12, top + side / 2, "right, %", "middle", f' transform="rotate(-90 12 {top + side / 2:g})"'))
    return svg(width, height, "Accuracy against confidence, before and after calibration", body, "square")


def _claim(row: Mapping[str, Any]) -> str:
    return f"{row['count']} images claim {100 * row['confidence']:.1f} % and are right {100 * row['accuracy']:.1f} %"


def named_columns(values: Sequence[int], names: Sequence[str], title: str, below: str) -> Markup:
    """A column for each value with its name below it and its number above it.

    Args:
        values: counts, at most a dozen.
        names: a few letters each.
        title: for those who do not see it.
        below: what the names are.
    """
    step = (_WIDTH - _LEFT - _RIGHT) / max(1, len(values))
    floor, total = _HEIGHT - _BOTTOM, max(1, sum(values))
    ticks = round_ticks(0, max([*values, 1]), about=3)
    body = _ground(ticks)
    for index, (value, name) in enumerate(zip(values, names, strict=True)):
        tall = (floor - _TOP) * value / ticks[-1]
        wide = min(step * 0.72, 64)
        x = _LEFT + (index + 0.5) * step - wide / 2
        box = f'x="{x:.1f}" y="{floor - tall:.1f}" width="{wide:.1f}" height="{tall:.1f}" rx="2"'
        words = f"{name}: {value} images, {100 * value / total:.1f} %"
        body.append(f'<rect class="fill-accent" {box}><title>{escape(words)}</title></rect>')
        share = 100 * value / total
        body.append(text_at(x + wide / 2, floor - tall - 5, f"{share:.0f} %" if share >= 0.5 or not value else "< 1 %"))
        body.append(text_at(x + wide / 2, floor + 16, name))
    body.append(text_at(_LEFT + (_WIDTH - _LEFT - _RIGHT) / 2, _HEIGHT - 3, below))
    return svg(_WIDTH, _HEIGHT, title, body)


def score_histogram(histogram: Mapping[str, Any], threshold: float | None, title: str, below: str) -> Markup:
    """How often each score occurs among test images, and where the flag begins.

    Args:
        histogram: `edges` (B + 1) and `own` (B counts) of `evaluation.outliers.histogram`.
        threshold: images above it are flagged; None when none is.
        title: for those who do not see it.
        below: what the score is.
    """
    edges, counts = histogram["edges"], histogram["own"]
    low, high = float(edges[0]), float(edges[-1] if threshold is None else max(edges[-1], threshold))
    span = (high - low) or 1.0
    floor, wide = _HEIGHT - _BOTTOM, _WIDTH - _LEFT - _RIGHT

    def x_of(score: float) -> float:
        return _LEFT + wide * (score - low) / span

    ticks = round_ticks(0, max([*counts, 1]), about=3)
    body = _ground(ticks)
    for index, number in enumerate(counts):
        if not number:
            continue
        start, end = x_of(edges[index]), x_of(edges[index + 1])
        tall = max(0.8, (floor - _TOP) * number / ticks[-1])
        middle = (edges[index] + edges[index + 1]) / 2
        style = "fill-wrong" if threshold is not None and middle > threshold else "fill-accent"
        box = (
            f'x="{start + 0.5:.1f}" y="{floor - tall:.1f}" width="{max(0.5, end - start - 1):.1f}" height="{tall:.1f}"'
        )
        words = f"{number} images from {edges[index]:.3g} to {edges[index + 1]:.3g}"
        body.append(f'<rect class="{style}" {box}><title>{escape(words)}</title></rect>')
    for tick in round_ticks(low, high, about=5):
        if low <= tick <= high:
            body.append(text_at(x_of(tick), floor + 16, f"{tick:g}"))
    if threshold is not None:
        x = x_of(threshold)
        body.append(f'<path class="flag-line" d="M{x:.1f} {_TOP - 6}V{floor}"/>')
        left = x > _LEFT + 0.6 * wide
        place, anchor = (x - 5, "end") if left else (x + 5, "start")
        body.append(text_at(place, _TOP + 2, "flagged above →", anchor, ' class="flag-name"'))
    body.append(text_at(_LEFT + wide / 2, _HEIGHT - 3, below))
    return svg(_WIDTH, _HEIGHT, title, body)


def _ground(ticks: Sequence[float]) -> list[str]:
    floor = _HEIGHT - _BOTTOM
    body = []
    for tick in ticks:
        y = floor - (floor - _TOP) * tick / ticks[-1]
        body.append(f'<path class="grid" d="M{_LEFT} {y:.1f}H{_WIDTH - _RIGHT}"/>')
        body.append(text_at(_LEFT - 6, y + 4, f"{tick:,.0f}", "end"))
    return body
