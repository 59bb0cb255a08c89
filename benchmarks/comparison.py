"""One table of our figures beside those of the peers: programs that take turns, a limit on the whole, what is ahead.

A row of the table is one piece of work that several programs do, ours first. In every turn each program of each row
runs once, in a process of its own; every second turn goes through the programs the other way round. So all rows have
been measured once before any is repeated, and what the machine does beside it falls on all alike. Each measurement is
a line of the ledger (turns.Ledger) that holds at least `figures`: one or more values of the row's unit.
"""

from __future__ import annotations

import dataclasses
import json
import os
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from turns import Ledger, Measurement, markdown

OURS = "eyebright"
# Units of which less is better; all others are rates.
SECONDS = ("s an epoch", "s")
COLUMNS = (
    "what", "program", "unit", "median (range)", "figures", "ahead", "", "whole process, s", "peak memory", "took",
)  # fmt: skip


class LeftOut(Exception):  # noqa: N818 - it is no error: a row or a program cannot be had here
    """Why a row or a program is not measured here."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Program:
    """One side of a row.

    Attributes:
        name: as the table shows it; ours is `OURS`.
        measure: runs it once; given the number of the turn and what was measured of this row before.
        footnote: what makes it no like for like; such a program takes no part in what is said of the row.
    """

    name: str
    measure: Callable[[int, list[Measurement]], Measurement]
    footnote: str = ""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Row:
    """One piece of work.

    Attributes:
        name: what `--rows` calls it.
        title: what the table says.
        unit: of the figures.
        programs: ours first.
        turns: how often each program runs when there is time.
        expected_seconds: of one turn, as long as none has been measured.
        settings: what a stored measurement must agree with to be used again.
        note: what one should know of it, below the table.
        prepare: makes what all turns share, such as a folder of images; raises `LeftOut` where that cannot be.
    """

    name: str
    title: str
    unit: str
    programs: tuple[Program, ...]
    turns: int
    expected_seconds: float
    settings: dict[str, Any]
    note: str = ""
    prepare: Callable[[], None] | None = None


@dataclasses.dataclass(frozen=True, kw_only=True)
class Standing:
    """How we stand against one peer: `ahead` > 1 means that ours is faster, whatever the unit."""

    ahead: float
    verdict: str


def standing(ours: Sequence[float], peers: Sequence[float], unit: str) -> Standing:
    """Ratio of the medians, and whether the ranges of the two keep apart.

    Raises:
        ValueError: one of them has no figure, or one that is not positive.
    """
    if not ours or not peers or min(*ours, *peers) <= 0:
        raise ValueError(f"positive figures are compared, not {list(ours)} with {list(peers)}")
    ratio = statistics.median(ours) / statistics.median(peers)
    ahead = 1 / ratio if unit in SECONDS else ratio
    if min(len(ours), len(peers)) < 2:
        verdict = "measured once"
    elif min(ours) <= max(peers) and min(peers) <= max(ours):
        verdict = "tie: the ranges overlap"
    else:
        verdict = "ahead" if ahead > 1 else "behind"
    return Standing(ahead=ahead, verdict=verdict)


class TimeLimit:
    """Seconds that all measurements together may take, those of an interrupted run before this one included."""

    def __init__(self, seconds: float, spent: float = 0.0, clock: Callable[[], float] = time.monotonic) -> None:
        self.seconds, self._clock = seconds, clock
        self._began = clock() - spent

    @property
    def spent(self) -> float:
        """Seconds so far."""
        return self._clock() - self._began

    def allows(self, seconds: float) -> bool:
        """Whether something that takes so long would end in time."""
        return self.spent + seconds <= self.seconds


def measure(rows: Sequence[Row], ledger: Ledger, limit: TimeLimit) -> list[str]:
    """Run what is missing, turn by turn; what was left out, in sentences."""
    remarks: list[str] = []
    out_of_reach: set[str] = set()
    for turn in range(max((row.turns for row in rows), default=0)):
        for row in rows:
            if turn >= row.turns or row.name in out_of_reach:
                continue
            missing = [each for each in row.programs if ledger.find(**_key(row, each, turn)) is None]
            expected = sum(_expected(row, each, ledger) for each in missing)
            if missing and not limit.allows(expected):
                out_of_reach.add(row.name)
                remarks.append(
                    f"{row.title}: {'not measured' if turn == 0 else f'{turn} of {row.turns} turns'}, because after "
                    f"{limit.spent:.0f} s another turn of about {expected:.0f} s would have passed the limit of "
                    f"{limit.seconds:.0f} s."
                )
                continue
            try:
                if missing and row.prepare is not None:
                    row.prepare()
            except LeftOut as reason:
                out_of_reach.add(row.name)
                remarks.append(f"{row.title}: left out, because {reason}.")
                continue
            for program in missing if turn % 2 == 0 else reversed(missing):
                if f"{row.name}/{program.name}" in out_of_reach:
                    continue
                try:
                    _measure_once(row, program, turn, ledger)
                except LeftOut as reason:
                    out_of_reach.add(f"{row.name}/{program.name}")
                    remarks.append(f"{row.title}, {program.name}: left out, because {reason}.")
    return remarks


def _measure_once(row: Row, program: Program, turn: int, ledger: Ledger) -> None:
    load, began = os.getloadavg()[0], time.monotonic()
    before = ledger.select(row=row.name, settings=row.settings)
    measured = {"load": load} | program.measure(turn, before)
    took = time.monotonic() - began
    ledger.add(_key(row, program, turn) | measured | {"unit": row.unit, "took_seconds": took})


def _key(row: Row, program: Program, turn: int) -> Measurement:
    return {"row": row.name, "what": program.name, "turn": turn, "settings": row.settings}


def _expected(row: Row, program: Program, ledger: Ledger) -> float:
    """Seconds that a program will take: what it took before, or its share of what the row was written down with."""
    known = [each["took_seconds"] for each in ledger.select(row=row.name, what=program.name, settings=row.settings)]
    return max(known) if known else row.expected_seconds / len(row.programs)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Line:
    """What the table says of one program."""

    row: str
    title: str
    program: str
    unit: str
    median: float
    lowest: float
    highest: float
    figures: list[float]
    turns: int
    ahead: float | None
    verdict: str
    process_seconds: float | None
    peak_gib: float | None
    took_seconds: float
    loads: list[float]
    versions: str
    footnote: str


def lines_of(rows: Sequence[Row], ledger: Ledger) -> list[Line]:
    """A line for every program that has been measured; beside a peer stands how far ours is ahead of it."""
    lines = []
    for row in rows:
        found = {each.name: ledger.select(row=row.name, what=each.name, settings=row.settings) for each in row.programs}
        figures = {name: [float(value) for each in all_ for value in each["figures"]] for name, all_ in found.items()}
        for program in row.programs:
            values, measured = figures[program.name], found[program.name]
            if not values:
                continue
            against = None
            if program.name != OURS and figures.get(OURS):
                against = standing(figures[OURS], values, row.unit)
            whole = [each["process_seconds"] for each in measured if each.get("process_seconds") is not None]
            peaks = [each["peak_gib"] for each in measured if each.get("peak_gib") is not None]
            lines.append(Line(
                row=row.name, title=row.title, program=program.name, unit=row.unit,
                median=statistics.median(values), lowest=min(values), highest=max(values), figures=values,
                turns=len(measured), ahead=None if against is None else against.ahead,
                verdict="" if against is None else "not like for like" if program.footnote else against.verdict,
                process_seconds=statistics.median(whole) if whole else None,
                peak_gib=max(peaks) if peaks else None,
                took_seconds=sum(each["took_seconds"] for each in measured),
                loads=[round(each["load"], 1) for each in measured],
                versions="; ".join(sorted({each["versions"] for each in measured if each.get("versions")})),
                footnote=program.footnote,
            ))  # fmt: skip
    return lines


def cells(line: Line) -> list[str]:
    """A line as the table shows it."""
    digits = 0 if line.median >= 200 else 1 if line.median >= 10 else 2
    return [
        line.title,
        line.program,
        line.unit,
        f"{line.median:.{digits}f} ({line.lowest:.{digits}f} to {line.highest:.{digits}f})",
        f"{len(line.figures)} in {line.turns} turn{'s' if line.turns != 1 else ''}",
        "" if line.ahead is None else f"{line.ahead:.2f}",
        line.verdict,
        "" if line.process_seconds is None else f"{line.process_seconds:.1f}",
        "" if line.peak_gib is None else f"{line.peak_gib:.2f} GiB",
        f"{line.took_seconds:.0f} s",
    ]


def table(
    rows: Sequence[Row], ledger: Ledger, *, machine: str, title: str, remarks: Sequence[str], seconds: float
) -> Iterator[str]:
    """The lines of the page: machine, table, what one should know of it, and what was left out."""
    lines = lines_of(rows, ledger)
    loads = [load for line in lines for load in line.loads]
    yield f"# {title}"
    yield ""
    yield f"{machine}; {seconds / 60:.1f} minutes in all."
    if loads:
        yield f"Load of the machine when the programs started: {min(loads):.1f} to {max(loads):.1f}."
    yield "`ahead` is how many times as fast as this peer ours is: the ratio of the medians, above 1 where ours wins."
    yield ""
    yield from markdown(COLUMNS, [cells(line) for line in lines])
    yield ""
    for row in rows:
        notes = [row.note, *(f"{each.name}: {each.footnote}" for each in row.programs if each.footnote)]
        if any(notes) and any(line.row == row.name for line in lines):
            yield f"- {row.title}. {' '.join(note for note in notes if note)}"
    yield from (f"- {remark}" for remark in remarks)
    said: dict[str, list[str]] = {}
    for line in lines:
        if line.versions and line.versions not in said.setdefault(line.program, []):
            said[line.program].append(line.versions)
    yield from (f"- {program}: {'; '.join(versions)}" for program, versions in said.items() if versions)


def save(
    folder: Path, name: str, page: str, rows: Sequence[Row], ledger: Ledger, *, machine: str, remarks: Sequence[str]
) -> list[Path]:
    """Write the page and its figures, and put the ledger beside them: the next run measures anew."""
    folder.mkdir(parents=True, exist_ok=True)
    stem = f"{name}-{time.strftime('%Y%m%d-%H%M%S')}"
    figures = {
        "machine": machine,
        "remarks": list(remarks),
        "lines": [dataclasses.asdict(line) for line in lines_of(rows, ledger)],
    }
    written = [folder / f"{stem}.md", folder / f"{stem}.json"]
    written[0].write_text(page + "\n", encoding="utf-8")
    written[1].write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")
    if ledger.path is not None and ledger.path.exists():
        written.append(ledger.path.rename(folder / f"{stem}.jsonl"))
    return written
