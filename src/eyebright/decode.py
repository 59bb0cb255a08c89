"""The one way from a file, bytes, Pillow image or array to a Pillow image in RGB or grey.

Everything that turns encoded pixels into numbers goes through `decode_image`, so that training, prediction and serving
treat orientation, transparency, palettes, CMYK and 16 bits alike. An image that cannot be decoded whole is refused
with `UndecodableImage`: nothing is repaired, and no missing half is filled with grey.

The plugin classes of Pillow are called directly instead of `Image.open`: the list of formats stays closed (no
Ghostscript behind an innocent name), and the size rule is ours for each call instead of a process-wide setting and a
warning. All functions may be called from many threads.
"""

from __future__ import annotations

import dataclasses
import io
import os
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from PIL import (
    AvifImagePlugin,
    BmpImagePlugin,
    GifImagePlugin,
    Image,
    Jpeg2KImagePlugin,
    JpegImagePlugin,
    PngImagePlugin,
    PpmImagePlugin,
    TiffImagePlugin,
    WebPImagePlugin,
)

from eyebright.errors import DataError

ImageInput = str | os.PathLike[str] | bytes | Image.Image | npt.NDArray[Any]
Status = Literal["empty", "unreadable", "truncated", "too-large", "not-an-image", "missing"]

STATUSES: tuple[Status, ...] = ("empty", "unreadable", "truncated", "too-large", "not-an-image", "missing")
DEFAULT_MAX_PIXELS = 100_000_000
FORMATS = "JPEG, PNG, WebP, GIF, BMP, TIFF, JPEG 2000, AVIF and PPM"

_OPENERS: dict[str, Callable[..., Any]] = {
    "JPEG": JpegImagePlugin.jpeg_factory,
    "PNG": PngImagePlugin.PngImageFile,
    "WebP": WebPImagePlugin.WebPImageFile,
    "GIF": GifImagePlugin.GifImageFile,
    "BMP": BmpImagePlugin.BmpImageFile,
    "TIFF": TiffImagePlugin.TiffImageFile,
    "PPM": PpmImagePlugin.PpmImageFile,
    "JPEG 2000": Jpeg2KImagePlugin.Jpeg2KImageFile,
    "AVIF": AvifImagePlugin.AvifImageFile,
}
_ORIENTATION_TAG = 0x0112
_TRANSPOSE = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_SIDEWAYS = (5, 6, 7, 8)
# How the decoders say that the file stops before the image does.
_ENDS_EARLY = ("truncated", "eof", "only got", "incomplete", "unexpected end", "premature")
_SIXTEEN_BIT_MODES = ("I;16", "I;16L", "I;16B", "I;16N", "I")


class UndecodableImage(DataError):  # noqa: N818  (an outcome for one image, in most places no error of the run)
    """An image that cannot be used; `status` is one of `STATUSES` and `problem` says what is wrong with it."""

    def __init__(self, status: Status, problem: str, *, expected: str | None = None, remedy: str | None = None) -> None:
        super().__init__(problem, expected=expected, remedy=remedy)
        self.status: Status = status

    def __reduce__(self) -> tuple[Any, ...]:
        # Exceptions cross process boundaries by their arguments; the default would hand over the text alone.
        return _rebuild_undecodable, (self.status, self.problem, self.expected, self.remedy)


def _rebuild_undecodable(status: Status, problem: str, expected: str | None, remedy: str | None) -> UndecodableImage:
    return UndecodableImage(status, problem, expected=expected, remedy=remedy)


@dataclasses.dataclass(frozen=True)
class ImageFacts:
    """What the header says.

    Attributes:
        width: pixels, after the EXIF orientation is applied.
        height: pixels, after the EXIF orientation is applied.
        format: `JPEG`, `PNG`, ...; `array` for an array.
        frames: images in the file; the first one is used.
    """

    width: int
    height: int
    format: str
    frames: int


