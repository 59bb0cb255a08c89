from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from eyebright.data.sources.folder import FolderSource
from eyebright.data.sources.tree import Entry, LocalTree
from eyebright.decode import UndecodableImage
from eyebright.errors import DataError

MakeFolder = Callable[..., Path]


def test_entries_are_sorted_and_links_count_as_what_they_lead_to(make_folder: MakeFolder) -> None:
    root = make_folder({"b.png": b"x", "a/1.png": b"x", "a/deep/2.png": b"x"})
    (root / "c").symlink_to(root / "a", target_is_directory=True)
    (root / "d.png").symlink_to(root / "b.png")
    (root / "e.png").symlink_to(root / "gone.png")
    (root / "f.png").symlink_to(root / "f.png")
    os.mkfifo(root / "g")
    tree = LocalTree(root)
    assert tree.entries("") == [
        Entry("a", "folder"),
        Entry("b.png", "file"),
        Entry("c", "folder"),
        Entry("d.png", "file"),
        Entry("e.png", "dangling-link"),
        Entry("f.png", "dangling-link"),
        Entry("g", "other"),
    ]
    assert [entry.name for entry in tree.entries("a/deep")] == ["2.png"]
    assert tree.identity("c") == tree.identity("a") != tree.identity("a/deep")
    assert tree.count_files("a") == 2
    assert tree.strays() == []


def test_a_file_is_read_whole_or_its_first_bytes(make_folder: MakeFolder) -> None:
    tree = LocalTree(make_folder({"a/1.bin": bytes(range(100))}))
    assert tree.read("a/1.bin") == bytes(range(100))
    assert tree.head("a/1.bin") == bytes(range(16))
    assert tree.head("a/1.bin", 200) == bytes(range(100))


@pytest.mark.parametrize("method", ["read", "head"])
@pytest.mark.parametrize(("path", "status"), [("gone.png", "missing"), ("1.png/2.png", "missing"), ("a", "unreadable")])
def test_what_cannot_be_read_says_why(make_folder: MakeFolder, method: str, path: str, status: str) -> None:
    tree = LocalTree(make_folder({"1.png": 1, "a/2.png": 2}))
    with pytest.raises(UndecodableImage) as caught:
        getattr(tree, method)(path)
    assert caught.value.status == status


def test_a_folder_that_is_not_there_cannot_be_listed(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="gone cannot be listed: No such file"):
        LocalTree(tmp_path).entries("gone")


def test_a_folder_and_its_tree_are_the_same_source(make_folder: MakeFolder) -> None:
    root = make_folder({"cat/1.png": 1, "dog/2.png": 2, "dog/notes.txt": b"x"})
    of_path, of_tree = FolderSource(root), FolderSource(LocalTree(root, "pets"))
    assert list(of_path.items()) == list(of_tree.items())
    assert of_path.strays() == of_tree.strays()
    assert (of_path.spec, of_tree.spec) == (str(root), "pets")
    assert FolderSource(LocalTree(root), "given").spec == "given"


def test_a_wrapping_folder_is_looked_through_on_request_only(make_folder: MakeFolder) -> None:
    root = make_folder({"pets-main/src/cat/1.png": 1, "pets-main/src/dog/2.png": 2, "pets-main/a.png": 3})
    assert {item.label for item in FolderSource(root).items()} == {"pets-main"}
    source = FolderSource(root, look_through=True)
    # `src` is the only folder of `pets-main`, but an image lies beside it: it may well be a class.
    assert {item.label for item in source.items()} == {"pets-main"}
    (root / "pets-main" / "a.png").unlink()
    source = FolderSource(root, look_through=True)
    assert [(item.source, item.label) for item in source.items()] == [
        ("pets-main/src/cat/1.png", "cat"),
        ("pets-main/src/dog/2.png", "dog"),
    ]


@pytest.mark.parametrize(
    ("files", "labels"),
    [
        (["cat/1.png", "cat/2.png"], {"cat"}),
        (["train/cat/1.png", "train/dog/2.png"], {"cat", "dog"}),
        (["set/train/cat/1.png", "set/test/dog/2.png", "set/readme.png"], {"cat", "dog"}),
        (["set/cat/1.png", "set/dog/2.png", "set/.git/3.png", "__MACOSX/set/4.png", "logo.png"], {"cat", "dog"}),
    ],
)
def test_what_counts_as_a_wrapping_folder(make_folder: MakeFolder, files: list[str], labels: set[str]) -> None:
    root = make_folder({path: number for number, path in enumerate(files)})
    source = FolderSource(root, look_through=True)
    assert {item.label for item in source.items()} == labels
    listed = {item.source for item in source.items()} | {stray.source for stray in source.strays()}
    for path in files:
        assert any(path == name or (name.endswith("/") and path.startswith(name)) for name in listed), path


def test_a_link_to_the_folder_above_is_no_endless_wrapping(make_folder: MakeFolder) -> None:
    root = make_folder({"set/notes.txt": b"x"})
    (root / "set" / "up").symlink_to(root, target_is_directory=True)
    assert not FolderSource(root, look_through=True).has_items()
