"""Running a network for what it shows: the size of the image as people write it, and errors that say what was wrong."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator, Sequence

from eyebright.errors import EyebrightError, UsageError

LARGEST_SIDE = 8192


def parse_input_size(text: str) -> tuple[int, int, int]:
    """(C, H, W) from `3x128x128`.

    Raises:
        UsageError: the text is no such size.
    """
    match = re.fullmatch(r"(\d+)x(\d+)x(\d+)", text.strip().lower().replace("×", "x"))
    if match is None:
        raise UsageError(
            f"the size {text!r} of the input was not understood", expected="channels x height x width, as 3x128x128"
        )
    channels, height, width = (int(part) for part in match.groups())
    if channels == 0 or not 1 <= height <= LARGEST_SIDE or not 1 <= width <= LARGEST_SIDE:
        raise UsageError(
            f"the size {text!r} of the input", expected=f"at least 1 channel, and sides of 1 to {LARGEST_SIDE} pixels"
        )
    return channels, height, width


def written(input_size: Sequence[int]) -> str:
    """`3x128x128` from (C, H, W)."""
    return "x".join(str(length) for length in input_size)


@contextlib.contextmanager
def running(name: str, input_size: Sequence[int]) -> Iterator[None]:
    """What a network raises for an image that it cannot take becomes a UsageError."""
    try:
        yield
    except EyebrightError:
        raise
    except (RuntimeError, ValueError, AssertionError, IndexError, TypeError) as error:
        if "memory" in str(error):
            raise UsageError(
                f"the memory does not hold {name} with images of {written(input_size)}", remedy="take smaller images"
            ) from error
        first = (str(error) or type(error).__name__).splitlines()[0]
        raise UsageError(
            f"{name} cannot take images of {written(input_size)}: {first}",
            expected="a size that leaves something after all strides and poolings, and its number of channels",
            remedy="larger images, or the size that the network was designed for (leave --input out)",
        ) from error
