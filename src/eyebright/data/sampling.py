"""Which training images come in which order in an epoch.

An order is a function of the targets, the seed and the epoch alone: a resumed run continues where it was.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
import numpy.typing as npt

_CYCLES = 1  # the last word of a seed, keeps these streams apart from those of the epochs


def epoch_order(
    targets: npt.NDArray[np.int64], *, seed: int, epoch: int, sampling: Literal["shuffle", "balanced"]
) -> npt.NDArray[np.int64]:
    """Positions of the images that an epoch takes, in order: int64 (M,), as many as there are images.

    Args:
        targets: int64 (M,), class indices.
        seed: of the whole run, not negative.
        epoch: number of the epoch, from 0.
        sampling: `shuffle` takes every image once. `balanced` takes every class that occurs equally often, to one
            image. Each class goes through its images in random order again and again, from one epoch into the next:
            none comes a second time before all of its class came.
    """
    shuffled = np.random.default_rng([seed, epoch]).permutation(len(targets))
    if sampling == "shuffle":
        return shuffled
    return _balanced(targets, seed, epoch)[shuffled]


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
