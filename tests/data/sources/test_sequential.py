"""Many images of a source read in order: the same as one by one, with fewer and longer reads."""

from __future__ import annotations

import json
import pickle
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from eyebright.data.sources import Source, hf_parquet, open_source, webdataset
from eyebright.data.sources.hierarchy import with_superclasses
from eyebright.data.sources.members import SteadyFile
from eyebright.data.sources.sequential import Content, pieces_of, read_in_order
from eyebright.decode import UndecodableImage
from shards import Labelled, noisy_image, write_parquet, write_tars


@pytest.fixture(scope="module")
def labelled() -> Labelled:
    return [(noisy_image(seed, side=12 + seed % 9), seed % 3) for seed in range(100)]


@pytest.fixture(scope="module", params=["tar", "parquet", "folder"])
def source(request: pytest.FixtureRequest, labelled: Labelled, tmp_path_factory: Any) -> Source:
    root: Path = tmp_path_factory.mktemp(request.param)
    if request.param == "tar":
        write_tars(root, labelled, per_shard=30)
    elif request.param == "parquet":
        write_parquet(root, labelled, per_shard=60, row_group=25)
    else:
        for number, (content, label) in enumerate(labelled):
            (root / str(label)).mkdir(exist_ok=True)
            (root / str(label) / f"{number}.png").write_bytes(content)
    return open_source(root)


def names_of(source: Source) -> list[str]:
    return [item.source for item in source.items()]


def assert_as_one_by_one(source: Source, names: list[str]) -> None:
    found = list(read_in_order(source, names))
    assert len(found) == len(names)
    for name, content in zip(names, found, strict=True):
        assert isinstance(content, bytes)
        assert content == source.read(name)


@pytest.mark.parametrize("choose", [slice(None), slice(3, 80, 7), slice(None, None, -3), slice(0, 0)])
def test_it_gives_what_reading_one_by_one_gives(source: Source, choose: slice) -> None:
    assert_as_one_by_one(source, names_of(source)[choose])


def test_any_order_and_repetitions_are_served(source: Source) -> None:
    names = names_of(source)
    assert_as_one_by_one(source, [names[place] for place in np.random.default_rng(0).integers(0, 100, 60)])


def test_what_cannot_be_read_comes_as_its_error_and_the_rest_goes_on(source: Source) -> None:
    names = names_of(source)
    strangers = ["nobody", f"{names[0].rpartition('#')[0]}#999", f"{names[0].rpartition('#')[0]}#x"]
    mixed = [names[0], *strangers, names[1], names[99]]
    found = list(read_in_order(source, mixed))
    assert [type(content) for content in found] == [bytes, *[UndecodableImage] * 3, bytes, bytes]
    assert all(error.status == "missing" for error in found if isinstance(error, UndecodableImage))


def test_a_source_with_superclasses_passes_it_on(source: Source, tmp_path: Path) -> None:
    labels = sorted({str(item.label) for item in source.items()})
    rule = tmp_path / "above.yaml"
    rule.write_text(json.dumps({"some": labels[:2], "others": labels[2:]}))
    above = with_superclasses(source, str(rule))
    assert_as_one_by_one(above, names_of(above))
    one, other = pieces_of(above, names_of(above)), pieces_of(source, names_of(source))
    assert (one is None and other is None) or np.array_equal(one, other)  # type: ignore[arg-type]


def test_neighbours_in_a_shard_are_read_at_once(
    labelled: Labelled, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = open_source(write_tars(tmp_path / "set", labelled, per_shard=50))
    reads: list[tuple[str, int]] = []
    plain = SteadyFile.read

    def noted(file: SteadyFile, offset: int, count: int) -> bytes:
        reads.append((file.path.name, count))
        return plain(file, offset, count)

    monkeypatch.setattr(SteadyFile, "read", noted)
    list(read_in_order(source, names_of(source)))
    assert [name for name, _ in reads] == ["set-000000.tar", "set-000001.tar"]
    reads.clear()
    monkeypatch.setattr(webdataset, "_STRETCH_BYTES", 10_000)
    found = list(read_in_order(source, names_of(source)))
    assert found == [content for content, _ in labelled]
    assert len(reads) > 4
    assert max(count for _, count in reads) <= 10_000
    reads.clear()
    monkeypatch.setattr(webdataset, "_STRETCH_BYTES", 100)  # every image is longer
    assert list(read_in_order(source, names_of(source))) == found
    monkeypatch.setattr(webdataset, "_STRETCH_BYTES", 10**9)
    reads.clear()
    monkeypatch.setattr(webdataset, "_GAP_BYTES", 1000)  # between two images lie two headers and a label
    list(read_in_order(source, names_of(source)))
    assert len(reads) == 100


def test_a_shard_that_changed_gives_errors_for_its_images(labelled: Labelled, tmp_path: Path) -> None:
    source = open_source(write_tars(tmp_path / "set", labelled, per_shard=50))
    (tmp_path / "set" / "set-000000.tar").write_bytes(b"other")
    found = list(read_in_order(source, names_of(source)))
    assert all(isinstance(content, UndecodableImage) for content in found[:50])
    assert found[50:] == [content for content, _ in labelled[50:]]


def test_what_reads_shards_in_another_process_is_small(labelled: Labelled, tmp_path: Path) -> None:
    source: Any = open_source(write_tars(tmp_path / "set", labelled, per_shard=50))
    copy: Callable[[str], bytes] = pickle.loads(pickle.dumps(source.reader()))
    name = names_of(source)[70]
    assert copy(name) == source.read(name)
    assert len(pickle.dumps(source.reader())) < 60 * 100


def test_a_row_group_is_passed_over_once_and_a_few_rows_at_a_time(
    labelled: Labelled, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = open_source(write_parquet(tmp_path / "set", labelled, per_shard=100, row_group=50))
    passes: list[tuple[int, list[int]]] = []
    plain = pq.ParquetFile.iter_batches

    def noted(file: Any, batch_size: int, *, row_groups: list[int], **more: Any) -> Iterable[Any]:
        passes.append((batch_size, row_groups))
        return plain(file, batch_size, row_groups=row_groups, **more)  # type: ignore[no-any-return]

    monkeypatch.setattr(pq.ParquetFile, "iter_batches", noted)
    list(read_in_order(source, names_of(source)[10::3]))
    assert passes == [(hf_parquet._ROWS_AT_ONCE, [0]), (hf_parquet._ROWS_AT_ONCE, [1])]
    found = pieces_of(source, names_of(source))
    assert found is not None
    assert found.tolist() == [0] * 50 + [1] * 50


def test_row_groups_in_memory_are_bounded_by_bytes(
    labelled: Labelled, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_parquet(tmp_path / "set", labelled, per_shard=100, row_group=10)
    for most, groups in ((10**9, 10), (20_000, 2), (1, 1)):
        monkeypatch.setattr(hf_parquet, "_CACHED_BYTES", most)
        source: Any = open_source(tmp_path / "set")
        assert [source.read(name) for name in names_of(source)] == [content for content, _ in labelled]
        held = [group.nbytes for group in source._images.values()]
        assert len(held) == groups
        assert sum(held) <= most or groups == 1


def test_images_that_are_arrays_come_as_such(shared_data: Path) -> None:
    source = open_source(shared_data / "cifar10")
    names = names_of(source)[:20]
    found: list[Content | UndecodableImage] = list(read_in_order(source, names))
    for name, content in zip(names, found, strict=True):
        assert not isinstance(content, UndecodableImage)
        assert np.array_equal(np.asarray(content), np.asarray(source.read(name)))
    assert pieces_of(source, names) is None or source.kind == "hf-parquet"
