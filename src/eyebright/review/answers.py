"""What each answer of a person means for every image of a case."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, get_args

from eyebright.data.audit.corrections import Decision, Verb, Verdict
from eyebright.errors import UsageError
from eyebright.review.cases import Case, Shown

Choice = Literal["accept", "reject", "relabel", "drop", "quarantine", "group", "keep-only"]
Outcome = Literal["accepted", "rejected", "changed"]

CHOICES: tuple[Choice, ...] = get_args(Choice)


def decide(
    case: Case, choice: str, *, classes: Sequence[str], label: str | None = None, image: int | None = None
) -> Decision:
    """The decision that an answer stands for, without its time.

    Args:
        case: the question.
        choice: `accept` or `reject` the suggestion; `relabel` the images as `label`; `drop` or `quarantine` them; keep
            them together as a `group`; or `keep-only` the image at place `image` and drop the others.
        classes: class names of the data.
        label: for `relabel`.
        image: for `keep-only`, from 0.

    Raises:
        UsageError: the answer does not fit the question.
    """
    if choice not in CHOICES:
        raise UsageError(f"{choice!r} is no answer", expected=f"one of {', '.join(CHOICES)}")
    if case.entry.action == "merge":
        return _about_a_class(case, choice)
    images = case.decided_about()
    if choice == "relabel" and label not in classes:
        raise UsageError(f"{label!r} is no class", expected="one of the classes of the data")
    if choice in ("keep-only", "group") and len(images) < 2:
        raise UsageError(f"{choice!r} is an answer about several images", expected="an answer about one image")
    if choice == "keep-only" and (image is None or not 0 <= image < len(images)):
        raise UsageError(f"there is no image {image} to keep", expected=f"a number from 0 to {len(images) - 1}")
    given = case.entry.to if choice == "accept" else label
    return Decision(
        finding=case.entry.finding,
        suggested=case.entry.action,
        verdicts=tuple(
            _verdict(shown, _verb(case, choice, shown, others=place != image), given)
            for place, shown in enumerate(images)
        ),
    )


def outcome(case: Case, decision: Decision, classes: Sequence[str]) -> Outcome:
    """Whether a decision follows the suggestion, leaves everything as it was, or does something else."""
    if all(verdict.action == "keep" for verdict in decision.verdicts):
        return "rejected"
    suggested = decide(case, "accept", classes=classes).verdicts
    return "accepted" if _effects(suggested) == _effects(decision.verdicts) else "changed"


def _about_a_class(case: Case, choice: str) -> Decision:
    if choice not in ("accept", "reject"):
        raise UsageError(f"{choice!r} is no answer about a class", expected="accept or reject")
    before, after = case.entry.label or "", case.entry.to or ""
    accepted = choice == "accept"
    verdict = Verdict(
        id="",
        source="",
        label_before=before,
        action="merge" if accepted else "keep",
        label_after=after if accepted else before,
    )
    return Decision(finding=case.entry.finding, suggested="merge", verdicts=(verdict,))


def _verb(case: Case, choice: str, shown: Shown, *, others: bool) -> Verb:
    """What is done to one image. `others`: it is not the one that `keep-only` keeps."""
    subject = shown.role == "subject"
    if choice == "accept":
        return case.entry.action if subject else "keep"
    if choice == "drop":
        return "drop" if subject else "keep"
    if choice == "keep-only":
        return "drop" if others else "keep"
    if choice == "relabel":
        return "relabel"
    if choice == "quarantine":
        return "quarantine"
    return "group" if choice == "group" else "keep"


def _verdict(shown: Shown, verb: Verb, label: str | None) -> Verdict:
    before = shown.label or ""
    if verb == "relabel" and label == shown.label:
        verb = "keep"
    after = {"relabel": label or "", "drop": "", "quarantine": ""}.get(verb, before)
    return Verdict(id=shown.id, source=shown.source, label_before=before, action=verb, label_after=after)


def _effects(verdicts: Sequence[Verdict]) -> set[tuple[str, str, str, str]]:
    return {(verdict.id, verdict.source, verdict.action, verdict.label_after) for verdict in verdicts}
