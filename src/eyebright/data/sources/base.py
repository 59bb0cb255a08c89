"""What every source of images has in common: items, strays, and how one image is read back.

A source lists what is there and decides nothing: whether an image can be used is for the manifest to find out.
"""

from __future__ import annotations

import contextlib
import dataclasses
import re
import unicodedata
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from contextvars import ContextVar
from typing import Literal, Protocol

import numpy as np
import numpy.typing as npt

from eyebright.errors import DataError

Split = Literal["train", "val", "test"]

SPLITS: tuple[Split, ...] = ("train", "val", "test")
# What people call the three splits, in folder names, file names and tables (compared in lower case).
SPLIT_ALIASES: dict[str, Split] = {
    "train": "train",
    "training": "train",
    "val": "val",
    "valid": "val",
    "validation": "val",
    "dev": "val",
    "test": "test",
    "testing": "test",
}
_SPLIT_IN_NAME = re.compile(rf"(?:^|[-_./])({'|'.join(SPLIT_ALIASES)})(?=[-_./]|$)")


@dataclasses.dataclass(frozen=True, slots=True)
class Item:
    """One image as its source lists it.

    Attributes:
        source: where it is: a path relative to the root with forward slashes, or `shard#row`.
        label: the class, or None when the source says none.
        split: the split that the source gives it, or None.
        group: images of one group go to one split; None leaves it alone.
        weight: how much it counts in training; None means 1.
        superclass: the class above the label, in a hierarchy of two levels; None where there is none.
        extra: further columns of the user's.
    """

    source: str
    label: str | None = None
    split: Split | None = None
    group: str | None = None
    weight: float | None = None
    superclass: str | None = None
    extra: Mapping[str, object] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True, slots=True)
class Stray:
    """Something that is not used, and why.

    Attributes:
        source: where it is.
        reason: why it is not used, in words.
        status: `stray` for what is no image of a class; `dropped` or `quarantined` for what a plan took out.
    """

    source: str
    reason: str
    status: Literal["stray", "dropped", "quarantined"] = "stray"


class Source(Protocol):
    """A place that images come from.

    Attributes:
        spec: what the user gave: a path or a name.
        kind: what was found there, for messages and the manifest: `folder`, `table`, `hf-parquet`, `webdataset`, ...
        class_names: the classes in the order that the source declares, or None when it declares none.
    """

    spec: str
    kind: str
    class_names: tuple[str, ...] | None

    def items(self) -> Iterator[Item]:
        """All images, in the same order every time."""
        ...

    def strays(self) -> list[Stray]:
        """What is there but is no image of any class."""
        ...

    def read(self, source: str) -> bytes | npt.NDArray[np.uint8]:
        """The encoded bytes, or the pixels (H, W) or (H, W, C), of one item. Safe to call from many threads.

        Raises:
            UndecodableImage: it is not there any more (`missing`) or may not be read (`unreadable`).
        """
        ...


def split_in_name(path: str) -> Split | None:
    """The split that a file's path names as a whole word, such as `data/train-00000-of-00005.parquet`, or None."""
    found = _SPLIT_IN_NAME.search(path.lower())
    return SPLIT_ALIASES[found.group(1)] if found else None


_tolerated: ContextVar[bool] = ContextVar("colliding class names are tolerated", default=False)


@contextlib.contextmanager
def tolerating_colliding_class_names() -> Iterator[None]:
    """Inside, `refuse_colliding_class_names` raises nothing: for an audit, which reports such names and merges them."""
    token = _tolerated.set(True)
    try:
        yield
    finally:
        _tolerated.reset(token)


def refuse_colliding_class_names(names: Iterable[str], remedy: str) -> None:
    """Raise when two class names differ only by upper and lower case, blanks or Unicode spelling.

    Raises:
        DataError: naming the colliding names; `remedy` says how to merge them.
    """
    if _tolerated.get():
        return
    spellings: dict[str, list[str]] = defaultdict(list)
    for name in sorted(set(names)):
        spellings[" ".join(unicodedata.normalize("NFKC", name).split()).casefold()].append(name)
    collisions = [same for same in spellings.values() if len(same) > 1]
    if collisions:
        listed = "; ".join(" and ".join(repr(name) for name in same) for same in collisions[:5])
        raise DataError(
            f"class names that differ only by case or blanks: {listed}",
            expected="one spelling for each class",
            remedy=remedy,
        )
