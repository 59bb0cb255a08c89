"""A mapping says of every class what becomes of it, and never merges two by accident."""

from __future__ import annotations

import re
from collections import defaultdict
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eyebright.data.sources.class_mapping import ClassMapping
from eyebright.data.sources.mapping_file import read_mapping
from eyebright.errors import DataError

# Animals-10, as its folders are named.
ANIMALS = {
    "cane": "dog", "cavallo": "horse", "elefante": "elephant", "farfalla": "butterfly", "gallina": "chicken",
    "gatto": "cat", "mucca": "cow", "pecora": "sheep", "ragno": "spider", "scoiattolo": "squirrel",
}  # fmt: skip
TWO_PETS = {"italian": ["cane", "gatto"], "english": ["cat", "dog"]}


def mapping(content: dict[str, Any]) -> ClassMapping:
    return ClassMapping.from_dict(content, "map.yaml")


def problems(content: dict[str, Any], parts: dict[str, list[str]]) -> str:
    with pytest.raises(DataError) as caught:
        mapping(content).resolve(parts)
    return caught.value.problem


def test_a_short_file_renames_every_class_of_animals_10(tmp_path: Path) -> None:
    path = tmp_path / "map.yaml"
    path.write_text("".join(f"{old}: {new}\n" for old, new in ANIMALS.items()), encoding="utf-8")
    assert ClassMapping.read(path).resolve({"animals": list(ANIMALS)}) == {"animals": ANIMALS}


def test_without_a_mapping_names_are_kept() -> None:
    kept = mapping({}).resolve(TWO_PETS)
    assert kept == {"italian": {"cane": "cane", "gatto": "gatto"}, "english": {"cat": "cat", "dog": "dog"}}


def test_every_class_that_is_left_unmapped_is_named_with_its_line() -> None:
    told = problems({"cane": "dog", "gatto": None}, {"a": ["cane", "gatto", "ragno"], "b": ["no", "ragno", "a: b"]})
    assert "'ragno' of 'a' and 'b' is not mapped: add `ragno: ragno`" in told
    assert "'no' of 'b' is not mapped: add `no: no`" in told
    assert "'a: b' of 'b' is not mapped: add `\"a: b\": \"a: b\"`" in told
    assert "'cane'" not in told


def test_classes_that_do_not_exist_are_named_with_the_nearest() -> None:
    told = problems(
        {"classes": {"cavalo": "horse", "cat": ["gatto", "gato"]}, "parts": {"itlian": {}, "english": {"cane": "dog"}}},
        {"italian": ["cavallo", "gatto"], "english": ["chicken"]},
    )
    assert "there is no class 'cavalo' in any part (did you mean 'cavallo'?)" in told
    assert "there is no class 'gato' in any part (did you mean 'gatto'?)" in told
    assert "there is no part 'itlian' (did you mean 'italian'?): the parts are italian, english" in told
    assert "there is no class 'cane' in 'english'" in told


def test_a_class_without_images_may_be_mapped_and_need_not_be() -> None:
    lines = {"cane": "dog", "gatto": "cat"}
    assert mapping(lines).resolve({"a": ["cane"]}, {"a": ["cane", "gatto", "ragno"]}) == {"a": {"cane": "dog"}}


def test_lines_old_new_alone_never_merge() -> None:
    told = problems({"cane": "dog", "dog": "dog", "gatto": "cat", "cat": "cat"}, TWO_PETS)
    assert "'cane' of 'italian' and 'dog' of 'english' would become the one class 'dog'" in told
    assert "write `dog: [cane, dog]`" in told
    assert "write `cat: [cat, gatto]`" in told
    inside = problems({"husky": "dog", "poodle": "dog", "cat": "cat"}, {"one": ["husky", "poodle", "cat"], "two": []})
    assert "'husky' of 'one' and 'poodle' of 'one' would become the one class 'dog'" in inside


