"""Accuracy against a cost: points with intervals on a logarithmic axis, each with its name where there is room."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Sequence

from markupsafe import Markup, escape

from eyebright.evaluation.estimate import Estimate
from eyebright.report.charts import round_ticks
from eyebright.report.wording import percent, percent_range

WIDTH, HEIGHT = 400, 270
_LEFT, _RIGHT, _TOP, _BOTTOM = 44, 10, 30, 26
_LETTER, _LINE = 6.1, 14
_MOST_TICKS = 6
_CLOCK = (30.0, 60.0, 120.0, 300.0, 600.0, 1800.0, 3600.0, 7200.0, 18000.0, 36000.0, 86400.0)

Box = tuple[float, float, float, float]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Spot:
    """One classifier: its accuracy and what it costs; `bright` for the best and those tied with it."""

    name: str
    cost: float
    accuracy: Estimate
    bright: bool


def scatter(title: str, spots: Sequence[Spot], show: Callable[[float], str], *, seconds: bool = False) -> Markup:
    """Accuracy against cost as SVG; pointing at a spot, or reaching it with the keyboard, says its numbers.

    A dashed line joins the classifiers that no cheaper one beats.

    Args:
        title: what the chart says, for those who cannot see it.
        spots: one or more, with costs above zero.
        show: a cost as text.
        seconds: costs are seconds.
    """
    costs = [spot.cost for spot in spots]
    ticks = log_ticks(min(costs), max(costs), seconds=seconds)
    levels = round_ticks(min(spot.accuracy.low for spot in spots), max(spot.accuracy.high for spot in spots))
    # Intervals end near the frame, not the frame at round numbers beyond 100 %.
    levels = [level for level in levels if level <= 1] or [0.0, 1.0]
    low, high = levels[0], max(levels[-1], max(spot.accuracy.high for spot in spots))
    first, last = math.log(min(*costs, ticks[0])), math.log(max(*costs, ticks[-1]))
    wide, tall = WIDTH - _LEFT - _RIGHT - 16, HEIGHT - _TOP - _BOTTOM

    def x_of(cost: float) -> float:
        return _LEFT + 8 + wide * ((math.log(cost) - first) / (last - first) if last > first else 0.5)

    def y_of(share: float) -> float:
        return _TOP + tall * (1 - (share - low) / (high - low))

    body = []
    for level in levels:
        body.append(f'<path class="grid" d="M{_LEFT} {y_of(level):.1f}H{WIDTH - _RIGHT}"/>')
        body.append(_text(_LEFT - 6, y_of(level) + 4, f"{100 * level:.4g}", "end"))
    for tick in ticks:
        body.append(_text(x_of(tick), HEIGHT - 8, show(tick), "middle"))
    edge = frontier(spots)
    if len(edge) > 1:
        path = "L".join(f"{x_of(spot.cost):.1f} {y_of(spot.accuracy.value):.1f}" for spot in edge)
        body.append(f'<path class="line c-muted thin dashed" d="M{path}"/>')
    places = [(x_of(spot.cost), y_of(spot.accuracy.value)) for spot in spots]
    names = _labels([spot.name for spot in spots], places)
    for spot, (x, y), name in zip(spots, places, names, strict=True):
        colour = "c-accent" if spot.bright else "c-muted"
        words = f"{spot.name}: {percent(spot.accuracy.value)} ({percent_range(spot.accuracy)}), {show(spot.cost)}"
        limits = f"M{x:.1f} {y_of(spot.accuracy.low):.1f}V{y_of(spot.accuracy.high):.1f}"
        body.append(
            f'<g class="spot" tabindex="0" role="img" aria-label="{escape(words)}">'
            f'<rect class="sheet" x="0" y="0" width="{WIDTH}" height="{_TOP - 10}" rx="4"/>'
            f"{_text(8, 14, words, 'start', 'words')}"
            f'<path class="line {colour} thin" d="{limits}"/>'
            f'<circle class="dot {colour}" cx="{x:.1f}" cy="{y:.1f}" r="5"/>'
            f'<circle class="reach" cx="{x:.1f}" cy="{y:.1f}" r="14"/></g>{name}'
        )
    # Every text in `body` was escaped where it was made.
    return Markup(
        f'<svg class="chart scatter" viewBox="0 0 {WIDTH} {HEIGHT}" role="group" aria-label="{escape(title)}">'
        f"{''.join(body)}</svg>"
    )


def frontier(spots: Sequence[Spot]) -> list[Spot]:
    """The spots that no cheaper one equals or beats, cheapest first."""
    edge: list[Spot] = []
    for spot in sorted(spots, key=lambda spot: (spot.cost, -spot.accuracy.value)):
        if not edge or spot.accuracy.value > edge[-1].accuracy.value:
            edge.append(spot)
    return edge


def log_ticks(low: float, high: float, *, seconds: bool = False) -> list[float]:
    """Round numbers within `low` to `high`, six at most; where fewer than two lie there, those around it too.

    Args:
        seconds: round as a clock is: 30 s, 1 min, 2 min, 5 min and so on.
    """
    powers = range(math.floor(math.log10(low)) - 1, math.ceil(math.log10(high)) + 2)
    every = [factor * 10.0**power for power in powers for factor in (1, 2, 5)]
    if seconds:
        every = [tick for tick in every if tick < _CLOCK[0]] + [*_CLOCK] + [tick for tick in every if tick > _CLOCK[-1]]
    inside = [index for index, tick in enumerate(every) if low <= tick <= high]
    if len(inside) < 2:
        first = max(index for index, tick in enumerate(every) if tick <= low)
        last = min(index for index, tick in enumerate(every) if tick >= high)
        inside = list(range(first, max(last, first + 1) + 1))
    return [every[index] for index in inside[:: -(-len(inside) // _MOST_TICKS)]]


def _labels(names: Sequence[str], places: Sequence[tuple[float, float]]) -> list[str]:
    """Each name beside its spot, where it meets no other spot or name; empty where there is no room."""
    taken: list[Box] = [(x - 7, y - 7, x + 7, y + 7) for x, y in places]
    found = []
    for name, (x, y) in zip(names, places, strict=True):
        text, long = name if len(name) <= 26 else name[:25] + "…", _LETTER * min(len(name), 26)
        choices: list[tuple[float, float, str, Box]] = [
            (x + 10, y + 4, "start", (x + 9, y - 8, x + 10 + long, y + 6)),
            (x - 10, y + 4, "end", (x - 10 - long, y - 8, x - 9, y + 6)),
            (x, y - 12, "middle", (x - long / 2, y - 12 - _LINE, x + long / 2, y - 9)),
            (x, y + 20, "middle", (x - long / 2, y + 9, x + long / 2, y + 24)),
            (x + 8, y - 10, "start", (x + 8, y - 20, x + 8 + long, y - 8)),
            (x - 8, y + 18, "end", (x - 8 - long, y + 8, x - 8, y + 22)),
        ]
        for left, base, anchor, box in choices:
            within = box[0] >= _LEFT and box[2] <= WIDTH and box[1] >= _TOP - 8 and box[3] <= HEIGHT - _BOTTOM + 6
            if within and not any(_meet(box, other) for other in taken if other != (x - 7, y - 7, x + 7, y + 7)):
                taken.append(box)
                found.append(_text(left, base, text, anchor, "name"))
                break
        else:
            found.append("")
    return found


def _meet(one: Box, other: Box) -> bool:
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]


def _text(x: float, y: float, text: str, anchor: str, style: str = "") -> str:
    named = f' class="{style}"' if style else ""
    return f'<text{named} x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(text)}</text>'
