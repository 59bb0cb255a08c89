"""What a curve over epochs does beyond its noise: how much it moves by itself, whether it rose, or still falls."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
from scipy.stats import norm

Curve = npt.NDArray[np.float64]
FALLS_BY = 0.03
"""Relative change from which a loss counts as having fallen."""
_LEAST_NOISE = 0.01


def noise_of(curve: Curve) -> float:
    """Standard deviation of a curve (N,) of three epochs or more around its trend.

    It is measured by how far each point lies off the middle of its neighbours: the pseudo-residuals of Gasser, Sroka
    and Jennen-Steinmetz (Biometrika 73, 1986). Points on the way down to the lowest are left out where they can be,
    because there the curve itself bends. Never below a hundredth of the lowest value.
    """
    falls = np.diff(curve) < 0
    downhill = falls[:-1] & falls[1:] & (np.arange(2, len(curve)) <= int(np.argmin(curve)))
    bends = np.diff(curve, n=2)
    return max(_deviation(bends if downhill.all() else bends[~downhill], order=2), _least_noise(curve))


def rise_of(curve: Curve) -> tuple[float, float]:
    """How far a curve (N,) ends above its lowest value: in standard errors, and relative to that value.

    The relative rise is the generalisation loss of Prechelt (Early stopping, but when?, Lecture Notes in Computer
    Science 1524, 1998). The lowest of N noisy values is expected below their level by as much as Blom says
    (Statistical estimates and transformed beta-variables, 1958); that much is not counted as a rise.
    """
    lowest = int(np.argmin(curve))
    after = len(curve) - 1 - lowest
    if after < 2:
        return 0.0, 0.0
    noise, ending = noise_of(curve), curve[-min(3, after) :]
    expected = float(norm.ppf((len(curve) - 0.375) / (len(curve) + 0.25)))
    rise = float(ending.mean() - curve[lowest])
    error = noise * math.sqrt(1 / len(ending) + 0.3)
    return (rise - expected * noise) / max(error, 1e-12), rise / max(float(curve[lowest]), 1e-12)


def falls_at_the_end(curve: Curve) -> bool:
    """Whether the last fifth of a curve (N,) of five epochs or more lies below the fifth before it, beyond noise."""
    part = len(curve) // 5
    before, after = float(curve[-2 * part : -part].mean()), float(curve[-part:].mean())
    ending = curve[-max(5, len(curve) // 2) :]
    # A curve that falls ever more slowly bends: its third differences show less of the bend, and as much of the noise.
    noise = max(min(_deviation(np.diff(ending, n=order), order=order) for order in (2, 3)), _least_noise(curve))
    return before - after > max(FALLS_BY * before, 2 * noise * math.sqrt(2 / part))


def _deviation(differences: Curve, *, order: int) -> float:
    """Standard deviation of the values behind differences of this order."""
    # Binomial coefficients weigh the values; the mean of |x| of a normal variable is its deviation times root(2/pi).
    return float(np.abs(differences).mean()) * math.sqrt(math.pi / 2 / math.comb(2 * order, order))


def _least_noise(curve: Curve) -> float:
    return _LEAST_NOISE * abs(float(curve.min()))
