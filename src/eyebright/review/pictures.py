"""Images as a browser shows them: encoded once, not larger than a screen, the last ones kept in memory."""

from __future__ import annotations

import io
import threading
from collections import OrderedDict
from collections.abc import Callable
from typing import NamedTuple

from PIL import Image

MAX_SIDE = 1600
# Small images are enlarged on the screen; a lossy copy would show its own blocks then.
LOSSLESS_UP_TO = 256
KEPT = 48

_JPEG_QUALITY = 92


class Picture(NamedTuple):
    """An encoded image and its media type."""

    content: bytes
    media_type: str


class Pictures:
    """Encoded images by place. Safe to use from several threads.

    Args:
        read: gives the image at a place; may raise anything.
    """

    def __init__(self, read: Callable[[str], Image.Image]) -> None:
        self._read = read
        self._kept: OrderedDict[str, Picture] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, source: str) -> Picture:
        """The image at `source`, encoded."""
        with self._lock:
            if source in self._kept:
                self._kept.move_to_end(source)
                return self._kept[source]
        picture = encode(self._read(source))
        with self._lock:
            self._kept[source] = picture
            while len(self._kept) > KEPT:
                self._kept.popitem(last=False)
        return picture


def encode(image: Image.Image) -> Picture:
    """PNG for small images and those with transparency, JPEG for the rest."""
    if image.mode not in ("RGB", "L", "RGBA"):
        image = image.convert("RGBA" if "transparency" in image.info or image.mode.endswith(("A", "a")) else "RGB")
    if max(image.size) > MAX_SIDE:
        image = image.copy()
        image.thumbnail((MAX_SIDE, MAX_SIDE))
    stream = io.BytesIO()
    if image.mode == "RGBA" or max(image.size) <= LOSSLESS_UP_TO:
        image.save(stream, "PNG", compress_level=1)
        return Picture(stream.getvalue(), "image/png")
    image.save(stream, "JPEG", quality=_JPEG_QUALITY)
    return Picture(stream.getvalue(), "image/jpeg")
