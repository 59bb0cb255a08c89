"""The corruptions: what each is called, how strong its severities are, and how they scale with the image.

The names, the five severities and most constants are those of Hendrycks and Dietterich (Benchmarking Neural Network
Robustness to Common Corruptions and Perturbations, 2019, arXiv:1903.12261) for images of 224 pixels a side. The code
is our own, and where the paper uses other programs or photographs the look is alike and the pixels are not.

Smaller images have smaller things on them and fewer pixels to lose, so levels follow the side S of the image:

    length    a distance in pixels          times S / 224
    grain     what befalls single pixels    times g = min(1, sqrt(S / 224))
    photons   photons that are counted      divided by g * g, so that the noise is multiplied by g
    radius    of a disc                     as a length, with half a pixel added in squares: less would do nothing
    kept      share of the side kept        to the power of g
    quality   JPEG quality                  libjpeg's scale of the quantisation steps times g
    -         everything else               as it is
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Literal

import torch

from eyebright.errors import UsageError, did_you_mean
from eyebright.robustness import blur, colour, digital, geometry, noise, weather

REFERENCE_SIDE = 224
LEAST_SIDE = 16
SEVERITIES = 5

Scale = Literal["none", "length", "radius", "grain", "photons", "kept", "quality"]
Family = Literal["noise", "blur", "weather", "digital", "quality"]
Function = Callable[[torch.Tensor, Sequence[Sequence[float]], torch.Generator], Iterator[torch.Tensor]]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Corruption:
    """One way to spoil an image, at five severities.

    Attributes:
        name: as in the paper, with underscores.
        title: for people.
        family: `noise`, `blur`, `weather` and `digital` hold the 15 usual ones; `quality` those with a unit.
        levels: what is handed to `function` for each severity at 224 pixels, mildest first.
        scales: how each number of a level follows the side of the image.
        unit: of the level that is shown; empty where the severity's number says as much.
        shown: how a level reads, from its first number and the side of the image.
        structured: needs room for its structure: left out of images below 16 pixels a side.
        function: from one uint8 image (S, S, C), levels and a generator on the CPU to one uint8 image for each level.
    """

    name: str
    title: str
    family: Family
    levels: tuple[tuple[float, ...], ...]
    scales: tuple[Scale, ...] = ("none",)
    unit: str = ""
    structured: bool = True
    function: Function

    @property
    def common(self) -> bool:
        """Whether it is one of the 15 that the mean corruption error is about."""
        return self.family != "quality"

    def at(self, side: int) -> tuple[tuple[float, ...], ...]:
        """The levels for images of this side in pixels."""
        return tuple(
            tuple(_scaled(value, scale, side) for value, scale in zip(level, self.scales, strict=True))
            for level in self.levels
        )


def _scaled(value: float, scale: Scale, side: int) -> float:
    ratio = side / REFERENCE_SIDE
    grain = min(1.0, math.sqrt(ratio))
    match scale:
        case "none":
            return value
        case "length":
            return value * ratio
        case "radius":
            return math.hypot(value * ratio, 0.5)
        case "grain":
            return value * grain
        case "photons":
            return value / grain**2
        case "kept":
            return float(value**grain)
    return _quality(_steps(value) * grain)


def _steps(quality: float) -> float:
    """libjpeg's factor for the quantisation steps at a quality."""
    return 50 / quality if quality < 50 else 2 - quality / 50


def _quality(steps: float) -> float:
    """The quality at which the quantisation steps have a factor, a whole number from 1 to 95."""
    return float(min(95, max(1, round(50 / steps if steps > 1 else 50 * (2 - steps)))))


def _singles(*levels: float) -> tuple[tuple[float, ...], ...]:
    return tuple((level,) for level in levels)


