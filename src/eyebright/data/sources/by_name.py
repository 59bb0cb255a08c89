"""Opening what the catalogue knows by name: a place, or a combined set part by part."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from eyebright.data.sources import catalogue, named
from eyebright.data.sources.base import Source
from eyebright.data.sources.catalogue import Reference
from eyebright.data.sources.class_mapping import ClassMapping
from eyebright.data.sources.combined import CombinedSource
from eyebright.errors import DataError

# Opens a path or a URL, and asks for a download only where the user agreed to one.
OpenPath = Callable[[str], Source]


def open_entry(name: str, open_path: OpenPath, *, consent_download: bool = False) -> Source:
    """Open the set that the catalogue has under `name`.

    Raises:
        UsageError: the catalogue has no such name.
        DataError: the entry is broken, its images are gone, or the classes of its parts do not fit together.
    """
    entry = catalogue.read_entry(name)
    if entry.reference is None:
        return open_parts(entry.parts, entry.mapping, name, open_path, consent_download=consent_download)
    try:
        return open_reference(entry.reference, open_path, consent_download=consent_download)
    except DataError as error:
        raise DataError(
            f"the data set {name!r} of the catalogue cannot be opened: {error.problem}",
            expected=error.expected,
            remedy=f"put its images back, or say where they are now: `eyebright datasets add {name} PATH --replace`",
        ) from error


def open_reference(reference: Reference, open_path: OpenPath, *, consent_download: bool = False) -> Source:
    """Open a place or a name; a name is never mistaken for a folder of that name."""
    if reference.path is not None:
        return open_path(reference.path)
    name = str(reference.name)
    if name in named.NAMES:
        return named.open_named(name, consent_download=consent_download)
    return open_entry(name, open_path, consent_download=consent_download)


def open_parts(
    parts: Mapping[str, Reference],
    mapping: ClassMapping,
    name: str,
    open_path: OpenPath,
    *,
    consent_download: bool = False,
) -> CombinedSource:
    """Open several sets as one.

    Raises:
        DataError: a part cannot be opened, contains the combined set, or the classes do not fit together.
    """
    catalogue.refuse_loop(name, (part.name for part in parts.values() if part.name is not None))
    opened: dict[str, Source] = {}
    for part, reference in parts.items():
        try:
            opened[part] = open_reference(reference, open_path, consent_download=consent_download)
        except DataError as error:
            problem = f"the part {part!r} of {name!r} cannot be opened: {error.problem}"
            raise DataError(problem, expected=error.expected, remedy=error.remedy) from error
    return CombinedSource(opened, mapping, spec=name)
