"""The quality of a JPEG, against the libjpeg that wrote it."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from eyebright.data.audit.jpeg import describe_subsampling, describe_tables, standard_tables


def _saved(image: Image.Image, **options: object) -> Image.Image:
    stream = io.BytesIO()
    image.save(stream, "JPEG", **options)
    return Image.open(io.BytesIO(stream.getvalue()))


@pytest.fixture
def photo() -> Image.Image:
    return Image.fromarray(np.random.default_rng(0).integers(0, 256, (32, 48, 3), dtype=np.uint8))


@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
def test_the_quality_is_the_one_that_the_file_was_saved_with(photo: Image.Image, mode: str) -> None:
    for quality in range(10, 96):
        estimated, _ = describe_tables(_saved(photo.convert(mode), quality=quality).quantization) or (None, None)
        assert estimated == quality


def test_the_standard_tables_are_those_of_libjpeg(photo: Image.Image) -> None:
    for quality in range(1, 101):
        tables = _saved(photo, quality=quality).quantization
        assert np.array_equal(standard_tables(quality), [tables[0], tables[1]])


def test_tables_of_another_maker_get_the_closest_quality_and_a_name_of_their_own(photo: Image.Image) -> None:
    names = set()
    for preset, low, high in (("web_low", 5, 45), ("web_high", 55, 90), ("web_maximum", 85, 100)):
        quality, name = describe_tables(_saved(photo, qtables=preset).quantization) or (0.0, "")
        assert low <= quality <= high
        names.add(name)
    names |= {describe_tables(_saved(photo, quality=quality).quantization)[1] for quality in (50, 75, 95)}
    assert len(names) == 6


def test_tables_that_are_none_have_no_quality() -> None:
    assert describe_tables({}) is None
    assert describe_tables({0: [1, 2, 3]}) is None


@pytest.mark.parametrize(("option", "name"), [(0, "4:4:4"), (1, "4:2:2"), (2, "4:2:0")])
def test_subsampling_is_named(photo: Image.Image, option: int, name: str) -> None:
    assert describe_subsampling(_saved(photo, subsampling=option)) == name
    assert describe_subsampling(_saved(photo.convert("L"))) == "grey"
