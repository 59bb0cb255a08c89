"""Several sources as one, by reference: no image is copied, and every image is read from where it lies.

An image of the part `flowers` is called `flowers/` and what the part calls it. The extra column `dataset` says which
part it came from, so that measurements can be told apart; the parts' own columns stay.
"""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from eyebright.data.sources.base import Item, Source, Stray
from eyebright.data.sources.class_mapping import ClassMapping
from eyebright.decode import UndecodableImage

DATASET_COLUMN = "dataset"
# A column of that name that a part brings itself.
USER_DATASET_COLUMN = "user_dataset"


Read = Callable[[str], bytes | npt.NDArray[np.uint8]]


class CombinedSource:
    """The images of several sources, with their classes mapped.

    Args:
        parts: the sources by the names of the parts, which hold no slash.
        mapping: what becomes of their classes.
        spec: the name of the combined set.

    Raises:
        DataError: a class is left unmapped or does not exist, two would be merged by accident, or names collide.
    """

    kind = "combined"

    def __init__(self, parts: Mapping[str, Source], mapping: ClassMapping, spec: str) -> None:
        self.spec = spec
        self._parts = dict(parts)
        self._read = _Reader(spec, {part: source.read for part, source in self._parts.items()})
        # (part, class of the part) and the number of its images, in the order of the parts.
        self._counts: dict[str, Counter[str]] = {}
        self._splits: dict[str, Counter[str | None]] = {}
        self._groups: dict[str, set[str]] = {}
        # Images with and without a superclass, of those that have a class.
        self._superclasses: dict[str, Counter[bool]] = {}
        for part, source in self._parts.items():
            labels: Counter[str] = Counter()
            splits: Counter[str | None] = Counter()
            groups: set[str] = set()
            superclasses: Counter[bool] = Counter()
            for item in source.items():
                splits[item.split] += 1
                if item.label is not None:
                    labels[item.label] += 1
                    superclasses[item.superclass is not None] += 1
                if item.group is not None:
                    groups.add(item.group)
            self._counts[part], self._splits[part], self._groups[part] = labels, splits, groups
            self._superclasses[part] = superclasses
        # Half a hierarchy is none: it would leave classes without a superclass.
        self._keeps_superclasses = not any(known[False] for known in self._superclasses.values())
        declared = {part: source.class_names or () for part, source in self._parts.items()}
        self._new = mapping.resolve(self._counts, declared)
        self.class_names = self._declared_order()

    def items(self) -> Iterator[Item]:
        """All images but those of classes that are left out, part after part."""
        for part, source in self._parts.items():
            new = self._new[part]
            for item in source.items():
                label = None if item.label is None else new[item.label]
                if label is None and item.label is not None:
                    continue
                yield dataclasses.replace(
                    item,
                    source=f"{part}/{item.source}",
                    label=label,
                    superclass=item.superclass if self._keeps_superclasses else None,
                    extra=self._extra(part, source, item),
                )

    def strays(self) -> list[Stray]:
        """The strays of the parts, and the images of classes that are left out."""
        found: list[Stray] = []
        for part, source in self._parts.items():
            found += [dataclasses.replace(stray, source=f"{part}/{stray.source}") for stray in source.strays()]
            left_out = {old for old, new in self._new[part].items() if new is None}
            if left_out:
                found += [
                    Stray(f"{part}/{item.source}", f"its class {item.label!r} is left out by the mapping")
                    for item in source.items()
                    if item.label in left_out
                ]
        return found

    def read(self, source: str) -> bytes | npt.NDArray[np.uint8]:
        """The bytes or pixels of one item, from its part."""
        return self._read(source)

    def reader(self) -> Read:
        """A function that reads like `read` and holds no list of items, where the parts have one."""
        parts: dict[str, Any] = self._parts
        return _Reader(self.spec, {
            part: source.reader() if hasattr(source, "reader") else source.read for part, source in parts.items()
        })  # fmt: skip

    def class_table(self) -> dict[str, dict[str, int]]:
        """For every new class, in order, how many images each part has of it."""
        table: dict[str, dict[str, int]] = {}
        for part, classes in self._new.items():
            for old, new in classes.items():
                if new is not None:
                    row = table.setdefault(new, dict.fromkeys(self._parts, 0))
                    row[part] += self._counts[part][old]
        order = self.class_names or sorted(table)
        return {name: table[name] for name in order if name in table}

    def left_out(self) -> dict[str, dict[str, int]]:
        """For every part, the classes that the mapping leaves out and their number of images."""
        return {
            part: {old: self._counts[part][old] for old, new in classes.items() if new is None}
            for part, classes in self._new.items()
            if None in classes.values()
        }

    def notes(self) -> list[str]:
        """What a user should know of how the parts fit together."""
        notes = []
        with_splits = [part for part, splits in self._splits.items() if set(splits) != {None}]
        without = [part for part in self._parts if None in self._splits[part]]
        if with_splits and without:
            notes.append(
                f"{_names(with_splits)} {_verb(with_splits, 'brings', 'bring')} a split, which is kept; images of "
                f"{_names(without)} without one are divided by the shares of --split"
            )
        above = [part for part, known in self._superclasses.items() if known[True]]
        lacking = [part for part, known in self._superclasses.items() if known[False]]
        if above and lacking:
            notes.append(
                f"the superclasses that {_names(above)} {_verb(above, 'brings', 'bring')} are not used, because "
                f"{_names(lacking)} {_verb(lacking, 'has', 'have')} none; --superclass FILE.yaml gives all classes one"
            )
        shared = Counter(group for groups in self._groups.values() for group in groups)
        repeated = sorted(group for group, parts in shared.items() if parts > 1)
        if repeated:
            notes.append(
                f"{len(repeated)} groups, such as {repeated[0]!r}, are named alike in several parts and count as one: "
                "their images go to one split"
            )
        return notes

    def _extra(self, part: str, source: Source, item: Item) -> dict[str, object]:
        extra = dict(item.extra)
        inner = extra.pop(DATASET_COLUMN, None)
        if isinstance(source, CombinedSource):
            return {**extra, DATASET_COLUMN: f"{part}/{inner}"}
        if inner is not None:
            extra[USER_DATASET_COLUMN] = inner
        return {**extra, DATASET_COLUMN: part}

    def _declared_order(self) -> tuple[str, ...] | None:
        """The order that the parts declare, one after the other; None when any part declares none."""
        order: dict[str, None] = {}
        for part, source in self._parts.items():
            if source.class_names is None:
                return None
            mapped = (self._new[part].get(old) for old in source.class_names)
            order |= dict.fromkeys(new for new in mapped if new is not None)
        return tuple(order)


@dataclasses.dataclass(frozen=True)
class _Reader:
    """Reads an image from its part; worker processes get a copy."""

    spec: str
    parts: dict[str, Read]

    def __call__(self, source: str) -> bytes | npt.NDArray[np.uint8]:
        part, separator, rest = source.partition("/")
        if not separator or part not in self.parts:
            raise UndecodableImage("missing", f"there is no part {part!r} in {self.spec}")
        return self.parts[part](rest)


def _names(parts: list[str]) -> str:
    return ", ".join(map(repr, parts))


def _verb(parts: list[str], one: str, many: str) -> str:
    return one if len(parts) == 1 else many
