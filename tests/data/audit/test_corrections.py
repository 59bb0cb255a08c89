"""No decision is lost, whatever happens; and what was decided is what the plan then says."""

from __future__ import annotations

import csv
import os
import threading
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from eyebright.data.audit.corrections import (
    COLUMNS,
    Corrections,
    Decision,
    Verdict,
    key_of,
    read_corrections,
    with_corrections,
)
from eyebright.data.audit.plan import Entry, Plan, PlanImage
from eyebright.errors import DataError, StorageError


def content(number: int) -> str:
    return f"{number:032x}"


def verdict(number: int, action: str, after: str = "", before: str = "rose") -> Verdict:
    return Verdict(
        id=content(number), source=f"rose/{number}.jpg", label_before=before, action=action, label_after=after  # type: ignore[arg-type]
    )  # fmt: skip


def decision(*verdicts: Verdict, suggested: str = "relabel", finding: str = "label-errors", **more: Any) -> Decision:
    return Decision(finding=finding, suggested=suggested, verdicts=verdicts, **more)  # type: ignore[arg-type]


def picture(number: int) -> PlanImage:
    return PlanImage(content(number), f"rose/{number}.jpg")


def test_every_decision_is_in_the_file_at_once_as_a_line_for_each_image(tmp_path: Path) -> None:
    path = tmp_path / "new" / "corrections.csv"
    table = Corrections(path)
    table.record(decision(verdict(1, "relabel", "tulip")))
    with open(path, newline="", encoding="utf-8") as handle:
        lines = list(csv.DictReader(handle))
    assert [line["action"] for line in lines] == ["relabel"]
    table.record(decision(verdict(2, "drop"), verdict(3, "keep", "rose"), suggested="drop", finding="copies"))
    with open(path, newline="", encoding="utf-8") as handle:
        lines = list(csv.DictReader(handle))
    assert tuple(lines[0]) == COLUMNS
    assert [(line["id"], line["action"], line["label_before"], line["label_after"]) for line in lines] == [
        (content(1), "relabel", "rose", "tulip"),
        (content(2), "drop", "rose", ""),
        (content(3), "keep", "rose", "rose"),
    ]
    assert lines[1]["decided_at"] == lines[2]["decided_at"] > lines[0]["decided_at"]


def test_a_review_that_was_closed_goes_on_where_it_was(tmp_path: Path) -> None:
    path = tmp_path / "corrections.csv"
    first = Corrections(path)
    first.record(decision(verdict(1, "relabel", "tulip")))
    first.record(decision(verdict(2, "keep", "rose"), note="looks right, I think"))
    again = Corrections(path)
    assert again.decisions() == first.decisions()
    entry = relabelling(2, to="daisy")
    found = again.get(key_of(entry, entry.images))
    assert found is not None
    assert found.note == "looks right, I think"


def test_deciding_again_replaces_and_forgetting_removes(tmp_path: Path) -> None:
    path = tmp_path / "corrections.csv"
    table = Corrections(path)
    table.record(decision(verdict(1, "relabel", "tulip")))
    table.record(decision(verdict(2, "keep", "rose")))
    table.record(decision(verdict(1, "drop")))
    assert [made.verdicts[0].action for made in read_corrections(path)] == ["keep", "drop"]
    table.forget(decision(verdict(1, "drop")).key())
    assert [made.verdicts[0].action for made in read_corrections(path)] == ["keep"]


