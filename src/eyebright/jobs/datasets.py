"""Data sets with a name: add one, look at one, put several together. No torch."""

from __future__ import annotations

import dataclasses
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath

from eyebright.data.sources import SPLITS, Source, by_name, catalogue, named, open_source
from eyebright.data.sources.address import file_name, is_address
from eyebright.data.sources.catalogue import CatalogueEntry, Reference
from eyebright.data.sources.class_mapping import ClassMapping
from eyebright.errors import EyebrightError, UsageError, did_you_mean

UNNAMED = "combined"
_NAMED_PART = re.compile(r"([A-Za-z0-9][A-Za-z0-9._-]*)=(.+)", re.DOTALL)
_DATA_SUFFIXES = (".gz", ".bz2", ".xz", ".zip", ".tar", ".tgz", ".csv", ".tsv", ".parquet", ".txt")


@dataclasses.dataclass(frozen=True, kw_only=True)
class DatasetFacts:
    """What can be said of a data set without decoding an image.

    Attributes:
        name: its name.
        entry: what the catalogue holds; None for a built-in set.
        kind: the kind of source; `url` for one that was not opened, None when it cannot be opened.
        counts: images as the source lists them, {split: {class: count}}; images without a split under `all`.
        unlabelled: images without a class.
        problem: why it cannot be opened.
    """

    name: str
    entry: CatalogueEntry | None = None
    kind: str | None = None
    counts: Mapping[str, Mapping[str, int]] = dataclasses.field(default_factory=dict)
    unlabelled: int = 0
    problem: str | None = None

    @property
    def classes(self) -> list[str]:
        """All classes that have images."""
        return list(dict.fromkeys(name for classes in self.counts.values() for name in classes))


@dataclasses.dataclass(frozen=True, kw_only=True)
class Combination:
    """Several sets put together.

    Attributes:
        entry: as it is, or would be, written to the catalogue.
        classes: images from each part, {class: {part: count}}.
        left_out: {part: {class: count}} of what the mapping leaves out.
        notes: what a user should know.
        file: where it was written; None for a trial.
    """

    entry: CatalogueEntry
    classes: Mapping[str, Mapping[str, int]]
    left_out: Mapping[str, Mapping[str, int]]
    notes: Sequence[str]
    file: Path | None = None


def list_datasets() -> dict[str, CatalogueEntry | EyebrightError | None]:
    """Every name with its entry: None for built-in sets, the error for an entry that cannot be read."""
    found: dict[str, CatalogueEntry | EyebrightError | None] = dict.fromkeys(named.NAMES)
    for name in catalogue.entry_names():
        try:
            found[name] = catalogue.read_entry(name)
        except EyebrightError as error:
            found[name] = error
    return found


def add_dataset(name: str, spec: str, *, replace: bool = False) -> tuple[CatalogueEntry, Path]:
    """Give a place a name. What lies there is opened first, unless it is a URL.

    Raises:
        UsageError: the name is none, hides a built-in one or is taken.
        DataError: there is nothing there that could be opened.
    """
    catalogue.check_new_name(name, replace=replace)
    reference = catalogue.refer(spec)
    if reference.path is None:
        raise UsageError(
            f"{spec!r} is the name of a data set already", expected="a path or a URL", remedy=f"use {spec!r} itself"
        )
    if not is_address(reference.path):  # no network call that was not asked for
        open_source(reference.path)
    entry = CatalogueEntry(name=name, reference=reference)
    return entry, catalogue.add_entry(entry, replace=replace)


def describe_dataset(name: str) -> DatasetFacts:
    """What a name stands for; a set that cannot be opened is described as far as its entry goes.

    Raises:
        UsageError: there is no set of that name.
    """
    entry = None
    if name not in named.NAMES:
        if name not in catalogue.entry_names():
            known = [*named.NAMES, *catalogue.entry_names()]
            raise UsageError(
                f"there is no data set named {name!r}{did_you_mean(name, known)}", expected=f"one of {', '.join(known)}"
            )
        entry = catalogue.read_entry(name)
        if entry.kind == "url":
            return DatasetFacts(name=name, entry=entry, kind="url")
    try:
        source = by_name.open_reference(Reference(name=name), open_source)
        return _count(source, name, entry)
    except EyebrightError as error:
        return DatasetFacts(name=name, entry=entry, problem=error.problem)


