from __future__ import annotations

import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from eyebright.data.sources import open_source
from eyebright.decode import UndecodableImage, decode_image
from eyebright.errors import DataError

IMAGE_TYPE = pa.struct([("bytes", pa.binary()), ("path", pa.string())])


def write_shard(path: Path, images: list[bytes | None], names: dict[str, list[str]], **columns: list[Any]) -> None:
    """A shard with row groups of two rows and the metadata that the library `datasets` writes."""
    features: dict[str, Any] = {"image": {"_type": "Image"}}
    features |= {column: {"names": labels, "_type": "ClassLabel"} for column, labels in names.items()}
    cells = [{"bytes": content, "path": f"{row}.png"} for row, content in enumerate(images)]
    table = pa.table({"image": pa.array(cells, IMAGE_TYPE), **columns})
    metadata = {"huggingface": json.dumps({"info": {"features": features}})}
    pq.write_table(table.replace_schema_metadata(metadata), path, row_group_size=2)


@pytest.fixture
def shards(tmp_path: Path, encode: Callable[..., bytes]) -> Path:
    names = {"label": ["zebra", "ape"], "family": ["horse", "primate"]}
    images = [encode(n) for n in range(8)]
    write_shard(
        tmp_path / "train-00000-of-00001.parquet",
        [*images[:5]],
        names,
        label=[0, 1, 1, 0, -1],
        family=[0, 1, 1, 0, 0],
        photographer=["x", "y", "z", None, "x"],
    )
    write_shard(
        tmp_path / "test-00000-of-00001.parquet",
        images[5:],
        names,
        label=[1, 0, 0],
        family=[1, 0, 0],
        photographer=["x", "x", "x"],
    )
    return tmp_path


def test_names_splits_and_further_columns(shards: Path) -> None:
    source = open_source(shards)
    assert source.kind == "hf-parquet"
    assert source.class_names == ("zebra", "ape")
    items = list(source.items())
    assert [item.split for item in items] == ["test"] * 3 + ["train"] * 5
    assert [item.label for item in items[3:]] == ["zebra", "ape", "ape", "zebra", None]
    assert items[4].extra == {"family": "primate", "photographer": "y"}


def test_rows_are_read_back_from_any_row_group_by_many_threads(shards: Path, encode: Callable[..., bytes]) -> None:
    source = open_source(shards)
    wanted = [(f"train-00000-of-00001.parquet#{row}", encode(row)) for row in range(5)]
    wanted += [(f"test-00000-of-00001.parquet#{row}", encode(5 + row)) for row in range(3)]
    with ThreadPoolExecutor(4) as pool:
        read = list(pool.map(source.read, [name for name, _ in wanted] * 5))
    assert read == [content for _, content in wanted] * 5
    with pytest.raises(UndecodableImage, match="no row"):
        source.read("train-00000-of-00001.parquet#5")


def test_a_single_file_and_an_image_beside_it(tmp_path: Path, encode: Callable[..., bytes]) -> None:
    write_shard(tmp_path / "pets.parquet", [None, encode(1)], {}, label=["cat", "dog"])
    (tmp_path / "0.png").write_bytes(encode(0))
    source = open_source(tmp_path / "pets.parquet")
    assert [(item.label, item.split) for item in source.items()] == [("cat", None), ("dog", None)]
    assert source.read("pets.parquet#0") == encode(0)


def test_shards_that_disagree_and_broken_files_are_refused(shards: Path, encode: Callable[..., bytes]) -> None:
    write_shard(shards / "validation-0.parquet", [encode(1)], {"label": ["ape", "zebra"]}, label=[0])
    with pytest.raises(DataError, match="other columns or class names"):
        open_source(shards)
    (shards / "validation-0.parquet").write_bytes(b"PAR1 and nonsense")
    with pytest.raises(DataError, match="cannot be read as Parquet"):
        open_source(shards)


def test_a_table_without_images_or_labels_is_refused(tmp_path: Path, encode: Callable[..., bytes]) -> None:
    pq.write_table(pa.table({"x": [1]}), tmp_path / "numbers.parquet")
    with pytest.raises(DataError, match="no column with images"):
        open_source(tmp_path / "numbers.parquet")
    write_shard(tmp_path / "bare.parquet", [encode(1)], {}, size=[3])
    with pytest.raises(DataError, match="no label column"):
        open_source(tmp_path / "bare.parquet")


def test_real_cifar100_with_superclasses(shared_data: Path) -> None:
    source = open_source(shared_data / "cifar100-fifth")
    items = list(source.items())
    assert len(items) == 12000
    assert source.class_names is not None
    assert len(source.class_names) == 100
    maple = next(item for item in items if item.label == "maple_tree")
    assert maple.extra == {"superclass": "trees"}
    assert decode_image(source.read(maple.source)).size == (32, 32)