def inspect_image(content: bytes | npt.NDArray[Any], max_pixels: int = DEFAULT_MAX_PIXELS) -> ImageFacts:
    """Read the header only; no pixel is decoded, so a file that is cut off later still passes.

    Args:
        content: the whole encoded file, or an array (H, W) or (H, W, C).
        max_pixels: refuse images of more pixels than this.

    Raises:
        UndecodableImage: the header cannot be read, or the image is too large.
    """
    if isinstance(content, np.ndarray):
        _check_array_shape(content)
        height, width = content.shape[:2]
        _check_pixels(width, height, max_pixels)
        return ImageFacts(width=width, height=height, format="array", frames=1)
    name, image = _open(content)
    width, height = image.size
    _check_pixels(width, height, max_pixels)
    # Pillow would decode a PNG to look for EXIF data behind the pixels; a TIFF reports its upright size already.
    asks = "exif" in image.info if name == "PNG" else name != "TIFF"
    if asks and _orientation(image) in _SIDEWAYS:
        width, height = height, width
    try:
        frames = int(getattr(image, "n_frames", 1))
    except Exception:  # a broken later frame does not concern us: the first one is used
        frames = 1
    return ImageFacts(width=width, height=height, format=name, frames=frames)


def decode_image(
    image: ImageInput,
    *,
    channels: int = 3,
    at_least: int | None = None,
    max_pixels: int = DEFAULT_MAX_PIXELS,
) -> Image.Image:
    """Decode to RGB or grey with the EXIF orientation applied and transparency laid on white.

    The first frame of an animation is used. 16 bits are scaled to 8 (rounded division by 257), never clipped.

    Args:
        image: a path, encoded bytes, a Pillow image, or an array (H, W), (H, W, 1), (H, W, 3) or (H, W, 4) of uint8,
            uint16 (scaled by 1/257), bool, or float in [0, 1].
        channels: 3 for RGB, 1 for grey.
        at_least: a JPEG may be decoded at 1/2, 1/4 or 1/8 of its size as long as its shortest side keeps this many
            pixels; None decodes at full size.
        max_pixels: refuse images of more pixels than this.

    Returns:
        A Pillow image in mode `RGB` or `L` that holds no open file.

    Raises:
        UndecodableImage: the image is missing, empty, broken, cut off, too large or no image at all.
        DataError: an array of another shape, type or range.
    """
    if channels not in (1, 3):
        raise DataError(f"channels={channels!r}", expected="1 (grey) or 3 (RGB)")
    if isinstance(image, np.ndarray):
        picture = _from_array(image, max_pixels)
    elif isinstance(image, Image.Image):
        _check_pixels(*image.size, max_pixels)
        picture = _upright(_loaded(image))
    elif isinstance(image, (bytes, bytearray, memoryview)):
        picture = _from_bytes(bytes(image), at_least, max_pixels)
    elif isinstance(image, (str, os.PathLike)):
        picture = _from_bytes(read_image_file(image), at_least, max_pixels)
    else:
        raise DataError(
            f"an image of type {type(image).__name__} was given",
            expected="a path, bytes, a Pillow image or a NumPy array",
        )
    return _to_mode(picture, "RGB" if channels == 3 else "L")


def read_image_file(path: str | os.PathLike[str]) -> bytes:
    """The bytes of the file at `path`.

    Raises:
        UndecodableImage: with status `missing` when there is no such file, `unreadable` when it may not be read.
    """
    try:
        return Path(path).read_bytes()
    except (FileNotFoundError, NotADirectoryError) as error:
        raise UndecodableImage("missing", f"there is no file {os.fspath(path)}") from error
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise UndecodableImage("unreadable", f"{os.fspath(path)} cannot be read: {reason}") from error


def sniff_format(content: bytes) -> str | None:
    """The name of the image format by its first bytes, or None when it is none that is accepted."""
    head = content[:16]
    if head.startswith(b"\xff\xd8\xff"):
        return "JPEG"
    if head.startswith(b"\x89PNG\r\n\x1a\n"):
        return "PNG"
    if head.startswith(b"RIFF") and head[8:12] == b"WEBP":
        return "WebP"
    if head.startswith((b"GIF87a", b"GIF89a")):
        return "GIF"
    if head.startswith((b"II*\x00", b"MM\x00*", b"II+\x00", b"MM\x00+")):
        return "TIFF"
    if head[4:12] in (b"ftypavif", b"ftypavis"):
        return "AVIF"
    if head.startswith((b"\x00\x00\x00\x0cjP  \r\n\x87\n", b"\xff\x4f\xff\x51")):
        return "JPEG 2000"
    # The magic numbers of these two are short enough to start a text by chance: look at what must follow.
    if head.startswith(b"BM") and head[6:10] == b"\x00\x00\x00\x00":
        return "BMP"
    if head[:1] == b"P" and head[1:2] in (b"1", b"2", b"3", b"4", b"5", b"6") and head[2:3].isspace():
        return "PPM"
    return None