def test_a_list_merges_on_purpose() -> None:
    resolved = mapping({"dog": ["cane", "dog"], "cat": ["gatto", "cat"]}).resolve(TWO_PETS)
    assert resolved == {"italian": {"cane": "dog", "gatto": "cat"}, "english": {"cat": "cat", "dog": "dog"}}


def test_a_list_merges_what_it_names_and_nothing_else() -> None:
    parts = {"one": ["husky", "poodle", "wolf"]}
    told = problems({"classes": {"dog": ["husky", "poodle"]}, "parts": {"one": {"wolf": "dog"}}}, parts)
    assert "would become the one class 'dog'" in told
    assert "'wolf' of 'one'" in told


def test_names_that_two_parts_share_need_consent() -> None:
    parts = {"one": ["daisy", "rose"], "two": ["rose", "daisy", "tulip"]}
    told = problems({}, parts)
    assert "'daisy' (one, two), 'rose' (one, two)" in told
    assert "add `same_names: [daisy, rose]` or pass --same-names" in told
    some = problems({"same_names": ["daisy"]}, parts)
    assert "'rose' (one, two)" in some
    assert "daisy" not in some
    for consent in (True, "true", ["daisy", "rose"]):
        assert mapping({"same_names": consent}).resolve(parts)["two"] == {n: n for n in ("rose", "daisy", "tulip")}
    # Giving one of them another name is the other way out.
    renamed = {
        "parts": {"one": {"daisy": "marguerite", "rose": "old rose"}},
        "classes": {"daisy": "daisy", "rose": "rose", "tulip": "tulip"},
    }
    assert mapping(renamed).resolve(parts)["one"] == {"daisy": "marguerite", "rose": "old rose"}


def test_consent_to_a_name_that_no_two_parts_have_is_a_mistake() -> None:
    told = problems({"same_names": ["daisi"]}, {"one": ["daisy"], "two": ["rose"]})
    assert "same_names: no two parts have a class 'daisi' (did you mean 'daisy'?)" in told


def test_the_line_of_a_part_comes_before_the_line_for_all() -> None:
    content = {"classes": {"bat": "animal"}, "parts": {"sports": {"bat": "club"}}}
    resolved = mapping(content).resolve({"zoo": ["bat"], "sports": ["bat"]})
    assert resolved == {"zoo": {"bat": "animal"}, "sports": {"bat": "club"}}


def test_one_class_of_each_part_is_named_with_its_part() -> None:
    parts = {"zoo": ["bat", "club"], "sports": ["bat", "club"]}
    content = {"classes": {"stick": ["sports/bat", "sports/club"], "zoo/bat": "bat", "zoo/club": "club"}}
    assert mapping(content).resolve(parts) == {
        "zoo": {"bat": "bat", "club": "club"}, "sports": {"bat": "stick", "club": "stick"},
    }  # fmt: skip
    # A class whose own name has a slash is that class.
    assert mapping({"zoo/bat": "x", "bat": "y"}).resolve({"zoo": ["bat", "zoo/bat"]}) == {
        "zoo": {"bat": "y", "zoo/bat": "x"}
    }


def test_a_class_that_is_mapped_twice_is_named() -> None:
    told = problems({"cane": "dog", "hound": ["cane", "husky"]}, {"one": ["cane", "husky"]})
    assert "'cane' of 'one' is mapped more than once: to 'dog' and 'hound'" in told


