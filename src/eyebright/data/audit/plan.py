"""A plan: which images to leave out, relabel, group or set aside, as an audit proposes it and a person decides it.

`plan_file` reads and writes plans, `corrections` brings in what was decided in a review, `applying` makes the manifest.
"""

from __future__ import annotations

import dataclasses
from collections import defaultdict
from collections.abc import Collection
from typing import NamedTuple

from eyebright.data.audit.findings import SEVERITIES, Action, Audit, Suggestion
from eyebright.data.manifest import Manifest

# In the order in which a plan lists them.
ACTIONS: tuple[Action, ...] = ("drop", "relabel", "merge", "group", "quarantine")
# An image can be treated in only one of these ways.
EXCLUSIVE: tuple[Action, ...] = ("drop", "relabel", "quarantine")


class PlanImage(NamedTuple):
    """An image as a plan names it: by content, and by place where the same content occurs several times."""

    id: str
    source: str


@dataclasses.dataclass(frozen=True, kw_only=True)
class Entry:
    """One change of a plan.

    Attributes:
        action: what is done.
        accept: whether it is done.
        images: what it is done to; empty for `merge`.
        label: the label before; for `merge`, the class that goes. None where it is not known or several differ.
        to: the label after (`relabel`, `merge`); None otherwise.
        stays: for `drop` of a copy, the image that stays.
        new: `to` is a class that the data do not have yet.
        superclass: the class above a new class, in data with two levels.
        reason: one line.
        confidence: 0 to 1, how sure the audit was.
        finding: code of the finding behind it; empty when a person wrote the entry.
        line: line of the plan's file, from 1; 0 when it does not come from a file.
    """

    action: Action
    accept: bool = False
    images: tuple[PlanImage, ...] = ()
    label: str | None = None
    to: str | None = None
    stays: PlanImage | None = None
    new: bool = False
    superclass: str | None = None
    reason: str = ""
    confidence: float = 1.0
    finding: str = ""
    line: int = 0

    def where(self) -> str:
        """How messages name the entry."""
        if self.line:
            return f"line {self.line}"
        return f"the entry `{self.action} {self.images[0].source if self.images else self.label}`"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Plan:
    """A list of changes and what it was made for.

    Attributes:
        entries: list by list in the order of `ACTIONS`, gravest finding first within each.
        data: the source as the user gave it.
        fingerprint: of the manifest that the plan was made for.
        classes: class names of that manifest, in index order.
        name: the file that it was read from, for messages.
    """

    entries: tuple[Entry, ...]
    data: str = ""
    fingerprint: str = ""
    classes: tuple[str, ...] = ()
    name: str = "the plan"

    def accepted(self) -> list[Entry]:
        """The entries that will be applied."""
        return [entry for entry in self.entries if entry.accept]


def plan_of(audit: Audit) -> Plan:
    """What the audit suggests, as a plan: gravest finding first, then by place."""
    severity = {finding.code: SEVERITIES.index(finding.severity) for finding in audit.findings}
    kept = {suggestion.to for suggestion in audit.suggestions if suggestion.action == "drop" and suggestion.to}
    rows_of = rows_by_id(audit.manifest, kept)
    sources = audit.manifest.table["source"].to_pylist() if kept else []
    entries = []
    for suggestion in audit.suggestions:
        # Where the copy has the same bytes as the image that stays, the id alone does not say which is which.
        others = [
            sources[row] for row in rows_of.get(suggestion.to or "", ()) if sources[row] not in suggestion.sources
        ]
        entries.append(_entry_of(suggestion, stays=others[0] if others else ""))
    entries.sort(
        key=lambda entry: (
            ACTIONS.index(entry.action),
            severity.get(entry.finding, len(SEVERITIES)),
            entry.finding,
            [image.source for image in entry.images],
            entry.label or "",
            entry.to or "",
        )
    )
    return Plan(
        entries=tuple(entries),
        data=audit.manifest.spec,
        fingerprint=audit.manifest.fingerprint(),
        classes=audit.manifest.classes,
    )


def _entry_of(suggestion: Suggestion, stays: str) -> Entry:
    drop = suggestion.action == "drop"
    return Entry(
        action=suggestion.action,
        accept=suggestion.accept,
        images=tuple(PlanImage(*pair) for pair in zip(suggestion.ids, suggestion.sources, strict=True)),
        label=suggestion.label,
        to=None if drop else suggestion.to,
        stays=PlanImage(suggestion.to, stays) if drop and suggestion.to is not None else None,
        reason=suggestion.reason,
        confidence=suggestion.confidence,
        finding=suggestion.finding,
    )


def rows_by_id(manifest: Manifest, wanted: Collection[str]) -> dict[str, list[int]]:
    """The rows of each of these content ids, in the manifest's order; ids without a row are left out."""
    rows: dict[str, list[int]] = defaultdict(list)
    if wanted:
        for row, content in enumerate(manifest.table["id"].to_pylist()):
            if content in wanted:
                rows[content].append(row)
    return dict(rows)
