from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from eyebright.data.sources import open_source
from eyebright.errors import DataError

MakeFolder = Callable[..., Path]


def listed(root: Path) -> list[tuple[str, str | None, str | None]]:
    return [(item.source, item.label, item.split) for item in open_source(root).items()]


def test_a_folder_for_each_class_with_nested_folders(make_folder: MakeFolder) -> None:
    root = make_folder({"dog/1.png": 1, "cat/deep/er/2.PNG": 2, "cat/3.png": 3})
    assert listed(root) == [("cat/3.png", "cat", None), ("cat/deep/er/2.PNG", "cat", None), ("dog/1.png", "dog", None)]
    source = open_source(str(root))
    assert source.kind == "folder"
    assert source.read("cat/3.png") == (root / "cat/3.png").read_bytes()


def test_strays_are_listed_with_reasons_and_never_become_classes(make_folder: MakeFolder) -> None:
    root = make_folder(
        {
            "cat/1.png": 1,
            "dog/2.png": 2,
            "dog/notes.txt": b"notes",
            "dog/Thumbs.db": b"x",
            "dog/.ipynb_checkpoints/2-checkpoint.png": 3,
            "__MACOSX/cat/._1.png": b"x",
            "@eaDir/cat.png": 4,
            ".git/config": b"x",
            ".DS_Store": b"x",
            "lonely.png": 5,
            "README.md": b"# images",
        }
    )
    (root / "empty").mkdir()
    (root / "cat" / "nowhere.png").symlink_to(root / "gone.png")
    source = open_source(root)
    assert [item.source for item in source.items()] == ["cat/1.png", "dog/2.png"]
    reasons = {stray.source: stray.reason for stray in source.strays()}
    assert set(reasons) == {
        *("dog/notes.txt", "dog/Thumbs.db", "dog/.ipynb_checkpoints/", "__MACOSX/", "@eaDir/", ".git/", ".DS_Store"),
        *("lonely.png", "README.md", "empty/", "cat/nowhere.png"),
    }
    assert "Jupyter" in reasons["dog/.ipynb_checkpoints/"]
    assert "1 file " in reasons["@eaDir/"]
    assert "without any image" in reasons["empty/"]
    assert "class folder is missing" in reasons["lonely.png"]


def test_an_image_without_a_suffix_is_found_by_its_first_bytes(make_folder: MakeFolder) -> None:
    root = make_folder({"cat/scan": 1, "cat/data.bin": b"\0\1\2", "dog/2.png": 2})
    assert [source for source, *_ in listed(root)] == ["cat/scan", "dog/2.png"]


@pytest.mark.parametrize("validation", ["val", "valid", "validation", "Validation"])
def test_split_folders(make_folder: MakeFolder, validation: str) -> None:
    root = make_folder({"train/cat/1.png": 1, f"{validation}/cat/2.png": 2, "test/dog/3.png": 3, "raw/cat/4.png": 4})
    source = open_source(root)
    assert source.kind == "split-folders"
    assert {(item.label, item.split) for item in source.items()} == {("cat", "train"), ("cat", "val"), ("dog", "test")}
    assert [stray.source for stray in source.strays()] == ["raw/"]


def test_train_among_other_vehicles_is_a_class(make_folder: MakeFolder) -> None:
    root = make_folder({"train/1.png": 1, "bus/2.png": 2})
    assert {label for _, label, _ in listed(root)} == {"train", "bus"}


def test_a_test_folder_without_classes_is_unlabelled(make_folder: MakeFolder) -> None:
    root = make_folder({"train/cat/1.png": 1, "train/dog/2.png": 2, "test/3.png": 3})
    assert ("test/3.png", None, "test") in listed(root)


def test_a_flat_folder_has_no_labels(make_folder: MakeFolder) -> None:
    root = make_folder({"b.png": 1, "a.png": 2})
    assert open_source(root).kind == "flat-folder"
    assert listed(root) == [("a.png", None, None), ("b.png", None, None)]


@pytest.mark.parametrize("other", ["Cat", "cat ", " CAT", "c\u0061\u0074\u00a0"])
def test_classes_that_differ_by_case_or_blanks_are_refused(make_folder: MakeFolder, other: str) -> None:
    root = make_folder({"cat/1.png": 1, f"{other}/2.png": 2})
    with pytest.raises(DataError, match="case or blanks") as caught:
        open_source(root)
    assert "mv" in (caught.value.remedy or "")


def test_two_unicode_spellings_of_one_name_are_one_class(make_folder: MakeFolder) -> None:
    root = make_folder({"train/cafe\u0301/1.png": 1, "test/caf\u00e9/2.png": 2})
    assert {label for _, label, _ in listed(root)} == {"caf\u00e9"}


def test_a_link_back_to_the_folder_above_ends(make_folder: MakeFolder) -> None:
    root = make_folder({"cat/1.png": 1, "dog/2.png": 2})
    (root / "cat" / "loop").symlink_to(root / "cat", target_is_directory=True)
    assert len(listed(root)) == 2


def test_a_name_that_is_not_utf8_is_a_stray(make_folder: MakeFolder) -> None:
    root = make_folder({"cat/1.png": 1, "dog/2.png": 2})
    (Path(os.fsdecode(os.fsencode(root / "cat") + b"/\xff.png"))).write_bytes(b"x")
    assert [stray.reason for stray in open_source(root).strays()] == ["its name is not valid UTF-8: rename it"]


def test_real_flowers(shared_data: Path) -> None:
    source = open_source(shared_data / "flowers")
    items = list(source.items())
    assert len(items) == 4317
    assert {item.label for item in items} == {"daisy", "dandelion", "rose", "sunflower", "tulip"}
    assert items == list(open_source(shared_data / "flowers").items())
