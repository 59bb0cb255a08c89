"""`eyebright datasets` as a user meets it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from wrong_input_cases import ask

from eyebright.cli.main import main

ACTIONS = ("list", "show", "add", "remove", "combine")


@pytest.fixture(autouse=True)
def own_catalogue(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("EYEBRIGHT_CATALOGUE", str(tmp_path / "catalogue"))
    return tmp_path / "catalogue"


@pytest.fixture
def animals(flowers_sample: Path, tmp_path: Path) -> tuple[Path, Path]:
    """Two folders of links to photos: one named in Italian, one in English."""
    places = []
    for root, names in (("animali", {"cane": "daisy", "gatto": "rose"}), ("animals", {"cat": "tulip", "dog": "daisy"})):
        for name, flower in names.items():
            folder = tmp_path / root / name
            folder.mkdir(parents=True)
            photos = sorted((flowers_sample / flower).iterdir())
            for photo in photos[:3] if root == "animali" else photos[10:14]:
                (folder / photo.name).symlink_to(photo)
        places.append(tmp_path / root)
    return places[0], places[1]


def told(*arguments: str | Path) -> str:
    answer = ask(["datasets", *arguments])
    assert answer.code == 0, answer.messages
    return answer.output


def told_json(*arguments: str | Path) -> Any:
    return json.loads(told(*arguments, "--json"))


def refused(*arguments: str | Path, code: int) -> str:
    answer = ask(["datasets", *arguments])
    assert answer.code == code, answer.messages + answer.output
    assert "to fix it" in answer.messages or "expected" in answer.messages
    return " ".join(answer.messages.split())


@pytest.mark.parametrize("action", ACTIONS)
def test_every_action_has_help_with_an_example(action: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["datasets", action, "--help"]) == 0
    text = capsys.readouterr().out
    assert f"Usage: eyebright datasets {action}" in text
    assert "Example" in text
    assert text.count(f"eyebright datasets {action}") >= 2  # the usage and an example
    assert "--json" in text
    assert main(["datasets", action, "-h"]) == 0
    assert capsys.readouterr().out == text


def test_without_an_action_it_lists(animals: tuple[Path, Path]) -> None:
    assert told() == told("list")
    assert "digits                   built-in" in told()
    told("add", "pets", animals[1])
    assert told_json() == told_json("list")
    assert told_json()["pets"] == {"kind": "path", "path": str(animals[1])}
    assert f"pets                     path      {animals[1]}" in told()


def test_wrong_actions_and_arguments_are_explained() -> None:
    assert "there is no action 'lst' (did you mean 'list'?)" in refused("lst", code=2)
    assert "see `eyebright datasets add --help`" in refused("add", "pets", code=2)
    assert "--json stands before the action" in refused("--json", "list", code=2)
    assert "did you mean 'digits'" in refused("show", "digist", code=2)
    assert "there is nothing at" in refused("add", "pets", "/no/such/place", code=3)
    assert "is the name of a data set already" in refused("add", "pets", "digits", code=2)
    assert "1 data set was given" in refused("combine", "digits", "-o", "x", code=2)
    assert "has no name" in refused("combine", "digits", "fashion-mnist", code=2)


def test_a_set_is_added_shown_and_removed(animals: tuple[Path, Path], own_catalogue: Path) -> None:
    _, english = animals
    assert told("add", "pets", english) == f"pets stands for {english}\n"
    shown = told_json("show", "pets")
    assert (shown["kind"], shown["path"], shown["classes"]) == ("folder", str(english), ["cat", "dog"])
    assert shown["counts"] == {"all": {"cat": 4, "dog": 4}}
    assert told("show", "pets").split() == [
        "pets:", "folder", "at", str(english), "class", "all", "cat", "4", "dog", "4", "all", "8",
    ]  # fmt: skip
    assert "there is a data set named 'pets' already" in refused("add", "pets", english, code=2)
    told("add", "pets", english, "--replace")
    assert "its images are where they were" in told("remove", "pets")
    assert list(own_catalogue.iterdir()) == []
    assert sum(1 for _ in english.rglob("*.jpg")) == 8


def test_what_cannot_be_opened_is_still_shown_and_listed(animals: tuple[Path, Path], own_catalogue: Path) -> None:
    told("add", "pets", animals[1])
    animals[1].rename(animals[1].with_name("moved"))
    shown = told_json("show", "pets")
    assert shown["kind"] is None
    assert "there is nothing at" in shown["problem"]
    assert "problem: " in told("show", "pets")
    (own_catalogue / "odd.yaml").write_text("format: something else\n")
    listed = told_json("list")
    assert listed["pets"]["kind"] == "path"
    assert listed["odd"]["kind"] == "broken"


def test_a_url_is_written_down_and_not_opened(monkeypatch: pytest.MonkeyPatch) -> None:
    def opened(*arguments: object, **options: object) -> None:
        raise AssertionError("the network was asked")

    monkeypatch.setattr("socket.socket.connect", opened)
    told("add", "web", "https://example.org/pets.zip")
    assert told_json("show", "web") | {"problem": None} == {
        "name": "web", "kind": "url", "path": "https://example.org/pets.zip", "classes": [], "counts": {},
        "unlabelled": 0, "problem": None,
    }  # fmt: skip


def test_names_that_are_hidden_by_a_path_here_are_noted(
    animals: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(animals[0].parent)
    answer = ask(["datasets", "add", "animali", "animali"])
    assert answer.code == 0
    assert "the path animali comes before the name" in answer.messages


def test_a_trial_shows_the_classes_and_writes_nothing(animals: tuple[Path, Path], own_catalogue: Path) -> None:
    italian, english = animals
    mapping = italian.parent / "map.yaml"
    mapping.write_text("dog: [cane, dog]\ngatto: cat\ncat: null\n")
    shown = told("combine", italian, english, "--map", mapping, "--dry-run")
    assert shown.splitlines() == [
        "class    animali    animals",
        "cat            3          0",
        "dog            3          4",
        "all            6          4",
        "left out of animals: cat (4)",
        "nothing was written",
    ]
    assert not own_catalogue.exists()


def test_sets_are_combined_under_a_name_and_found_by_it(animals: tuple[Path, Path], own_catalogue: Path) -> None:
    italian, english = animals
    mapping = italian.parent / "map.yaml"
    mapping.write_text("dog: [cane, dog]\ncat: [gatto, cat]\n")
    made = told_json("combine", f"it={italian}", english, "-o", "pets", "--map", mapping)
    assert made["classes"] == {"cat": {"it": 3, "animals": 4}, "dog": {"it": 3, "animals": 4}}
    assert Path(made["file"]) == own_catalogue / "pets.yaml"
    mapping.unlink()  # the entry holds the mapping itself
    shown = told_json("show", "pets")
    assert shown["parts"] == {"it": str(italian), "animals": str(english)}
    assert shown["mapping"] == {"classes": {"dog": ["cane", "dog"], "cat": ["gatto", "cat"]}}
    assert shown["counts"] == {"all": {"cat": 7, "dog": 7}}
    text = told("show", "pets")
    assert f"part it: {italian}" in text
    assert "dog: [cane, dog]" in text
    # Nothing but the entry was written: no image was copied.
    assert [path.name for path in own_catalogue.iterdir()] == ["pets.yaml"]
    assert "'pets' would be a part of itself" in refused("combine", "pets", italian, "-o", "pets", "--replace", code=3)
    assert "'pets' already" in refused("combine", italian, english, "-o", "pets", code=2)


def test_mistakes_in_a_mapping_are_all_named(animals: tuple[Path, Path], own_catalogue: Path) -> None:
    italian, english = animals
    mapping = italian.parent / "map.yaml"
    mapping.write_text("cane: dog\ndog: dog\nkatze: cat\n")
    told_all = refused("combine", italian, english, "-o", "pets", "--map", mapping, code=3)
    assert "'gatto' of 'animali' is not mapped: add `gatto: gatto`" in told_all
    assert "'cat' of 'animals' is not mapped" in told_all
    assert "there is no class 'katze' in any part" in told_all
    assert "write `dog: [cane, dog]`" in told_all
    assert not own_catalogue.exists()


def test_names_that_parts_share_need_consent(animals: tuple[Path, Path]) -> None:
    _, english = animals
    told("add", "one", english)
    copy = english.with_name("copy")
    copy.symlink_to(english)
    assert "add `same_names: [cat, dog]`" in refused("combine", "one", copy, "-o", "both", code=3)
    made = told_json("combine", "one", copy, "-o", "both", "--same-names")
    assert made["classes"] == {"cat": {"one": 4, "copy": 4}, "dog": {"one": 4, "copy": 4}}
    assert made["parts"]["one"] == "one"


def test_parts_of_one_name_or_place_are_refused(animals: tuple[Path, Path]) -> None:
    italian, english = animals
    inner = english / "animali"
    inner.mkdir()
    assert "two parts would have the name 'animali'" in refused("combine", italian, inner, "--dry-run", code=2)
    assert "was given twice" in refused("combine", italian, f"other={italian}", "--dry-run", code=2)


def test_a_split_of_one_part_is_noted(animals: tuple[Path, Path], shared_data: Path) -> None:
    shown = told(
        "combine", animals[1], shared_data / "cifar10" / "test-00000-of-00001.parquet", "--dry-run", "--same-names"
    )
    assert "note: 'test-00000-of-00001' brings a split, which is kept; images of 'animals' without one" in shown
