from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from eyebright.data.manifest import Manifest
from eyebright.data.sources import Item, open_source
from eyebright.errors import DataError

MakeFolder = Callable[..., Path]


def write(root: Path, rows: list[dict[str, object]], name: str = "metadata.csv") -> None:
    """The rows in the format that the name's ending says."""
    path = root / name
    if name.endswith(".parquet"):
        pq.write_table(pa.Table.from_pylist(rows), path)
    elif name.endswith(".jsonl"):
        path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    else:
        lines = [",".join(rows[0]), *(",".join("" if v is None else str(v) for v in row.values()) for row in rows)]
        path.write_text("\n".join(lines) + "\n", encoding="utf-8")


@pytest.mark.parametrize("name", ["metadata.csv", "metadata.jsonl", "metadata.parquet"])
def test_labels_from_the_metadata_of_real_photos(flowers_sample: Path, tmp_path: Path, name: str) -> None:
    rows: list[dict[str, object]] = []
    for photo in sorted(flowers_sample.rglob("*.jpg")):
        shutil.copyfile(photo, tmp_path / photo.name)
        rows.append({"file_name": photo.name, "label": photo.parent.name, "camera": f"c{len(rows) % 3}"})
    write(tmp_path, rows, name)
    source = open_source(tmp_path)
    assert source.kind == "metadata"
    assert source.strays() == []
    manifest = Manifest.scan(source)
    assert manifest.fingerprint() == Manifest.scan(open_source(flowers_sample)).fingerprint()
    assert manifest.table["camera"].to_pylist() == [row["camera"] for row in rows]


def test_metadata_in_split_folders(make_folder: MakeFolder) -> None:
    root = make_folder({"train/1.png": 1, "train/deep/2.png": 2, "test/3.png": 3, "train/unnamed.png": 4})
    write(root / "train", [{"file_name": "1.png", "label": "cat"}, {"file_name": "deep/2.png", "label": "dog"}])
    write(root / "test", [{"file_name": "./3.png", "label": "cat"}], "metadata.jsonl")
    source = open_source(root)
    assert {(item.source, item.label, item.split) for item in source.items()} == {
        ("train/1.png", "cat", "train"),
        ("train/deep/2.png", "dog", "train"),
        ("test/3.png", "cat", "test"),
    }
    assert [(stray.source, stray.reason) for stray in source.strays()] == [
        ("train/unnamed.png", "the metadata does not name it")
    ]
    assert set(Manifest.scan(source).table["status"].to_pylist()) == {"ok", "stray"}


def test_splits_from_paths_or_a_column(make_folder: MakeFolder) -> None:
    root = make_folder({"train/1.png": 1, "val/2.png": 2})
    rows: list[dict[str, object]] = [
        {"file_name": "train/1.png", "category": "cat"},
        {"file_name": "val/2.png", "category": "cat"},
    ]
    write(root, rows)
    assert [item.split for item in open_source(root).items()] == ["train", "val"]
    write(root, [row | {"split": "test", "weight": 2, "group": "g"} for row in rows])
    assert next(open_source(root).items()) == Item("train/1.png", "cat", "test", "g", 2.0)


def test_without_a_label_column_the_folders_label_and_the_columns_are_kept(make_folder: MakeFolder) -> None:
    root = make_folder({"cat/1.png": 1, "cat/2.png": 2, "dog/3.png": 3, "lonely.png": 4})
    rows: list[dict[str, object]] = [
        {"file_name": "cat/1.png", "text": "a cat", "group": "g1", "width": 16},
        {"file_name": "dog/3.png", "text": "a dog", "group": None, "width": 16},
        {"file_name": "dog/gone.png", "text": "?", "group": None, "width": None},
    ]
    write(root, rows, "metadata.parquet")
    source = open_source(root)
    manifest = Manifest.scan(source)
    found = {row["source"]: row for row in manifest.table.to_pylist()}
    assert [found[path]["label"] for path in ("cat/1.png", "cat/2.png", "dog/3.png")] == ["cat", "cat", "dog"]
    assert [found[path]["text"] for path in ("cat/1.png", "cat/2.png", "dog/3.png")] == ["a cat", None, "a dog"]
    assert found["cat/1.png"]["group"] == "g1"
    assert found["dog/gone.png"]["status"] == "missing"
    assert "directly in the root" in found["lonely.png"]["reason"]
    assert "metadata.parquet" not in found


def test_images_that_the_metadata_names_wrongly_and_files_of_tools(make_folder: MakeFolder) -> None:
    root = make_folder({"1.png": 1, "notes.txt": b"x", ".git/config": b"x", "__MACOSX/1.png": 2, ".DS_Store": b"x"})
    write(root, [{"file_name": "1.png", "label": "cat"}, {"file_name": "2.png", "label": "dog"}])
    source = open_source(root)
    assert {stray.source for stray in source.strays()} == {"notes.txt", ".git/", "__MACOSX/", ".DS_Store"}
    assert [row["status"] for row in Manifest.scan(source).table.to_pylist()[:2]] == ["ok", "missing"]


@pytest.mark.parametrize(
    "content", [b"id,label\n1,cat\n", b"file_name;x\xff", b"\x00\x01", b"", b"a\nb,c\nd\n"], ids=repr
)
def test_a_file_of_that_name_without_the_column_is_a_stray(make_folder: MakeFolder, content: bytes) -> None:
    root = make_folder({"cat/1.png": 1, "dog/2.png": 2, "metadata.csv": content})
    source = open_source(root)
    assert source.kind == "folder"
    assert [stray.source for stray in source.strays()] == ["metadata.csv"]


def test_the_path_column_is_file_name_even_beside_one_called_path(make_folder: MakeFolder) -> None:
    root = make_folder({"1.png": 1})
    write(root, [{"path": "/old/place.png", "file_name": "1.png", "label": "cat"}])
    assert [(item.source, item.extra) for item in open_source(root).items()] == [("1.png", {"path": "/old/place.png"})]


@pytest.mark.parametrize(
    ("files", "words"),
    [
        (
            {"metadata.csv": b"file_name,label\n1.png,cat\n", "metadata.jsonl": b'{"file_name": "1.png"}\n'},
            "side by side",
        ),
        (
            {"metadata.csv": b"file_name,label\n1.png,cat|dog\n2.png,cat\n"},
            "multi-label .* 1 of 2 rows.*row 2 of metadata",
        ),
        ({"metadata.jsonl": b'{"file_name": "1.png", "label": ["cat", "dog"]}\n'}, r"row 1 of .*\['cat', 'dog'\]"),
        ({"metadata.jsonl": b'{"file_name": "1.png"}\n{"file_name": \n'}, "line 2 of metadata.jsonl is not JSON"),
        ({"metadata.jsonl": b'{"file_name": "1.png"}\n[1]\n'}, "line 2 of metadata.jsonl is no JSON object"),
        ({"metadata.csv": b"file_name,label\n,cat\n"}, "row 2 of metadata.csv names no image"),
        ({"metadata.csv": b"file_name,label\n1.png,cat\n2.png,Cat\n"}, "case or blanks"),
        ({"metadata.csv": b"file_name,text\n1.png,a\n1.png,b\n"}, "names 1.png twice"),
    ],
)
def test_wrong_metadata_is_refused(make_folder: MakeFolder, files: dict[str, int | bytes], words: str) -> None:
    with pytest.raises(DataError, match=words):
        open_source(make_folder({"1.png": 1, "2.png": 2, **files}))
