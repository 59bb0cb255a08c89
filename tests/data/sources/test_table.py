from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from eyebright.data.manifest import Manifest
from eyebright.data.sources import Item, open_source
from eyebright.errors import DataError

MakeFolder = Callable[..., Path]


def write(root: Path, text: str, name: str = "labels.csv", encoding: str = "utf-8") -> Path:
    (root / name).write_text(text, encoding=encoding)
    return root / name


def test_a_table_with_every_column_and_one_more(make_folder: MakeFolder) -> None:
    root = make_folder({"a/1.png": 1, "2.png": 2})
    table = write(
        root, 'image_path,label,split,group,weight,camera\na/1.png,cat,train,g1,0.5,"Canon, old"\n2.png,dog,valid,,,\n'
    )
    source = open_source(table)
    assert list(source.items()) == [
        Item("a/1.png", "cat", "train", "g1", 0.5, extra={"camera": "Canon, old"}),
        Item("2.png", "dog", "val", extra={"camera": None}),
    ]
    assert source.read("a/1.png") == (root / "a/1.png").read_bytes()
    manifest = Manifest.scan(source)
    assert manifest.table["camera"].to_pylist() == ["Canon, old", None]
    assert manifest.table["weight"].to_pylist() == [0.5, 1.0]


@pytest.mark.parametrize(
    ("text", "name", "encoding"),
    [
        ("filename,class\n1.png,cat\n", "t.csv", "utf-8"),
        ("\ufeffFile_Name,Category\n1.png,cat\n", "t.csv", "utf-8"),
        ("path\ttarget\n1.png\tcat\n", "t.tsv", "utf-8"),
        ("image;label\n1.png;cat\n\n", "t.csv", "utf-8"),
    ],
)
def test_aliases_separators_and_byte_order_marks(make_folder: MakeFolder, text: str, name: str, encoding: str) -> None:
    root = make_folder({"1.png": 1})
    assert [(item.source, item.label) for item in open_source(write(root, text, name, encoding)).items()] == [
        ("1.png", "cat")
    ]


def test_parquet_tables_with_numbers_as_labels(make_folder: MakeFolder) -> None:
    root = make_folder({"1.png": 1, "2.png": 2})
    table = pa.table({"path": ["1.png", "2.png"], "label": [7, 8], "id": ["x", "y"], "depth": [1.5, None]})
    pq.write_table(table, root / "t.parquet")
    source = open_source(root / "t.parquet")
    assert source.kind == "table"
    manifest = Manifest.scan(source)
    assert manifest.classes == ("7", "8")
    assert manifest.table["depth"].to_pylist() == [1.5, None]
    # The user's `id` does not hide the content id.
    assert manifest.table["user_id"].to_pylist() == ["x", "y"]
    assert all(len(image) == 32 for image in manifest.table["id"].to_pylist())


def test_missing_files_and_empty_labels_become_rows(make_folder: MakeFolder) -> None:
    root = make_folder({"1.png": 1, "2.png": 2})
    manifest = Manifest.scan(open_source(write(root, "image_path,label\n1.png,cat\n2.png,\n3.png,dog\n")))
    assert manifest.table["status"].to_pylist() == ["ok", "unlabelled", "missing"]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "empty"),
        ("image_path,lable\n1.png,cat\n", "'label' .is it 'lable'"),
        ("label\ncat\n", "no column 'image_path'"),
        ("image_path,label,split\n1.png,cat,trian\n", "row 2 .*did you mean 'train'"),
        ("image_path,label,weight\n1.png,cat,heavy\n", "weight 'heavy'"),
        ("image_path,label,weight\n1.png,cat,-1\n", "weight '-1'"),
        ("image_path,label\n1.png,cat\n,dog\n", "row 3 .*names no image"),
        ("image_path,label\n1.png,cat,dog\n", "row 2 .*3 values .* 2"),
        ("image_path,label\n1.png,cat\n2.png,Cat \n", "case or blanks"),
    ],
)
def test_wrong_tables_are_refused_with_the_row(make_folder: MakeFolder, text: str, words: str) -> None:
    with pytest.raises(DataError, match=words):
        open_source(write(make_folder({}), text))


def test_a_table_in_another_encoding_is_refused(make_folder: MakeFolder) -> None:
    with pytest.raises(DataError, match="UTF-8"):
        open_source(write(make_folder({}), "image_path,label\n1.png,café\n", encoding="latin-1"))
