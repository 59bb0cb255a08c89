"""Class names that may stand for one class, and those that do not."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eyebright.data.audit.class_names import check_class_names, find_collisions
from eyebright.data.audit.class_words import folded, meanings


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Dog", "dog"),
        ("hot dog", "hot_dog"),
        ("hot-dog", "HotDog"),
        (" cat", "cat"),
        ("créme", "creme"),
        ("Löwe", "Lowe"),
        ("cat", "cats"),
        ("leaf", "leaves"),
        ("berry", "berries"),
        ("box", "boxes"),
        ("mouse", "mice"),
        ("gatto", "gatti"),
        ("hund", "hunde"),
        ("dog", "cane"),
        ("gatti", "cat"),
        ("sunflower", "Sonnenblume"),
        ("vidrio", "glass"),
        ("automobile", "car"),
    ],
)
def test_names_of_one_class_collide(one: str, other: str) -> None:
    (collision,) = find_collisions([one, other])
    assert {collision.one, collision.other} == {one, other}


@pytest.mark.parametrize(
    "names",
    [
        [str(number) for number in range(100)],
        ["-1", "1", "1.5", "15", "1-5", "2_1", "21"],
        ["glass", "gloss", "grass", "bus", "bass"],
        ["corn", "corner", "flow", "flower", "tiger", "plan", "plane"],
        ["C", "C++", "C#"],
        # English words that are others elsewhere: Spanish bread, German child, Italian sea.
        ["pan", "bread", "dog", "cat", "knife", "kind", "child", "mare", "sea"],
        ["daisy", "dandelion", "rose", "sunflower", "tulip"],
        ["cardboard", "glass", "metal", "paper", "plastic", "trash"],
        ["cane", "cavallo", "elefante", "farfalla", "gallina", "gatto", "mucca", "pecora", "ragno", "scoiattolo"],
    ],
)
def test_names_of_different_classes_do_not(names: list[str]) -> None:
    findings, suggestions = check_class_names(names, dict.fromkeys(names, 1))
    assert [finding.severity for finding in findings] == ["passed"]
    assert suggestions == []


def test_the_smaller_class_is_to_join_the_larger_and_a_person_decides() -> None:
    counts = {"cane": 30, "cat": 80, "dog": 50, "dogs": 10, "horse": 90}
    findings, suggestions = check_class_names(list(counts), counts)
    assert {(suggestion.label, suggestion.to) for suggestion in suggestions} == {("cane", "dog"), ("dogs", "dog")}
    assert all(suggestion.action == "merge" and not suggestion.accept for suggestion in suggestions)
    assert findings[0].code == "class-names-collide"
    assert findings[0].severity == "warning"
    assert {row["name"] for row in findings[0].details["pairs"]} <= set(counts)


def test_every_name_of_a_chain_joins_the_same_class() -> None:
    counts = {"hot dog": 5, "hot_dog": 9, "HotDog": 2}
    _, suggestions = check_class_names(list(counts), counts)
    assert {suggestion.label: suggestion.to for suggestion in suggestions} == {
        "hot dog": "hot_dog",
        "HotDog": "hot_dog",
    }


def test_two_languages_are_noted_even_where_no_class_is_double() -> None:
    names = ["cane", "cavallo", "elephant", "farfalla", "gallina", "gatto", "mucca", "ragno", "squirrel"]
    (finding,), suggestions = check_class_names(names, dict.fromkeys(names, 1))
    assert finding.code == "class-names-mixed"
    assert finding.severity == "note"
    assert {row["name"]: row["language"] for row in finding.details["names"]} == {
        "elephant": "English or French",
        "squirrel": "English",
    }
    assert suggestions == []


def test_synonyms_of_one_language_are_less_sure() -> None:
    (synonyms,), (translation,) = find_collisions(["street", "road"]), find_collisions(["street", "strada"])
    assert synonyms.confidence < translation.confidence
    findings, _ = check_class_names(["street", "road"], {})
    assert findings[0].severity == "note"


def test_plurals_are_looked_up_in_their_own_language() -> None:
    assert {meaning.concept for meaning in meanings("cani")} == {"dog"}
    assert {meaning.concept for meaning in meanings("Katzen")} == {"cat"}
    assert meanings("quux") == set()


@given(st.text(max_size=20))
def test_folding_twice_changes_nothing_more(name: str) -> None:
    assert folded(folded(name)) == folded(name)


@given(st.lists(st.text(max_size=8), max_size=8, unique=True))
def test_any_names_are_compared(names: list[str]) -> None:
    findings, suggestions = check_class_names(names, {})
    assert findings
    assert {suggestion.label for suggestion in suggestions} <= set(names)
