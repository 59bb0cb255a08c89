"""The corrections table: what a person decided about each suggestion, saved at every step.

One line for every image that a decision was about. Lines of one decision share `decided_at`, which no other decision
has. The table is written whole under a temporary name and renamed, so that whatever kills the review, every decision
up to the last one is there, and the review goes on after it.
"""

from __future__ import annotations

import csv
import dataclasses
import datetime
import io
import threading
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Literal, get_args

from eyebright.atomic import write_text
from eyebright.data.audit.findings import Action
from eyebright.data.audit.plan import ACTIONS, EXCLUSIVE, Entry, Plan, PlanImage
from eyebright.errors import DataError, did_you_mean

# `keep` leaves the image as it is: the suggestion was rejected, or it is the copy that stays.
Verb = Literal["keep", "drop", "relabel", "merge", "group", "quarantine"]

VERBS: tuple[Verb, ...] = get_args(Verb)
COLUMNS = ("id", "source", "label_before", "action", "label_after", "note", "decided_at", "finding", "suggested")

Key = tuple[str, str, frozenset[tuple[str, str]]]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Verdict:
    """What was decided for one image; for `merge`, which is about a class, `id` and `source` are empty.

    Attributes:
        id, source: the image, as in the manifest.
        label_before: its label when it was decided; empty where it had none.
        action: what was decided.
        label_after: its label then; empty for what is left out.
    """

    id: str
    source: str
    label_before: str
    action: Verb
    label_after: str


@dataclasses.dataclass(frozen=True, kw_only=True)
class Decision:
    """What was decided about one suggestion.

    Attributes:
        finding: code of the finding behind the suggestion.
        suggested: the action that was suggested.
        verdicts: one for every image that was shown; never empty.
        note: a line of the person's, or empty.
        decided_at: UTC, as `2026-01-31T12:00:00.000000+00:00`; filled in by `Corrections.record`.
    """

    finding: str
    suggested: Action
    verdicts: tuple[Verdict, ...]
    note: str = ""
    decided_at: str = ""

    def key(self) -> Key:
        """What the decision is about: the finding, the kind of change, and the images or the class."""
        return (self.finding, self.suggested, frozenset(_subject(v, self.suggested) for v in self.verdicts))


