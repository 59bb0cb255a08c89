"""The manifest that follows from a plan.

An audit proposes, a person decides, `apply_plan` writes it down in a new manifest. Nothing on disk changes, so that a
decision is taken back by editing the plan and applying it to the same data again. Applying a plan twice gives the same
manifest as applying it once.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence

import pyarrow as pa

from eyebright.data.audit.plan import EXCLUSIVE, Entry, Plan, PlanImage, rows_by_id
from eyebright.data.duplicates import resolve_labels_and_duplicates
from eyebright.data.manifest import Manifest
from eyebright.data.sources.base import refuse_colliding_class_names
from eyebright.errors import DataError, did_you_mean

_LEFT_OUT = {"drop": "dropped", "quarantine": "quarantined"}
# What a row is as long as its image is readable: these follow from the labels and the bytes of all rows.
_SETTLED = ("ok", "duplicate", "conflicting-labels", "unlabelled")
_LISTED = 10


def apply_plan(manifest: Manifest, plan: Plan) -> Manifest:
    """The manifest that the accepted entries of a plan make of `manifest`.

    `drop` and `quarantine` leave rows out, with the plan's reason; the row's repeats (same bytes, label and split) go
    with it, or they would take its place. `relabel` changes the label of the content: of every row with these bytes
    and that label. `merge` renames a class. `group` joins images, and the groups they are in, to one group. Rows that
    contradicted each other or were unlabelled are used again where that is settled.

    Args:
        manifest: of the data that the plan was made for, or of what has become of them.
        plan: as read or made.

    Raises:
        DataError: entries contradict each other, name images that are not in the manifest or that have another label
            by now, or name classes that do not exist; all of them are listed.
    """
    return _Application(manifest, plan).result()


class _Application:
    """The columns of a manifest while a plan is applied to them; problems are collected and raised together."""

    def __init__(self, manifest: Manifest, plan: Plan) -> None:
        self.manifest = manifest
        self.plan = plan
        self.entries = plan.accepted()
        self.problems: list[str] = []
        self.missing: list[str] = []
        table = manifest.table
        self.ids: list[str | None] = table["id"].to_pylist()
        self.sources: list[str] = table["source"].to_pylist()
        self.labels: list[str | None] = table["label"].to_pylist()
        self.splits: list[str | None] = table["split"].to_pylist()
        self.statuses: list[str] = table["status"].to_pylist()
        self.reasons: list[str] = table["reason"].to_pylist()
        self.groups: list[str | None] = table["group"].to_pylist()
        self.superclasses: list[str | None] = table["superclass"].to_pylist()
        self.known = {*manifest.classes, *(label for label in self.labels if label is not None)}
        named = {image.id for e in self.entries for image in (*e.images, *([e.stays] if e.stays else []))}
        self.rows_of = rows_by_id(manifest, named)
        self.left_out = {
            source: row
            for row, (source, status) in enumerate(zip(self.sources, self.statuses, strict=True))
            if status in _LEFT_OUT.values()
        }

    def result(self) -> Manifest:
        located = [(entry, [self._locate(entry, image) for image in entry.images]) for entry in self.entries]
        merges = self._merges()
        treated = self._treated(located, merges)
        self._refuse_lost_copies(located)
        superclass_of, created = self._class_tree(merges)
        if self.missing or self.problems:
            raise self._error()
        touched = self._change_rows(treated, superclass_of)
        for row, label in enumerate(self.labels):
            if label is not None and label in merges:
                target = str(merges[label].to)
                self.labels[row], self.superclasses[row] = target, superclass_of.get(target)
                touched.add(self.ids[row])
        self._join_groups(located)
        self._settle(touched - {None})
        classes = self._classes(merges)
        if created:
            refuse_colliding_class_names(classes, remedy=f"write one spelling in {self.plan.name}")
        changed = self.manifest.replace(
            label=self.labels,
            status=self.statuses,
            reason=self.reasons,
            group=self.groups,
            superclass=self.superclasses,
        )
        return Manifest(changed.table, classes=classes, spec=self.manifest.spec, kind=self.manifest.kind)

    def _locate(self, entry: Entry, image: PlanImage) -> int | None:
        """The row of an image, or None after noting the problem."""
        rows = self.rows_of.get(image.id, [])
        here = [row for row in rows if self.sources[row] == image.source]
        gone = self.left_out.get(image.source)
        if not here and gone is not None and self.ids[gone] is None:  # left out by a plan applied before
            return gone
        if here or len(rows) == 1:
            return (here or rows)[0]
        if rows:
            places = " and ".join(self.sources[row] for row in rows[:3])
            self.missing.append(f"{entry.where()}: {image.source} (the same bytes are now at {places})")
        else:
            self.missing.append(f"{entry.where()}: {image.source} (id {image.id})")
        return None

    def _merges(self) -> dict[str, Entry]:
        """The accepted merges by the class that goes."""
        merges: dict[str, Entry] = {}
        for entry in self.entries:
            if entry.action != "merge":
                continue
            former = merges.setdefault(str(entry.label), entry)
            if former.to != entry.to:
                self.problems.append(
                    f"{former.where()} merges {entry.label!r} into {former.to!r} and {entry.where()} into {entry.to!r}"
                )
        for label, entry in merges.items():
            onward = merges.get(str(entry.to))
            if onward is not None:
                self.problems.append(
                    f"{entry.where()} merges {label!r} into {entry.to!r}, which {onward.where()} merges into "
                    f"{onward.to!r}: name the last class in both"
                )
            # Once merged, the class is gone; what it went into is there.
            if label not in self.known and entry.to not in self.known:
                self.problems.append(
                    f"{entry.where()} merges {label!r}, which is no class{did_you_mean(label, self.manifest.classes)}"
                )
        return merges

    def _treated(
        self, located: Sequence[tuple[Entry, list[int | None]]], merges: Mapping[str, Entry]
    ) -> dict[int, Entry]:
        """The one entry that drops, relabels or quarantines each row."""
        treated: dict[int, Entry] = {}
        label_of_content: dict[str, Entry] = {}
        for entry, rows in located:
            if entry.action not in EXCLUSIVE:
                continue
            for row in rows:
                if row is None:
                    continue
                former = treated.setdefault(row, entry)
                content = self.ids[row]
                if entry.action == "relabel" and content is not None and former.action == "relabel":
                    former = label_of_content.setdefault(content, entry)
                # Dropped or quarantined, an image is left out either way: the entry that comes first says why.
                if former.to != entry.to or (former.action == "relabel") != (entry.action == "relabel"):
                    self.problems.append(f"{_does(former)} {self.sources[row]} and {_does(entry)} it")
                self._check_current(entry, row, merges)
        return treated

    def _check_current(self, entry: Entry, row: int, merges: Mapping[str, Entry]) -> None:
        """Note when the row is not any more what the plan was made for."""
        label, source = self.labels[row], self.sources[row]
        if self.statuses[row] in _LEFT_OUT.values():
            if entry.action == "relabel":
                self.problems.append(
                    f"{entry.where()} relabels {source}, which an earlier plan left out ({self.reasons[row]})"
                )
            return
        if entry.label is not None:
            merged = merges.get(entry.label)
            if label not in (entry.label, entry.to, merged.to if merged else None):
                self.problems.append(
                    f"{entry.where()}: {source} is labelled {label!r}, and was {entry.label!r} when the plan was made"
                )

    def _refuse_lost_copies(self, located: Sequence[tuple[Entry, list[int | None]]]) -> None:
        """A copy may go only while the image stays that it is a copy of."""
        onward: dict[int, tuple[Entry, int]] = {}
        for entry, rows in located:
            if entry.action != "drop" or entry.stays is None or None in rows:
                continue
            stays = self._locate(entry, entry.stays)
            for row in rows:
                if row is not None and row == stays:
                    self.problems.append(f"{entry.where()} drops {self.sources[row]}, of which there is no other copy")
                elif row is not None and stays is not None:
                    onward[row] = (entry, stays)
        for start, (entry, stays) in onward.items():
            seen, row = {start}, stays
            while row in onward and row not in seen:
                seen.add(row)
                row = onward[row][1]
            if row == start and start == min(seen):
                other = onward[stays][0]
                self.problems.append(
                    f"{entry.where()} drops {self.sources[start]} because {self.sources[stays]} stays, "
                    f"and {other.where()} drops that one: no copy would be left"
                )

    def _class_tree(self, merges: Mapping[str, Entry]) -> tuple[dict[str, str | None], list[str]]:
        """The superclass of every class after the plan, and the classes that it makes."""
        superclass_of: dict[str, str | None] = {}
        for label, above in zip(self.labels, self.superclasses, strict=True):
            if label is not None and (above is not None or label not in superclass_of):
                superclass_of[label] = above
        two_levels = any(above is not None for above in superclass_of.values())
        makers: dict[str, list[Entry]] = defaultdict(list)
        for entry in self.entries:
            if entry.to is not None and entry.to not in self.known:
                makers[entry.to].append(entry)
        for label, entries in makers.items():
            first = entries[0]
            if not any(entry.new for entry in entries):
                self.problems.append(
                    f"{first.where()}: there is no class {label!r}{did_you_mean(label, self.manifest.classes)}; "
                    "`new: yes` makes a new one"
                )
            named = {entry.superclass for entry in entries if entry.superclass is not None}
            renamed = {superclass_of.get(str(entry.label)) for entry in entries if entry.action == "merge"} - {None}
            candidates = sorted(str(name) for name in named or renamed)
            if len(candidates) > 1:
                listed = " or ".join(map(repr, candidates))
                self.problems.append(f"{first.where()}: is the new class {label!r} in the superclass {listed}?")
            elif two_levels and not candidates:
                self.problems.append(
                    f"{first.where()}: the new class {label!r} needs a `superclass:`, as the other classes have"
                )
            superclass_of[label] = candidates[0] if candidates else None
        for entry in self.entries:
            removing = merges.get(str(entry.to)) if entry.action == "relabel" else None
            if removing is not None:
                self.problems.append(
                    f"{entry.where()} gives the label {entry.to!r}, and {removing.where()} merges that class into "
                    f"{removing.to!r}: give the label {removing.to!r}"
                )
        return superclass_of, list(makers)

    def _change_rows(self, treated: dict[int, Entry], superclass_of: dict[str, str | None]) -> set[str | None]:
        """Drop, quarantine and relabel; returns the ids that were touched."""
        # All looked up before anything changes, so that the order of the entries does not matter.
        changes = [(entry, [row, *self._repeats(row, entry, treated)]) for row, entry in treated.items()]
        for entry, rows in changes:
            for row in rows:
                if entry.action == "relabel":
                    self.labels[row], self.superclasses[row] = entry.to, superclass_of.get(str(entry.to))
                else:
                    self.statuses[row] = _LEFT_OUT[entry.action]
                    self.reasons[row] = f"by the plan: {entry.reason or entry.finding or 'no reason given'}"
        return {self.ids[row] for _, rows in changes for row in rows}

    def _repeats(self, row: int, entry: Entry, treated: dict[int, Entry]) -> list[int]:
        """The rows with the same bytes that share the fate of `row` although no entry names them."""
        if self.statuses[row] in _LEFT_OUT.values() or self.labels[row] == entry.to:
            return []  # applied before
        content = self.ids[row]
        alike = [
            other
            for other in self.rows_of.get(content or "", ())
            if other not in treated
            and self.labels[other] == self.labels[row]
            and self.statuses[other] not in _LEFT_OUT.values()
        ]
        if entry.action == "relabel":
            return alike
        if self.statuses[row] == "duplicate":
            return []  # the one that it repeats stays
        return [other for other in alike if self.splits[other] in (self.splits[row], None)]

    def _join_groups(self, located: Sequence[tuple[Entry, list[int | None]]]) -> None:
        """One group for the images of each `group` entry, joined with the groups that they are in.

        A group keeps the smallest of the names it had, or takes the smallest id in it, whatever the order of rows.
        """
        joins = [rows for entry, rows in located if entry.action == "group"]
        if not joins:
            return
        parent: dict[tuple[str, str], tuple[str, str]] = {}

        def root(node: tuple[str, str]) -> tuple[str, str]:
            while parent.setdefault(node, node) != node:
                parent[node] = parent[parent[node]]
                node = parent[node]
            return node

        def join(one: tuple[str, str], other: tuple[str, str]) -> None:
            # `group` sorts before `image`: a name that the user gave comes before an id.
            low, high = sorted((root(one), root(other)))
            parent[high] = low

        for rows in joins:
            images = [content for row in rows if row is not None and (content := self.ids[row]) is not None]
            for content in images:
                join(("image", images[0]), ("image", content))
                for row in self.rows_of[content]:
                    if (group := self.groups[row]) is not None:
                        join(("group", group), ("image", content))
        for row, (content, group) in enumerate(zip(self.ids, self.groups, strict=True)):
            nodes = (("group", group), ("image", content))
            node = next(((kind, name) for kind, name in nodes if name is not None and (kind, name) in parent), None)
            if node is not None:
                self.groups[row] = root(node)[1]

    def _settle(self, touched: set[str | None]) -> None:
        """Give the rows of touched ids the status that a scan of the changed data would give them."""
        rows = [
            row
            for row, (content, status) in enumerate(zip(self.ids, self.statuses, strict=True))
            if content in touched and status in _SETTLED
        ]
        table = pa.table(
            {
                "id": pa.array([self.ids[row] for row in rows], pa.string()),
                "source": pa.array([self.sources[row] for row in rows], pa.string()),
                "label": pa.array([self.labels[row] for row in rows], pa.string()),
                "split": pa.array([self.splits[row] for row in rows], pa.string()),
                "status": pa.repeat("ok", len(rows)),
                "reason": pa.repeat("", len(rows)),
            }
        )
        settled = resolve_labels_and_duplicates(table).select(["status", "reason"]).to_pylist() if rows else []
        for row, outcome in zip(rows, settled, strict=True):
            self.statuses[row], self.reasons[row] = outcome["status"], outcome["reason"]

    def _classes(self, merges: Mapping[str, Entry]) -> list[str]:
        """Class names in the former order; a new name takes the place of the class it renames, or comes last.

        A class that no image is left in disappears, as it does when the changed data are scanned.
        """
        former = self.manifest.classes
        renamed = [str(merges[name].to) if name in merges else name for name in former]
        kept = [to for name, to in zip(former, renamed, strict=True) if name == to or to not in former]
        present = {
            label
            for label, status in zip(self.labels, self.statuses, strict=True)
            if label is not None and status not in _LEFT_OUT.values()
        }
        return [name for name in dict.fromkeys([*kept, *sorted(present - set(kept))]) if name in present]

    def _error(self) -> DataError:
        if self.missing:
            found = f"{len(self.missing)} images of {self.plan.name} are not in {self.manifest.spec}"
            if len(self.missing) == 1:
                found = f"an image of {self.plan.name} is not in {self.manifest.spec}"
            return DataError(
                found + _listed(self.missing),
                expected="the data that the plan was made for: every image is looked up by the hash of its bytes",
                remedy="audit the data again, or take these entries out of the plan",
            )
        return DataError(
            f"{self.plan.name} cannot be applied" + _listed(self.problems),
            expected="entries that agree with each other and with the data",
            remedy=f"edit {self.plan.name}: `accept: no` takes an entry out",
        )


def _does(entry: Entry) -> str:
    verb = {"drop": "drops", "quarantine": "quarantines"}.get(entry.action)
    return f"{entry.where()} {verb}" if verb else f"{entry.where()} gives the label {entry.to!r} to"


def _listed(problems: Sequence[str]) -> str:
    more = f"\n  and {len(problems) - _LISTED} more" if len(problems) > _LISTED else ""
    return ":" + "".join(f"\n  {problem}" for problem in problems[:_LISTED]) + more
