"""What a person is asked: every suggestion of an audit, with the images that belong to it."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal

import pyarrow as pa
import pyarrow.compute as pc

from eyebright.data.audit.corrections import Key, key_of
from eyebright.data.audit.findings import SEVERITIES, Audit, Finding, Section
from eyebright.data.audit.plan import Entry, PlanImage, plan_of, rows_by_id

# As many as there are digits to press.
MAX_CHOICES = 9

_SAMPLES_PER_CLASS = 4
_FACTS = ("id", "source", "label", "split", "width", "height", "format", "bytes")

Role = Literal["subject", "stays", "example"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Shown:
    """One image of a case.

    Attributes:
        id, source, label, split, width, height, format, bytes: as in the manifest.
        role: `subject` (the suggestion is about it), `stays` (it is kept whatever becomes of the subject), or `example`
            (of a class that is to be merged; nothing is decided about it).
    """

    id: str
    source: str
    label: str | None = None
    split: str | None = None
    width: int | None = None
    height: int | None = None
    format: str | None = None
    bytes: int | None = None
    role: Role = "subject"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Case:
    """One question.

    Attributes:
        number: its place among all cases, from 0.
        entry: what the audit suggests; several suggestions to set copies of each other aside are one question.
        section: what kind of finding is behind it.
        title: that finding in one line.
        images: what is shown.
        choices: classes to choose from with one key, at most `MAX_CHOICES`.
    """

    number: int
    entry: Entry
    section: Section
    title: str
    images: tuple[Shown, ...]
    choices: tuple[str, ...]

    def decided_about(self) -> list[Shown]:
        """The images that an answer says something about."""
        return [image for image in self.images if image.role != "example"]

    def key(self) -> Key:
        """How a saved decision about this case is found again."""
        return key_of(self.entry, [(image.id, image.source) for image in self.decided_about()])


def cases_of(audit: Audit) -> list[Case]:
    """All suggestions, the gravest finding first and the surest suggestion first within each."""
    findings = {finding.code: finding for finding in audit.findings}
    rank = {code: SEVERITIES.index(finding.severity) for code, finding in findings.items()}
    partners = _partners(audit.findings)
    entries = _copies_together(plan_of(audit).entries, partners)
    entries.sort(
        key=lambda entry: (
            rank.get(entry.finding, len(SEVERITIES)),
            entry.finding,
            -entry.confidence,
            entry.images,
            entry.label or "",
        )
    )
    look_up = _LookUp(audit, entries, partners)
    confused = _confused(entries)
    cases = []
    for number, entry in enumerate(entries):
        finding = findings.get(entry.finding)
        cases.append(
            Case(
                number=number,
                entry=entry,
                section=finding.section if finding else _likely_section(entry),
                title=finding.title if finding else "",
                images=tuple(look_up.images(entry)),
                choices=_nearest(entry, audit.manifest.classes, confused),
            )
        )
    return cases


Partners = Mapping[tuple[str, PlanImage], tuple[PlanImage, ...]]


def _partners(findings: Iterable[Finding]) -> Partners:
    """By finding and image, the images that a finding shows together with it."""
    partners: dict[tuple[str, PlanImage], tuple[PlanImage, ...]] = {}
    for finding in findings:
        for example in finding.examples:
            images = tuple(PlanImage(ref.id, ref.source) for ref in example.images if ref.id is not None)
            if len(images) > 1:
                for image in images:
                    partners.setdefault((finding.code, image), images)
    return partners


def _copies_together(entries: Iterable[Entry], partners: Partners) -> list[Entry]:
    """One entry for the images of one photo that are each to be set aside; the others as they are."""
    together: dict[object, Entry] = {}
    for number, entry in enumerate(entries):
        which: object = number
        if entry.action == "quarantine" and entry.images:
            shown = partners.get((entry.finding, entry.images[0]))
            which = (entry.finding, shown or entry.images[0].id)
        former = together.get(which)
        if former is None:
            together[which] = entry
        else:
            together[which] = dataclasses.replace(
                former,
                images=tuple(dict.fromkeys((*former.images, *entry.images))),
                label=former.label if former.label == entry.label else None,
            )
    return list(together.values())


class _LookUp:
    """What the manifest says about the images in question; only their rows are turned into Python objects."""

    def __init__(self, audit: Audit, entries: Sequence[Entry], partners: Partners) -> None:
        self._manifest = audit.manifest
        self._partners = partners
        named = {image.id for e in entries for image in (*e.images, *([e.stays] if e.stays else []))}
        named |= {image.id for images in partners.values() for image in images}
        rows = sorted({row for found in rows_by_id(audit.manifest, named).values() for row in found})
        facts = audit.manifest.table.select(list(_FACTS)).take(pa.array(rows, pa.int64())).to_pylist()
        self._facts: dict[PlanImage, dict[str, Any]] = {PlanImage(row["id"], row["source"]): row for row in facts}
        self._examples: dict[str | None, list[Shown]] = {}

    def images(self, entry: Entry) -> list[Shown]:
        if entry.action == "merge":
            return self._example(entry.label) + self._example(entry.to)
        beside = [entry.stays] if entry.stays is not None else []
        if entry.action == "quarantine":
            beside = list(self._partners.get((entry.finding, entry.images[0]), ()))
        others = [image for image in dict.fromkeys(beside) if image not in entry.images and image in self._facts]
        subjects = [self._shown(image, "subject") for image in entry.images]
        return subjects + [self._shown(image, "stays") for image in others]

    def _shown(self, image: PlanImage, role: Role) -> Shown:
        return Shown(**(self._facts.get(image) or image._asdict()), role=role)

    def _example(self, label: str | None) -> list[Shown]:
        if label not in self._examples:
            ok = self._manifest.ok
            rows = ok.select(list(_FACTS)).filter(pc.equal(ok["label"], label)).slice(0, _SAMPLES_PER_CLASS)
            self._examples[label] = [Shown(**row, role="example") for row in rows.to_pylist()]
        return self._examples[label]


def _likely_section(entry: Entry) -> Section:
    if entry.action in ("relabel", "merge"):
        return "labels"
    return "duplicates" if entry.action == "group" or entry.stays is not None else "files"


def _confused(entries: Iterable[Entry]) -> Counter[frozenset[str | None]]:
    """How often the audit would move an image between two classes, in either direction."""
    return Counter(frozenset((entry.label, entry.to)) for entry in entries if entry.action == "relabel")


def _nearest(entry: Entry, classes: Sequence[str], confused: Mapping[frozenset[str | None], int]) -> tuple[str, ...]:
    """All classes in their order where each has a digit; else those most confused with the two in question."""
    if entry.action == "merge":
        return ()
    if len(classes) <= MAX_CHOICES:
        return tuple(classes)
    involved = [name for name in (entry.label, entry.to) if name is not None]
    rest = [name for name in classes if name not in involved]
    rest.sort(key=lambda name: -sum(confused[frozenset((name, other))] for other in involved))
    return tuple(rest[:MAX_CHOICES])
