"""A review without its web server: the questions, the answers so far, and the pictures, as a page asks for them."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from PIL import Image

from eyebright.data.audit.corrections import Corrections, Decision
from eyebright.data.audit.findings import Audit, Section
from eyebright.errors import UsageError
from eyebright.review.answers import decide, outcome
from eyebright.review.cases import Case, cases_of
from eyebright.review.pictures import Picture, Pictures

SECTION_NAMES: dict[Section, str] = {
    "files": "Files",
    "duplicates": "Duplicates",
    "labels": "Labels",
    "shortcuts": "Shortcuts",
    "coverage": "Quality",
    "drift": "Drift",
}


class ReviewSession:
    """The suggestions of an audit and what is decided about them. Safe to use from several threads.

    Args:
        audit: its suggestions are asked one by one.
        images: gives the image at a place of the manifest (its column `source`), from any thread.
        corrections: the table that decisions are saved in; what is there already is kept and not asked again.

    Raises:
        DataError: the corrections table is there and cannot be read.
    """

    def __init__(self, audit: Audit, *, images: Callable[[str], Image.Image], corrections: Path) -> None:
        self.cases = cases_of(audit)
        self.classes = audit.manifest.classes
        self.corrections = Corrections(corrections)
        self._pictures = Pictures(images)
        self._data = audit.manifest.spec
        # Pictures are asked for by number, so that no request names a place.
        self._sources = list(dict.fromkeys(image.source for case in self.cases for image in case.images))
        self._number_of = {source: number for number, source in enumerate(self._sources)}

    def counts(self) -> tuple[int, int]:
        """Suggestions that are decided, and that are not."""
        decided = sum(self.corrections.get(case.key()) is not None for case in self.cases)
        return decided, len(self.cases) - decided

    def state(self) -> dict[str, Any]:
        """All that the page needs to begin or to go on, as JSON values; decisions in the order they were taken."""
        found = [(case, self.corrections.get(case.key())) for case in self.cases]
        decided = [(case, decision) for case, decision in found if decision is not None]
        decided.sort(key=lambda pair: pair[1].decided_at)
        sections = dict.fromkeys(case.section for case in self.cases)
        return {
            "data": self._data,
            "corrections": str(self.corrections.path),
            "classes": list(self.classes),
            "sections": [{"code": code, "name": SECTION_NAMES[code]} for code in sections],
            "cases": [self._case(case) for case in self.cases],
            "decisions": [self._decision(case, decision) for case, decision in decided],
        }

    def picture(self, number: int) -> Picture:
        """A picture by its number in `state`. Raises whatever the source of the images raises.

        Raises:
            UsageError: there is no such picture.
        """
        if not 0 <= number < len(self._sources):
            raise UsageError(f"there is no picture {number}")
        return self._pictures.get(self._sources[number])

    def record(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """Save an answer: `case`, `choice`, and `label` or `image` where the choice needs one.

        Raises:
            UsageError: the answer does not fit the question.
            StorageError: it could not be saved; then nothing has changed.
        """
        case = self._asked(request)
        label, image = request.get("label"), request.get("image")
        decision = decide(
            case,
            str(request.get("choice")),
            classes=self.classes,
            label=None if label is None else str(label),
            image=image if isinstance(image, int) else None,
        )
        return self._decision(case, self.corrections.record(decision))

    def undo(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """Take the answer about a `case` back.

        Raises:
            UsageError: there is no such question.
            StorageError: it could not be saved; then nothing has changed.
        """
        case = self._asked(request)
        self.corrections.forget(case.key())
        return {"case": case.number}

    def _asked(self, request: Mapping[str, Any]) -> Case:
        number = request.get("case")
        if not isinstance(number, int) or not 0 <= number < len(self.cases):
            raise UsageError(f"there is no suggestion {number}")
        return self.cases[number]

    def _case(self, case: Case) -> dict[str, Any]:
        entry = case.entry
        return {
            "case": case.number,
            "section": case.section,
            "title": case.title,
            "action": entry.action,
            "label": entry.label,
            "to": entry.to,
            "reason": entry.reason,
            "confidence": entry.confidence,
            "choices": list(case.choices),
            "images": [
                {**dataclasses.asdict(image), "picture": self._number_of[image.source]} for image in case.images
            ],
        }

    def _decision(self, case: Case, decision: Decision) -> dict[str, Any]:
        return {
            "case": case.number,
            "outcome": outcome(case, decision, self.classes),
            "verdicts": [
                {"id": v.id, "source": v.source, "action": v.action, "label": v.label_after} for v in decision.verdicts
            ],
        }
