"""Data sets by name: what is added is found, what is wrong is explained, and no image is ever touched."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eyebright.data.sources import open_source
from eyebright.data.sources.catalogue import (
    CatalogueEntry,
    Reference,
    add_entry,
    catalogue_folder,
    check_new_name,
    entry_names,
    part_names,
    read_entry,
    refer,
    remove_entry,
)
from eyebright.data.sources.class_mapping import ClassMapping
from eyebright.errors import DataError, StorageError, UsageError

MakeFolder = Callable[..., Path]
NAMES = st.text(st.characters(exclude_categories=("Cc", "Cs")), min_size=1, max_size=10)


@pytest.fixture(autouse=True)
def own_catalogue(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("EYEBRIGHT_CATALOGUE", str(tmp_path / "catalogue"))
    return tmp_path / "catalogue"


@pytest.fixture
def pets(make_folder: MakeFolder) -> Path:
    return make_folder({"cat/1.png": 1, "dog/2.png": 2}, name="pets")


def named(name: str, path: Path | str) -> CatalogueEntry:
    return CatalogueEntry(name=name, reference=Reference(path=str(path)))


def combined(name: str, *parts: str) -> CatalogueEntry:
    return CatalogueEntry(name=name, parts={f"part-{part}": Reference(name=part) for part in parts})


def test_the_catalogue_lies_where_the_environment_says(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert catalogue_folder() == tmp_path / "catalogue"
    monkeypatch.delenv("EYEBRIGHT_CATALOGUE")
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    assert catalogue_folder() == tmp_path / "data" / "eyebright" / "datasets"
    monkeypatch.delenv("XDG_DATA_HOME")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert catalogue_folder() == tmp_path / "home" / ".local" / "share" / "eyebright" / "datasets"
    assert entry_names() == []


def test_what_was_added_is_found_by_name_from_any_folder(
    pets: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(pets.parent)
    add_entry(CatalogueEntry(name="my-pets", reference=refer("pets")))
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    source = open_source("my-pets")
    assert [item.source for item in source.items()] == ["cat/1.png", "dog/2.png"]
    assert source.read("cat/1.png") == (pets / "cat/1.png").read_bytes()
    # The spec is the place: what was made of it stays valid when the name goes.
    assert source.spec == str(pets)


def test_a_path_that_exists_comes_before_a_name(
    pets: Path, make_folder: MakeFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    add_entry(named("birds", pets))
    birds = make_folder({"owl/1.png": 3, "tit/2.png": 4}, name="birds")
    monkeypatch.chdir(birds.parent)
    assert {item.label for item in open_source("birds").items()} == {"owl", "tit"}


def test_a_typing_error_is_met_with_the_names_of_the_catalogue(pets: Path) -> None:
    add_entry(named("garden-birds", pets))
    with pytest.raises(DataError, match="did you mean 'garden-birds'"):
        open_source("gardenbirds")


@pytest.mark.parametrize(
    "name", ["", ".", "..", "a b", "-x", "a/b", "ä", "a=b", "x" * 65, "https://x", "a\n", ".hidden"]
)
def test_what_cannot_be_a_name_is_refused(name: str, own_catalogue: Path) -> None:
    with pytest.raises(UsageError, match="cannot be the name"):
        add_entry(named(name, "/tmp"))
    assert not own_catalogue.exists()


@pytest.mark.parametrize("name", ["digits", "Digits", "fashion-mnist"])
def test_a_name_that_would_hide_a_built_in_one_is_refused(name: str) -> None:
    with pytest.raises(UsageError, match="would hide the built-in"):
        check_new_name(name, replace=True)


def test_a_taken_name_is_kept_unless_it_is_to_be_replaced(pets: Path) -> None:
    add_entry(named("pets", "/one"))
    with pytest.raises(UsageError, match="there is a data set named 'pets' already"):
        add_entry(named("pets", pets))
    assert read_entry("pets").reference == Reference(path="/one")
    add_entry(named("pets", pets), replace=True)
    assert read_entry("pets").reference == Reference(path=str(pets))
    # On some file systems both would be one file.
    with pytest.raises(UsageError, match="named 'pets' already"):
        add_entry(named("PETS", pets), replace=True)


def test_removing_removes_the_entry_and_no_image(pets: Path, own_catalogue: Path) -> None:
    add_entry(named("my-pets", pets))
    before = {path: path.read_bytes() for path in pets.rglob("*.png")}
    remove_entry("my-pets")
    assert list(own_catalogue.iterdir()) == []
    assert {path: path.read_bytes() for path in pets.rglob("*.png")} == before
    with pytest.raises(UsageError, match="no data set named 'my-pets'"):
        remove_entry("my-pets")
    with pytest.raises(UsageError, match="built in"):
        remove_entry("digits")


def test_a_part_of_a_combined_set_is_not_removed(pets: Path) -> None:
    add_entry(named("one", pets))
    add_entry(named("two", pets))
    add_entry(combined("both", "one", "two"))
    add_entry(combined("more", "both", "digits"))
    assert part_names("more") == {"both", "digits", "one", "two"}
    with pytest.raises(UsageError, match="'one' is a part of 'both', 'more'"):
        remove_entry("one")
    remove_entry("more")
    remove_entry("both")
    remove_entry("one")
    assert entry_names() == ["two"]


def test_a_combined_set_that_came_to_contain_itself_is_refused(pets: Path) -> None:
    add_entry(combined("outer", "inner", "digits"))
    add_entry(combined("inner", "outer", "digits"))
    with pytest.raises(DataError, match="'outer' would be a part of itself, through 'inner'"):
        open_source("outer")


def test_images_that_are_gone_are_reported_with_the_name(pets: Path) -> None:
    add_entry(named("my-pets", pets))
    pets.rename(pets.with_name("moved"))
    with pytest.raises(
        DataError, match="the data set 'my-pets' of the catalogue cannot be opened: there is nothing"
    ) as e:
        open_source("my-pets")
    assert "eyebright datasets add my-pets PATH --replace" in (e.value.remedy or "")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("path: /x\n", "no catalogue entry"),
        ("format: eyebright-dataset\nversion: 2\npath: /x\n", "version '2'"),
        ("format: eyebright-dataset\nversion: one\npath: /x\n", "version 'one'"),
        ("format: eyebright-dataset\nversion: 1\n", "does not say where"),
        ("format: eyebright-dataset\nversion: 1\nparts: {a: {path: /x}}\nmapping: {}\n", "lacks its parts"),
        ("format: eyebright-dataset\nversion: 1\nparts: {a: /x, b: /y}\nmapping: {}\n", "does not say where"),
        ("format: [", "not valid YAML"),
    ],
)
def test_a_broken_entry_is_named(content: str, words: str, own_catalogue: Path) -> None:
    own_catalogue.mkdir()
    (own_catalogue / "broken.yaml").write_text(content)
    with pytest.raises(DataError, match=words) as caught:
        open_source("broken")
    assert "broken.yaml" in caught.value.problem
    remove_entry("broken")
    assert entry_names() == []


def test_foreign_files_in_the_folder_are_no_names(own_catalogue: Path) -> None:
    own_catalogue.mkdir()
    for name in ("README.md", ".pets.yaml.1-2.partial", "a b.yaml", ".yaml"):
        (own_catalogue / name).write_text("x")
    assert entry_names() == []


def test_a_catalogue_that_cannot_be_written_is_a_storage_error(own_catalogue: Path, pets: Path) -> None:
    own_catalogue.write_text("a file where a folder should be")
    with pytest.raises(StorageError):
        add_entry(named("pets", pets))


def test_places_mean_the_same_from_every_folder(pets: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    add_entry(named("birds", pets))
    monkeypatch.chdir(pets.parent)
    assert refer("pets") == Reference(path=str(pets))
    assert refer("./pets") == Reference(path=str(pets))
    assert refer("pets/*/*.png") == Reference(path=str(pets / "*" / "*.png"))
    assert refer("digits") == Reference(name="digits")
    assert refer("birds") == Reference(name="birds")
    assert refer("https://example.org/pets.zip") == Reference(path="https://example.org/pets.zip")
    monkeypatch.setenv("HOME", str(pets.parent))
    assert refer("~/pets") == Reference(path=str(pets))


@pytest.mark.parametrize(
    "url", ["https://me:secret@example.org/x.zip", "https://example.org/x.zip?sig=0123456789abcdef"]
)
def test_a_url_that_gives_access_is_not_written_down(url: str) -> None:
    with pytest.raises(UsageError, match="password or a signature") as caught:
        refer(url)
    assert "secret" not in str(caught.value)
    assert "0123456789abcdef" not in str(caught.value)


@settings(max_examples=25, deadline=None)
@given(
    st.dictionaries(NAMES, st.one_of(st.none(), NAMES, st.lists(NAMES, min_size=1, unique=True)), max_size=4),
    st.one_of(st.booleans(), st.lists(NAMES).map(tuple)),
    st.text(st.characters(exclude_categories=("Cc", "Cs")), min_size=1),
)
def test_an_entry_comes_back_as_it_was_written(lines: dict[str, object], same: object, path: str) -> None:
    mapping = ClassMapping.from_dict({"classes": lines, "parts": {"one": lines} if lines else {}}, "x")
    mapping = ClassMapping(same_names=same or False, everywhere=mapping.everywhere, by_part=mapping.by_part)  # type: ignore[arg-type]
    entry = CatalogueEntry(
        name="set", parts={"one": Reference(path=path), "two": Reference(name="digits")}, mapping=mapping
    )
    add_entry(entry, replace=True)
    assert read_entry("set") == entry
