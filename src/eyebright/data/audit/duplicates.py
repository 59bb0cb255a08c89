"""What duplicates mean for a set: repeats within a class, contradictions between classes, leaks between splits."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence

import numpy as np
import numpy.typing as npt

from eyebright.data.audit.evidence import Evidence
from eyebright.data.audit.findings import Example, Finding, ImageRef, Suggestion
from eyebright.data.audit.near_duplicates import Link, components
from eyebright.data.sources.base import SPLITS

MOST_EXAMPLES = 60

_WHY_LEAK = (
    "An image that the network has learnt from is no test: such an accuracy promises more than new images will keep."
)


def check_duplicates(evidence: Evidence, links: Sequence[Link]) -> tuple[list[Finding], list[Suggestion]]:
    """Findings about images that occur more than once, and what to do about each.

    Args:
        evidence: the images; their `splits` are those that the data brings (None where Eyebright will divide them).
        links: near-duplicates among them, by index.
    """
    findings, suggestions = _exact(evidence)
    group = components(len(evidence), [(link.one, link.other) for link in links] + _same_bytes(evidence))
    across_splits, across_classes, within = [], [], []
    for link in links:
        one, other = link.one, link.other
        if _differ(evidence.splits, one, other):
            across_splits.append(link)
        if _differ(evidence.labels, one, other):
            across_classes.append(link)
        elif not _differ(evidence.splits, one, other):
            within.append(link)
    findings += [
        _across_splits(evidence, across_splits),
        _across_classes(evidence, across_classes),
        _within(evidence, within, group),
    ]
    suggestions += _leak_suggestions(evidence, across_splits)
    suggestions += _class_suggestions(evidence, across_classes)
    suggestions += _group_suggestions(evidence, links, group)
    return findings, suggestions


def _differ(values: npt.NDArray[np.object_], one: int, other: int) -> bool:
    return values[one] is not None and values[other] is not None and values[one] != values[other]


def _same_bytes(evidence: Evidence) -> list[tuple[int, int]]:
    first: dict[str, int] = {}
    return [
        (first[image], index) for index, image in enumerate(evidence.ids) if first.setdefault(image, index) != index
    ]


def _exact(evidence: Evidence) -> tuple[list[Finding], list[Suggestion]]:
    """Byte-for-byte repeats, which the manifest knows already."""
    table = evidence.manifest.table
    columns = [table[name].to_pylist() for name in ("id", "source", "label", "split", "status")]
    rows: dict[str, list[tuple[ImageRef, str]]] = defaultdict(list)
    for image, source, label, split, status in zip(*columns, strict=True):
        if image is not None and status in ("ok", "duplicate", "conflicting-labels", "unlabelled"):
            rows[image].append((ImageRef(image, source, label, split), status))
    repeats, conflicts, leaks = [], [], []
    for copies in rows.values():
        if len(copies) < 2:
            continue
        images = tuple(ref for ref, _ in copies)
        if len({ref.split for ref, status in copies if status != "duplicate"} - {None}) > 1:
            leaks.append(images)
        if any(status == "conflicting-labels" for _, status in copies):
            conflicts.append(images)
        elif any(status == "duplicate" for _, status in copies):
            repeats.append(images)
    conflicting = sum(map(len, conflicts))
    repeated = sum(len(images) - 1 for images in repeats)
    findings = [
        Finding(
            code="exact-duplicates-across-splits",
            section="duplicates",
            severity="critical" if leaks else "passed",
            title=f"{_count(len(leaks), 'image is', 'images are')} in more than one split, byte for byte"
            if leaks
            else "No image is in more than one split, byte for byte",
            count=len(leaks),
            why=_WHY_LEAK,
            remedy="Remove the copies from the training split (the plan suggests which)." if leaks else "",
            examples=_sets(leaks),
        ),
        Finding(
            code="exact-duplicates-across-classes",
            section="duplicates",
            severity="warning" if conflicts else "passed",
            title=f"{_count(conflicting, 'file has', 'files have')} the bytes of a file of another class"
            if conflicts
            else "No file has the bytes of a file of another class",
            count=conflicting,
            why="The same picture cannot have two labels: whatever the network answers counts as a mistake once. "
            "Eyebright uses none of these files.",
            remedy="Decide which label is right and remove the others." if conflicts else "",
            examples=_sets(conflicts),
        ),
        Finding(
            code="exact-duplicates",
            section="duplicates",
            severity="note" if repeats else "passed",
            title=f"{_count(repeated, 'file repeats', 'files repeat')} another of the same class, byte for byte"
            if repeats
            else "No file repeats another of its class, byte for byte",
            count=repeated,
            why="A repeated image counts twice in training and in every score. Eyebright uses one of the copies.",
            remedy="Nothing needs to be done; the copies can be deleted." if repeats else "",
            examples=_sets(repeats),
        ),
    ]
    suggestions = [
        Suggestion(
            action="drop",
            finding="exact-duplicates-across-splits",
            ids=(str(ref.id),),
            sources=(ref.source,),
            label=ref.label,
            to=str(ref.id),
            reason=f"the same bytes as {kept.source} ({kept.split})",
            accept=True,
        )
        for images in leaks
        for kept in [max(images, key=_held_out)]
        for ref in images
        if ref is not kept and ref.split != kept.split
    ]
    suggestions += [
        Suggestion(
            action="quarantine",
            finding="exact-duplicates-across-classes",
            ids=(str(ref.id),),
            sources=(ref.source,),
            label=ref.label,
            reason="the same bytes under "
            + " and ".join(sorted({repr(r.label) for r in images if r.label is not None})),
            accept=True,
        )
        for images in conflicts
        for ref in images
    ]
    return findings, suggestions


def _held_out(ref: ImageRef) -> int:
    """Test images are kept before validation images, and these before training images."""
    return -1 if ref.split is None else SPLITS.index(ref.split)


def _across_splits(evidence: Evidence, links: Sequence[Link]) -> Finding:
    leaked = {index for link in links for index in (link.one, link.other) if evidence.splits[index] == "test"}
    brought = any(split is not None for split in evidence.splits)
    passed = (
        "No near-duplicates straddle the splits" if brought else "The data brings no split, so nothing can straddle it"
    )
    tests = f", {_count(len(leaked), 'test image', 'test images')} among them" if leaked else ""
    return Finding(
        code="near-duplicates-across-splits",
        section="duplicates",
        severity="critical" if links else "passed",
        title=f"{_count(len(links), 'pair', 'pairs')} of near-duplicates straddle the splits{tests}"
        if links
        else passed,
        count=len(links),
        why=_WHY_LEAK
        if brought
        else "Eyebright divides the images itself and keeps near-duplicates together in one split.",
        remedy="Remove the copies from the training split (the plan suggests which), or drop the split columns or "
        "folders and let Eyebright divide the images. A report gives the test accuracy with and without these images."
        if links
        else "",
        examples=_pairs(evidence, links),
        details={"pairs": len(links), "test_images": len(leaked)} if links else {},
    )


def _across_classes(evidence: Evidence, links: Sequence[Link]) -> Finding:
    return Finding(
        code="near-duplicates-across-classes",
        section="duplicates",
        severity="warning" if links else "passed",
        title=f"{_count(len(links), 'pair', 'pairs')} of near-duplicates lie in different classes"
        if links
        else "No near-duplicates lie in different classes",
        count=len(links),
        why="Nearly the same picture has two labels: at least one of them is likely wrong, or the classes overlap.",
        remedy="Look at each pair (`--review`) and correct the label of one." if links else "",
        examples=_pairs(evidence, links),
    )


def _within(evidence: Evidence, links: Sequence[Link], group: npt.NDArray[np.int64]) -> Finding:
    members: dict[int, set[int]] = defaultdict(set)
    for link in links:
        members[int(group[link.one])] |= {link.one, link.other}
    sets = sorted(members.values(), key=lambda indices: (-len(indices), evidence.sources[min(indices)]))
    count = sum(map(len, sets))
    return Finding(
        code="near-duplicates",
        section="duplicates",
        severity="note" if sets else "passed",
        title=f"{_count(count, 'image', 'images')} of one class and split are near-duplicates, "
        f"in {_count(len(sets), 'group', 'groups')}"
        if sets
        else "No near-duplicates within a class",
        count=count,
        why="Copies say little that is new, and divided at random they leak from training to test. Eyebright keeps "
        "each group in one split.",
        remedy="Nothing needs to be done, unless copies of a few pictures crowd out the others." if sets else "",
        examples=[
            Example(tuple(evidence.ref(index) for index in sorted(indices)[:8]), score=float(len(indices)))
            for indices in sets[:MOST_EXAMPLES]
        ],
        details={"groups": len(sets), "largest_group": max(map(len, sets))} if sets else {},
    )


def _leak_suggestions(evidence: Evidence, links: Sequence[Link]) -> list[Suggestion]:
    """Drop the copy that is further from the test: the test images stay what they were."""
    dropped: dict[int, Link] = {}
    for link in links:
        one, other = sorted((link.one, link.other), key=lambda index: SPLITS.index(evidence.splits[index]))
        if one not in dropped and other not in dropped:
            dropped[one] = Link(one, other, link.placement)
    return [
        Suggestion(
            action="drop",
            finding="near-duplicates-across-splits",
            ids=(evidence.ids[one],),
            sources=(evidence.sources[one],),
            label=evidence.labels[one],
            to=evidence.ids[link.other],
            reason=f"nearly the same as {evidence.sources[link.other]} ({evidence.splits[link.other]})",
            confidence=round(link.placement.correlation, 3),
            accept=True,
        )
        for one, link in dropped.items()
    ]


def _class_suggestions(evidence: Evidence, links: Sequence[Link]) -> list[Suggestion]:
    """Both of a pair, since nothing but a look tells which label is wrong."""
    return [
        Suggestion(
            action="quarantine",
            finding="near-duplicates-across-classes",
            ids=(evidence.ids[one], evidence.ids[other]),
            sources=(evidence.sources[one], evidence.sources[other]),
            reason=f"nearly the same picture, labelled {evidence.labels[one]!r} and {evidence.labels[other]!r}",
            confidence=round(placement.correlation, 3),
        )
        for one, other, placement in links
    ]


def _group_suggestions(evidence: Evidence, links: Sequence[Link], group: npt.NDArray[np.int64]) -> list[Suggestion]:
    """One group for each set of near-duplicates, whatever their classes: copies must not be divided."""
    least: dict[int, float] = defaultdict(lambda: 1.0)
    members: dict[int, set[int]] = defaultdict(set)
    for link in links:
        number = int(group[link.one])
        members[number] |= {link.one, link.other}
        least[number] = min(least[number], link.placement.correlation)
    return [
        Suggestion(
            action="group",
            finding="near-duplicates",
            ids=tuple(dict.fromkeys(evidence.ids[index] for index in sorted(indices))),
            sources=tuple({evidence.ids[index]: evidence.sources[index] for index in sorted(indices)}.values()),
            reason=f"near-duplicates of each other ({len(indices)} images)",
            confidence=round(least[number], 3),
            accept=True,
        )
        for number, indices in sorted(members.items(), key=lambda item: min(item[1]))
    ]


def _pairs(evidence: Evidence, links: Iterable[Link]) -> list[Example]:
    ordered = sorted(links, key=lambda link: -link.placement.correlation)[:MOST_EXAMPLES]
    return [
        Example(
            (evidence.ref(link.one), evidence.ref(link.other)),
            caption=_how(link),
            score=round(link.placement.correlation, 3),
        )
        for link in ordered
    ]


def _how(link: Link) -> str:
    """What was done to the copy, as far as the placement tells."""
    parts = [] if link.placement.share > 0.97 else [f"one shows {link.placement.share:.0%} of the other"]
    if link.placement.mirrored:
        parts.append("mirrored")
    return ", ".join(parts)


def _sets(sets: Iterable[tuple[ImageRef, ...]]) -> list[Example]:
    return [Example(images[:8], score=float(len(images))) for images in list(sets)[:MOST_EXAMPLES]]


def _count(number: int, one: str, many: str) -> str:
    return f"{number:,} {one if number == 1 else many}"
