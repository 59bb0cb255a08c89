"""Which images several classifiers may be compared on: those that all were scored on and none has learnt from."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from eyebright.errors import DataError, UsageError
from eyebright.jobs.entrants import Entrant


def by_images(entrants: Sequence[Entrant]) -> list[list[Entrant]]:
    """Those that were scored on the same images together, in the order in which they came."""
    groups: dict[tuple[frozenset[str], frozenset[str]], list[Entrant]] = {}
    for entrant in entrants:
        groups.setdefault((entrant.ids, frozenset(entrant.predictions.classes)), []).append(entrant)
    return list(groups.values())


def without_learnt(entrants: Sequence[Entrant]) -> tuple[list[Entrant], list[str]]:
    """The same without the images that any of them learnt from, and a note for each that did."""
    ids = entrants[0].ids
    notes: list[str] = []
    learnt: set[str] = set()
    for entrant in entrants:
        own = ids & entrant.learnt_from
        if own:
            notes.append(
                f"{len(own)} of the images are among those that {entrant.name} learnt from: they do not count."
            )
            learnt |= own
    if not learnt:
        return list(entrants), notes
    if len(learnt) == len(ids):
        raise DataError(
            f"every one of the {len(ids)} images was trained or calibrated on by one of "
            f"{', '.join(entrant.name for entrant in entrants)}",
            expected="images that none of them has seen",
            remedy="score each on new labelled images: `eyebright evaluate RUN DATA`, and compare these evaluations",
        )
    return [_restricted(entrant, ids - learnt) for entrant in entrants], notes


def _restricted(entrant: Entrant, ids: frozenset[str] | set[str]) -> Entrant:
    kept = [row for row, image in enumerate(entrant.predictions.column("id")) if image in ids]
    return dataclasses.replace(entrant, predictions=entrant.predictions.rows(kept))


def on_same_images(entrants: Sequence[Entrant], *, common: bool) -> tuple[list[Entrant], list[str]]:
    """The classifiers with the images that all were scored on, and a note where that leaves some out.

    Args:
        common: go on with the shared images where the images differ.

    Raises:
        DataError: the images differ and `common` is false, or none is shared.
    """
    shared = frozenset.intersection(*(entrant.ids for entrant in entrants))
    if all(entrant.ids == shared for entrant in entrants):
        return list(entrants), []
    sizes = ", ".join(f"{entrant.name} on {len(entrant.ids)}" for entrant in entrants)
    if not common or not shared:
        same_data = len({entrant.data for entrant in entrants}) == 1
        raise DataError(
            f"they were not scored on the same images: {sizes}; {len(shared) or 'no image'} in all of them"
            + "".join(f". {reason}" for reason in _reasons(entrants)),
            expected="classifiers that were scored on the same images",
            remedy="train with the same data, split and `--seed`, or score each on the same labelled images "
            "(`eyebright evaluate RUN DATA`) and compare the evaluations"
            + (f"; `--common` compares them on the {len(shared)} shared images alone" if shared else "")
            + ("" if same_data else "; `--across` puts several data sets side by side"),
        )
    note = f"Compared on the {len(shared)} images that all were scored on, not on all test images: {sizes}."
    return [_restricted(entrant, shared) for entrant in entrants], [note]


def _reasons(entrants: Sequence[Entrant]) -> list[str]:
    """What differs in how their test images were chosen: the data, else how it was split."""
    for keys in (("data",), ("seed", "split shares")):
        found = []
        for key in keys:
            values = {entrant.name: entrant.setup.get(key, "not known") for entrant in entrants}
            if len(set(values.values())) > 1:
                listed = ", ".join(f"{name} {value}" for name, value in values.items())
                found.append(f"They differ in {key}: {listed}")
        if found:
            return found
    if len({entrant.setup.get("fingerprint") for entrant in entrants}) > 1:
        return ["Their images, labels or splits differ (the fingerprints of their manifests are not equal)"]
    return []


def refuse_overlaps(parts: Sequence[Sequence[Entrant]]) -> None:
    """One data set split in two ways is not two data sets."""
    for index, part in enumerate(parts):
        for other in parts[:index]:
            shared = part[0].ids & other[0].ids
            if shared:
                raise DataError(
                    f"{other[0].name} and {part[0].name} were scored on different images of the same data: "
                    f"{len(other[0].ids)} and {len(part[0].ids)}, {len(shared)} in both",
                    expected="the same test images for all classifiers of one data set",
                    remedy="train with the same split and `--seed`, or leave one of them out",
                )
    if len(parts) < 2:
        raise UsageError(
            "--across was given, but all classifiers were scored on the same images",
            expected="classifiers of several data sets",
            remedy="leave --across out",
        )
