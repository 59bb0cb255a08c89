"""What EXIF data tell of the origin of an image."""

from __future__ import annotations

import io

import pytest
from PIL import Image

from eyebright.data.audit.exif import read_exif

MAKE, MODEL, SOFTWARE, DATE, ORIENTATION, DETAILS, ORIGINAL = 0x10F, 0x110, 0x131, 0x132, 0x112, 0x8769, 0x9003


def _stored(format: str, **tags: object) -> Image.Image:
    exif = Image.Exif()
    names = {"make": MAKE, "model": MODEL, "software": SOFTWARE, "date": DATE, "orientation": ORIENTATION}
    for name, value in tags.items():
        if name == "original":
            exif.get_ifd(DETAILS)[ORIGINAL] = value
        else:
            exif[names[name]] = value
    stream = io.BytesIO()
    Image.new("RGB", (16, 8)).save(stream, format, exif=exif)
    return Image.open(io.BytesIO(stream.getvalue()))


@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP", "TIFF"])
def test_camera_software_and_date_are_read_from_every_format(format: str) -> None:
    # Pillow writes no nested tags into a TIFF.
    date = {"date" if format == "TIFF" else "original": "2019:05:04 10:20:30"}
    image = _stored(format, make="NIKON CORPORATION", model="NIKON D90", software="GIMP 2.10", **date)
    found = read_exif(image)
    assert found["camera"] == "NIKON D90"
    assert found["software"] == "GIMP 2.10"
    assert found["taken"] == "2019-05-04T10:20:30"


@pytest.mark.parametrize(
    ("make", "model", "camera"),
    [("Canon", "EOS 5D", "Canon EOS 5D"), ("Canon", "Canon EOS 5D", "Canon EOS 5D"), ("Apple", None, "Apple")],
)
def test_the_make_is_not_said_twice(make: str, model: str | None, camera: str) -> None:
    tags = {"make": make} | ({"model": model} if model else {})
    assert read_exif(_stored("JPEG", **tags))["camera"] == camera


def test_the_date_of_the_shot_comes_before_that_of_the_change() -> None:
    assert read_exif(_stored("JPEG", date="2020:01:01 00:00:00"))["taken"] == "2020-01-01T00:00:00"
    both = _stored("JPEG", date="2020:01:01 00:00:00", original="2018:01:01 00:00:00")
    assert read_exif(both)["taken"] == "2018-01-01T00:00:00"


@pytest.mark.parametrize("date", ["0000:00:00 00:00:00", "    :  :     :  :  ", "yesterday", ""])
def test_a_date_that_is_none_is_left_out(date: str) -> None:
    assert read_exif(_stored("JPEG", date=date))["taken"] is None


@pytest.mark.parametrize("orientation", [0, 9, 300])
def test_an_orientation_that_is_none_is_left_out(orientation: int) -> None:
    assert read_exif(_stored("JPEG", orientation=orientation))["orientation"] is None


def test_padding_and_odd_characters_do_no_harm() -> None:
    found = read_exif(_stored("JPEG", model="X100\0\0\0  ", software="a" * 5000))
    assert found["camera"] == "X100"
    assert len(found["software"]) == 120


def test_an_image_without_exif_data_tells_nothing() -> None:
    assert set(read_exif(Image.new("RGB", (4, 4))).values()) == {None}
