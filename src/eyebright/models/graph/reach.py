"""Which input positions each index of a feature map reads along one axis: exact integer arithmetic.

Without up-sampling, index i of a feature map reads the pixels from `low + i * jump` to `high + i * jump`. Up-sampling
makes neighbouring indices differ, in a pattern that repeats, so a `Reach` keeps one such pair for each index of a
period. Positions may lie outside the image: padding is what is read there, and the field is not clipped.

The arithmetic of stacked convolutions is that of Araujo, Norris and Sim 2019 (doi:10.23915/distill.00021), widened to
periods.
"""

from __future__ import annotations

import dataclasses
import math
from fractions import Fraction


@dataclasses.dataclass(frozen=True, kw_only=True)
class Taps:
    """Which indices of its input a layer reads along one axis, for each index of its output.

    Attributes:
        first, last: for the output indices 0 to period - 1, the first and last input index that is read.
        advance: input indices from one period to the next.
    """

    first: tuple[int, ...]
    last: tuple[int, ...]
    advance: int


@dataclasses.dataclass(frozen=True, kw_only=True)
class Reach:
    """Which pixels a feature map reads along one axis.

    Attributes:
        lows, highs: for the indices 0 to period - 1, the first and last pixel that is read.
        jump: pixels from one period to the next.
    """

    lows: tuple[int, ...] = (0,)
    highs: tuple[int, ...] = (0,)
    jump: int = 1

    @property
    def period(self) -> int:
        """Indices after which the pattern repeats; 1 without up-sampling."""
        return len(self.lows)

    @property
    def size(self) -> int:
        """Pixels from the first to the last that one index reads; of the widest index where they differ."""
        return max(high - low + 1 for low, high in zip(self.lows, self.highs, strict=True))

    @property
    def step(self) -> Fraction:
        """Pixels from one index to the next, on average."""
        return Fraction(self.jump, self.period)

    def low(self, index: int) -> int:
        """First pixel that `index` reads."""
        turns, phase = divmod(index, self.period)
        return self.lows[phase] + turns * self.jump

    def high(self, index: int) -> int:
        """Last pixel that `index` reads."""
        turns, phase = divmod(index, self.period)
        return self.highs[phase] + turns * self.jump

    def after(self, taps: Taps) -> Reach:
        """The reach of a layer's output, from that of its input."""
        phases = len(taps.first)
        turns = self.period // math.gcd(self.period, taps.advance)
        steps = [divmod(index, phases) for index in range(phases * turns)]
        return Reach(
            lows=tuple(self.low(taps.first[phase] + turn * taps.advance) for turn, phase in steps),
            highs=tuple(self.high(taps.last[phase] + turn * taps.advance) for turn, phase in steps),
            jump=self.jump * taps.advance * turns // self.period,
        )

    def hull(self, other: Reach, length: int) -> Reach:
        """What either of two feature maps of this length reads, index by index."""
        period = math.lcm(self.period, other.period)
        if self.step != other.step:
            # Resized to a side that is no multiple: the pattern repeats only after the whole map.
            period = length
        jump = self.step * period
        return Reach(
            lows=tuple(min(self.low(index), other.low(index)) for index in range(period)),
            highs=tuple(max(self.high(index), other.high(index)) for index in range(period)),
            jump=max(1, round(jump)),
        )


def window(*, kernel: int, stride: int = 1, dilation: int = 1, padding: int = 0) -> Taps:
    """A convolution or pooling window."""
    return Taps(first=(-padding,), last=(dilation * (kernel - 1) - padding,), advance=stride)


def shift(places: int, *, step: int = 1) -> Taps:
    """Output index i is input index `step * i + places`: cropping, padding (negative), every other row."""
    return Taps(first=(places,), last=(places,), advance=step)


def repeat(times: int) -> Taps:
    """Each input index becomes `times` output indices."""
    return Taps(first=(0,) * times, last=(0,) * times, advance=1)


def transposed_window(*, kernel: int, stride: int, dilation: int = 1, padding: int = 0) -> Taps:
    """A transposed convolution: input index i is added to the outputs `i * stride - padding + dilation * k`."""
    firsts, lasts = [], []
    for output in range(stride):
        reads = [
            (output + padding - dilation * k) // stride
            for k in range(kernel)
            if (output + padding - dilation * k) % stride == 0
        ]
        # Between the windows of a stride that is wider than its kernel nothing is read; the nearest input stands in.
        reads = reads or [(output + padding) // stride]
        firsts.append(min(reads))
        lasts.append(max(reads))
    return Taps(first=tuple(firsts), last=tuple(lasts), advance=1)


def adaptive(length: int, bins: int) -> Taps:
    """Adaptive pooling of `length` indices to `bins`."""
    common = math.gcd(length, bins)
    phases = range(bins // common)
    return Taps(
        first=tuple(index * length // bins for index in phases),
        last=tuple(-(-(index + 1) * length // bins) - 1 for index in phases),
        advance=length // common,
    )


def resize(length: int, new: int, *, filter_name: str, align_corners: bool = False) -> Taps:
    """Interpolation from `length` to `new` indices.

    Args:
        length, new: indices before and after.
        filter_name: `nearest`, `nearest-exact`, `linear`, `cubic`, or `linear-antialias`, `cubic-antialias`.
        align_corners: the first and last indices coincide, as torch's argument of that name.
    """
    scale = Fraction(length - 1, new - 1) if align_corners and new > 1 else Fraction(length, new)
    firsts, lasts = [], []
    for index in range(scale.denominator):
        if filter_name == "nearest":
            span = (math.floor(index * scale),) * 2
        elif filter_name == "nearest-exact":
            span = (math.floor((index + Fraction(1, 2)) * scale),) * 2
        else:
            centre = index * scale if align_corners else (index + Fraction(1, 2)) * scale - Fraction(1, 2)
            span = _support(centre, scale, filter_name)
        firsts.append(span[0])
        lasts.append(span[1])
    return Taps(first=tuple(firsts), last=tuple(lasts), advance=scale.numerator)


def _support(centre: Fraction, scale: Fraction, filter_name: str) -> tuple[int, int]:
    """First and last index with a weight other than zero around a place between indices."""
    base = math.floor(centre)
    wide = 2 if filter_name.startswith("cubic") else 1
    if filter_name.endswith("antialias"):
        reach = wide * max(scale, Fraction(1))
        return math.floor(centre - reach) + 1, math.ceil(centre + reach) - 1
    if centre == base:  # exactly on an index: linear and cubic filters give all weight to it
        return base, base
    return base + 1 - wide, base + wide
