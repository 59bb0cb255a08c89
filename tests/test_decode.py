"""Decoding is compared with pixels that the test itself made, not with what the module gave before."""

from __future__ import annotations

import contextlib
import io
import pickle
import struct
import warnings
import zlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst
from PIL import Image, ImageOps

from eyebright.decode import STATUSES, UndecodableImage, decode_image, inspect_image
from eyebright.errors import DataError

ORIENTATION = 0x0112


def photo(height: int = 48, width: int = 80, seed: int = 0) -> np.ndarray:
    """A smooth picture with different corners, uint8 (H, W, 3)."""
    y, x = np.mgrid[0:height, 0:width]
    phase = np.random.default_rng(seed).uniform(0, 6, 3)
    waves = [127 + 90 * np.sin(x / 11 + y / 17 + angle) + 0.4 * x for angle in phase]
    return np.clip(np.stack(waves, axis=-1), 0, 255).astype(np.uint8)


def encoded(image: Image.Image, format: str, **options: Any) -> bytes:
    stream = io.BytesIO()
    image.save(stream, format, **options)
    return stream.getvalue()


def png_header(width: int, height: int) -> bytes:
    """A valid PNG start of any size, with no pixels behind it."""
    body = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    chunk = struct.pack(">I", 13) + body + struct.pack(">I", zlib.crc32(body))
    return b"\x89PNG\r\n\x1a\n" + chunk + struct.pack(">I", 0) + b"IDAT" + struct.pack(">I", zlib.crc32(b"IDAT"))


@pytest.mark.parametrize("format", ["PNG", "BMP", "TIFF", "PPM", "WEBP", "JPEG2000"])
def test_lossless_formats_give_the_very_pixels(format: str) -> None:
    pixels = photo()
    options = {"lossless": True} if format == "WEBP" else {}
    content = encoded(Image.fromarray(pixels), format, **options)
    assert np.array_equal(np.asarray(decode_image(content)), pixels)
    facts = inspect_image(content)
    assert (facts.width, facts.height, facts.frames) == (80, 48, 1)


@pytest.mark.parametrize("format", ["JPEG", "AVIF", "GIF"])
def test_lossy_formats_stay_close(format: str) -> None:
    pixels = photo()
    options = {} if format == "GIF" else {"quality": 95}
    decoded = np.asarray(decode_image(encoded(Image.fromarray(pixels), format, **options)))
    assert decoded.shape == pixels.shape
    assert np.abs(decoded.astype(int) - pixels).mean() < 6


def test_path_bytes_and_pillow_image_agree(tmp_path: Path) -> None:
    content = encoded(Image.fromarray(photo()), "JPEG")
    (tmp_path / "photo.jpg").write_bytes(content)
    expected = np.asarray(decode_image(content))
    for image in (tmp_path / "photo.jpg", str(tmp_path / "photo.jpg"), Image.open(io.BytesIO(content))):
        assert np.array_equal(np.asarray(decode_image(image)), expected)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP", "TIFF"])
def test_exif_orientation_is_applied_to_pixels_and_facts(format: str, orientation: int) -> None:
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    options: dict[str, Any] = {"exif": exif, **({"lossless": True} if format == "WEBP" else {})}
    content = encoded(Image.fromarray(photo()), format, **options)
    reference = ImageOps.exif_transpose(
        Image.open(io.BytesIO(content)).copy() if format == "TIFF" else Image.open(io.BytesIO(content))
    )
    decoded = decode_image(content)
    assert np.array_equal(np.asarray(decoded), np.asarray(reference.convert("RGB")))
    facts = inspect_image(content)
    assert (facts.width, facts.height) == decoded.size


def test_a_photo_on_its_side_is_turned_clockwise() -> None:
    pixels = photo()
    exif = Image.Exif()
    exif[ORIENTATION] = 6  # the 0th row is the visual right-hand side
    decoded = np.asarray(decode_image(encoded(Image.fromarray(pixels), "PNG", exif=exif)))
    assert np.array_equal(decoded, np.rot90(pixels, -1))


def test_decoding_what_was_decoded_changes_nothing() -> None:
    exif = Image.Exif()
    exif[ORIENTATION] = 6
    for format in ("JPEG", "PNG"):
        once = decode_image(encoded(Image.fromarray(photo()), format, exif=exif))
        assert once.size == (48, 80)
        assert np.array_equal(np.asarray(decode_image(once)), np.asarray(once))
        assert ImageOps.exif_transpose(once).size == (48, 80)


def test_broken_exif_does_not_lose_the_pixels() -> None:
    content = encoded(Image.fromarray(photo()), "PNG", exif=b"Exif\x00\x00II*\x00\xff\xff\xff\xff")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Pillow's own word about the block
        assert np.array_equal(np.asarray(decode_image(content)), photo())


