from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from eyebright.data.sources import open_source
from eyebright.data.sources.multi_label import holds_several_classes, one_class
from eyebright.errors import DataError

MakeFolder = Callable[..., Path]
IMAGE_TYPE = pa.struct([("bytes", pa.binary()), ("path", pa.string())])


def write_shard(path: Path, label: pa.Array, content: bytes, feature: dict[str, Any] | None = None) -> Path:
    images = pa.array([{"bytes": content, "path": None}] * len(label), IMAGE_TYPE)
    table = pa.table({"image": images, "label": label})
    if feature is not None:
        info = {"info": {"features": {"image": {"_type": "Image"}, "label": feature}}}
        table = table.replace_schema_metadata({"huggingface": json.dumps(info)})
    pq.write_table(table, path)
    return path


@pytest.mark.parametrize("name", ["labels", "label"])
def test_a_csv_is_refused_with_the_first_row_the_count_and_the_remedy(make_folder: MakeFolder, name: str) -> None:
    root = make_folder({"1.png": 1})
    (root / "t.csv").write_text(
        f"image_path,{name}\n1.png,cat\n2.png,cat|dog\n3.png,dog | bird|cat\n", encoding="utf-8"
    )
    with pytest.raises(DataError) as caught:
        open_source(root / "t.csv")
    assert f"the column {name!r} holds several classes in 2 of 3 rows" in caught.value.problem
    assert "the first is row 3 of t.csv: 'cat|dog'" in caught.value.problem
    assert "one class a row" in str(caught.value.expected)
    assert "not there yet" in str(caught.value.expected)
    assert r"`\|`" in str(caught.value.remedy)


def test_an_escaped_bar_is_part_of_the_name(make_folder: MakeFolder) -> None:
    root = make_folder({"1.png": 1})
    (root / "t.csv").write_text("image_path,label\n1.png,salt\\|pepper\n2.png,cat\n", encoding="utf-8")
    assert [item.label for item in open_source(root / "t.csv").items()] == ["salt|pepper", "cat"]


def test_a_folder_whose_name_has_a_bar_is_one_class(make_folder: MakeFolder) -> None:
    root = make_folder({"a|b/1.png": 1, "c/2.png": 2})
    assert {item.label for item in open_source(root).items()} == {"a|b", "c"}


@pytest.mark.parametrize(
    ("labels", "words"),
    [
        (pa.array([["cat"], ["cat", "dog"]]), r"1 of 2 rows; the first is row 1 of t.parquet: \['cat', 'dog'\]"),
        (pa.array([[1, 2], [3, 4]], pa.large_list(pa.int64())), r"2 of 2 rows; the first is row 0 .*\[1, 2\]"),
        (pa.array(["cat|dog", None]), r"1 of 2 rows; the first is row 0 of t.parquet: 'cat\|dog'"),
    ],
)
def test_parquet_tables(make_folder: MakeFolder, labels: pa.Array, words: str) -> None:
    root = make_folder({"1.png": 1, "2.png": 2})
    pq.write_table(pa.table({"image_path": ["1.png", "2.png"], "label": labels}), root / "t.parquet")
    with pytest.raises(DataError, match=words):
        open_source(root / "t.parquet")


def test_lists_of_one_class_are_that_class(make_folder: MakeFolder) -> None:
    root = make_folder({"1.png": 1, "2.png": 2, "3.png": 3})
    table = pa.table({"image_path": ["1.png", "2.png", "3.png"], "label": [["cat"], ["dog"], []]})
    pq.write_table(table, root / "t.parquet")
    assert [item.label for item in open_source(root / "t.parquet").items()] == ["cat", "dog", None]


def test_parquet_with_images(tmp_path: Path, encode: Callable[..., bytes]) -> None:
    path = tmp_path / "train-0.parquet"
    classes = {"_type": "ClassLabel", "names": ["ape", "bee"]}
    several = {"_type": "Sequence", "feature": classes}
    write_shard(path, pa.array([[0], [0, 1], [1, 0]]), encode(1), several)
    with pytest.raises(DataError, match=r"2 of 3 rows; the first is train-0.parquet#1: \[0, 1\]"):
        open_source(tmp_path)
    write_shard(path, pa.array(["ape", "ape|bee"]), encode(1))
    with pytest.raises(DataError, match=r"1 of 2 rows; the first is train-0.parquet#1: 'ape\|bee'"):
        open_source(path)
    write_shard(path, pa.array([[1], [], [0]]), encode(1), several)
    assert [item.label for item in open_source(tmp_path).items()] == ["bee", None, "ape"]
    # The name of a class that is given by number may hold a bar.
    write_shard(path, pa.array([0, 1]), encode(1), {"_type": "ClassLabel", "names": ["a|b", "c"]})
    assert [item.label for item in open_source(tmp_path).items()] == ["a|b", "c"]


@given(st.text(st.characters(exclude_characters="\\"), min_size=1))
def test_escaping_every_bar_keeps_any_name(name: str) -> None:
    written = name.replace("|", r"\|")
    assert not holds_several_classes(written)
    assert one_class(written) == name
    assert holds_several_classes(name) == ("|" in name)


@given(st.lists(st.text(st.characters(exclude_characters="\\|")), min_size=2))
def test_names_joined_by_bars_are_several(names: list[str]) -> None:
    assert holds_several_classes("|".join(names))
    assert holds_several_classes(names)
