"""What EXIF data (and the text of a PNG) say about the origin of an image."""

from __future__ import annotations

import re
from typing import Any

from PIL import ExifTags, Image

_LONGEST_TEXT = 120
_DATE = re.compile(r"(\d{4})[:/-](\d{2})[:/-](\d{2})(?:[ T](\d{2}):(\d{2}):(\d{2}))?")
_NOTHING: dict[str, Any] = {"orientation": None, "camera": None, "software": None, "taken": None}


def read_exif(image: Image.Image) -> dict[str, Any]:
    """`orientation` (1 to 8), `camera` (make and model), `software` and `taken` (ISO 8601, without a zone).

    The date is that of the shot, else that of digitising, else that of the last change. What the file does not say,
    or says in a way that cannot be read, is None.
    """
    try:
        tags = image.getexif()
        details = tags.get_ifd(ExifTags.IFD.Exif) if tags else {}
    except Exception:  # parsers raise whatever the broken block led them to; it says nothing about the pixels
        return dict(_NOTHING)
    orientation = tags.get(ExifTags.Base.Orientation)
    dates = (
        details.get(ExifTags.Base.DateTimeOriginal),
        details.get(ExifTags.Base.DateTimeDigitized),
        tags.get(ExifTags.Base.DateTime),
    )
    return {
        "orientation": orientation if isinstance(orientation, int) and 1 <= orientation <= 8 else None,
        "camera": _camera(_text(tags.get(ExifTags.Base.Make)), _text(tags.get(ExifTags.Base.Model))),
        "software": _text(tags.get(ExifTags.Base.Software)) or _text(image.info.get("Software")),
        "taken": next((iso for date in dates if (iso := _iso(_text(date)))), None),
    }


def _text(value: object) -> str | None:
    """Readable text of at most 120 characters; None for what is none, or empty."""
    if isinstance(value, bytes):
        value = value.decode("utf-8", "replace")
    if not isinstance(value, str):
        return None
    # Lone surrogates cannot be written to Parquet.
    cleaned = value.encode("utf-8", "replace").decode("utf-8").partition("\0")[0]
    return " ".join(cleaned.split())[:_LONGEST_TEXT] or None


def _camera(make: str | None, model: str | None) -> str | None:
    """`Canon EOS 5D`: the model says the make itself with many makers."""
    if make and model and not model.lower().startswith(make.split()[0].lower()):
        return f"{make} {model}"
    return model or make


def _iso(text: str | None) -> str | None:
    match = _DATE.match(text or "")
    if match is None or match.group(1) == "0000":
        return None
    year, month, day, hour, minute, second = match.groups(default="00")
    return f"{year}-{month}-{day}T{hour}:{minute}:{second}"
