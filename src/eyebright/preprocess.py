"""The one way from a decoded image to the numbers that a network sees: the `Preprocess` record and its two steps.

`Preprocess.pixels` does the geometry with Pillow (uint8 in, uint8 out); `Preprocess.normalise` does the arithmetic
(uint8 in, float32 out). Training-time evaluation, `predict`, the exported graph and every server use this record, so
that no second implementation can drift away from it. It needs NumPy and Pillow only.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from PIL import Image

from eyebright.decode import ImageInput, decode_image
from eyebright.errors import ConfigError, did_you_mean

ResizeRule = Literal["crop", "squash", "pad"]
Interpolation = Literal["nearest", "bilinear", "bicubic", "lanczos"]

RESIZE_RULES: tuple[str, ...] = ("crop", "squash", "pad")
RESAMPLING = {
    "nearest": Image.Resampling.NEAREST,
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
    "lanczos": Image.Resampling.LANCZOS,
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Preprocess:
    """How an image becomes the input of a network.

    Attributes:
        size: height and width of the input in pixels (it is square).
        resize: `crop` scales the shortest side to `resize_to` and cuts the centre; `squash` scales both sides to
            `size` and distorts; `pad` scales the longest side to `size` and fills with black.
        resize_to: pixels of the shortest side before the centre crop; equal to `size` for `squash` and `pad`.
        interpolation: name of the Pillow filter. Pillow antialiases when it shrinks.
        channels: 3 (RGB) or 1 (grey).
        mean: subtracted for each channel, on the scale where pixels go from 0 to 1.
        std: divided by for each channel, on the same scale.
    """

    size: int
    resize: ResizeRule = "squash"
    resize_to: int = 0
    interpolation: Interpolation = "bicubic"
    channels: int = 3
    mean: tuple[float, ...] = (0.5, 0.5, 0.5)
    std: tuple[float, ...] = (0.5, 0.5, 0.5)

    def __post_init__(self) -> None:
        if self.resize not in RESIZE_RULES:
            raise ConfigError(
                f"unknown resize rule {self.resize!r}{did_you_mean(str(self.resize), RESIZE_RULES)}",
                expected=f"one of {', '.join(RESIZE_RULES)}",
            )
        if self.interpolation not in RESAMPLING:
            raise ConfigError(
                f"unknown interpolation {self.interpolation!r}{did_you_mean(str(self.interpolation), RESAMPLING)}",
                expected=f"one of {', '.join(RESAMPLING)}",
            )
        if self.channels not in (1, 3):
            raise ConfigError(f"channels={self.channels!r}", expected="1 (grey) or 3 (RGB)")
        if not 1 <= self.size <= 4096:
            raise ConfigError(f"size={self.size!r}", expected="an input size between 1 and 4096 pixels")
        object.__setattr__(self, "mean", tuple(float(value) for value in self.mean))
        object.__setattr__(self, "std", tuple(float(value) for value in self.std))
        if len(self.mean) != self.channels or len(self.std) != self.channels:
            raise ConfigError(
                f"mean has {len(self.mean)} and std has {len(self.std)} values for {self.channels} channel(s)",
                expected="one value for each channel",
            )
        if not all(value > 0 for value in self.std):
            raise ConfigError(f"std={self.std}", expected="values above zero")
        if self.resize != "crop" or self.resize_to == 0:
            object.__setattr__(self, "resize_to", self.size)
        if self.resize_to < self.size:
            raise ConfigError(
                f"resize_to={self.resize_to} is smaller than size={self.size}",
                expected="a resize that leaves enough pixels to crop",
            )
        if (self.resize_to - self.size) % 2:
            # An even margin makes the centre crop of a centre crop the same pixels (see `margin_pixels`).
            object.__setattr__(self, "resize_to", self.resize_to + 1)

    def describe(self) -> str:
        """One sentence that a user can check by eye."""
        how = {
            "crop": f"resize shortest side to {self.resize_to}, centre crop {self.size}",
            "squash": f"squash to {self.size}x{self.size}",
            "pad": f"resize longest side to {self.size}, pad with black to {self.size}x{self.size}",
        }[self.resize]
        colour = "RGB" if self.channels == 3 else "grey"
        mean = " ".join(f"{value:g}" for value in self.mean)
        std = " ".join(f"{value:g}" for value in self.std)
        return f"{colour}, {how}, {self.interpolation}, mean {mean}, std {std}"

    def margin_pixels(self, image: ImageInput) -> npt.NDArray[np.uint8]:
        """Everything that training may look at: the square of side `resize_to` around the centre.

        For `squash` and `pad` it equals `pixels`. For `crop` it keeps the margin that the centre crop cuts away.

        Returns:
            uint8 array (resize_to, resize_to, channels).
        """
        side = self.resize_to
        # Shrinking while decoding (JPEG) stays at or above twice the wanted size, where it loses nothing visible.
        picture = decode_image(image, channels=self.channels, at_least=2 * side)
        filter_ = RESAMPLING[self.interpolation]
        width, height = picture.size
        if self.resize == "squash":
            picture = picture.resize((side, side), filter_)
        elif self.resize == "pad":
            scale = side / max(width, height)
            scaled = picture.resize((max(1, round(width * scale)), max(1, round(height * scale))), filter_)
            picture = Image.new(picture.mode, (side, side))
            picture.paste(scaled, ((side - scaled.width) // 2, (side - scaled.height) // 2))
        else:
            # Cut the centre square first (in source coordinates), so that a panorama costs no more than a square.
            shortest = min(width, height)
            left, top = (width - shortest) / 2, (height - shortest) / 2
            picture = picture.resize((side, side), filter_, box=(left, top, left + shortest, top + shortest))
        return np.asarray(picture, dtype=np.uint8).reshape(side, side, self.channels)

    def centre(self, margin_pixels: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
        """Cut the centre of margin pixels (..., resize_to, resize_to, channels) to (..., size, size, channels)."""
        offset = (self.resize_to - self.size) // 2
        end = offset + self.size
        return margin_pixels[..., offset:end, offset:end, :]

    def pixels(self, image: ImageInput) -> npt.NDArray[np.uint8]:
        """The geometry: what the network sees, before normalisation.

        Args:
            image: a path, encoded bytes, a Pillow image, or a uint8/uint16/float array (H, W), (H, W, 1|3|4).

        Returns:
            uint8 array (size, size, channels).

        Raises:
            UndecodableImage: the image cannot be read; its `status` says why.
        """
        return np.ascontiguousarray(self.centre(self.margin_pixels(image)))

    def normalise(self, pixels: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        """The arithmetic: uint8 (N, H, W, C) in [0, 255] to float32 (N, C, H, W), zero-centred by mean and std."""
        scale, shift = self.scale_and_shift()
        return np.ascontiguousarray((pixels.astype(np.float32) * scale + shift).transpose(0, 3, 1, 2))

    def scale_and_shift(self) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
        """The normalisation as `pixel * scale + shift` on the 0 to 255 scale: two float32 arrays (channels,)."""
        mean, std = np.asarray(self.mean, dtype=np.float64), np.asarray(self.std, dtype=np.float64)
        return (1.0 / (255.0 * std)).astype(np.float32), (-mean / std).astype(np.float32)

    def as_dict(self) -> dict[str, Any]:
        """Plain values for JSON; `from_dict` reads them back."""
        return {**dataclasses.asdict(self), "mean": list(self.mean), "std": list(self.std)}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Preprocess:
        """Read what `as_dict` wrote.

        Raises:
            ConfigError: a key is unknown or a value is not valid.
        """
        known = {field.name for field in dataclasses.fields(cls)}
        for key in values:
            if key not in known:
                raise ConfigError(
                    f"unknown preprocessing key {key!r}{did_you_mean(key, known)}",
                    expected=f"only {', '.join(sorted(known))}",
                )
        return cls(**{**values, "mean": tuple(values["mean"]), "std": tuple(values["std"])})
