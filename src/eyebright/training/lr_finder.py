"""Find a learning rate before training: the learning-rate range test.

The test knows no loop: it is given a function that takes one training step at a rate and returns the loss.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable

import numpy as np
import numpy.typing as npt
from scipy.ndimage import gaussian_filter1d

from eyebright.errors import UsageError
from eyebright.progress import Progress, Silent

SMOOTHING = 0.9
"""Decay a step of the moving average of the loss."""
DIVERGENCE = 4.0
"""The test ends when the smoothed loss exceeds this many times its minimum."""
FEWEST_STEPS = 20
_WIDTH_SHARE = 0.05
_NOISE_LEVELS = 3.0


@dataclasses.dataclass(frozen=True, kw_only=True)
class RateCurve:
    """The loss over a rising learning rate.

    Attributes:
        rates: float64 (N,), learning rates, rising by a constant factor.
        losses: float64 (N,), loss of the batch before the step at that rate; all finite.
        smoothed: float64 (N,), their exponential moving average without bias towards the start.
        suggestion: the rate at which the loss falls most steeply; None where it does not fall.
        minimum_tenth: a tenth of the rate at which the smoothed loss is lowest, the older rule of thumb; None as well.
        reason: why that is suggested, or why nothing is, in words.
        ended: why the test ended before the highest rate; None when it reached that.
    """

    rates: npt.NDArray[np.float64]
    losses: npt.NDArray[np.float64]
    smoothed: npt.NDArray[np.float64]
    suggestion: float | None
    minimum_tenth: float | None
    reason: str
    ended: str | None


def range_test(
    step: Callable[[float], float],
    *,
    lowest: float = 1e-7,
    highest: float = 10.0,
    steps: int = 100,
    progress: Progress | None = None,
) -> RateCurve:
    """Train a few steps at rising rates and look where the loss falls (Smith 2017, arXiv:1506.01186).

    Args:
        step: takes one training step at a learning rate and returns the loss of the batch before it.
        lowest, highest: learning rates of the first and the last step, in between they rise by a constant factor.
        steps: at most so many steps; fewer when the smoothed loss exceeds 4 times its minimum or is not finite.
        progress: whom to tell.

    Raises:
        UsageError: the rates are not two positive numbers in order, or the steps are too few to see anything.
    """
    if not 0 < lowest < highest < math.inf:
        raise UsageError(
            f"the learning rates from {lowest:g} to {highest:g} are no range", expected="0 < lowest < highest"
        )
    if steps < FEWEST_STEPS:
        raise UsageError(f"{steps} steps are too few for a range test", expected=f"{FEWEST_STEPS} or more")
    losses: list[float] = []
    smoothed: list[float] = []
    mean, ended = 0.0, None
    rates = np.geomspace(lowest, highest, steps)
    with (progress or Silent()).task("learning rates", steps, unit="steps") as task:
        for number, rate in enumerate(rates):
            loss = float(step(float(rate)))
            if not math.isfinite(loss):
                ended = f"the loss was not finite at a learning rate of {rate:.2g}"
                break
            mean = SMOOTHING * mean + (1 - SMOOTHING) * loss
            losses.append(loss)
            smoothed.append(mean / (1 - SMOOTHING ** (number + 1)))
            task.advance()
            if smoothed[-1] > DIVERGENCE * min(smoothed):
                ended = f"the smoothed loss exceeded {DIVERGENCE:g} times its minimum at a learning rate of {rate:.2g}"
                break
    return read_curve(rates[: len(losses)], np.array(losses), np.array(smoothed), ended)


def read_curve(
    rates: npt.NDArray[np.float64],
    losses: npt.NDArray[np.float64],
    smoothed: npt.NDArray[np.float64],
    ended: str | None = None,
) -> RateCurve:
    """Look for the descent in the losses over rising rates, and suggest a rate.

    The moving average lags behind, which would suggest too high a rate: the descent is read from the losses under a
    symmetric (Gaussian) filter.
    """
    suggestion = tenth = None
    fall = _descent(losses)
    if fall is None:
        reason = "no rate is suggested: the loss did not fall by more than its noise at any rate"
        if len(losses) < FEWEST_STEPS:
            reason = f"no rate is suggested: the test ended after only {len(losses)} steps; begin at a lower rate"
    else:
        start, steepest, end, curve = fall
        suggestion = float(rates[steepest])
        tenth = float(rates[int(smoothed.argmin())]) / 10
        reason = (
            f"{suggestion:.2g}: there the loss falls most steeply, on its way from {curve[start]:.3g} at a rate of "
            f"{rates[start]:.2g} to {curve[end]:.3g} at {rates[end]:.2g}; a tenth of the rate with the lowest "
            f"smoothed loss is {tenth:.2g}"
        )
    return RateCurve(
        rates=rates, losses=losses, smoothed=smoothed, suggestion=suggestion, minimum_tenth=tenth, reason=reason,
        ended=ended,
    )  # fmt: skip


def _descent(losses: npt.NDArray[np.float64]) -> tuple[int, int, int, npt.NDArray[np.float64]] | None:
    """Begin, steepest place and end of the descent to the lowest loss, and the filtered losses.

    None where the descent is no deeper than noise.
    """
    if len(losses) < FEWEST_STEPS:
        return None
    width = max(2.0, _WIDTH_SHARE * len(losses))
    curve = gaussian_filter1d(losses, width, mode="reflect")
    end = int(curve.argmin())  # what falls after the lowest point falls from an explosion
    if end < 2:
        return None
    depth = float(curve[: end + 1].max() - curve[end])
    # Differences of neighbours show the noise of a batch without the trend; the filter averages it away in part.
    noise = float(np.median(np.abs(np.diff(losses[: end + 1])))) / (math.sqrt(2) * 0.6745)
    kept = 1 / math.sqrt(2 * math.sqrt(math.pi) * width)
    if depth <= max(2 * _NOISE_LEVELS * noise * kept, 1e-3 * abs(curve[0])):
        return None
    # Before the descent the loss goes up and down with the batches, at times steeply: it begins where the loss leaves
    # its upper quarter for the last time.
    start = int(np.flatnonzero(curve[:end] >= curve[end] + 0.75 * depth)[-1])
    steepest = start + int(np.gradient(curve[start : end + 1]).argmin())
    return start, steepest, end, curve
