"""What an audit says: findings for the reader, suggestions for the plan, and how grave each of them is."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from eyebright.data.manifest import Manifest

Severity = Literal["critical", "warning", "note", "passed"]
Section = Literal["files", "duplicates", "labels", "shortcuts", "coverage", "drift"]
Action = Literal["drop", "relabel", "merge", "group", "quarantine"]

# Gravest first. `critical`: test figures will be wrong. `passed`: looked for and not found.
SEVERITIES: tuple[Severity, ...] = ("critical", "warning", "note", "passed")
SECTIONS: dict[Section, str] = {
    "files": "Files",
    "duplicates": "Duplicates and leaks",
    "labels": "Labels",
    "shortcuts": "Shortcuts",
    "coverage": "Balance, coverage and quality",
    "drift": "Drift between splits",
}


@dataclasses.dataclass(frozen=True)
class ImageRef:
    """One image of an example.

    Attributes:
        id: content id; None for what could not be read (a stray folder, a missing file).
        source: where it is, as in the manifest.
        label, split: as in the manifest; None where there is none.
        note: a few words under the picture, such as `given rose, looks like tulip`.
    """

    id: str | None
    source: str
    label: str | None = None
    split: str | None = None
    note: str = ""


@dataclasses.dataclass(frozen=True)
class Example:
    """One case of a finding: a single image, or several that belong together (the copies of one photo).

    Attributes:
        images: one or more.
        caption: what is to be seen; may be empty.
        score: what the examples are sorted by, gravest first; its meaning is the finding's.
    """

    images: tuple[ImageRef, ...]
    caption: str = ""
    score: float | None = None


@dataclasses.dataclass(frozen=True, kw_only=True)
class Finding:
    """One thing that was looked for, and what was found.

    Attributes:
        code: stable name for machines, as `near-duplicates-across-splits`.
        section: where it stands on the page.
        severity: one of `SEVERITIES`.
        title: the finding in one line, with its number.
        count: how many images, pairs or classes; 0 when it passed.
        why: why it matters, one or two sentences.
        remedy: what to do about it; empty when it passed.
        examples: the gravest first; the page shows some of them as thumbnails.
        details: numbers for machines and for the page's table: JSON values only.
    """

    code: str
    section: Section
    severity: Severity
    title: str
    count: int
    why: str
    remedy: str = ""
    examples: Sequence[Example] = ()
    details: Mapping[str, Any] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Suggestion:
    """One change that the audit proposes; nothing happens until a person accepts it.

    Attributes:
        action: `drop` (leave the image out), `relabel` (give it the label `to`), `merge` (join the class `label` with
            the class `to`), `group` (keep the images `ids` in one split), `quarantine` (leave out until looked at).
        finding: code of the finding behind it.
        ids: the images by content id; empty for `merge`.
        sources: their places, for the reader, in the same order.
        label: the label now; None where several differ.
        to: new label (`relabel`, `merge`), or the id of the image that stays (`drop` of a copy); None otherwise.
        reason: one line.
        confidence: 0 to 1, how sure the audit is.
        accept: whether the plan proposes it as accepted: true for what loses nothing, false for what a person must see.
    """

    action: Action
    finding: str
    ids: tuple[str, ...]
    sources: tuple[str, ...]
    label: str | None = None
    to: str | None = None
    reason: str = ""
    confidence: float = 1.0
    accept: bool = False


@dataclasses.dataclass(frozen=True, kw_only=True)
class Audit:
    """The outcome of one audit.

    Attributes:
        manifest: all rows, with the statuses that the audit found (a file that does not decode is marked).
        findings: in the order of `SECTIONS`, gravest first within a section.
        suggestions: for the plan and the review.
        not_checked: what was left out and why, one line each.
        facts: network, size, seconds of each stage, versions: JSON values only.
    """

    manifest: Manifest
    findings: Sequence[Finding]
    suggestions: Sequence[Suggestion] = ()
    not_checked: Sequence[str] = ()
    facts: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    def worst(self) -> Severity:
        """The gravest severity among the findings."""
        return min((finding.severity for finding in self.findings), key=SEVERITIES.index, default="passed")

    def as_dict(self) -> dict[str, Any]:
        """Everything as JSON values, without the rows of the manifest."""
        return {
            "data": self.manifest.spec,
            "kind": self.manifest.kind,
            "images": self.manifest.table.num_rows,
            "used": self.manifest.ok.num_rows,
            "classes": list(self.manifest.classes),
            "worst": self.worst(),
            "findings": [dataclasses.asdict(finding) for finding in self.findings],
            "suggestions": [dataclasses.asdict(suggestion) for suggestion in self.suggestions],
            "not_checked": list(self.not_checked),
            "facts": dict(self.facts),
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any], manifest: Manifest) -> Audit:
        """Read what `as_dict` wrote; the manifest is kept beside it."""

        def example(content: Mapping[str, Any]) -> Example:
            return Example(tuple(ImageRef(**ref) for ref in content["images"]), content["caption"], content["score"])

        return cls(
            manifest=manifest,
            findings=[Finding(**{**f, "examples": [example(e) for e in f["examples"]]}) for f in values["findings"]],
            suggestions=[
                Suggestion(**{**s, "ids": tuple(s["ids"]), "sources": tuple(s["sources"])})
                for s in values["suggestions"]
            ],
            not_checked=values["not_checked"],
            facts=values["facts"],
        )


def in_reading_order(findings: Sequence[Finding]) -> list[Finding]:
    """Sorted by section, gravest first within each."""
    sections = list(SECTIONS)
    return sorted(findings, key=lambda f: (sections.index(f.section), SEVERITIES.index(f.severity), -f.count))