def test_transparency_lies_on_white() -> None:
    pixels = np.zeros((4, 6, 4), dtype=np.uint8)
    pixels[:, :3] = (200, 100, 0, 255)
    pixels[:, 3:] = (200, 100, 0, 128)
    pixels[0, 0] = (1, 2, 3, 0)
    decoded = np.asarray(decode_image(encoded(Image.fromarray(pixels), "PNG"))).astype(int)
    alpha = pixels[..., 3:].astype(float) / 255
    expected = pixels[..., :3] * alpha + 255 * (1 - alpha)
    assert np.abs(decoded - expected).max() <= 1
    assert tuple(decoded[0, 0]) == (255, 255, 255)


def test_grey_with_alpha_lies_on_white() -> None:
    pixels = Image.merge("LA", [Image.new("L", (5, 4), 40), Image.new("L", (5, 4), 0)])
    assert np.asarray(decode_image(encoded(pixels, "PNG"), channels=1)).min() == 255


def test_palette_with_and_without_a_transparent_colour() -> None:
    palette = Image.new("P", (4, 2))
    palette.putpalette([255, 0, 0, 0, 255, 0] + [0] * 762)
    palette.putdata([0, 1, 0, 1, 0, 1, 0, 1])
    plain = np.asarray(decode_image(encoded(palette, "PNG")))
    assert tuple(plain[0, 0]) == (255, 0, 0)
    assert tuple(plain[0, 1]) == (0, 255, 0)
    one_colour = np.asarray(decode_image(encoded(palette, "PNG", transparency=1)))
    assert tuple(one_colour[0, 0]) == (255, 0, 0)
    assert tuple(one_colour[0, 1]) == (255, 255, 255)
    per_entry = np.asarray(decode_image(encoded(palette, "PNG", transparency=bytes([255, 0]))))
    assert np.array_equal(per_entry, one_colour)


def test_rgb_with_one_transparent_colour_lies_on_white() -> None:
    pixels = np.full((3, 3, 3), 10, dtype=np.uint8)
    pixels[0, 0] = (1, 2, 3)
    decoded = np.asarray(decode_image(encoded(Image.fromarray(pixels), "PNG", transparency=(1, 2, 3))))
    assert tuple(decoded[0, 0]) == (255, 255, 255)
    assert tuple(decoded[1, 1]) == (10, 10, 10)


@pytest.mark.parametrize("format", ["PNG", "TIFF"])
def test_sixteen_bits_are_scaled_and_never_clipped(format: str) -> None:
    values = np.linspace(0, 65535, 64 * 4).astype(np.uint16).reshape(4, 64)
    decoded = np.asarray(decode_image(encoded(Image.fromarray(values), format), channels=1))
    assert np.array_equal(decoded, np.rint(values / 257).astype(np.uint8))
    assert decoded.max() == 255


def test_cmyk_becomes_rgb() -> None:
    # Cyan, magenta, yellow, black inks: pure cyan ink leaves green and blue.
    cmyk = Image.new("CMYK", (16, 16), (255, 0, 0, 0))
    for format in ("JPEG", "TIFF"):
        red, green, blue = np.asarray(decode_image(encoded(cmyk, format)))[8, 8]
        assert red < 10
        assert green > 245
        assert blue > 245


@pytest.mark.parametrize(
    "mode", ["1", "L", "LA", "La", "P", "PA", "RGB", "RGBA", "RGBa", "CMYK", "YCbCr", "LAB", "HSV"]
)
@pytest.mark.parametrize("channels", [1, 3])
def test_every_pillow_mode_can_be_used(mode: str, channels: int) -> None:
    decoded = decode_image(Image.new(mode, (7, 5)), channels=channels)
    assert decoded.mode == {1: "L", 3: "RGB"}[channels]
    assert decoded.size == (7, 5)


def test_the_first_frame_of_an_animation_is_used() -> None:
    frames = [Image.new("RGB", (6, 6), colour) for colour in ((255, 0, 0), (0, 255, 0), (0, 0, 255))]
    for format in ("GIF", "PNG", "WEBP", "TIFF"):
        options = {"lossless": True} if format == "WEBP" else {}
        content = encoded(frames[0], format, save_all=True, append_images=frames[1:], **options)
        assert inspect_image(content).frames == 3
        assert tuple(np.asarray(decode_image(content))[3, 3]) == (255, 0, 0)


def test_jpeg_is_decoded_smaller_but_never_below_the_wish() -> None:
    content = encoded(Image.fromarray(photo(600, 900)), "JPEG", quality=95)
    for at_least, shortest in ((70, 75), (75, 75), (76, 150), (290, 300), (301, 600), (601, 600)):
        assert min(decode_image(content, at_least=at_least).size) == shortest


@pytest.mark.parametrize(
    "image",
    [
        pytest.param(np.full((3, 5), 7, np.uint8), id="grey"),
        pytest.param(np.full((3, 5, 1), 7, np.uint8), id="grey-axis"),
        pytest.param(np.full((3, 5, 3), 7, np.uint8), id="rgb"),
        pytest.param(np.full((3, 5, 3), 7 * 257, np.uint16), id="sixteen-bit"),
        pytest.param(np.full((3, 5, 3), 7 / 255, np.float32), id="float"),
        pytest.param(np.full((3, 5), 7 / 255, np.float16), id="half"),
        pytest.param(np.full((5, 3, 3), 7, np.uint8).transpose(1, 0, 2), id="not-contiguous"),
    ],
)
def test_arrays_of_every_accepted_type(image: np.ndarray) -> None:
    decoded = np.asarray(decode_image(image))
    assert decoded.shape == (3, 5, 3)
    assert np.all(decoded == 7)


