"""What is asked, in which order, with which images; and what each answer means."""

from __future__ import annotations

import dataclasses

import pytest
from sitting import Sitting

from eyebright.data.audit.findings import Audit, Example, ImageRef, Suggestion
from eyebright.data.manifest import Manifest
from eyebright.errors import UsageError
from eyebright.review.answers import decide, outcome
from eyebright.review.cases import MAX_CHOICES, Case, cases_of

CLASSES = ("daisy", "rose", "tulip")


def sources(case: Case) -> list[tuple[str, str]]:
    return [(image.source, image.role) for image in case.images]


def actions(case: Case, choice: str, **more: object) -> list[tuple[str, str]]:
    made = decide(case, choice, classes=CLASSES, **more)  # type: ignore[arg-type]
    return [(verdict.action, verdict.label_after) for verdict in made.verdicts]


def test_the_gravest_and_the_surest_come_first(sitting: Sitting) -> None:
    cases = cases_of(sitting.audit)
    assert [case.entry.finding for case in cases] == [
        "two-labels", "z-near-copies", *["label-errors"] * 7, "near-duplicates"
    ]  # fmt: skip
    assert [case.entry.confidence for case in cases[2:9]] == sorted([c.entry.confidence for c in cases[2:9]])[::-1]
    assert [case.number for case in cases] == list(range(10))
    assert {case.section for case in cases} == {"duplicates", "labels"}


def test_one_photo_under_two_labels_is_one_question_with_both_side_by_side(sitting: Sitting) -> None:
    case = cases_of(sitting.audit)[0]
    assert sources(case) == [(sitting.photos["rose"][0], "subject"), ("train/tulip/same.jpg", "subject")]
    assert [image.label for image in case.images] == ["rose", "tulip"]


def test_a_copy_is_shown_beside_the_image_that_stays_with_what_tells_them_apart(sitting: Sitting) -> None:
    case = cases_of(sitting.audit)[1]
    assert sources(case) == [(sitting.photos["rose"][1], "subject"), ("test/rose/near.png", "stays")]
    assert [(image.split, image.width, image.format) for image in case.images] == [
        ("train", 128, "JPEG"),
        ("test", 96, "PNG"),
    ]


def test_images_that_a_finding_shows_together_are_one_question(sitting: Sitting) -> None:
    first, second, third = sitting.photos["tulip"][:3]
    rows = {row["source"]: row for row in sitting.audit.manifest.table.to_pylist()}

    def aside(source: str) -> Suggestion:
        return Suggestion(action="quarantine", finding="two-labels", ids=(rows[source]["id"],), sources=(source,))

    refs = tuple(ImageRef(rows[source]["id"], source) for source in (first, second))
    audit = dataclasses.replace(
        sitting.audit,
        findings=[dataclasses.replace(sitting.audit.findings[0], examples=(Example(refs),))],
        suggestions=[aside(first), aside(second), aside(third)],
    )
    assert [sources(case) for case in cases_of(audit)] == [
        [(first, "subject"), (second, "subject")],
        [(third, "subject")],
    ]
    only_one = dataclasses.replace(audit, suggestions=[aside(first)])
    assert sources(cases_of(only_one)[0]) == [(first, "subject"), (second, "stays")]


def test_classes_to_be_merged_are_shown_by_example_and_nothing_is_decided_about_those(sitting: Sitting) -> None:
    merge = Suggestion(action="merge", finding="names", ids=(), sources=(), label="rose", to="tulip")
    case = cases_of(dataclasses.replace(sitting.audit, suggestions=[merge]))[0]
    assert {(image.label, image.role) for image in case.images} == {("rose", "example"), ("tulip", "example")}
    assert actions(case, "accept") == [("merge", "tulip")]
    assert actions(case, "reject") == [("keep", "rose")]
    with pytest.raises(UsageError, match="no answer about a class"):
        decide(case, "drop", classes=CLASSES)


def test_few_classes_keep_their_digits_and_of_many_the_most_confused_get_them(sitting: Sitting) -> None:
    cases = cases_of(sitting.audit)
    assert cases[2].choices == CLASSES
    names = [f"class-{number:02}" for number in range(40)]
    manifest = sitting.audit.manifest
    many = Manifest(manifest.table, classes=names, spec="many", kind="folder")

    def moves(label: str, to: str, image: int) -> Suggestion:
        ids, places = (f"{image:032x}",), (f"{image}.jpg",)
        return Suggestion(action="relabel", finding="label-errors", ids=ids, sources=places, label=label, to=to)

    suggestions = [moves("class-00", "class-01", 0), moves("class-00", "class-30", 1), moves("class-31", "class-01", 2)]
    case = cases_of(Audit(manifest=many, findings=[], suggestions=suggestions))[0]
    assert set(case.choices[:2]) == {"class-30", "class-31"}
    assert len(case.choices) == MAX_CHOICES
    assert not {"class-00", "class-01"} & set(case.choices)


def test_each_answer_about_one_image(sitting: Sitting) -> None:
    case = cases_of(sitting.audit)[2]
    assert actions(case, "accept") == [("relabel", "tulip")]
    assert actions(case, "reject") == [("keep", "rose")]
    assert actions(case, "relabel", label="daisy") == [("relabel", "daisy")]
    assert actions(case, "relabel", label="rose") == [("keep", "rose")]
    assert actions(case, "drop") == [("drop", "")]
    assert actions(case, "quarantine") == [("quarantine", "")]


def test_each_answer_about_two_copies(sitting: Sitting) -> None:
    case = cases_of(sitting.audit)[1]
    assert actions(case, "accept") == [("drop", ""), ("keep", "rose")]
    assert actions(case, "reject") == [("keep", "rose"), ("keep", "rose")]
    assert actions(case, "keep-only", image=0) == [("keep", "rose"), ("drop", "")]
    assert actions(case, "keep-only", image=1) == actions(case, "accept")
    assert actions(case, "group") == [("group", "rose"), ("group", "rose")]
    assert actions(case, "quarantine") == [("quarantine", ""), ("quarantine", "")]


@pytest.mark.parametrize(
    ("number", "choice", "more"),
    [
        (2, "nod", {}),
        (2, "relabel", {"label": "peony"}),
        (2, "relabel", {}),
        (2, "keep-only", {"image": 0}),
        (2, "group", {}),
        (1, "keep-only", {}),
        (1, "keep-only", {"image": 2}),
        (1, "keep-only", {"image": -1}),
    ],
)
def test_answers_that_do_not_fit_the_question_are_refused(
    sitting: Sitting, number: int, choice: str, more: dict[str, object]
) -> None:
    with pytest.raises(UsageError):
        decide(cases_of(sitting.audit)[number], choice, classes=CLASSES, **more)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("number", "choice", "more", "expected"),
    [
        (2, "accept", {}, "accepted"),
        (2, "relabel", {"label": "tulip"}, "accepted"),
        (2, "relabel", {"label": "daisy"}, "changed"),
        (2, "reject", {}, "rejected"),
        (2, "drop", {}, "changed"),
        (1, "keep-only", {"image": 1}, "accepted"),
        (1, "keep-only", {"image": 0}, "changed"),
        (9, "accept", {}, "accepted"),
    ],
)
def test_the_outcome_of_a_decision_is_told(
    sitting: Sitting, number: int, choice: str, more: dict[str, object], expected: str
) -> None:
    case = cases_of(sitting.audit)[number]
    assert outcome(case, decide(case, choice, classes=CLASSES, **more), CLASSES) == expected  # type: ignore[arg-type]