class Corrections:
    """The decisions of one file, in the order in which they were taken. Safe to use from several threads.

    Raises:
        DataError: the file is there and is no corrections table; with the line.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = threading.Lock()
        self._decisions: dict[Key, Decision] = {decision.key(): decision for decision in read_corrections(path)}

    def decisions(self) -> list[Decision]:
        """All decisions, the oldest first."""
        with self._lock:
            return list(self._decisions.values())

    def get(self, key: Key) -> Decision | None:
        """The decision about a suggestion, if there is one."""
        with self._lock:
            return self._decisions.get(key)

    def record(self, decision: Decision) -> Decision:
        """Save a decision, in place of a former one about the same; returns it with its time.

        Raises:
            StorageError: it could not be saved; then nothing has changed, here or in the file.
        """
        with self._lock:
            last = max((former.decided_at for former in self._decisions.values()), default="")
            decision = dataclasses.replace(decision, decided_at=_later_than(last))
            others = {key: former for key, former in self._decisions.items() if key != decision.key()}
            self._save({**others, decision.key(): decision})
        return decision

    def forget(self, key: Key) -> None:
        """Take a decision back.

        Raises:
            StorageError: it could not be saved; then nothing has changed, here or in the file.
        """
        with self._lock:
            self._save({other: decision for other, decision in self._decisions.items() if other != key})

    def _save(self, decisions: dict[Key, Decision]) -> None:
        write_text(self.path, _as_csv(decisions.values()))
        self._decisions = decisions


def read_corrections(path: Path) -> list[Decision]:
    """The decisions of a corrections table, the oldest first; none where there is no file yet.

    Raises:
        DataError: the file is no corrections table, or a line of it means nothing; with the line.
    """
    try:
        text = path.read_bytes().decode("utf-8-sig")  # with the line ends as they are
    except FileNotFoundError:
        return []
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise DataError(f"the corrections {path} cannot be read: {reason}", expected="a CSV file in UTF-8") from None
    lines = csv.reader(io.StringIO(text, newline=""))
    try:
        header = next(lines, [])
        rows = [(lines.line_num, row) for row in lines if row]
    except csv.Error as error:
        raise DataError(f"the corrections {path} cannot be read: line {lines.line_num}: {error}") from None
    if not header:
        return []
    if sorted(header) != sorted(COLUMNS):
        raise DataError(
            f"{path} is no corrections table: its columns are {', '.join(header)}",
            expected=f"the columns {', '.join(COLUMNS)}",
            remedy="name another file; the review makes it",
        )
    found: dict[tuple[str, str, str], list[tuple[Verdict, str]]] = {}
    for number, row in rows:
        if len(row) != len(header):
            raise DataError(
                f"line {number} of {path.name} has {len(row)} values",
                expected=f"one value for each of the {len(header)} columns",
            )
        cells = dict(zip(header, row, strict=True))
        for column, known in (("action", VERBS), ("suggested", ACTIONS)):
            if cells[column] not in known:
                raise DataError(
                    f"line {number} of {path.name} has the value {cells[column]!r} in the column {column}"
                    + did_you_mean(cells[column], known),
                    expected=f"one of {', '.join(known)}",
                )
        verdict = Verdict(**{name: cells[name] for name in ("id", "source", "label_before", "action", "label_after")})  # type: ignore[arg-type]  # checked above
        key = (_utc(cells["decided_at"], f"line {number} of {path.name}"), cells["finding"], cells["suggested"])
        found.setdefault(key, []).append((verdict, cells["note"]))
    return [
        Decision(
            finding=finding,
            suggested=suggested,  # type: ignore[arg-type]  # checked above
            verdicts=tuple(verdict for verdict, _ in lines_of),
            note=lines_of[0][1],
            decided_at=decided_at,
        )
        for (decided_at, finding, suggested), lines_of in sorted(found.items(), key=lambda item: item[0][0])
    ]


def with_corrections(plan: Plan, decisions: Sequence[Decision]) -> Plan:
    """The plan with what a person decided: agreed entries accepted, rejected ones not, other choices added.

    Where an image was decided about more than once (its label, then that it is a copy), the last decision holds, and
    an entry of the plan that contradicts it is not accepted. A label that was given to an image before or after its
    class was joined with another becomes that other one.
    """
    decisions = _after_merges(sorted(decisions, key=lambda decision: decision.decided_at))
    final = _final_verdicts(decisions)
    entries = list(plan.entries)
    for decision in decisions:
        said = {_subject(verdict, decision.suggested): verdict for verdict in decision.verdicts}
        covered: set[tuple[str, str]] = set()
        for position, entry in enumerate(entries):
            if _is_about(decision, entry):
                subjects = _subjects(entry)
                agreed = all(_agrees(entry, said[subject]) for subject in subjects)
                entries[position] = dataclasses.replace(entry, accept=agreed)
                covered.update(subjects if agreed else ())
        for entry in _entries_of(decision, plan):
            known = any(other.accept and _says_the_same(other, entry) for other in entries)
            if not known and not covered.issuperset(_subjects(entry)):
                entries.append(entry)
    for position, entry in enumerate(entries):
        if entry.accept and any(image in final and not _agrees(entry, final[image]) for image in entry.images):
            # A group may hold an image that is left out; for the rest, the last word about an image counts.
            entries[position] = dataclasses.replace(entry, accept=entry.action not in EXCLUSIVE)
    entries.sort(key=lambda entry: ACTIONS.index(entry.action))
    return dataclasses.replace(plan, entries=tuple(entries))


def key_of(entry: Entry, shown: Iterable[tuple[str, str]]) -> Key:
    """The key of a decision about a suggestion.

    Args:
        entry: the suggestion, as a plan has it.
        shown: (id, source) of every image that was shown with it.
    """
    return (entry.finding, entry.action, frozenset(_subjects(entry) if entry.action == "merge" else shown))


def _subject(verdict: Verdict, suggested: Action) -> tuple[str, str]:
    return ("", verdict.label_before) if suggested == "merge" else (verdict.id, verdict.source)


def _after_merges(decisions: Sequence[Decision]) -> list[Decision]:
    """The decisions with labels as they are once the classes that a person joined are one."""
    merged = {v.label_before: v.label_after for made in decisions for v in made.verdicts if v.action == "merge"}
    found = []
    for made in decisions:
        verdicts = []
        for verdict in made.verdicts:
            if verdict.action == "relabel" and verdict.label_after in merged:
                after = merged[verdict.label_after]
                verb: Verb = "keep" if after == verdict.label_before else "relabel"
                verdict = dataclasses.replace(verdict, action=verb, label_after=after)
            verdicts.append(verdict)
        found.append(dataclasses.replace(made, verdicts=tuple(verdicts)))
    return found


def _final_verdicts(decisions: Iterable[Decision]) -> dict[PlanImage, Verdict]:
    """The last decision about each image that does something to it."""
    final: dict[PlanImage, Verdict] = {}
    for decision in sorted(decisions, key=lambda decision: decision.decided_at):
        for verdict in decision.verdicts:
            if verdict.action in EXCLUSIVE:
                final[PlanImage(verdict.id, verdict.source)] = verdict
    return final


def _entries_of(decision: Decision, plan: Plan) -> list[Entry]:
    """What a decision asks for, as entries of a plan."""
    entries = []
    stays = next((PlanImage(v.id, v.source) for v in decision.verdicts if v.action == "keep"), None)
    for verdict in decision.verdicts:
        if verdict.action != "keep" and verdict.action != "group":
            relabel, drop = verdict.action == "relabel", verdict.action == "drop"
            to = verdict.label_after if verdict.action in ("relabel", "merge") else None
            entries.append(
                Entry(
                    action=verdict.action,
                    accept=True,
                    images=() if verdict.action == "merge" else (PlanImage(verdict.id, verdict.source),),
                    label=verdict.label_before or None,
                    to=to,
                    stays=stays if drop else None,
                    new=relabel and bool(plan.classes) and to not in plan.classes,
                    reason=decision.note or "decided in a review",
                    finding=decision.finding,
                )
            )
    grouped = tuple(PlanImage(v.id, v.source) for v in decision.verdicts if v.action == "group")
    if len(grouped) > 1:
        reason = decision.note or "decided in a review"
        entries.append(Entry(action="group", accept=True, images=grouped, reason=reason, finding=decision.finding))
    return entries


def _is_about(decision: Decision, entry: Entry) -> bool:
    """Whether the entry is the suggestion that was decided."""
    return (entry.finding, entry.action) == (decision.finding, decision.suggested) and {
        _subject(verdict, decision.suggested) for verdict in decision.verdicts
    } >= _subjects(entry)


def _subjects(entry: Entry) -> set[tuple[str, str]]:
    return {("", entry.label or "")} if entry.action == "merge" else set(entry.images)


def _agrees(entry: Entry, verdict: Verdict) -> bool:
    """Whether the verdict is what the entry asks for."""
    same_label = entry.action not in ("relabel", "merge") or entry.to == verdict.label_after
    return entry.action == verdict.action and same_label


def _says_the_same(entry: Entry, other: Entry) -> bool:
    """Whether two entries ask for the same, whatever the reasons."""
    return (entry.action, entry.to, _subjects(entry)) == (other.action, other.to, _subjects(other))


def _utc(text: str, where: str) -> str:
    try:
        moment = datetime.datetime.fromisoformat(text)
    except ValueError:
        moment = None
    if moment is None or moment.tzinfo is None:
        raise DataError(
            f"{where} has the value {text!r} in the column decided_at",
            expected="a time with its zone, as 2026-01-31T12:00:00.000000+00:00",
        )
    return moment.astimezone(datetime.UTC).isoformat(timespec="microseconds")


def _later_than(last: str) -> str:
    """The time now, or a microsecond after `last` where the clock has not moved on."""
    now = datetime.datetime.now(datetime.UTC)
    if last:
        now = max(now, datetime.datetime.fromisoformat(last) + datetime.timedelta(microseconds=1))
    return now.isoformat(timespec="microseconds")


def _as_csv(decisions: Iterable[Decision]) -> str:
    rows: list[Sequence[str]] = [COLUMNS]
    for decision in decisions:
        for verdict in decision.verdicts:
            cells = dataclasses.asdict(verdict) | {
                "note": decision.note,
                "decided_at": decision.decided_at,
                "finding": decision.finding,
                "suggested": decision.suggested,
            }
            rows.append([cells[column] for column in COLUMNS])
    # The csv module leaves a lone carriage return bare, and reads it as the end of a line.
    odd = any("\r" in cell for row in rows for cell in row)
    stream = io.StringIO()
    csv.writer(stream, lineterminator="\n", quoting=csv.QUOTE_ALL if odd else csv.QUOTE_MINIMAL).writerows(rows)
    return stream.getvalue()
