"""Pictures of images by their content id, where the images still lie on this machine."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from PIL import Image

from eyebright.data.sources import Source, open_source
from eyebright.data.sources.address import is_address
from eyebright.decode import decode_image
from eyebright.errors import DataError, MissingDependencyError

LEAST_SIDE = 256
"""Larger images may be decoded at a smaller size, but no smaller than this."""


def source_on_disk(spec: str) -> Source | None:
    """The source of images that a manifest or evaluation names; None when it has moved or lies elsewhere."""
    if is_address(spec):
        return None  # a page is no reason to go to the network
    try:
        return open_source(spec)
    except (DataError, MissingDependencyError):
        return None


def pictures(source: Source | None, where: Mapping[str, str]) -> Callable[[str], Image.Image]:
    """What gives the picture of an image.

    Args:
        source: where the images lie; None when they have moved.
        where: the name of each image in the source, by content id.
    """

    def picture(image: str) -> Image.Image:
        if source is None or image not in where:
            raise DataError(f"the image {image} is not here")
        return decode_image(source.read(where[image]), channels=3, at_least=LEAST_SIDE)

    return picture