def test_a_decision_that_cannot_be_saved_is_not_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "corrections.csv"
    table = Corrections(path)
    table.record(decision(verdict(1, "keep", "rose")))
    before = path.read_bytes()

    def refuse(*paths: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", refuse)
    with pytest.raises(StorageError, match="the disk is full"):
        table.record(decision(verdict(2, "drop")))
    with pytest.raises(StorageError):
        table.forget(decision(verdict(1, "keep")).key())
    monkeypatch.undo()
    assert [made.verdicts[0].id for made in table.decisions()] == [content(1)]
    assert path.read_bytes() == before
    assert os.listdir(tmp_path) == ["corrections.csv"], "no temporary file is left"


def test_decisions_from_many_threads_are_all_kept(tmp_path: Path) -> None:
    table = Corrections(tmp_path / "corrections.csv")

    def decide(start: int) -> None:
        for number in range(start, start + 10):
            table.record(decision(verdict(number, "drop")))

    threads = [threading.Thread(target=decide, args=(start,)) for start in range(0, 50, 10)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    found = read_corrections(tmp_path / "corrections.csv")
    assert {made.verdicts[0].id for made in found} == {content(number) for number in range(50)}
    assert len({made.decided_at for made in found}) == 50


texts = st.text(st.characters(blacklist_categories=("Cs",), blacklist_characters="\0"), max_size=8) | st.sampled_from(
    ["a,b", '"', "a\nb", "a\r\nb", "=1+1", "\ufeff"]
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60, deadline=None)
@given(rows=st.lists(st.tuples(texts, texts, texts), max_size=4, unique_by=lambda row: row[0]))
def test_any_name_and_note_is_read_back(tmp_path: Path, rows: list[tuple[str, str, str]]) -> None:
    path = tmp_path / "corrections.csv"
    path.unlink(missing_ok=True)
    table = Corrections(path)
    for number, (source, label, note) in enumerate(rows):
        made = Verdict(id=content(number), source=source, label_before=label, action="relabel", label_after=label)
        table.record(decision(made, note=note))
    assert Corrections(path).decisions() == table.decisions()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda text: text.replace("relabel,tulip", "relable,tulip"), "line 2 of corrections.csv has the value"),
        (lambda text: text.replace("decided_at", "when"), "is no corrections table"),
        (lambda text: text.replace("+00:00", ""), "in the column decided_at"),
        (lambda text: text.replace("2", "x", 1), "in the column decided_at"),
        (lambda text: text + "one,two\n", "line 3 of corrections.csv has 2 values"),
    ],
)  # fmt: skip
def test_a_damaged_table_is_refused_with_the_line(tmp_path: Path, change: Any, said: str) -> None:
    path = tmp_path / "corrections.csv"
    Corrections(path).record(decision(verdict(1, "relabel", "tulip")))
    path.write_text(change(path.read_text()))
    with pytest.raises(DataError) as caught:
        Corrections(path)
    assert said in str(caught.value)
    assert path.read_text().count("\n") >= 2, "a table that is not understood is not overwritten"


def test_an_empty_file_and_no_file_hold_no_decisions(tmp_path: Path) -> None:
    assert read_corrections(tmp_path / "none.csv") == []
    (tmp_path / "empty.csv").write_text("")
    assert read_corrections(tmp_path / "empty.csv") == []


def relabelling(number: int, to: str = "tulip", **more: Any) -> Entry:
    return Entry(
        action="relabel", images=(picture(number),), label="rose", to=to, finding="label-errors", reason="why", **more
    )


CLASSES = ("daisy", "rose", "tulip")


def decided(plan: Plan, *decisions: Decision) -> list[tuple[str, bool, tuple[str, ...], str | None]]:
    timed = [
        Decision(**{**vars(made), "decided_at": f"2026-01-01T00:00:{number:02}.000000+00:00"})
        for number, made in enumerate(decisions)
    ]
    once = with_corrections(plan, timed)
    assert with_corrections(once, timed) == once, "a second time changes nothing"
    return [(e.action, e.accept, tuple(image.source for image in e.images), e.to) for e in once.entries]


def test_agreed_entries_are_accepted_and_rejected_ones_are_not() -> None:
    plan = Plan(entries=(relabelling(1), relabelling(2, accept=True), relabelling(3)), classes=CLASSES)
    assert decided(plan, decision(verdict(1, "relabel", "tulip")), decision(verdict(2, "keep", "rose"))) == [
        ("relabel", True, ("rose/1.jpg",), "tulip"),
        ("relabel", False, ("rose/2.jpg",), "tulip"),
        ("relabel", False, ("rose/3.jpg",), "tulip"),
    ]


def test_another_choice_replaces_the_suggestion() -> None:
    plan = Plan(entries=(relabelling(1), relabelling(2)), classes=CLASSES)
    assert decided(plan, decision(verdict(1, "relabel", "daisy")), decision(verdict(2, "drop"))) == [
        ("drop", True, ("rose/2.jpg",), None),
        ("relabel", False, ("rose/1.jpg",), "tulip"),
        ("relabel", False, ("rose/2.jpg",), "tulip"),
        ("relabel", True, ("rose/1.jpg",), "daisy"),
    ]


