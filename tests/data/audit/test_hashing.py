"""The perceptual hash: what it forgives, what it tells apart."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
import scipy.fft
from PIL import Image, ImageEnhance

from eyebright.data.audit.hashing import HASH_BYTES, as_array, distances, low_frequencies, perceptual_hash


def _recompressed(image: Image.Image, quality: int) -> Image.Image:
    stream = io.BytesIO()
    image.save(stream, "JPEG", quality=quality)
    return Image.open(io.BytesIO(stream.getvalue()))


ALTERED = {
    "recompressed": lambda image: _recompressed(image, 30),
    "half the size": lambda image: image.resize((image.width // 2, image.height // 2), Image.Resampling.BICUBIC),
    "twice the size": lambda image: image.resize((image.width * 2, image.height * 2), Image.Resampling.LANCZOS),
    "another aspect": lambda image: image.resize((image.width, image.height * 4 // 5)),
    "darker": lambda image: ImageEnhance.Brightness(image).enhance(0.7),
    "brighter": lambda image: ImageEnhance.Brightness(image).enhance(1.2),
}


@pytest.fixture(scope="module")
def photos(flowers_sample: Path) -> list[Image.Image]:
    images = []
    for path in sorted(flowers_sample.rglob("*.jpg")):
        with Image.open(path) as image:
            images.append(image.convert("RGB"))
    return images


def _hashes(images: list[Image.Image]) -> np.ndarray:
    return as_array([perceptual_hash(image.convert("L")).plain for image in images])


def test_the_frequencies_are_those_of_scipy() -> None:
    square = np.random.default_rng(0).uniform(0, 255, (64, 64)).astype(np.float32)
    expected = scipy.fft.dctn(square.astype(np.float64), norm="ortho")[:16, :16]
    expected[0, 0] = 0  # the mean is taken out
    assert np.allclose(low_frequencies(square), expected, atol=0.02)


@pytest.mark.parametrize("altered", ALTERED)
def test_an_altered_photo_stays_far_closer_than_another_photo(photos: list[Image.Image], altered: str) -> None:
    original, copies = _hashes(photos), _hashes([ALTERED[altered](photo) for photo in photos])
    own = distances(original, copies)
    between = distances(original[:, None], copies[None, :])[~np.eye(len(photos), dtype=bool)]
    # A few of these photos do show the same picture: NATURAL in test_near_duplicates.
    assert own.max() <= 48
    assert np.quantile(between, 0.001) >= 80


def test_the_mirrored_hash_is_the_hash_of_the_mirrored_photo(photos: list[Image.Image]) -> None:
    for photo in photos:
        luma = photo.convert("L")
        mirrored = luma.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
        first, second = perceptual_hash(luma), perceptual_hash(mirrored)
        # The filter that makes the square rounds half a level up on either side: a sign near zero may differ.
        assert distances(*as_array([first.mirrored, second.plain])) <= 4
        assert distances(*as_array([first.plain, second.mirrored])) <= 4


def test_images_of_one_colour_have_one_hash() -> None:
    hashes = {perceptual_hash(Image.new("L", size, level)) for size in ((8, 8), (300, 200)) for level in (0, 90, 255)}
    assert len(hashes) == 1
    assert len(next(iter(hashes)).plain) == HASH_BYTES
