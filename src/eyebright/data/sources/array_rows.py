"""Images that are the rows of a few large arrays: the source behind CIFAR, SVHN, STL-10 and NumPy archives.

Each kind brings a function that reads one part (a batch, a file) into `Rows`. It is called at first use, under a lock,
and the arrays stay in memory or memory-mapped; one image is a view into them until it is read.
"""

from __future__ import annotations

import dataclasses
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence

import numpy as np
import numpy.typing as npt

from eyebright.data.sources.base import Item, Split, Stray, refuse_colliding_class_names
from eyebright.decode import UndecodableImage
from eyebright.errors import DataError


@dataclasses.dataclass(frozen=True, kw_only=True)
class Rows:
    """The images of one part and what is known about them, row by row.

    Attributes:
        images: (N, H, W) or (N, H, W, C), uint8; any strides.
        labels: class numbers (N,), int64.
        superclasses: numbers of the classes above, (N,), int64, or None.
        columns: further columns, N values each.
    """

    images: npt.NDArray[np.uint8]
    labels: npt.NDArray[np.int64]
    superclasses: npt.NDArray[np.int64] | None = None
    columns: Mapping[str, Sequence[object]] = dataclasses.field(default_factory=dict)


# Reads the named part; it may give more parts at once, where they lie in one stream.
Load = Callable[[str], Mapping[str, Rows]]


class ArrayRowsSource:
    """The images in the rows of arrays, as `part#row`.

    Args:
        spec: what the user gave.
        kind: the kind of source.
        parts: the split of each part by its name, in the order of the items.
        load: reads one part.
        class_names: names by label number.
        superclass_names: names of the classes above, by number.
        strays: what lies beside and is not used.

    Raises:
        DataError: class names collide.
    """

    def __init__(
        self,
        *,
        spec: str,
        kind: str,
        parts: Mapping[str, Split | None],
        load: Load,
        class_names: tuple[str, ...],
        superclass_names: tuple[str, ...] = (),
        strays: Sequence[Stray] = (),
    ) -> None:
        self.spec = spec
        self.kind = kind
        self._parts = dict(parts)
        self._load = load
        self._strays = list(strays)
        self._rows: dict[str, Rows] = {}
        self._lock = threading.Lock()
        self._superclass_names = superclass_names
        self._names = class_names
        self.class_names: tuple[str, ...] | None = class_names
        for names in (class_names, superclass_names):
            refuse_colliding_class_names(names, remedy="rename one of them in the file of class names")

    def items(self) -> Iterator[Item]:
        """All images, part by part; reads all parts.

        Raises:
            DataError: a part is damaged, or a label has no name.
        """
        for part, split in self._parts.items():
            rows = self._part(part)
            labels = _named(rows.labels, self._names, f"{self.spec}: {part}")
            above: Sequence[str | None] = [None] * len(labels)
            if rows.superclasses is not None:
                above = _named(rows.superclasses, self._superclass_names, f"{self.spec}: {part}")
            for row, label in enumerate(labels):
                yield Item(
                    source=f"{part}#{row}",
                    label=label,
                    split=split,
                    superclass=above[row],
                    extra={name: values[row] for name, values in rows.columns.items()},
                )

    def strays(self) -> list[Stray]:
        """What lies beside the arrays and is not used."""
        return list(self._strays)

    def read(self, source: str) -> npt.NDArray[np.uint8]:
        """One image (H, W) or (H, W, C), uint8, an array of its own."""
        part, _, row = source.rpartition("#")
        images = self._part(part).images if part in self._parts and row.isdecimal() else ()
        if not len(images) or int(row) >= len(images):
            raise UndecodableImage("missing", f"there is no row {source}")
        return np.array(images[int(row)], order="C")

    def _part(self, name: str) -> Rows:
        # Held while reading, so that several threads do not read the same part at once.
        with self._lock:
            if name not in self._rows:
                for loaded, rows in self._load(name).items():
                    _check(rows, f"{self.spec}: {loaded}")
                    self._rows[loaded] = rows
            return self._rows[name]


def _check(rows: Rows, where: str) -> None:
    lengths = {"images": len(rows.images), "labels": len(rows.labels)}
    if rows.superclasses is not None:
        lengths["superclasses"] = len(rows.superclasses)
    lengths |= {name: len(values) for name, values in rows.columns.items()}
    if len(set(lengths.values())) > 1:
        listed = ", ".join(f"{count} {name}" for name, count in lengths.items())
        raise DataError(f"{where} holds {listed}", expected="as many of each", remedy="fetch the file again")


def _named(numbers: npt.NDArray[np.int64], names: tuple[str, ...], where: str) -> list[str]:
    for row in np.flatnonzero((numbers < 0) | (numbers >= len(names)))[:1]:
        raise DataError(
            f"{where}#{row} has the label {numbers[row]} where {len(names)} class names are known",
            expected=f"labels from 0 to {len(names) - 1}",
            remedy="fetch the file again: it is damaged, or it belongs to another data set",
        )
    return [names[number] for number in numbers.tolist()]
