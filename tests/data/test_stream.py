"""Images that are decoded anew in every epoch: the same pixels as packed, in order, bounded, and never a wrong one."""

from __future__ import annotations

import shutil
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch

from eyebright.config import DataConfig
from eyebright.data.batches import Order, PixelSet
from eyebright.data.manifest import Manifest
from eyebright.data.pack import pack_images
from eyebright.data.sources import Source, open_source
from eyebright.data.sources.sequential import Content, read_in_order
from eyebright.data.stream import MOST_BYTES, StreamStore, _cut
from eyebright.decode import UndecodableImage
from eyebright.errors import DataError
from eyebright.preprocess import Preprocess
from eyebright.training.team import Team
from shards import Labelled, noisy_image, write_parquet, write_tars

PREPROCESS = Preprocess(size=12, resize="crop", resize_to=16)
IMAGES = 230


class Recording:
    """A source that remembers in which order images are read."""

    def __init__(self, inner: Source) -> None:
        self.inner: Any = inner
        self.spec, self.kind, self.class_names = inner.spec, inner.kind, inner.class_names
        self.reads: list[str] = []
        self.broken: dict[str, bytes] = {}

    def read(self, source: str) -> bytes | npt.NDArray[np.uint8]:
        return self.inner.read(source)  # type: ignore[no-any-return]

    def items(self) -> Any:
        return self.inner.items()

    def strays(self) -> Any:
        return self.inner.strays()

    def pieces(self, names: Any) -> Any:
        return self.inner.pieces(names) if hasattr(self.inner, "pieces") else None

    def read_many(self, names: Sequence[str]) -> Iterator[Content | UndecodableImage]:
        for name, content in zip(names, read_in_order(self.inner, names), strict=True):
            self.reads.append(name)
            yield self.broken.get(name, content)