@pytest.mark.parametrize("names", [["Dog", "dog"], ["dog ", "dog"], ["città", "citta"], ["STRASSE", "straße"]])
def test_names_that_differ_by_spelling_only_are_refused(names: list[str]) -> None:
    with pytest.raises(DataError, match="differ only by"):
        mapping({}).resolve({"one": names[:1], "two": names[1:]})


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ({"cane": "dog", "same_names": True}, "has the key 'cane' beside same_names"),
        ({"class": {}, "parts": {}}, r"the key 'class' \(did you mean 'classes'\?\)"),
        ({"same_names": "perhaps"}, "same_names is 'perhaps'"),
        ({"classes": ["cane"]}, "is no mapping"),
        ({"parts": {"one": "cane"}}, "is no mapping"),
        ({"cane": ""}, "'cane' has a value that is no class name"),
        ({"dog": []}, "'dog' has a value"),
        ({"dog": ["cane", "cane"]}, "'dog' has a value"),
        ({"dog": ["cane", None]}, "'dog' has a value"),
        ({"dog": {"cane": "dog"}}, "'dog' has a value"),
    ],
    ids=str,
)
def test_a_mapping_that_cannot_be_is_explained(content: dict[str, Any], words: str) -> None:
    with pytest.raises(DataError, match=words):
        mapping(content).resolve({"one": ["cane"]})


NAMES = st.sampled_from(["ant", "bee", "cat", "dog"])
PARTS = st.dictionaries(st.sampled_from(["p", "q", "r"]), st.lists(NAMES, unique=True, max_size=4), min_size=1)
VALUES = st.one_of(st.none(), NAMES, st.lists(NAMES, unique=True, min_size=1, max_size=3))
LINES = st.dictionaries(NAMES, VALUES, max_size=5)


@settings(max_examples=300, deadline=None)
@given(
    PARTS,
    LINES,
    st.dictionaries(st.sampled_from(["p", "q"]), LINES, max_size=2),
    st.one_of(st.booleans(), st.just(["cat"])),
)
def test_no_two_classes_become_one_unless_it_was_said(
    parts: dict[str, list[str]], lines: dict[str, Any], own: dict[str, dict[str, Any]], same: Any
) -> None:
    said = mapping({"same_names": same, "classes": lines, "parts": own})
    try:
        resolved = said.resolve(parts)
    except DataError:
        return
    assert {part: set(new) for part, new in resolved.items()} == {part: set(names) for part, names in parts.items()}
    sources: dict[str, set[tuple[str, str]]] = defaultdict(set)
    for part, classes in resolved.items():
        for old, new in classes.items():
            if new is None:
                assert None in (lines.get(old, 0), own.get(part, {}).get(old, 0))
            else:
                sources[new].add((part, old))
    for new, several in sources.items():
        if len(several) == 1:
            continue
        for part, old in several:
            listed = [block.get(new) for block in (lines, own.get(part, {}))]
            in_a_list = any(isinstance(value, list) and old in value for value in listed)
            shared = same is True or (same == ["cat"] and old == "cat")
            assert in_a_list or (shared and len({p for p, o in several if o == old}) > 1)


@settings(max_examples=100, deadline=None)
@given(
    st.lists(st.text(st.characters(exclude_categories=("Cc", "Cs"), exclude_characters="`"), min_size=1), min_size=1)
)
def test_the_lines_that_an_error_shows_can_be_pasted(
    tmp_path_factory: pytest.TempPathFactory, names: list[str]
) -> None:
    names = sorted({name for name in names if name.strip()} | {"mapped"})
    path = tmp_path_factory.mktemp("map") / "map.yaml"
    with pytest.raises(DataError) as caught:
        mapping({"mapped": "other name"}).resolve({"one": [*names, "one more"]})
    lines = re.findall(r"add `(.*?)`", caught.value.problem, re.DOTALL)
    path.write_text("\n".join(lines), encoding="utf-8")
    assert read_mapping(path, "the class mapping") == {name: name for name in [*names, "one more"] if name != "mapped"}


def test_the_mapping_goes_through_yaml_and_back() -> None:
    content = {"same_names": ["a"], "classes": {"b": None, "c": ["d", "e"]}, "parts": {"p": {"f": "g"}}}
    assert mapping(content).as_dict() == content
    assert mapping({}).as_dict() == {}
    assert mapping({"same_names": "no", "parts": {"p": None}}).as_dict() == {}