def test_bool_and_transparent_arrays() -> None:
    assert np.asarray(decode_image(np.array([[True, False]])))[0, :, 0].tolist() == [255, 0]
    assert np.asarray(decode_image(np.zeros((2, 2, 4), np.uint8))).min() == 255


@pytest.mark.parametrize(
    ("array", "words"),
    [
        (np.zeros((3, 8, 8), np.uint8), r"\(3, 8, 8\)"),
        (np.zeros((2, 8, 8, 3), np.uint8), r"\(2, 8, 8, 3\)"),
        (np.zeros((0, 8, 3), np.uint8), r"\(0, 8, 3\)"),
        (np.zeros((8, 8), np.int64), "int64"),
        (np.full((8, 8), 200.0), "from 200 to 200"),
        (np.full((8, 8), np.nan), "nan"),
        (np.zeros((8, 8), object), "object"),
    ],
)
def test_other_arrays_are_refused_by_shape_type_or_range(array: np.ndarray, words: str) -> None:
    with pytest.raises(DataError, match=words):
        decode_image(array)


@pytest.mark.parametrize(
    ("content", "status"),
    [
        (b"", "empty"),
        (b"just a text", "not-an-image"),
        (b"Penguins are birds", "not-an-image"),
        (b"BMW is a maker of cars", "not-an-image"),
        (b"\0" * 4096, "not-an-image"),
        (b"%PDF-1.7", "not-an-image"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "not-an-image"),
        (b"\0\0\0\x18ftypheic\0\0\0\0", "not-an-image"),
        (b"\xff\xd8\xff\xe0 and then nonsense", "truncated"),
        (png_header(20000, 10000), "too-large"),
        (png_header(5, 5), "truncated"),
    ],
)
def test_unusable_bytes_have_a_status(content: bytes, status: str) -> None:
    with pytest.raises(UndecodableImage) as caught:
        decode_image(content)
    assert caught.value.status == status
    assert status in STATUSES


def test_a_two_hundred_megapixel_png_is_refused_by_its_header_without_a_warning() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(UndecodableImage, match="20000x10000"):
            inspect_image(png_header(20000, 10000))
        assert inspect_image(png_header(20000, 10000), max_pixels=200_000_000).width == 20000


@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "PPM"])
@pytest.mark.parametrize("share", [0.02, 0.3, 0.9])
def test_a_file_that_is_cut_off_is_never_used(format: str, share: float) -> None:
    content = encoded(Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)), format)
    with pytest.raises(UndecodableImage) as caught:
        decode_image(content[: int(len(content) * share)])
    assert caught.value.status == "truncated"


def test_missing_and_forbidden_paths(tmp_path: Path) -> None:
    with pytest.raises(UndecodableImage, match="no file") as caught:
        decode_image(tmp_path / "nothing.jpg")
    assert caught.value.status == "missing"
    with pytest.raises(UndecodableImage, match="directory") as caught:
        decode_image(tmp_path)
    assert caught.value.status == "unreadable"
    with pytest.raises(DataError, match="int"):
        decode_image(3)  # type: ignore[arg-type]


def test_the_error_survives_a_process_boundary() -> None:
    error = UndecodableImage("truncated", "cut off", expected="all of it")
    copy = pickle.loads(pickle.dumps(error))
    assert (copy.status, copy.problem, copy.expected) == ("truncated", "cut off", "all of it")


def test_many_threads_decode_alike() -> None:
    contents = [encoded(Image.fromarray(photo(seed=seed)), format) for seed in range(4) for format in ("JPEG", "PNG")]
    alone = [np.asarray(decode_image(content)) for content in contents]
    with ThreadPoolExecutor(8) as pool:
        together = list(pool.map(lambda content: np.asarray(decode_image(content)), contents * 10))
    assert all(np.array_equal(image, alone[index % len(contents)]) for index, image in enumerate(together))


@given(content=st.binary(max_size=200), prefix=st.sampled_from([b"", b"\xff\xd8\xff", b"GIF89a", b"II*\0", b"P6 "]))
@settings(max_examples=150, deadline=None)
def test_no_bytes_raise_anything_else(content: bytes, prefix: bytes) -> None:
    for function in (inspect_image, decode_image):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow on the contents of broken TIFF tags
            # Whatever the bytes are, the outcome is an image or this one error.
            with contextlib.suppress(UndecodableImage):
                function(prefix + content)


@given(pixels=npst.arrays(np.uint8, npst.array_shapes(min_dims=2, max_dims=2, max_side=20)))
@settings(max_examples=50, deadline=None)
def test_grey_png_round_trip(pixels: np.ndarray) -> None:
    content = encoded(Image.fromarray(pixels), "PNG")
    assert np.array_equal(np.asarray(decode_image(content, channels=1)), pixels)
    assert np.array_equal(np.asarray(decode_image(content))[..., 2], pixels)
