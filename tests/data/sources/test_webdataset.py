from __future__ import annotations

import gzip
import io
import json
import shutil
import tarfile
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eyebright.data.manifest import Manifest
from eyebright.data.sources import open_source
from eyebright.data.sources.base import Source
from eyebright.data.sources.shard_names import expand_braces
from eyebright.decode import UndecodableImage
from eyebright.errors import DataError

MakeFolder = Callable[..., Path]
Encode = Callable[..., bytes]


def write_shard(path: Path, members: Iterable[tuple[str, bytes | str]]) -> Path:
    """A shard as the library webdataset describes it: a tar of files, those of one sample next to each other."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w") as archive:
        for name, content in members:
            data = content.encode() if isinstance(content, str) else content
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return path


def labels(source: Source) -> dict[str, str | None]:
    return {item.source: item.label for item in source.items()}


def reasons(source: Source) -> dict[str, str]:
    return {stray.source: stray.reason for stray in source.strays()}


@pytest.mark.parametrize("describe", ["cls", "json", "names"])
def test_shards_of_real_flowers_are_the_same_data_as_the_folder(
    flowers_sample: Path, tmp_path: Path, describe: str
) -> None:
    classes = sorted(path.name for path in flowers_sample.iterdir())
    photos = sorted(flowers_sample.rglob("*.jpg"), key=lambda path: path.name)
    for first in range(0, len(photos), 50):
        members: list[tuple[str, bytes | str]] = []
        for number, photo in enumerate(photos[first : first + 50], start=first):
            label = photo.parent.name
            members.append((f"{number:06d}.jpg", photo.read_bytes()))
            if describe == "json":
                members.append((f"{number:06d}.json", json.dumps({"label": label, "file": photo.name, "boxes": [1]})))
            else:
                members.append((f"{number:06d}.cls", label if describe == "names" else str(classes.index(label))))
        write_shard(tmp_path / f"flowers-{first // 50:06d}.tar", members)
    (tmp_path / "classnames.txt").write_text("\n".join(classes) + "\n")
    of_folder = Manifest.scan(open_source(flowers_sample))
    for spec in (tmp_path, tmp_path / "flowers-{000000..000002}.tar", tmp_path / "flowers-*.tar"):
        source = open_source(str(spec))
        manifest = Manifest.scan(source)
        assert source.kind == "webdataset"
        assert manifest.classes == of_folder.classes
        assert manifest.fingerprint() == of_folder.fingerprint()
        assert source.strays() == []
        assert next(iter(source.items())).source == "flowers-000000.tar#000000.jpg"
        if describe == "json":
            assert set(manifest.table["file"].to_pylist()) == {photo.name for photo in photos}
            assert "boxes" not in manifest.table.schema.names


def test_one_shard_and_its_parts(encode: Encode, tmp_path: Path) -> None:
    shard = write_shard(
        tmp_path / "train-0.tar",
        [
            ("./a/0001.jpg", encode(1, format="JPEG")),
            ("./a/0001.mask.png", encode(2)),
            ("./a/0001.cls", "10\n"),
            ("./a/0001.txt", "a photo of a dog"),
            ("./b.c/0002.v2.PNG", encode(3)),
            ("./b.c/0002.json", '{"class": 9, "camera": "Canon", "exposure": 0.5, "id": 7}'),
            ("./b.c/0002.npy", b"x"),
            ("0003.webp", encode(4, format="WEBP")),
            ("0004.ppm", encode(5, format="PPM")),
            ("0004.cls", "-1"),
        ],
    )
    source = open_source(shard)
    assert labels(source) == {
        "train-0.tar#a/0001.jpg": "10",
        "train-0.tar#b.c/0002.v2.PNG": "9",
        "train-0.tar#0003.webp": None,
        "train-0.tar#0004.ppm": None,
    }
    assert source.class_names == ("9", "10")
    assert [dict(item.extra) for item in source.items()] == [
        {"txt": "a photo of a dog"},
        {"camera": "Canon", "exposure": 0.5, "id": 7},
        {},
        {},
    ]
    assert {item.split for item in source.items()} == {"train"}
    assert source.read("train-0.tar#b.c/0002.v2.PNG") == encode(3)
    assert reasons(source) == {
        "train-0.tar#*.mask.png": "1 member of samples, neither the image nor a description of it",
        "train-0.tar#*.npy": "1 member of samples, neither the image nor a description of it",
    }
    with pytest.raises(UndecodableImage) as caught:
        source.read("train-0.tar#0005.jpg")
    assert caught.value.status == "missing"
    table = Manifest.scan(source).table
    assert table["user_id"].to_pylist()[:2] == [None, 7]
    assert table["status"].to_pylist() == ["ok", "ok", "unlabelled", "unlabelled", "stray", "stray"]


def test_what_is_no_sample_is_a_stray(encode: Encode, tmp_path: Path) -> None:
    shard = write_shard(
        tmp_path / "x.tar",
        [
            ("1.jpg", encode(1)),
            ("1.cls", "0"),
            ("2.cls", "1"),
            ("3.jpg", encode(3)),
            ("3.jpg", encode(4)),
            ("3.cls", b"\xff\xfe\xff"),
            ("1.jpg", encode(5)),
            ("4.jpg", encode(6)),
            ("4.cls", " \n"),
            ("5.jpg", encode(7)),
            ("5.json", "{"),
            ("6.jpg", encode(8)),
            ("6.json", '{"label": {"name": "cat"}}'),
            ("7.jpg", encode(9)),
            ("7.cls", "a cat\non a mat"),
            (".hidden.jpg", encode(10)),
            ("README", b"x"),
            ("caf\udce9.jpg", encode(11)),
        ],
    )
    source = open_source(shard)
    assert list(labels(source).values()) == ["0", None, None, None, None, None]
    found = reasons(source)
    assert {name: words for name, words in found.items() if name != "x.tar#5.json"} == {
        "x.tar": "3 members outside samples: links, hidden files, names without a dot or not in UTF-8",
        "x.tar#2": "a sample without an image: it has .cls",
        "x.tar#3.jpg": "its sample has another .jpg already",
        "x.tar#3.cls": "it is not UTF-8 text",
        "x.tar#1.jpg": "its key was used before in this shard: the members of a sample must follow each other",
        "x.tar#4.cls": "it is empty",
        "x.tar#6.json": found["x.tar#7.cls"],
        "x.tar#7.cls": "its label is neither a whole number nor a name of one line and at most 200 letters",
    }
    assert "no JSON" in found["x.tar#5.json"]
    assert source.read("x.tar#3.jpg") == encode(3)


def test_values_that_a_table_cannot_hold_are_written_out(encode: Encode, tmp_path: Path) -> None:
    values = '{"label": "cat", "long": 123456789012345678901, "half": "\\ud800", "none": null}'
    source = open_source(write_shard(tmp_path / "x.tar", [("1.png", encode(1)), ("1.json", values)]))
    (extra,) = (dict(item.extra) for item in source.items())
    assert extra == {"long": "123456789012345678901", "half": "\\ud800", "none": None}
    assert Manifest.scan(source).table["long"].to_pylist() == ["123456789012345678901"]


def test_numbers_are_sorted_as_numbers_and_other_labels_as_text(encode: Encode, tmp_path: Path) -> None:
    def classes(*texts: str) -> tuple[str, ...]:
        members = [
            (f"{n}.{kind}", what) for n, text in enumerate(texts) for kind, what in (("png", encode(n)), ("cls", text))
        ]
        return Manifest.scan(open_source(write_shard(tmp_path / "x.tar", members))).classes

    assert classes("10", "9", "0") == ("0", "9", "10")
    assert classes("10", "9", "cat") == ("10", "9", "cat")
    assert classes("007", "7") == ("007", "7")


@pytest.mark.parametrize("place", ["classnames.txt", "test/classes.txt"])
def test_class_names_of_the_layout_of_open_clip(encode: Encode, tmp_path: Path, place: str) -> None:
    for split, first in (("train", 0), ("test", 10)):
        for shard in (0, 1):
            number = first + shard
            write_shard(
                tmp_path / split / f"{shard}.tar", [("s.webp", encode(number, format="WEBP")), ("s.cls", str(shard))]
            )
        (tmp_path / split / "nshards.txt").write_text("2")
    (tmp_path / place).write_text("large dog\ncat\n", encoding="utf-8-sig")
    source = open_source(tmp_path)
    assert [(item.source, item.label, item.split) for item in source.items()] == [
        ("test/0.tar#s.webp", "large dog", "test"),
        ("test/1.tar#s.webp", "cat", "test"),
        ("train/0.tar#s.webp", "large dog", "train"),
        ("train/1.tar#s.webp", "cat", "train"),
    ]
    assert source.class_names == ("large dog", "cat")
    assert set(reasons(source)) == {"test/nshards.txt", "train/nshards.txt"}
    assert open_source(tmp_path / "test").class_names == ("large dog", "cat")


@pytest.mark.parametrize(
    ("names", "words"),
    [
        ("cat\n", "has the label '1', and 1 class names are declared"),
        ("cat\ncat\n", "line 2 .* repeats 'cat'"),
        ("cat\n\ndog\n", "line 2 .* is empty"),
        ("cat\nCat \n", "case or blanks"),
    ],
)
def test_class_names_that_do_not_fit(encode: Encode, tmp_path: Path, names: str, words: str) -> None:
    (tmp_path / "classnames.txt").write_text(names)
    shard = write_shard(tmp_path / "x.tar", [("1.png", encode(1)), ("1.cls", "1")])
    with pytest.raises(DataError, match=words):
        open_source(shard)


@pytest.mark.parametrize("described", [("1.cls", "cat|dog"), ("1.json", '{"label": ["cat", "dog"]}')])
def test_several_classes_in_one_sample_are_refused(encode: Encode, tmp_path: Path, described: tuple[str, str]) -> None:
    shard = write_shard(tmp_path / "x.tar", [("1.png", encode(1)), described])
    with pytest.raises(DataError, match=r"multi-label.* x.tar#1.png"):
        open_source(shard)


@pytest.mark.parametrize(
    ("members", "kind"),
    [
        (["cat/1.png", "dog/2.png"], "folder"),
        (["cat/1.png", "dog/2.png", "README.txt", "cat/notes.json"], "folder"),
        (["cat/1.png", "cat/1.txt", "dog/2.png", "dog/2.txt"], "folder"),
        (["cat/1.png", "cat/1.json", "dog/2.png", "dog/2.json"], "folder"),
        (["cat/1.png", "cat/1.cls", "dog/2.png", "dog/2.cls"], "webdataset"),
        (["00/1.png", "00/1.json:label", "01/2.png", "01/2.json:label"], "webdataset"),
        (["1.png", "1.txt", "2.png", "2.txt"], "webdataset"),
        (["train/1.png", "train/1.json", "train/2.png", "train/2.json"], "webdataset"),
        (["1.png", "2.png"], "flat-folder"),
    ],
)
def test_a_webdataset_is_told_from_an_archive_of_folders(
    encode: Encode, tmp_path: Path, members: list[str], kind: str
) -> None:
    contents: list[tuple[str, bytes | str]] = []
    for number, member in enumerate(members):
        name, _, key = member.partition(":")
        content = (
            encode(number) if name.endswith("png") else json.dumps({key or "source": 1}) if "json" in name else "1"
        )
        contents.append((name, content))
    assert open_source(write_shard(tmp_path / "x.tar", contents)).kind == kind


def test_an_archive_left_beside_its_folders_changes_nothing(make_folder: MakeFolder) -> None:
    root = make_folder({"cat/1.png": 1, "dog/2.png": 2})
    shutil.make_archive(str(root / "pets"), "tar", root)
    assert open_source(root).kind == "folder"


def test_a_folder_of_shards_lists_what_is_beside_them(encode: Encode, tmp_path: Path) -> None:
    write_shard(tmp_path / "a.tar", [("1.png", encode(1)), ("1.cls", "0")])
    write_shard(tmp_path / "b.tar", [("notes", "x")])
    (tmp_path / "README.md").write_text("#")
    (tmp_path / "more").mkdir()
    source = open_source(tmp_path)
    assert list(labels(source)) == ["a.tar#1.png"]
    assert set(reasons(source)) == {"README.md", "b.tar", "more/"}


def test_a_damaged_shard_among_good_ones_is_named(encode: Encode, tmp_path: Path) -> None:
    write_shard(tmp_path / "a.tar", [("1.png", encode(1)), ("1.cls", "0")])
    (tmp_path / "b.tar").write_bytes((tmp_path / "a.tar").read_bytes()[:700])
    with pytest.raises(DataError, match=r"b.tar is cut off or damaged"):
        open_source(tmp_path)


def test_a_pattern_over_folders_and_compressed_shards(
    encode: Encode, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for split in ("train", "val"):
        shard = write_shard(Path(split) / "0.tar", [("1.png", encode(len(split))), ("1.cls", "cat")])
        Path(f"{shard}.gz").write_bytes(gzip.compress(shard.read_bytes()))
    source = open_source("{train,val}/0.tar.gz")
    assert [(item.source, item.split) for item in source.items()] == [
        ("train/0.tar.gz#1.png", "train"),
        ("val/0.tar.gz#1.png", "val"),
    ]
    assert source.read("val/0.tar.gz#1.png") == encode(3)
    assert [item.source for item in open_source("train/{0..0}.tar").items()] == ["0.tar#1.png"]


def test_a_missing_shard_is_named(encode: Encode, tmp_path: Path) -> None:
    for number in (0, 2):
        write_shard(tmp_path / f"x-{number:03d}.tar", [("1.png", encode(number)), ("1.cls", "cat")])
    with pytest.raises(DataError, match=r"2 of the 4 shards .* are missing, the first is .*x-001\.tar"):
        open_source(str(tmp_path / "x-{000..003}.tar"))
    with pytest.raises(DataError, match="no shard matches"):
        open_source(str(tmp_path / "y-*.tar"))
    with pytest.raises(DataError, match="more than 100,000 shards"):
        open_source(str(tmp_path / "x-{000000..999999}.tar"))


@pytest.mark.parametrize(
    ("text", "expanded"),
    [
        ("a-{0..2}.tar", ["a-0.tar", "a-1.tar", "a-2.tar"]),
        ("{008..011}", ["008", "009", "010", "011"]),
        ("{2..0}", ["2", "1", "0"]),
        ("{a,b}-{0..1}", ["a-0", "a-1", "b-0", "b-1"]),
        ("{x-{0..1},y}", ["x-0", "y", "x-1"]),
        ("a{b}{}-{0..1}", ["a{b}{}-0", "a{b}{}-1"]),
        ("plain.tar", ["plain.tar"]),
    ],
)
def test_braces(text: str, expanded: list[str]) -> None:
    assert sorted(expand_braces(text)) == sorted(expanded)


@given(first=st.integers(0, 500), last=st.integers(0, 500), width=st.integers(1, 6))
def test_ranges_count_every_number_once_in_order(first: int, last: int, width: int) -> None:
    step = 1 if last >= first else -1
    numbers = [int(text) for text in expand_braces(f"{{{first:0{width}d}..{last:0{width}d}}}")]
    assert numbers == list(range(first, last + step, step))