@pytest.fixture(scope="module")
def labelled() -> Labelled:
    return [(noisy_image(seed, side=20), seed // 60) for seed in range(IMAGES)]  # sorted by class


@pytest.fixture(scope="module", params=["tar", "parquet", "folder"])
def opened(request: pytest.FixtureRequest, labelled: Labelled, tmp_path_factory: Any) -> tuple[Manifest, Source]:
    root: Path = tmp_path_factory.mktemp(request.param)
    if request.param == "tar":
        write_tars(root, labelled, per_shard=70)
    elif request.param == "parquet":
        write_parquet(root, labelled, per_shard=90, row_group=20)
    else:
        for number, (content, label) in enumerate(labelled):
            (root / f"class {label}").mkdir(exist_ok=True)
            (root / f"class {label}" / f"{number:04d}.png").write_bytes(content)
    source = open_source(root)
    manifest = Manifest.scan(source)
    assert manifest.ok.num_rows == IMAGES
    return manifest, source


def store_of(manifest: Manifest, source: Any, window: int = 64, **more: Any) -> StreamStore:
    return StreamStore(manifest, source, PREPROCESS, window=window, workers=2, **more)


def set_of(store: StreamStore, rows: npt.NDArray[np.int64] | None = None) -> PixelSet:
    """Whose targets are the rows themselves."""
    rows = np.arange(store.shape[0]) if rows is None else rows
    return PixelSet(store, rows, rows, preprocess=PREPROCESS, device=torch.device("cpu"))


def ordered(**more: Any) -> Order:
    return Order(seed=3, batch_size=16, settings=DataConfig(drop_last=False), **more)


def test_the_pixels_are_those_of_a_pack(opened: tuple[Manifest, Source], tmp_path: Path) -> None:
    manifest, source = opened
    packed = pack_images(manifest, source, PREPROCESS, cache=tmp_path, workers=2)
    store = store_of(manifest, source)
    ids = manifest.ok["id"].to_pylist()[::-7]
    assert store.shape == packed.store.shape
    assert np.array_equal(store.take(store.rows(ids)), packed.store.take(packed.rows(ids)))
    repeated = np.array([5, 1, 5, 228])
    assert np.array_equal(store.take(repeated), np.concatenate([store.take(repeated[i : i + 1]) for i in range(4)]))


def test_an_epoch_shows_every_image_once_with_its_own_pixels(opened: tuple[Manifest, Source]) -> None:
    manifest, source = opened
    store = store_of(manifest, source)
    seen: list[int] = []
    for batch in set_of(store).shuffled(ordered(), epoch=1):
        rows = batch.targets.numpy()
        assert np.array_equal(batch.pixels.permute(0, 2, 3, 1).numpy(), store.take(rows))
        seen += rows.tolist()
    assert sorted(seen) == list(range(IMAGES))
    assert seen != sorted(seen)
    in_order = np.concatenate(list(set_of(store).centres(32)))
    assert np.array_equal(in_order, PREPROCESS.centre(store.take(np.arange(IMAGES))))


@pytest.mark.parametrize("size", [2, 3])
def test_processes_share_an_epoch_without_loss_or_repetition_and_read_their_own_images_only(
    opened: tuple[Manifest, Source], size: int
) -> None:
    manifest, source = opened
    names = manifest.ok["source"].to_pylist()
    whole = [batch.targets.tolist() for batch in set_of(store_of(manifest, source)).shuffled(ordered(), epoch=0)]
    read: list[str] = []
    shown: list[list[int]] = [[] for _ in whole]
    for rank in range(size):
        recording = Recording(source)
        images = set_of(store_of(manifest, recording))
        own: list[int] = []
        for number, batch in enumerate(images.shuffled(ordered(part=Team(rank=rank, size=size).slice_of), epoch=0)):
            rows = batch.targets.numpy()[batch.rows]
            assert np.array_equal(batch.pixels.permute(0, 2, 3, 1).numpy(), images.store.take(rows))
            shown[number] += rows.tolist()
            own += rows.tolist()
        assert set(recording.reads) == {names[row] for row in own}
        read += {names[row] for row in own}
    assert shown == whole
    assert sorted(read) == sorted(names)


def test_an_epoch_that_is_resumed_shows_and_reads_exactly_the_rest(opened: tuple[Manifest, Source]) -> None:
    manifest, source = opened
    names = manifest.ok["source"].to_pylist()
    whole = [batch.targets.tolist() for batch in set_of(store_of(manifest, source)).shuffled(ordered(), epoch=2)]
    recording = Recording(source)
    rest = [
        batch.targets.tolist() for batch in set_of(store_of(manifest, recording)).shuffled(ordered(), epoch=2, first=6)
    ]
    assert rest == whole[6:]
    assert sorted(recording.reads) == sorted(names[row] for part in rest for row in part)


def test_images_are_read_in_the_order_of_the_files_within_a_group(opened: tuple[Manifest, Source]) -> None:
    manifest, source = opened
    place = {name: row for row, name in enumerate(manifest.ok["source"].to_pylist())}
    recording = Recording(source)
    images = set_of(store_of(manifest, recording))
    for _ in images.shuffled(ordered(), epoch=0):
        pass
    rows = np.array([place[name] for name in recording.reads])
    assert len(rows) == IMAGES
    turns = 1 + int(np.count_nonzero(np.diff(rows) < 0))
    assert turns <= 1 + -(-IMAGES // 48)  # groups of 64 images and fewer, each from the first file to the last
    recording.reads.clear()
    list(images.centres(32))
    assert [place[name] for name in recording.reads] == list(range(IMAGES))


def test_two_groups_are_in_memory_at_most(opened: tuple[Manifest, Source]) -> None:
    """However slow training is, reading waits for it."""
    manifest, source = opened
    recording = Recording(source)
    store = store_of(manifest, recording, window=32)
    parts = [np.arange(first, min(first + 16, IMAGES)) for first in range(0, IMAGES, 16)]
    assert store.groups(parts)[:3] == [(0, 2), (2, 4), (4, 6)]
    reading = store.reading(parts)
    for number in range(len(parts)):
        if number in (0, 2, 5):
            deadline = time.monotonic() + 10
            while len(recording.reads) < min(32 * (number // 2 + 2), IMAGES) and time.monotonic() < deadline:
                time.sleep(0.002)
            time.sleep(0.02)
        assert len(recording.reads) <= 32 * (number // 2 + 2)
        reading.take(number)
    reading.close()


def test_groups_are_bounded_by_bytes_and_begin_small(opened: tuple[Manifest, Source]) -> None:
    manifest, source = opened
    large = manifest.replace(bytes=[MOST_BYTES // 8] * manifest.table.num_rows)
    store = store_of(large, source, window=200)
    parts = [np.array([row]) for row in range(20)]
    assert store.groups(parts) == [(0, 4), (4, 8), (8, 12), (12, 16), (16, 20)]
    assert store.groups([np.arange(10)]) == [(0, 1)]  # a part is never divided
    assert store.groups([]) == []
    if store.blocks is None:
        sizes = [stop - first for first, stop in store_of(manifest, source, window=200).groups(
            [np.array([row % IMAGES]) for row in range(900)]
        )]  # fmt: skip
        assert sizes == [64, 128, 200, 200, 200, 108]


def test_an_image_that_changed_ends_the_epoch_with_its_name(opened: tuple[Manifest, Source], labelled: Any) -> None:
    manifest, source = opened
    recording = Recording(source)
    victim = manifest.ok["source"].to_pylist()[100]
    recording.broken[victim] = labelled[0][0]
    images = set_of(store_of(manifest, recording))
    with pytest.raises(DataError, match="its bytes are not those") as caught:
        list(images.shuffled(ordered(), epoch=0))
    assert victim in str(caught.value)
    assert "eyebright resume" in str(caught.value)
    assert not [thread.name for thread in threading.enumerate() if thread.name.startswith("eyebright-stream")]


@pytest.mark.parametrize("damage", ["gone", "cut"])
def test_a_file_that_vanished_or_was_cut_is_named(flowers_sample: Path, tmp_path: Path, damage: str) -> None:
    root = shutil.copytree(flowers_sample, tmp_path / "flowers")
    source = open_source(root)
    store = store_of(Manifest.scan(source), source)
    photo = sorted((root / "rose").iterdir())[3]
    if damage == "gone":
        photo.unlink()
    else:
        photo.write_bytes(photo.read_bytes()[:2000])
    with pytest.raises(DataError, match=f"rose/{photo.name} cannot be used any more"):
        list(set_of(store).centres(16))


def test_an_image_that_does_not_decode_is_no_empty_image(flowers_sample: Path, tmp_path: Path) -> None:
    """With `data.audit=off` nobody has decoded it before."""
    root = shutil.copytree(flowers_sample, tmp_path / "flowers")
    photo = sorted((root / "rose").iterdir())[3]
    photo.write_bytes(photo.read_bytes()[:2000])
    source = open_source(root)
    manifest = Manifest.scan(source)
    assert manifest.ok.num_rows == 120  # its header is whole
    with pytest.raises(DataError, match=f"rose/{photo.name} cannot be used any more"):
        list(set_of(store_of(manifest, source)).centres(16))


def test_an_error_of_reading_itself_is_raised_where_images_are_taken(opened: tuple[Manifest, Source]) -> None:
    manifest, source = opened

    class Failing(Recording):
        def read_many(self, names: Sequence[str]) -> Iterator[Content | UndecodableImage]:
            raise OSError("the disk is on fire")
            yield b""

    with pytest.raises(OSError, match="on fire"):
        list(set_of(store_of(manifest, Failing(source))).centres(16))


def test_leaving_an_epoch_ends_its_threads(opened: tuple[Manifest, Source]) -> None:
    def own() -> list[str]:
        return [t.name for t in threading.enumerate() if t.name.startswith(("eyebright-stream", "eyebright-decode"))]

    epoch = set_of(store_of(*opened)).shuffled(ordered(), epoch=0)
    next(epoch)
    assert own()
    epoch.close()  # type: ignore[attr-defined]
    assert not own()


def test_the_order_of_threads_does_not_matter(opened: tuple[Manifest, Source]) -> None:
    store = store_of(*opened)
    parts = [np.arange(first, first + 10) for first in range(0, 200, 10)]
    reading = store.reading(parts)
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(reading.take, range(len(parts))))
    reading.close()
    assert np.array_equal(np.concatenate(found), store.take(np.arange(200)))


def test_an_unknown_id_is_refused(opened: tuple[Manifest, Source]) -> None:
    with pytest.raises(DataError, match="nobody is not among"):
        store_of(*opened).rows(["nobody"])


def test_row_groups_are_blocks_and_huge_ones_several(labelled: Labelled, tmp_path: Path) -> None:
    source = open_source(write_parquet(tmp_path / "set", labelled, per_shard=90, row_group=20))
    manifest = Manifest.scan(source)
    whole = store_of(manifest, source, window=320)
    assert whole.blocks is not None
    assert np.bincount(whole.blocks).tolist() == [20, 20, 20, 20, 10] * 2 + [20, 20, 10]
    assert whole.passes == 1
    cut = store_of(manifest, source, window=64)  # too few places would be mixed
    assert cut.blocks is not None
    assert np.bincount(cut.blocks).max() == 8
    assert cut.passes == 3
    assert _cut(np.array([0, 0, 0, 1, 1, 4]), 2).tolist() == [0, 0, 1, 2, 2, 3]


def test_the_same_image_in_two_splits_is_one_row(
    memory_source: Callable[..., Any], encode: Callable[..., bytes]
) -> None:
    from eyebright.data.sources import Item

    items = [
        Item(source=f"{split}/{number}.png", label="ab"[number % 2], split=split)  # type: ignore[arg-type]
        for split in ("train", "test") for number in range(4)
    ]  # fmt: skip
    contents = {item.source: encode(int(item.source.split("/")[1][0])) for item in items}
    source = memory_source(items=items, contents=contents)
    manifest = Manifest.scan(source)
    assert manifest.ok.num_rows == 8
    store = store_of(manifest, source)
    assert store.shape[0] == 4
    assert store.rows(manifest.ok["id"].to_pylist()).tolist() == [0, 1, 2, 3] * 2


def test_no_images_are_an_error(memory_source: Callable[..., Any]) -> None:
    source = memory_source(2)
    manifest = Manifest.scan(source)
    broken = manifest.mark(dict.fromkeys(manifest.ok["id"].to_pylist(), ("unreadable", "gone")))
    with pytest.raises(DataError, match="no usable image"):
        store_of(broken, source)
