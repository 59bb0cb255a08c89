"""A plan: which images to leave out, relabel, group or set aside, as an audit proposes it and a person decides it.

`plan_file` reads and writes plans, `corrections` brings in what was decided in a review, `applying` makes the manifest.
"""

from __future__ import annotations

import dataclasses
from collections import defaultdict
from collections.abc import Collection
from typing import NamedTuple

import pyarrow as pa

from eyebright.data.audit.findings import SEVERITIES, Action, Audit, Suggestion
from eyebright.data.manifest import Manifest

# In the order in which a plan lists them.
ACTIONS: tuple[Action, ...] = ("drop", "relabel", "merge", "group", "quarantine")
# What can be done to an image itself, once; of `drop` and `quarantine` the first in a plan holds.
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
    stays = _kept_copies(audit)
    entries = [_entry_of(suggestion, stays.get(number)) for number, suggestion in enumerate(audit.suggestions)]
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


def _kept_copies(audit: Audit) -> dict[int, PlanImage]:
    """For every suggestion that drops a copy, by its number, the image that stays.

    Where copies have the same bytes, the id does not say which one stays: it is one that no suggestion drops.
    """
    drops = {number: s for number, s in enumerate(audit.suggestions) if s.action == "drop" and s.to is not None}
    rows_of = rows_by_id(audit.manifest, {str(suggestion.to) for suggestion in drops.values()})
    going = {pair for s in audit.suggestions if s.action == "drop" for pair in zip(s.ids, s.sources, strict=True)}
    names = ("id", "source", "status")
    kept = {}
    for number, suggestion in drops.items():
        rows = pa.array(rows_of.get(str(suggestion.to), []), pa.int64())
        found = audit.manifest.table.select(list(names)).take(rows).to_pylist()
        others = [row for row in found if row["source"] not in suggestion.sources]
        others.sort(key=lambda row: ((row["id"], row["source"]) in going, row["status"] != "ok"))
        kept[number] = PlanImage(str(suggestion.to), others[0]["source"] if others else "")
    return kept


def _entry_of(suggestion: Suggestion, stays: PlanImage | None) -> Entry:
    return Entry(
        action=suggestion.action,
        accept=suggestion.accept,
        images=tuple(PlanImage(*pair) for pair in zip(suggestion.ids, suggestion.sources, strict=True)),
        label=suggestion.label,
        to=None if suggestion.action == "drop" else suggestion.to,
        stays=stays,
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