def _open(content: bytes) -> tuple[str, Image.Image]:
    """The format and the image, of which the header is read and no pixel. Nothing to close: it lies in memory."""
    if not content:
        raise UndecodableImage("empty", "the file is empty (0 bytes)")
    name = sniff_format(content)
    if name is None:
        raise UndecodableImage("not-an-image", _describe_stranger(content), expected=FORMATS)
    try:
        return name, _OPENERS[name](io.BytesIO(content), "")
    except Exception as error:  # plugins raise whatever the broken bytes led them to
        failure = _undecodable(error, f"broken {name} header")
        if name == "WebP" and int.from_bytes(content[4:8], "little") + 8 > len(content):
            failure.status = "truncated"
        raise failure from error


def _describe_stranger(content: bytes) -> str:
    """What the bytes seem to be, for the message about a file that is no image."""
    head = content[:512]
    if head[4:8] == b"ftyp" and head[8:12] in (b"heic", b"heix", b"mif1", b"msf1", b"hevc"):
        return "a HEIC photo, which is not supported: export it as JPEG"
    for magic, what in ((b"%PDF", "a PDF document"), (b"PK\x03\x04", "a ZIP archive"), (b"\x1f\x8b", "a gzip archive")):
        if head.startswith(magic):
            return f"{what}, not an image"
    if b"<svg" in head:
        return "an SVG drawing, which is not supported: export it as PNG"
    if head.lstrip()[:1] == b"<":
        return "an HTML or XML page, not an image"
    if not head.strip(b"\x00"):
        return "the file holds zero bytes only"
    try:
        head[:64].decode("ascii")
    except UnicodeDecodeError:
        return "no known image format"
    return "a text file, not an image"


def _undecodable(error: Exception, what: str) -> UndecodableImage:
    text = (str(error) or type(error).__name__).strip()
    origin = error.__cause__ or error  # Pillow wraps what a header parser raised
    ends_early = isinstance(origin, (EOFError, IndexError, struct.error)) or any(
        word in text.lower() for word in _ENDS_EARLY
    )
    return UndecodableImage("truncated" if ends_early else "unreadable", f"{what}: {text}")


def _check_pixels(width: int, height: int, max_pixels: int) -> None:
    if width * height > max_pixels:
        raise UndecodableImage(
            "too-large",
            f"{width}x{height} are {width * height / 1e6:.0f} million pixels, at most {max_pixels / 1e6:.0f} are read",
            expected=f"at most {max_pixels / 1e6:.0f} million pixels",
        )
    if width < 1 or height < 1:
        raise UndecodableImage("unreadable", f"an image of {width}x{height} pixels")


def _from_bytes(content: bytes, at_least: int | None, max_pixels: int) -> Image.Image:
    name, image = _open(content)
    _check_pixels(*image.size, max_pixels)
    if name == "JPEG" and at_least is not None:
        image.draft(None, (at_least, at_least))  # None keeps the mode
    picture = _upright(_loaded(image))
    # An image of several frames would go to another one at `seek`; a JPEG cannot, and need not be copied.
    return picture.copy() if picture is image and name != "JPEG" else picture


def _loaded(image: Image.Image) -> Image.Image:
    try:
        image.load()
    except Exception as error:  # decoders raise OSError, SyntaxError, ValueError, zlib.error, MemoryError, ...
        raise _undecodable(error, "the pixels cannot be decoded") from error
    return image


def _orientation(image: Image.Image) -> int:
    try:
        return int(image.getexif().get(_ORIENTATION_TAG, 1))
    except Exception:  # a broken EXIF block says nothing about the pixels: take them as they lie
        return 1


