"""Images to conclusions as a stream: names, bytes, pixels, batches, session, in order and in bounded memory.

Threads read and decode some batches ahead; the session runs in the thread of the caller. What is held does not depend
on the number of images, but for their names.
"""

from __future__ import annotations

import bisect
import dataclasses
import itertools
from collections.abc import Generator, Iterator, Sequence

import numpy as np
import numpy.typing as npt
from threadpoolctl import ThreadpoolController

from eyebright.classifier import Classifier
from eyebright.decisions import Decided
from eyebright.decode import UndecodableImage
from eyebright.identity import content_id
from eyebright.jobs.inputs import Opened
from eyebright.lookahead import in_groups, looked_ahead

BATCH = 32
# Images that a thread takes at once: enough that handing them over costs nothing beside decoding small ones.
TAKEN_AT_ONCE = 8
BATCHES_AHEAD = 3


class Listing:
    """All images of several inputs, numbered from 0.

    Args:
        opened: the inputs in their order.
    """

    def __init__(self, opened: Sequence[Opened]) -> None:
        self._opened = list(opened)
        self._starts = [0, *itertools.accumulate(len(one.names) for one in opened)]

    def __len__(self) -> int:
        return self._starts[-1]

    @property
    def title(self) -> str:
        """What it is, for a progress bar."""
        return self._opened[0].title if len(self._opened) == 1 else f"{len(self._opened)} inputs"

    def rows(self, first: int = 0, last: int | None = None) -> Iterator[tuple[Opened, str]]:
        """The input and the name of each image from `first` up to, not including, `last`."""
        last = len(self) if last is None else last
        number = bisect.bisect_right(self._starts, first) - 1
        while first < last:
            opened, start = self._opened[number], self._starts[number]
            end = min(last, self._starts[number + 1])
            for index in range(first - start, end - start):
                yield opened, opened.names[index]
            first, number = end, number + 1

    def sources(self, first: int = 0, last: int | None = None) -> Iterator[str]:
        """The images as the user would find them."""
        return (shown(opened, name) for opened, name in self.rows(first, last))


def shown(opened: Opened, name: str) -> str:
    """The image as the user would find it."""
    return f"{opened.prefix}{name}"


@dataclasses.dataclass(frozen=True)
class Looked:
    """One image after reading and decoding: its name, content id (None for what could not be read) and either its
    pixels or what is wrong with it.
    """

    source: str
    id: str | None
    pixels: npt.NDArray[np.uint8] | None
    problem: UndecodableImage | None


@dataclasses.dataclass(frozen=True)
class Batch:
    """Some images in order, and what is concluded of those that could be used.

    Attributes:
        images: all images; their pixels are gone.
        usable: positions in `images`, int64 (N,).
        decided: the conclusions for these N; None when there are none.
    """

    images: list[Looked]
    usable: npt.NDArray[np.int64]
    decided: Decided | None


def batches(
    classifier: Classifier,
    listing: Listing,
    *,
    threads: int,
    first: int = 0,
    last: int | None = None,
    size: int = BATCH,
) -> Generator[Batch, None, None]:
    """Batches of `size` images, the last one smaller.

    An image that cannot be read stops nothing; it is in its batch, with the reason.

    Args:
        classifier: gives the preprocessing, the session and the decisions.
        listing: the images.
        threads: that read and decode.
        first, last: the images from `first` up to, not including, `last`.
        size: images that go through the network together, those that cannot be used counted.
    """

    def look(group: list[tuple[Opened, str]]) -> list[Looked]:
        return [_look(classifier, opened, name) for opened, name in group]

    # The conclusions are small matrix products: several threads, which the cores have no time for, made them 15 times
    # slower than one.
    matrix_products = ThreadpoolController()
    taken = min(TAKEN_AT_ONCE, size)
    groups = in_groups(listing.rows(first, last), taken)
    looked = looked_ahead(look, groups, threads=threads, ahead=BATCHES_AHEAD * -(-size // taken))
    for images in in_groups(itertools.chain.from_iterable(looked), size):
        usable = [number for number, image in enumerate(images) if image.pixels is not None]
        decided = None
        if usable:
            pixels = np.stack([images[number].pixels for number in usable])  # type: ignore[misc]
            outputs = classifier.run_pixels_all(pixels)
            with matrix_products.limit(limits=1, user_api="blas"):
                decided = classifier.decide(*outputs)
        yield Batch(
            [dataclasses.replace(image, pixels=None) for image in images], np.array(usable, dtype=np.int64), decided
        )


def _look(classifier: Classifier, opened: Opened, name: str) -> Looked:
    image = None
    try:
        content = opened.read(name)
        image = content_id(content)
        return Looked(shown(opened, name), image, classifier.record.preprocess.pixels(content), None)
    except UndecodableImage as error:
        return Looked(shown(opened, name), image, None, error)
