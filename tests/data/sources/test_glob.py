from __future__ import annotations

import fnmatch
import glob
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from eyebright.data.manifest import Manifest
from eyebright.data.sources import open_source
from eyebright.data.sources.pattern import PatternSource
from eyebright.data.sources.tree import LocalTree
from eyebright.errors import DataError

MakeFolder = Callable[..., Path]


def listed(spec: str | Path) -> list[tuple[str, str | None, str | None]]:
    return [(item.source, item.label, item.split) for item in open_source(spec).items()]


def test_real_photos_by_a_pattern_are_those_of_the_folder(flowers_sample: Path) -> None:
    source = open_source(f"{flowers_sample}/**/*.jpg")
    assert source.kind == "glob"
    assert list(source.items()) == list(open_source(flowers_sample).items())
    assert Manifest.scan(source).fingerprint() == Manifest.scan(open_source(flowers_sample)).fingerprint()


def test_the_label_is_the_folder_that_holds_the_image(make_folder: MakeFolder) -> None:
    root = make_folder({"dog/1.png": 1, "cat/deep/2.png": 2, "cat/3.png": 3, "4.png": 4})
    assert listed(f"{root}/**/*.png") == [
        ("4.png", None, None),
        ("cat/3.png", "cat", None),
        ("cat/deep/2.png", "deep", None),
        ("dog/1.png", "dog", None),
    ]


def test_images_of_one_folder_have_no_label(make_folder: MakeFolder) -> None:
    root = make_folder({"cat/1.png": 1, "cat/2.png": 2, "dog/3.png": 3})
    assert listed(f"{root}/cat/*.png") == [("1.png", None, None), ("2.png", None, None)]
    assert listed(f"{root}/c*/*.png") == [("cat/1.png", None, None), ("cat/2.png", None, None)]


def test_split_folders_that_a_pattern_goes_through_are_splits(make_folder: MakeFolder) -> None:
    root = make_folder({"train/cat/1.png": 1, "train/dog/2.png": 2, "valid/cat/3.png": 3, "test/4.png": 4})
    assert listed(f"{root}/**/*.png") == [
        ("test/4.png", None, "test"),
        ("train/cat/1.png", "cat", "train"),
        ("train/dog/2.png", "dog", "train"),
        ("valid/cat/3.png", "cat", "val"),
    ]
    # Among vehicles a train is a class.
    vehicles = make_folder({"train/1.png": 1, "bus/2.png": 2}, name="vehicles")
    assert listed(f"{vehicles}/*/*") == [("bus/2.png", "bus", None), ("train/1.png", "train", None)]


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("*/*.jpg", ["cat/1.jpg", "dog/1.jpg"]),
        ("{cat,dog}/*.{jpg,png}", ["cat/1.jpg", "cat/2.png", "dog/1.jpg"]),
        ("[!d]*/?.*", ["cat/1.jpg", "cat/2.png"]),
        ("**", ["cat/1.jpg", "cat/2.png", "cat/old/3.png", "dog/1.jpg"]),
        ("**/old/*", ["cat/old/3.png"]),
        ("cat/**/*.png", ["2.png", "old/3.png"]),
        (".*/*", ["hidden.png"]),
        ("photos [1]/*.png", ["1.png"]),
    ],
)
def test_what_a_pattern_matches(make_folder: MakeFolder, pattern: str, expected: list[str]) -> None:
    root = make_folder(
        {"cat/1.jpg": 1, "cat/2.png": 2, "cat/old/3.png": 3, "dog/1.jpg": 4, ".thumbs/hidden.png": 5},
    )
    (root / "photos [1]").mkdir()
    if pattern.startswith("photos"):
        (root / "photos [1]" / "1.png").write_bytes((root / "cat" / "2.png").read_bytes())
    assert [
        Path(source).name if pattern == ".*/*" else source for source, *_ in listed(f"{root}/{pattern}")
    ] == expected


def test_a_path_that_exists_comes_before_a_pattern(make_folder: MakeFolder) -> None:
    root = make_folder({"set[ab]/cat/1.png": 1, "set[ab]/dog/2.png": 2, "seta/cat/3.png": 3})
    assert open_source(root / "set[ab]").kind == "folder"
    assert [source for source, *_ in listed(f"{root}/set[ab]/*/*.png")] == ["cat/1.png", "dog/2.png"]


