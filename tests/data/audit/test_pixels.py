"""What is measured on pixels, against NumPy and SciPy."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import scipy.ndimage
import scipy.stats
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from PIL import Image, ImageFilter, ImageOps

from eyebright.data.audit.pixels import laplacian_variance, measure_pixels


@given(hnp.arrays(np.uint8, st.tuples(st.integers(3, 24), st.integers(3, 24))))
def test_the_laplacian_is_that_of_scipy(luma: np.ndarray) -> None:
    expected = scipy.ndimage.laplace(luma.astype(np.float64))[1:-1, 1:-1].var()
    assert laplacian_variance(luma) == pytest.approx(expected, rel=1e-4, abs=1e-3)


def test_an_image_of_two_pixels_has_no_sharpness() -> None:
    assert laplacian_variance(np.array([[0, 255]], dtype=np.uint8)) == 0


@pytest.fixture(scope="module")
def photo(flowers_sample: Path) -> Image.Image:
    with Image.open(min(flowers_sample.rglob("*.jpg"))) as image:
        return image.convert("RGB")


def test_colour_and_light_are_those_of_numpy(photo: Image.Image) -> None:
    found = measure_pixels(photo)
    pixels, luma = np.asarray(photo) / 255, np.asarray(photo.convert("L")) / 255
    assert [found[f"mean_{name}"] for name in ("red", "green", "blue")] == pytest.approx(pixels.mean(axis=(0, 1)))
    assert found["saturation"] == pytest.approx((pixels.max(axis=2) - pixels.min(axis=2)).mean())
    assert found["brightness"] == pytest.approx(luma.mean())
    assert found["contrast"] == pytest.approx(luma.std())
    assert found["dark_share"] == pytest.approx((luma < 0.1).mean())
    assert found["dark_end"] == pytest.approx(np.quantile(luma, 0.05, method="inverted_cdf"))
    assert found["bright_end"] == pytest.approx(np.quantile(luma, 0.99, method="inverted_cdf"))
    histogram = np.bincount(np.asarray(photo.convert("L")).ravel(), minlength=256)
    assert found["entropy"] == pytest.approx(scipy.stats.entropy(histogram, base=2))


def test_the_border_is_a_frame_of_a_sixteenth(photo: Image.Image) -> None:
    framed = ImageOps.expand(photo.resize((112, 112)), 8, (255, 0, 51))  # 8 of 128 pixels
    found = measure_pixels(framed)
    assert [found[f"border_{name}"] for name in ("red", "green", "blue")] == pytest.approx([1.0, 0.0, 0.2])
    assert found["edge_contrast"] == 0
    assert measure_pixels(photo)["edge_contrast"] > 0.03


def test_blur_lowers_the_sharpness_whatever_the_size(photo: Image.Image) -> None:
    tiled = Image.fromarray(np.tile(np.asarray(photo), (8, 10, 1)))
    for image in (photo, tiled):
        blurred = image.filter(ImageFilter.GaussianBlur(image.width / 60))
        assert measure_pixels(blurred)["sharpness"] < 0.5 * measure_pixels(image)["sharpness"]


def test_a_large_photo_is_measured_as_its_reduced_self(photo: Image.Image) -> None:
    large = photo.resize((1920, 1440), Image.Resampling.BICUBIC)
    found, reduced = measure_pixels(large), measure_pixels(large.resize((341, 256), Image.Resampling.BICUBIC))
    for name in ("mean_red", "border_blue", "brightness", "contrast", "saturation"):
        assert found[name] == pytest.approx(reduced[name], abs=0.01)


@pytest.mark.parametrize("size", [(1, 1), (1, 500), (2, 2), (3000, 2)])
def test_images_of_any_shape_are_measured(size: tuple[int, int]) -> None:
    found = measure_pixels(Image.new("RGB", size, (10, 20, 30)))
    assert found["mean_blue"] == pytest.approx(30 / 255)
    assert found["border_red"] == pytest.approx(10 / 255)
    assert found["entropy"] == 0
