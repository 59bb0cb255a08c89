"""Which training images come in which order in an epoch.

An order is a function of the targets, the seed and the epoch alone (and of where the images lie, when it follows the
files): a resumed run continues where it was, however many processes it has.
"""

from __future__ import annotations

import dataclasses
from typing import Literal, Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt

from eyebright.data.store import PixelStore, Rows

RUNS_A_WINDOW = 256
"""A window takes its images from so many places at most: more mix better, fewer read longer runs."""
SHORTEST_RUN, LONGEST_RUN = 8, 64
"""Images in a run. 64 photos of 100 kB are 6 MB: a spinning disk reads them in four times the time to get there."""
_CYCLES = 1  # the last word of a seed, keeps these streams apart from those of the epochs
_WINDOWS = 2


@dataclasses.dataclass(frozen=True, kw_only=True)
class Window:
    """How far from each other in the files images may lie that follow each other in an epoch.

    Attributes:
        images: so many images are shuffled together, and are in memory at a time.
        rows: int64 (M,), the place of every image in the files, ascending as they are read.
        blocks: int64 (M,), the part of a file that each is read with; None where any place can be read by itself.
    """

    images: int
    rows: Rows
    blocks: Rows | None = None


@runtime_checkable
class InBlocks(Protocol):
    """A store that reads whole parts of its files, such as the row groups of Parquet."""

    @property
    def blocks(self) -> Rows | None:
        """The part of each row, int64 (N,), ascending; None where any row can be read by itself."""
        ...


def window_of(store: PixelStore, rows: Rows) -> Window | None:
    """What the store asks of the order of these rows; None when any order will do."""
    if store.window is None:
        return None
    blocks = store.blocks if isinstance(store, InBlocks) else None
    return Window(images=store.window, rows=rows, blocks=None if blocks is None else blocks[rows])


def run_images(window: int) -> int:
    """How many images that follow each other are read together, for a window of so many."""
    return min(max(window // RUNS_A_WINDOW, SHORTEST_RUN), LONGEST_RUN)


def epoch_order(
    targets: npt.NDArray[np.int64],
    *,
    seed: int,
    epoch: int,
    sampling: Literal["shuffle", "balanced"],
    window: Window | None = None,
) -> npt.NDArray[np.int64]:
    """Positions of the images that an epoch takes, in order: int64 (M,), as many as there are images.

    Args:
        targets: int64 (M,), class indices.
        seed: of the whole run, not negative.
        epoch: number of the epoch, from 0.
        sampling: `shuffle` takes every image once. `balanced` takes every class that occurs equally often, to one
            image. Each class goes through its images in random order again and again, from one epoch into the next:
            none comes a second time before all of its class came.
        window: where the images lie, for an order that reads the files in long runs: the runs are shuffled over the
            whole epoch, and then the images in each window of so many. None shuffles all images with all others.
    """
    if window is not None:
        drawn = np.arange(len(targets)) if sampling == "shuffle" else _balanced(targets, seed, epoch)
        return _in_windows(drawn, window, np.random.default_rng([seed, epoch, _WINDOWS]))
    shuffled = np.random.default_rng([seed, epoch]).permutation(len(targets))
    if sampling == "shuffle":
        return shuffled
    return _balanced(targets, seed, epoch)[shuffled]


def _in_windows(drawn: npt.NDArray[np.int64], window: Window, random: np.random.Generator) -> npt.NDArray[np.int64]:
    """The drawn images with their runs shuffled over the epoch, and then the images of each window.

    An image that is drawn several times is in as many runs, one for each time, so that the times are spread over the
    epoch.
    """
    if not len(drawn):
        return drawn
    drawn = drawn[np.argsort(window.rows[drawn], kind="stable")]
    rows = window.rows[drawn]
    if window.blocks is None:
        # Other runs in every epoch: images beside a border are not parted for good.
        length = run_images(window.images)
        runs = (rows + random.integers(length)) // length
    else:
        runs = window.blocks[drawn]
    places = np.arange(len(rows))
    is_first = np.concatenate([[True], rows[1:] != rows[:-1]])
    times = places - np.maximum.accumulate(np.where(is_first, places, 0))  # drawn so often before
    _, run = np.unique(runs * (times.max() + 1) + times, return_inverse=True)
    turn = random.permutation(int(run.max()) + 1)
    order = drawn[np.argsort(turn[run], kind="stable")]
    # Of equal sizes: a small last one would mix few places.
    windows = np.array_split(order, -(-len(order) // window.images))
    return np.concatenate([random.permutation(part) for part in windows])


def _balanced(targets: npt.NDArray[np.int64], seed: int, epoch: int) -> npt.NDArray[np.int64]:
    """The draws of an epoch, not yet shuffled.

    All draws of all epochs are dealt to the classes in turn, so that the place of a class in its own sequence of
    images follows from the number of the epoch.
    """
    total = len(targets)
    by_class = np.argsort(targets, kind="stable")
    members = np.split(by_class, np.unique(targets[by_class], return_index=True)[1][1:])
    order = np.empty(total, dtype=np.int64)
    for number, images in enumerate(members):
        first = (number - epoch * total) % len(members)  # this class's first draw in the epoch
        draws = np.arange(epoch * total + first, (epoch + 1) * total, len(members))
        if len(draws) == 0:
            continue
        turns = draws // len(members)  # one after the other: how often the class was drawn before
        begun, last = turns[[0, -1]] // len(images)
        passes = [
            np.random.default_rng([seed, number, cycle, _CYCLES]).permutation(images)
            for cycle in range(begun, last + 1)
        ]
        order[first :: len(members)] = np.concatenate(passes)[turns - begun * len(images)]
    return order
