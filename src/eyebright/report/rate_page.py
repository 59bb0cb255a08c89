"""What the learning-rate finder saw, as a page to look into and as a picture: the loss against the rate."""

from __future__ import annotations

import io
import math
from collections.abc import Sequence

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from eyebright.report.curves import Across, Line, draw_curves
from eyebright.report.figures import ACCENT, INK, MUTED, calm, new_figure
from eyebright.report.page import render_page
from eyebright.report.section import Section
from eyebright.report.wording import sentence, small_number

_ABOVE_START = 0.3
"""How far above the first smoothed loss the chart reaches, as a share of how far the loss fell; it may explode."""


def rate_page(
    *, title: str, rates: Sequence[float], losses: Sequence[float], smoothed: Sequence[float],
    suggestion: float | None, reason: str, notes: Sequence[str] = (),
) -> str:  # fmt: skip
    """An HTML page with everything inside: the suggestion, the curve to look into, and what was found in words.

    Args:
        title: what was trained on what.
        rates: the learning rate of each step, above zero and rising (N,).
        losses: the loss of each step (N,); a loss that is not finite is left out.
        smoothed: the smoothed losses (N,).
        suggestion: the rate to use; None when none can be recommended.
        reason: why that is suggested, or why nothing is; settings may stand between backticks.
        notes: more sentences, for below the curve.
    """
    across = Across(
        positions=[math.log10(rate) for rate in rates],
        labels=[small_number(rate) for rate in rates],
        places=[f"learning rate {small_number(rate)}" for rate in rates],
        logarithmic=True,
    )
    chart = draw_curves(
        "Loss against learning rate", [Line("smoothed", smoothed), Line("each step", losses, "c-muted")], across,
        style="number", marked=_nearest(rates, suggestion), marked_name="suggested", limits=_limits(losses, smoothed),
    )  # fmt: skip
    context = {"chart": chart, "across": across.data, "sentences": [sentence(text) for text in notes]}
    return render_page(
        "rate.html", [Section("curve", "How the loss answered", "rate_section.html", context)],
        title=title, steps=len(rates), suggestion=None if suggestion is None else small_number(suggestion),
        says=sentence(reason),
    )  # fmt: skip


def rate_figure_png(
    *, rates: Sequence[float], losses: Sequence[float], smoothed: Sequence[float], suggestion: float | None
) -> bytes:
    """The same curve as a PNG; see `rate_page` for the arguments."""
    figure: Figure = new_figure(7, 4)
    axes = figure.subplots()
    calm(axes, "Loss against learning rate")
    axes.semilogx(rates, losses, color=MUTED, linewidth=1, label="each step")
    axes.semilogx(rates, smoothed, color=ACCENT, linewidth=2.2, label="smoothed")
    if suggestion is not None:
        axes.axvline(suggestion, color=INK, linewidth=1, linestyle="--", label=f"suggested {small_number(suggestion)}")
    limits = _limits(losses, smoothed)
    if limits is not None:
        axes.set_ylim(*limits)
    axes.set_xlabel("learning rate", fontsize=9)
    axes.legend(frameon=False, fontsize=9)
    FigureCanvasAgg(figure)
    picture = io.BytesIO()
    figure.savefig(picture, format="png")
    return picture.getvalue()


def _nearest(rates: Sequence[float], suggestion: float | None) -> int | None:
    if suggestion is None:
        return None
    return min(range(len(rates)), key=lambda index: abs(math.log(rates[index] / suggestion)))


def _limits(losses: Sequence[float], smoothed: Sequence[float]) -> tuple[float, float] | None:
    """What of the losses is worth showing: the fall and the beginning of the rise, not the explosion after it."""
    known = np.array([value for value in (*losses, *smoothed) if math.isfinite(value)])
    steady = [value for value in smoothed if math.isfinite(value)]
    if not steady:
        return None
    low = float(known.min())
    high = min(float(known.max()), steady[0] + _ABOVE_START * max(steady[0] - low, 0.1 * abs(steady[0])))
    room = 0.04 * max(high - low, 1e-6 * abs(high), 1e-12)
    return low - room, high + room
