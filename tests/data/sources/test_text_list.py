from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from eyebright.data.manifest import Manifest
from eyebright.data.sources import open_source
from eyebright.errors import DataError

MakeFolder = Callable[..., Path]


def write(root: Path, text: str, name: str = "train.txt") -> Path:
    (root / name).write_text(text, encoding="utf-8")
    return root / name


def listed(path: Path) -> list[tuple[str, str | None, str | None]]:
    return [(item.source, item.label, item.split) for item in open_source(path).items()]


def test_a_list_of_real_photos_takes_labels_from_their_folders(flowers_sample: Path, tmp_path: Path) -> None:
    photos = sorted(flowers_sample.rglob("*.jpg"))
    source = open_source(write(tmp_path, "".join(f"{photo}\n" for photo in photos), "photos.lst"))
    assert source.kind == "text-list"
    manifest = Manifest.scan(source)
    assert manifest.fingerprint() == Manifest.scan(open_source(flowers_sample)).fingerprint()
    assert manifest.table["source"].to_pylist() == [str(photo) for photo in photos]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("cat/1.png\ndog/2.png\n", [("cat/1.png", "cat"), ("dog/2.png", "dog")]),
        ("# photos\n\n  cat/1.png \r\ndog/2.png", [("cat/1.png", "cat"), ("dog/2.png", "dog")]),
        ("\ufeffcat/1.png 0\ndog/2.png 11\n", [("cat/1.png", "0"), ("dog/2.png", "11")]),
        ("cat/1.png\tblack cat\ndog/2.png\tdog, old\n", [("cat/1.png", "black cat"), ("dog/2.png", "dog, old")]),
        ("cat/1.png,cat\ndog/2.png, old dog\n", [("cat/1.png", "cat"), ("dog/2.png", "old dog")]),
        ("my cat/1 a.png  3\nmy dog/2.PNG 4\n", [("my cat/1 a.png", "3"), ("my dog/2.PNG", "4")]),
        ("my cat/1, a.png\nmy dog/b c.png\n", [("my cat/1, a.png", "my cat"), ("my dog/b c.png", "my dog")]),
        ("scans/0001 3\nscans/0002 4\n", [("scans/0001", "3"), ("scans/0002", "4")]),
        ("my scans/0001,3\nmy scans/0002,4\n", [("my scans/0001", "3"), ("my scans/0002", "4")]),
        ("a.png golden retriever\nb.png x\n", [("a.png", "golden retriever"), ("b.png", "x")]),
        ("a.png.png 1\nb.jpg.jpeg 2\n", [("a.png.png", "1"), ("b.jpg.jpeg", "2")]),
        ("a.png salt\\|pepper\n", [("a.png", "salt|pepper")]),
        ("one/a.png\none/b.png\n", [("one/a.png", None), ("one/b.png", None)]),
    ],
)
def test_how_lines_are_read(make_folder: MakeFolder, text: str, expected: list[tuple[str, str | None]]) -> None:
    assert [(source, label) for source, label, _ in listed(write(make_folder({}), text))] == expected


def test_a_path_with_blanks_and_no_ending_is_a_path_when_it_exists(make_folder: MakeFolder) -> None:
    root = make_folder({"my scans/number 1": 1, "other/number 2": 2})
    path = write(root, "my scans/number 1\nother/number 2\n")
    assert listed(path) == [("my scans/number 1", "my scans", None), ("other/number 2", "other", None)]


def test_split_folders_in_the_paths_are_splits(make_folder: MakeFolder) -> None:
    path = write(make_folder({}), "images/train/cat/1.png\nimages/train/dog/2.png\nimages/test/cat/3.png\n", "all.list")
    assert [(label, split) for _, label, split in listed(path)] == [("cat", "train"), ("dog", "train"), ("cat", "test")]


def test_missing_and_repeated_lines_become_rows(make_folder: MakeFolder) -> None:
    root = make_folder({"a.png": 1, "b.png": 2})
    path = write(root, "a.png cat\nb.png dog\na.png cat\nc.png dog\n")
    assert Manifest.scan(open_source(path)).table["status"].to_pylist() == ["ok", "ok", "duplicate", "missing"]


def test_a_text_file_with_a_header_is_a_table(make_folder: MakeFolder) -> None:
    root = make_folder({"a.png": 1})
    source = open_source(write(root, "path;label;split\na.png;cat;test\n"))
    assert source.kind == "table"
    assert [(item.source, item.label, item.split) for item in source.items()] == [("a.png", "cat", "test")]


def test_lists_beside_class_folders_are_not_opened_unasked(make_folder: MakeFolder) -> None:
    root = make_folder({"cat/1.png": 1, "dog/2.png": 2, "train.txt": b"cat/1.png\n", "test.txt": b"dog/2.png\n"})
    source = open_source(root)
    assert source.kind == "folder"
    assert {stray.source for stray in source.strays()} == {"train.txt", "test.txt"}
    assert len(list(open_source(root / "train.txt").items())) == 1


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "names no image"),
        ("# only a comment\n", "names no image"),
        ("a.png cat\nb.png\n", r"line 2 of train.txt holds a path \('b.png'\), and line 1 a path, a blank and a label"),
        ("a.png,cat\n\n# x\nb.png dog\n", "line 4 of train.txt holds a path, a blank and a label"),
        ("a.png\tcat\nb.png\t\n", "line 2 of train.txt has no label"),
        ("\tcat\na.png\tcat\n", "line 1 of train.txt has no path"),
        ("a.png cat|dog\nb.png dog\n", r"several classes in 1 of 2 rows; the first is line 1 of train.txt: 'cat\|dog'"),
        ("a.png 0 1 1\nb.png 1 0 0\n", "2 of 2 lines of train.txt hold several numbers .* line 1: '0 1 1'"),
        ("a.png 10,20,30,40,3\n", "several numbers"),
        ("a.png cat\nb.png Cat\n", "case or blanks"),
    ],
)
def test_wrong_lists_are_refused_with_the_line(make_folder: MakeFolder, text: str, words: str) -> None:
    with pytest.raises(DataError, match=words):
        open_source(write(make_folder({}), text))


def test_a_list_in_another_encoding_is_refused(make_folder: MakeFolder) -> None:
    root = make_folder({"l.txt": "café/1.png\n".encode("latin-1")})
    with pytest.raises(DataError, match="UTF-8"):
        open_source(root / "l.txt")