def _upright(image: Image.Image) -> Image.Image:
    method = _TRANSPOSE.get(_orientation(image))
    if method is None:
        return image
    turned = image.transpose(method)
    # The orientation must not be applied again by whoever gets the image, and it may be said twice (EXIF and XMP).
    turned.info = {name: value for name, value in image.info.items() if name == "transparency"}
    return turned


def _to_mode(image: Image.Image, mode: Literal["RGB", "L"]) -> Image.Image:
    """Convert any mode; the result shares no state with `image` unless it has the mode already."""
    try:
        if image.mode in _SIXTEEN_BIT_MODES:
            image = _from_wide_integers(image)
        elif image.mode == "F":
            image = Image.fromarray(_unit_interval_to_bytes(np.asarray(image)))
        elif image.has_transparency_data:
            white = Image.new("RGBA", image.size, (255, 255, 255, 255))
            # By way of LA where palettes or premultiplied modes cannot go to RGBA in one step.
            direct = image if image.mode != "La" else image.convert("LA")
            image = Image.alpha_composite(white, direct.convert("RGBA"))
        elif image.mode not in ("RGB", "L", "1") and mode == "L":
            image = image.convert("RGB")  # CMYK, LAB and YCbCr reach grey only by way of RGB
        return image if image.mode == mode else image.convert(mode)
    except DataError as error:
        if isinstance(error, UndecodableImage):
            raise
        raise UndecodableImage("unreadable", error.problem, expected=error.expected) from error
    except Exception as error:
        raise _undecodable(error, f"mode {image.mode} cannot be converted to {mode}") from error


def _from_wide_integers(image: Image.Image) -> Image.Image:
    values = np.asarray(image)
    low, high = int(values.min()), int(values.max())
    if low < 0 or high > 65535:
        raise DataError(f"integer pixels from {low} to {high}", expected="8 or 16 bits a channel")
    return Image.fromarray(_sixteen_to_eight(values))


def _sixteen_to_eight(values: npt.NDArray[Any]) -> npt.NDArray[np.uint8]:
    """Scale [0, 65535] to [0, 255], rounded: 65535 = 255 * 257."""
    return ((values.astype(np.uint32) + 128) // 257).astype(np.uint8)


def _unit_interval_to_bytes(values: npt.NDArray[Any]) -> npt.NDArray[np.uint8]:
    low, high = float(values.min()), float(values.max())
    if not (low >= 0.0 and high <= 1.0):  # written so that NaN is refused too
        raise DataError(
            f"floating-point pixels from {low:g} to {high:g}",
            expected="values from 0 to 1 (or uint8 values from 0 to 255)",
        )
    return np.rint(values.astype(np.float64) * 255.0).astype(np.uint8)


def _check_array_shape(array: npt.NDArray[Any]) -> None:
    if array.ndim not in (2, 3) or (array.ndim == 3 and array.shape[2] not in (1, 3, 4)) or array.size == 0:
        raise DataError(
            f"an image array of shape {array.shape} and type {array.dtype}",
            expected="one image: (H, W), (H, W, 1), (H, W, 3) or (H, W, 4)",
            remedy="give a list of images for several; move a leading channel axis to the end",
        )


def _from_array(array: npt.NDArray[Any], max_pixels: int) -> Image.Image:
    _check_array_shape(array)
    _check_pixels(array.shape[1], array.shape[0], max_pixels)
    if array.ndim == 3 and array.shape[2] == 1:
        array = array[:, :, 0]
    if array.dtype == np.bool_:
        array = array.astype(np.uint8) * np.uint8(255)
    elif array.dtype == np.uint16:
        array = _sixteen_to_eight(array)
    elif np.issubdtype(array.dtype, np.floating):
        array = _unit_interval_to_bytes(array)
    elif array.dtype != np.uint8:
        raise DataError(
            f"an image array of shape {array.shape} and type {array.dtype}",
            expected="uint8, uint16, bool, or floating-point values from 0 to 1",
            remedy="convert it with `.astype(numpy.uint8)` when its values go from 0 to 255",
        )
    return Image.fromarray(np.ascontiguousarray(array))
