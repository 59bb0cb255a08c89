"""The page of an audit: the verdict, every finding with its pictures, what was not checked, and how to go on.

Its short form is one section of a run's report (`audit_section`).
"""

from __future__ import annotations

import re
import shlex
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from PIL import Image

from eyebright.atomic import write_text
from eyebright.data.audit.findings import SECTIONS, SEVERITIES, Action, Audit, Finding, Severity, in_reading_order
from eyebright.data.audit.findings import Section as SectionName
from eyebright.report import wording
from eyebright.report.audit_cards import Card, Shared, make_cards
from eyebright.report.audit_details import detail_blocks
from eyebright.report.gallery import Gallery
from eyebright.report.page import render_page
from eyebright.report.section import Section

_QUESTIONS: dict[SectionName, str] = {
    "files": "Can every file be read, and is each what its name says?",
    "duplicates": "Is the same photo there more than once, under two names or on both sides of a split?",
    "labels": "Does the name fit the image?",
    "shortcuts": "Can the label be told without looking at what the image shows?",
    "coverage": "Are there enough good images of every class?",
    "drift": "Do the images of one split look like those of the others?",
}
# What each severity says of its findings, for one and for several.
_MEANINGS: dict[Severity, tuple[str, str]] = {
    "critical": ("will make your test figures wrong", "will make your test figures wrong"),
    "warning": ("is worth a look", "are worth a look"),
    "note": ("is good to know", "are good to know"),
}
_ACTIONS: dict[Action, tuple[str, str]] = {
    "drop": ("image to leave out", "images to leave out"),
    "relabel": ("label to change", "labels to change"),
    "merge": ("class to join with another", "classes to join with others"),
    "group": ("group to keep within one split", "groups to keep within one split"),
    "quarantine": ("image to set aside until you have looked", "images to set aside until you have looked"),
}
# Images of a finding: first these many for each, the gravest finding first, then more while the page is not too heavy.
_IMAGES_IN_TURN = (6, 24, 60)
_IMAGES_IN_REPORT = (6, 12)


def write_audit_page(path: Path, audit: Audit, *, thumbnails: Callable[[str], Image.Image]) -> Path:
    """Write the page of an audit to `path`, with everything inside and nothing to fetch; returns `path`.

    Args:
        thumbnails: gives the picture of a content id; raises DataError when there is none, which leaves a placeholder.

    Raises:
        StorageError: the page cannot be written.
    """
    write_text(path, render_audit(audit, Gallery(thumbnails)))
    return path


def render_audit(audit: Audit, gallery: Gallery) -> str:
    """The whole page as text."""
    cards, shared = make_cards(_found(audit), gallery, _IMAGES_IN_TURN)
    parts = [
        Section(name, title, "audit_section.html", _section(name, audit, cards))
        for name, title in SECTIONS.items()
        if any(finding.section == name for finding in audit.findings)
    ]
    parts.append(Section("next", "How to go on", "audit_next.html", _next(audit)))
    return render_page("audit.html", parts, name=_name(audit.manifest.spec), **_summary(audit, cards, shared))


def audit_section(audit: Audit, gallery: Gallery) -> Section:
    """The short form, for the report of a run: the verdict, and each finding with a few pictures."""
    cards, shared = make_cards(_found(audit), gallery, _IMAGES_IN_REPORT, prefix="audit-")
    context = {
        **_summary(audit, cards, shared),
        "passed": [finding.title for finding in audit.findings if finding.severity == "passed"],
        "command": _command(audit, "--fix plan.yaml"),
    }
    return Section("audit", "The data, looked at first", "audit_short.html", context)


def verdict(audit: Audit) -> tuple[int | None, str]:
    """One sentence about all findings: its first number and the rest; no number when nothing was looked for."""
    numbers = Counter(finding.severity for finding in audit.findings)
    clauses: list[tuple[int, str]] = []
    for severity, (one, several) in _MEANINGS.items():
        number = numbers[severity]
        if number:
            thing = "" if clauses else "thing " if number == 1 else "things "
            clauses.append((number, f"{thing}{one if number == 1 else several}"))
    if not clauses:
        clauses.append((0, "faults found"))
    if numbers["passed"]:
        clauses.append((numbers["passed"], "check passed" if numbers["passed"] == 1 else "checks passed"))
    unchecked = len(audit.not_checked)
    if unchecked:
        clauses.append((unchecked, "thing was not checked" if unchecked == 1 else "things were not checked"))
    if not audit.findings:
        return None, "Nothing was looked for."
    (first, words), *rest = clauses
    return first, "; ".join([words, *(f"{wording.count(number)} {text}" for number, text in rest)]) + "."


def _found(audit: Audit) -> list[Finding]:
    """What did not pass, in reading order."""
    return [finding for finding in in_reading_order(audit.findings) if finding.severity != "passed"]


def _summary(audit: Audit, cards: Sequence[Card], shared: Sequence[Shared]) -> dict[str, Any]:
    """What the head of the page and the short form have in common."""
    table = audit.manifest.table
    strays = Counter(table["status"].to_pylist())["stray"]
    images = table.num_rows - strays
    first, words = verdict(audit)
    return {
        "spec": audit.manifest.spec,
        "images": images,
        "left_out": images - audit.manifest.ok.num_rows,
        "classes": len(audit.manifest.classes),
        "worst": audit.worst(),
        "first": first,
        "words": words,
        "cards": sorted(cards, key=lambda card: SEVERITIES.index(card.finding.severity)),
        "section_titles": SECTIONS,
        "not_checked": [wording.sentence(line) for line in audit.not_checked],
        "shared": shared,
    }


def _section(name: SectionName, audit: Audit, cards: Sequence[Card]) -> dict[str, Any]:
    passed = [finding for finding in audit.findings if finding.section == name and finding.severity == "passed"]
    return {
        "question": _QUESTIONS[name],
        "cards": [card for card in cards if card.finding.section == name],
        "passed": passed,
    }


def _next(audit: Audit) -> dict[str, Any]:
    numbers = Counter(suggestion.action for suggestion in audit.suggestions)
    proposals = [
        wording.plural(numbers[action], one, several) for action, (one, several) in _ACTIONS.items() if numbers[action]
    ]
    return {
        "proposals": wording.listing(proposals) if proposals else "",
        "number": len(audit.suggestions),
        "accepted": sum(suggestion.accept for suggestion in audit.suggestions),
        "command": lambda options: _command(audit, options),
        "spec": shlex.quote(audit.manifest.spec),
        "facts": detail_blocks(audit.facts),
    }


def _command(audit: Audit, options: str) -> str:
    return f"eyebright audit {shlex.quote(audit.manifest.spec)} {options}"


def _name(spec: str) -> str:
    """The last part of a path or address: `../data/flowers/` is `flowers`."""
    return re.split(r"[/\\]", spec.rstrip("/\\"))[-1] or spec
