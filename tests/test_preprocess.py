"""The geometry is compared with torchvision and Pillow, the arithmetic with NumPy in double precision."""

from __future__ import annotations

import io

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from eyebright.errors import ConfigError
from eyebright.preprocess import Preprocess


def photo(height: int, width: int) -> np.ndarray:
    """Waves of about a tenth of the image, as large shapes in a photo, and one hard edge, uint8 (H, W, 3)."""
    y, x = np.mgrid[0:height, 0:width] / max(height, width)
    waves = np.stack([127 + 90 * np.sin(x * (60 + 5 * k) + y * (45 - 3 * k)) for k in range(3)], axis=-1)
    waves[:, width // 3] = 255
    return np.clip(waves, 0, 255).astype(np.uint8)


def jpeg(pixels: np.ndarray, quality: int = 92) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "JPEG", quality=quality)
    return stream.getvalue()


@given(
    size=st.integers(8, 40),
    extra=st.integers(0, 15),
    height=st.integers(1, 90),
    width=st.integers(1, 90),
    resize=st.sampled_from(["crop", "squash", "pad"]),
    interpolation=st.sampled_from(["nearest", "bilinear", "bicubic", "lanczos"]),
    channels=st.sampled_from([1, 3]),
)
@settings(max_examples=120, deadline=None)
def test_the_centre_of_the_margin_is_what_the_network_sees(
    size: int, extra: int, height: int, width: int, resize: str, interpolation: str, channels: int
) -> None:
    preprocess = Preprocess(
        size=size,
        resize=resize,  # type: ignore[arg-type]
        resize_to=size + extra,
        interpolation=interpolation,  # type: ignore[arg-type]
        channels=channels,
        mean=(0.5,) * channels,
        std=(0.5,) * channels,
    )
    image = photo(height, width)
    margin = preprocess.margin_pixels(image)
    assert margin.shape == (preprocess.resize_to, preprocess.resize_to, channels)
    assert margin.dtype == np.uint8
    pixels = preprocess.pixels(image)
    assert pixels.shape == (size, size, channels)
    assert np.array_equal(preprocess.centre(margin), pixels)
    assert np.array_equal(preprocess.centre(np.stack([margin, margin]))[1], pixels)
    if resize != "crop":
        assert np.array_equal(margin, pixels)


@pytest.mark.parametrize("shape", [(200, 200), (64, 64), (200, 400), (400, 200)])
@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
def test_resize_and_centre_crop_agree_with_torchvision(shape: tuple[int, int], interpolation: str) -> None:
    transforms = pytest.importorskip("torchvision.transforms")
    image = Image.fromarray(photo(*shape))
    mode = transforms.InterpolationMode(interpolation)
    resized = transforms.CenterCrop(128)(transforms.Resize(146, interpolation=mode)(image))
    preprocess = Preprocess(size=128, resize="crop", resize_to=146, interpolation=interpolation)  # type: ignore[arg-type]
    difference = np.abs(preprocess.pixels(image).astype(int) - np.asarray(resized))
    assert difference.max() <= 2  # fixed-point coefficients of the filter, rounded once more


def test_the_crop_stays_in_the_middle_where_torchvision_moves_by_half_a_pixel() -> None:
    image = photo(200, 300)  # 146x219 after resizing: 91 pixels beside the crop cannot be halved
    preprocess = Preprocess(size=128, resize="crop", resize_to=146)
    mirrored = preprocess.pixels(image[:, ::-1])[:, ::-1]
    assert np.abs(preprocess.pixels(image).astype(int) - mirrored).max() <= 1


def test_squash_is_a_plain_pillow_resize() -> None:
    image = Image.fromarray(photo(90, 150))
    expected = np.asarray(image.resize((64, 64), Image.Resampling.LANCZOS))
    assert np.array_equal(Preprocess(size=64, resize="squash", interpolation="lanczos").pixels(image), expected)


def test_pad_keeps_the_aspect_and_fills_with_black() -> None:
    pixels = Preprocess(size=60, resize="pad").pixels(np.full((30, 60, 3), 200, np.uint8))
    assert np.all(pixels[15:45] == 200)
    assert pixels[:15].max() == pixels[45:].max() == 0


def test_crop_takes_the_middle_of_a_panorama() -> None:
    wide = np.zeros((32, 320, 3), np.uint8)
    wide[:, 144:176] = 255
    assert Preprocess(size=32, resize="crop", resize_to=32).pixels(wide).min() == 255


@pytest.mark.parametrize("resize", ["crop", "squash", "pad"])
def test_a_jpeg_decoded_at_reduced_scale_looks_the_same(resize: str) -> None:
    content = jpeg(photo(1200, 1600))
    preprocess = Preprocess(size=64, resize=resize, resize_to=72 if resize == "crop" else 0)  # type: ignore[arg-type]
    reduced = preprocess.pixels(content).astype(int)
    # A Pillow image is never decoded at reduced scale.
    full = preprocess.pixels(Image.open(io.BytesIO(content))).astype(int)
    assert np.abs(reduced - full).mean() < 1.5
    assert np.percentile(np.abs(reduced - full), 99) <= 10


def test_a_small_jpeg_is_decoded_whole() -> None:
    content = jpeg(photo(128, 128))
    preprocess = Preprocess(size=128, resize="crop", resize_to=146)
    assert np.array_equal(preprocess.pixels(content), preprocess.pixels(Image.open(io.BytesIO(content))))


def test_normalise_gives_channels_first_on_the_unit_scale() -> None:
    preprocess = Preprocess(size=4, mean=(0.1, 0.2, 0.3), std=(0.5, 0.6, 0.7))
    pixels = np.random.default_rng(0).integers(0, 256, (2, 4, 4, 3), dtype=np.uint8)
    expected = ((pixels / 255.0 - [0.1, 0.2, 0.3]) / [0.5, 0.6, 0.7]).transpose(0, 3, 1, 2)
    normalised = preprocess.normalise(pixels)
    assert normalised.dtype == np.float32
    assert normalised.flags.c_contiguous
    np.testing.assert_allclose(normalised, expected, atol=1e-6)


def test_the_record_survives_json_and_refuses_strangers() -> None:
    preprocess = Preprocess(size=128, resize="crop", resize_to=147, mean=(0.1, 0.2, 0.3))
    assert Preprocess.from_dict(preprocess.as_dict()) == preprocess
    assert (preprocess.resize_to - preprocess.size) % 2 == 0
    with pytest.raises(ConfigError, match="did you mean 'interpolation'"):
        Preprocess.from_dict({**preprocess.as_dict(), "interpolatoin": "bicubic"})


@pytest.mark.parametrize(
    "values",
    [
        {"size": 0},
        {"size": 64, "resize": "stretch"},
        {"size": 64, "interpolation": "cubic"},
        {"size": 64, "channels": 2},
        {"size": 64, "channels": 1},
        {"size": 64, "std": (0.5, 0.0, 0.5)},
        {"size": 64, "resize": "crop", "resize_to": 32},
    ],
)
def test_impossible_records_are_refused(values: dict[str, object]) -> None:
    with pytest.raises(ConfigError):
        Preprocess(**values)  # type: ignore[arg-type]


def test_the_description_can_be_checked_by_eye() -> None:
    text = Preprocess(size=128, resize="crop", resize_to=146).describe()
    assert text == "RGB, resize shortest side to 146, centre crop 128, bicubic, mean 0.5 0.5 0.5, std 0.5 0.5 0.5"