def combine(
    specs: Sequence[str],
    name: str | None,
    *,
    mapping: ClassMapping | None = None,
    same_names: bool = False,
    replace: bool = False,
    dry_run: bool = False,
) -> Combination:
    """Put several sets into one by reference, and write it to the catalogue unless it is a trial.

    Args:
        specs: two or more paths, names or URLs, each with `NAME=` before it where the part is to have another name.
        name: of the new set; may be left out for a trial.
        mapping: what becomes of the classes; without one they keep their names.
        same_names: a name that several parts have is one class.
        replace: write over an entry of that name.
        dry_run: only say what would come of it.

    Raises:
        UsageError: too few parts, two alike, or a name that cannot be given.
        DataError: a part cannot be opened, or the classes do not fit together.
    """
    if name is None and not dry_run:
        raise UsageError("the combined data set has no name", expected="-o NAME, or --dry-run to see what it would be")
    if name is not None:
        catalogue.check_new_name(name, replace=replace)
    parts = name_parts(specs)
    mapping = mapping or ClassMapping()
    if same_names:
        mapping = dataclasses.replace(mapping, same_names=True)
    source = by_name.open_parts(parts, mapping, name or UNNAMED, open_source)
    entry = CatalogueEntry(name=name or UNNAMED, parts=parts, mapping=mapping)
    file = None if dry_run else catalogue.add_entry(entry, replace=replace)
    return Combination(
        entry=entry, classes=source.class_table(), left_out=source.left_out(), notes=source.notes(), file=file
    )


def name_parts(specs: Sequence[str]) -> dict[str, Reference]:
    """The parts by name: `NAME=SPEC` as given, else made from the last word of the path.

    Raises:
        UsageError: fewer than two parts, or two of the same name or place.
    """
    if len(specs) < 2:
        raise UsageError(f"{len(specs)} data set was given", expected="two or more to put together")
    parts: dict[str, Reference] = {}
    spec_of: dict[str, str] = {}
    for spec in specs:
        given = None if Path(spec).expanduser().exists() else _NAMED_PART.fullmatch(spec)
        place = given.group(2) if given else spec
        name = given.group(1) if given else _name_of(place)
        if not name:
            raise UsageError(f"no name can be made from {spec!r}", expected=f"a name for it, as photos={spec}")
        if name in parts:
            one, other = spec_of[name], place
            raise UsageError(
                f"two parts would have the name {name!r}: {one} and {other}",
                expected="different names",
                remedy=f"give them names, as first={one} second={other}",
            )
        reference = catalogue.refer(place)
        if reference in parts.values():
            raise UsageError(f"{place} was given twice", expected="every part once")
        parts[name], spec_of[name] = reference, place
    return parts


def _name_of(place: str) -> str:
    if is_address(place):
        word = file_name(place)
    else:
        word = PurePosixPath(re.split(r"[*?\[{]", place)[0].rstrip("/")).name
    if word in ("", ".", ".."):
        word = Path(place).resolve().name
    while word.lower().endswith(_DATA_SUFFIXES):
        word = word.rpartition(".")[0]
    return re.sub(r"[^A-Za-z0-9._-]+", "-", word).strip("-._")


def _count(source: Source, name: str, entry: CatalogueEntry | None) -> DatasetFacts:
    rows: Counter[tuple[str | None, str | None]] = Counter((item.split, item.label) for item in source.items())
    present = {split for split, _ in rows}
    labels = {label for _, label in rows if label is not None}
    declared = [label for label in source.class_names or () if label in labels]
    order = [*declared, *sorted(labels - set(declared))]
    counts: dict[str, dict[str, int]] = {
        split or "all": {label: rows[split, label] for label in order} for split in (*SPLITS, None) if split in present
    }
    unlabelled = sum(count for (_, label), count in rows.items() if label is None)
    return DatasetFacts(name=name, entry=entry, kind=source.kind, counts=counts, unlabelled=unlabelled)