_ALL = (
    Corruption(
        name="gaussian_noise", title="Gaussian noise", family="noise", structured=False,
        levels=_singles(0.08, 0.12, 0.18, 0.26, 0.38), scales=("grain",), function=noise.gaussian_noise,
    ),
    Corruption(
        name="shot_noise", title="Shot noise", family="noise", structured=False,
        levels=_singles(60, 25, 12, 5, 3), scales=("photons",), function=noise.shot_noise,
    ),
    Corruption(
        name="impulse_noise", title="Impulse noise", family="noise", structured=False,
        levels=_singles(0.03, 0.06, 0.09, 0.17, 0.27), scales=("grain",), function=noise.impulse_noise,
    ),
    Corruption(
        name="defocus_blur", title="Defocus blur", family="blur",
        levels=_singles(3, 4, 6, 8, 10), scales=("radius",), function=blur.defocus_blur,
    ),
    # The paper swaps neighbours again and again; the reach here gives pixels about the same mean displacement.
    Corruption(
        name="glass_blur", title="Glass blur", family="blur",
        levels=((0.7, 2), (0.9, 3), (1.0, 4.5), (1.1, 6), (1.5, 8)), scales=("length", "length"),
        function=blur.glass_blur,
    ),
    # The paper has half a normal curve; these lengths have its standard deviation.
    Corruption(
        name="motion_blur", title="Motion blur", family="blur",
        levels=_singles(6, 10, 17, 24, 30), scales=("length",), function=blur.motion_blur,
    ),
    Corruption(
        name="zoom_blur", title="Zoom blur", family="blur",
        levels=_singles(1.1, 1.15, 1.2, 1.25, 1.3), function=blur.zoom_blur,
    ),
    # Rising throughout, where the paper's constants change several things to and fro.
    Corruption(
        name="snow", title="Snow", family="weather",
        levels=((1.5, 0.5, 3, 6, 0.85), (1.3, 0.55, 3, 8, 0.77), (1.15, 0.62, 3, 10, 0.7), (1.05, 0.7, 3, 12, 0.62),
                (0.95, 0.78, 3, 14, 0.55)),
        scales=("none", "none", "length", "length", "none"), function=weather.snow,
    ),
    # The paper adds photographs of ice to a darkened image; here painted ice covers it more and more.
    Corruption(
        name="frost", title="Frost", family="weather",
        levels=_singles(0.45, 0.6, 0.72, 0.82, 0.92), function=weather.frost,
    ),
    # The paper's fog also gets a finer structure, which can bring it nearer to the image again; here it only thickens.
    Corruption(
        name="fog", title="Fog", family="weather",
        levels=((1.5, 1.75), (2, 1.75), (2.5, 1.75), (3, 1.75), (3.75, 1.75)), scales=("none", "none"),
        function=weather.fog,
    ),
    Corruption(
        name="brightness", title="Overexposure", family="weather", structured=False,
        levels=_singles(0.1, 0.2, 0.3, 0.4, 0.5), function=colour.brightness,
    ),
    Corruption(
        name="contrast", title="Low contrast", family="digital", structured=False,
        levels=_singles(0.4, 0.3, 0.2, 0.1, 0.05), function=colour.contrast,
    ),
    # The paper's mild levels bend the whole image and its strong ones ripple it; here one kind grows.
    Corruption(
        name="elastic_transform", title="Elastic transform", family="digital",
        levels=_singles(1, 1.75, 2.5, 3.5, 5), scales=("length",), function=geometry.elastic_transform,
    ),
    Corruption(
        name="pixelate", title="Pixelate", family="digital",
        levels=_singles(0.6, 0.5, 0.4, 0.3, 0.25), scales=("kept",), function=digital.pixelate,
    ),
    Corruption(
        name="jpeg_compression", title="JPEG compression", family="digital",
        levels=_singles(25, 18, 15, 10, 7), scales=("quality",), function=digital.jpeg,
    ),
    Corruption(
        name="resolution", title="Lower resolution", family="quality", unit="of the side's pixels kept",
        levels=_singles(0.75, 0.5, 0.35, 0.25, 0.15), function=digital.resolution,
    ),
    Corruption(
        name="jpeg_quality", title="JPEG quality", family="quality", unit="quality",
        levels=_singles(80, 50, 30, 15, 5), function=digital.jpeg,
    ),
    Corruption(
        name="rotation", title="Rotation", family="quality", unit="degrees", structured=False,
        levels=_singles(5, 10, 20, 30, 45), function=geometry.rotation,
    ),
    Corruption(
        name="occlusion", title="Occlusion", family="quality", unit="of the area hidden", structured=False,
        levels=_singles(0.05, 0.1, 0.2, 0.35, 0.5), function=geometry.occlusion,
    ),
)  # fmt: skip
CORRUPTIONS: Mapping[str, Corruption] = {corruption.name: corruption for corruption in _ALL}


def corruption(name: str) -> Corruption:
    """The corruption of that name.

    Raises:
        UsageError: there is none.
    """
    if name not in CORRUPTIONS:
        raise UsageError(
            f"unknown corruption {name!r}{did_you_mean(name, CORRUPTIONS)}", expected=f"one of {', '.join(CORRUPTIONS)}"
        )
    return CORRUPTIONS[name]


def meaningless(side: int) -> dict[str, str]:
    """The corruptions that say nothing on images of this side in pixels, and why.

    Grey images miss none: each of them changes brightness or place, and none needs colour.
    """
    if side >= LEAST_SIDE:
        return {}
    reason = f"an image of {side} x {side} pixels has no room for it (it needs {LEAST_SIDE})"
    return {name: reason for name, one in CORRUPTIONS.items() if one.structured}