def test_matches_that_are_no_images_are_strays(make_folder: MakeFolder) -> None:
    root = make_folder(
        {
            "cat/1.png": 1,
            "cat/notes.txt": b"x",
            "dog/2": 2,
            "dog/Thumbs.db": b"x",
            "@eaDir/t.png": 3,
            "__MACOSX/b": b"x",
        }
    )
    (root / "empty").mkdir()
    source = open_source(f"{root}/**/*")
    assert [item.source for item in source.items()] == ["cat/1.png", "dog/2"]
    reasons = {stray.source: stray.reason for stray in source.strays()}
    assert set(reasons) == {"cat/notes.txt", "dog/Thumbs.db", "@eaDir/", "__MACOSX/", "empty/"}
    assert "not an image (.txt)" in reasons["cat/notes.txt"]
    assert "Synology" in reasons["@eaDir/"]


def test_a_link_back_to_the_folder_above_ends(make_folder: MakeFolder) -> None:
    root = make_folder({"cat/1.png": 1, "dog/2.png": 2})
    (root / "cat" / "loop").symlink_to(root, target_is_directory=True)
    assert [source for source, *_ in listed(f"{root}/**/*.png")] == ["cat/1.png", "dog/2.png"]


@pytest.mark.parametrize(
    ("pattern", "words"),
    [
        ("nowhere/deep/*.png", "no folder .*nowhere/deep; the nearest that exists is .*images$"),
        (
            "*/*.jpg",
            "nothing matches .*/\\*/\\*.jpg; the nearest folder that exists, .*images, holds cat/, dog/, notes.txt",
        ),
        ("*/*.PNG", "2 files match when case is ignored, such as cat/1.png"),
        ("*.txt", "matches 1 files, and none is an image: notes.txt"),
        ("*", "matches 1 files"),
        ("{cat,dog}", "matches 2 folders and no image: cat, dog"),
    ],
)
def test_a_pattern_without_images_is_explained(make_folder: MakeFolder, pattern: str, words: str) -> None:
    root = make_folder({"cat/1.png": 1, "dog/2.png": 2, "notes.txt": b"x"})
    with pytest.raises(DataError) as caught:
        open_source(f"{root}/{pattern}")
    assert re.search(words, caught.value.problem)
    assert caught.value.remedy


def test_class_folders_that_differ_by_case_are_refused(make_folder: MakeFolder) -> None:
    root = make_folder({"a/cat/1.png": 1, "b/Cat/2.png": 2})
    with pytest.raises(DataError, match="case or blanks"):
        open_source(f"{root}/*/*/*.png")


NAMES = st.sampled_from(["a", "b", "ab", "ba"])
SEGMENTS = st.sampled_from(["*", "**", "a", "a*", "?", "[ab]", "*b", "ab"])


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    paths=st.sets(st.lists(NAMES, min_size=1, max_size=3).map("/".join), min_size=1, max_size=8),
    segments=st.lists(SEGMENTS, min_size=1, max_size=4),
)
def test_matching_agrees_with_pythons_glob(
    tmp_path_factory: pytest.TempPathFactory, encode: Callable[..., bytes], paths: set[str], segments: list[str]
) -> None:
    root = tmp_path_factory.mktemp("glob")
    content = encode(1, 4)
    for path in paths:
        (root / f"{path}.png").parent.mkdir(parents=True, exist_ok=True)
        (root / f"{path}.png").write_bytes(content)
    segments = [*segments, "*.png"]
    pattern = "/".join(segments)
    expected = sorted(
        {found for found in glob.glob(pattern, root_dir=root, recursive=True) if (root / found).is_file()}  # noqa: PTH207
    )
    if not expected:
        with pytest.raises(DataError, match=r"matches"):
            PatternSource(LocalTree(root), segments, pattern)
        return
    found = [item.source for item in PatternSource(LocalTree(root), segments, pattern).items()]
    assert found == expected
    assert all(fnmatch.fnmatchcase(Path(path).name, "*.png") for path in found)