def test_of_two_copies_the_other_one_may_go() -> None:
    copy = Entry(action="drop", images=(picture(1),), stays=picture(2), finding="copies")
    choice = decision(verdict(1, "keep", "rose"), verdict(2, "drop"), suggested="drop", finding="copies")
    plan = Plan(entries=(copy,), classes=CLASSES)
    assert decided(plan, choice) == [
        ("drop", False, ("rose/1.jpg",), None),
        ("drop", True, ("rose/2.jpg",), None),
    ]
    assert with_corrections(plan, [choice]).entries[1].stays == picture(1)


def test_copies_may_be_kept_together_instead() -> None:
    copy = Entry(action="drop", images=(picture(1),), stays=picture(2), finding="copies", accept=True)
    choice = decision(verdict(1, "group", "rose"), verdict(2, "group", "rose"), suggested="drop", finding="copies")
    assert decided(Plan(entries=(copy,)), choice) == [
        ("drop", False, ("rose/1.jpg",), None),
        ("group", True, ("rose/1.jpg", "rose/2.jpg"), None),
    ]


def test_the_last_word_about_an_image_holds() -> None:
    plan = Plan(
        entries=(
            Entry(action="drop", images=(picture(1),), finding="copies", stays=picture(2)),
            Entry(action="quarantine", images=(picture(1),), finding="dark", accept=True),
            relabelling(1),
        ),
        classes=CLASSES,
    )
    label = decision(verdict(1, "relabel", "tulip"))
    copy = decision(verdict(1, "drop"), verdict(2, "keep", "rose"), suggested="drop", finding="copies")
    assert [entry[:2] for entry in decided(plan, label, copy)] == [
        ("drop", True), ("relabel", False), ("quarantine", False)
    ]  # fmt: skip
    assert [entry[:2] for entry in decided(plan, copy, label)] == [
        ("drop", False), ("relabel", True), ("quarantine", False)
    ]  # fmt: skip


def test_merges_are_decided_by_class() -> None:
    plan = Plan(entries=(Entry(action="merge", label="Rose", to="rose", finding="names"),), classes=("Rose", "rose"))

    def about(action: str, after: str) -> Decision:
        made = Verdict(id="", source="", label_before="Rose", action=action, label_after=after)  # type: ignore[arg-type]
        return decision(made, suggested="merge", finding="names")

    assert decided(plan, about("merge", "rose")) == [("merge", True, (), "rose")]
    assert decided(plan, about("keep", "Rose")) == [("merge", False, (), "rose")]


def test_a_label_of_a_class_that_was_joined_with_another_becomes_that_one() -> None:
    plan = Plan(entries=(relabelling(1), relabelling(2, to="daisy")), classes=CLASSES)
    merge = Verdict(id="", source="", label_before="tulip", action="merge", label_after="daisy")
    joined = decision(merge, suggested="merge", finding="names")
    moved = decision(verdict(1, "relabel", "tulip"))
    for order in ((joined, moved), (moved, joined)):
        found = decided(plan, *order)
        assert ("relabel", False, ("rose/1.jpg",), "tulip") in found
        assert ("relabel", True, ("rose/1.jpg",), "daisy") in found
        assert ("merge", True, (), "daisy") in found
    back = decision(verdict(3, "relabel", "tulip", before="daisy"))
    assert decided(Plan(entries=(), classes=CLASSES), joined, back) == [("merge", True, (), "daisy")]


def test_a_decision_about_what_is_no_longer_suggested_is_still_carried_out() -> None:
    assert decided(Plan(entries=(), classes=CLASSES), decision(verdict(1, "relabel", "tulip"))) == [
        ("relabel", True, ("rose/1.jpg",), "tulip")
    ]
    assert decided(Plan(entries=(), classes=CLASSES), decision(verdict(1, "keep", "rose"))) == []


def test_a_label_that_is_no_class_yet_is_marked_as_new() -> None:
    made = decision(verdict(1, "relabel", "peony"))
    assert with_corrections(Plan(entries=(relabelling(1),), classes=CLASSES), [made]).entries[1].new
