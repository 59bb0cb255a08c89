"""The order of an epoch that follows the files: every image once, mixed enough, read in runs."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eyebright.data.sampling import LONGEST_RUN, SHORTEST_RUN, Window, epoch_order, run_images, window_of
from eyebright.data.store import ArrayStore

Indices = npt.NDArray[np.int64]


def in_windows(targets: Indices, window: int, *, seed: int = 0, epoch: int = 0, **more: Any) -> Indices:
    """The order of images that lie in the order of their targets, unless `rows` says otherwise."""
    rows = more.pop("rows", np.arange(len(targets)))
    where = Window(images=window, rows=rows, blocks=more.pop("blocks", None))
    return epoch_order(targets, seed=seed, epoch=epoch, sampling=more.pop("sampling", "shuffle"), window=where)


def sliding_buffer(count: int, buffer: int, seed: int = 0) -> Indices:
    """What most loaders do: a buffer is filled in the order of the files; each image drawn makes room for the next."""
    random = np.random.default_rng(seed)
    held, order = list(range(min(buffer, count))), []
    for following in range(len(held), count):
        place = random.integers(len(held))
        order.append(held[place])
        held[place] = following
    return np.array([*order, *random.permutation(held)])


def entropies(labels: Indices, batch: int = 256) -> npt.NDArray[np.float64]:
    """Bits of the class shares of each whole batch."""
    found = []
    for first in range(0, len(labels) - batch + 1, batch):
        shares = np.bincount(labels[first : first + batch]) / batch
        found.append(-sum(share * np.log2(share) for share in shares if share))
    return np.array(found)


@settings(deadline=None)
@given(
    count=st.integers(0, 300), window=st.integers(1, 400), seed=st.integers(0, 2**31 - 1), epoch=st.integers(0, 1000),
    gaps=st.booleans(), blocks=st.booleans(),
)  # fmt: skip
def test_every_image_comes_exactly_once(
    count: int, window: int, seed: int, epoch: int, gaps: bool, blocks: bool
) -> None:
    rows = np.random.default_rng(seed).permutation(3 * count)[:count] if gaps else np.arange(count)
    order = in_windows(
        np.zeros(count, dtype=np.int64), window, seed=seed, epoch=epoch, rows=rows, blocks=rows // 7 if blocks else None
    )
    assert order.dtype == np.int64
    assert np.array_equal(np.sort(order), np.arange(count))


def test_it_is_a_function_of_seed_and_epoch() -> None:
    targets = np.zeros(500, dtype=np.int64)
    first = in_windows(targets, 64, seed=1, epoch=2)
    assert np.array_equal(first, in_windows(targets, 64, seed=1, epoch=2))
    assert not np.array_equal(first, in_windows(targets, 64, seed=1, epoch=3))
    assert not np.array_equal(first, in_windows(targets, 64, seed=2, epoch=2))


@pytest.mark.parametrize("window", [1024, 8192])
def test_a_window_is_read_in_runs_of_neighbours(window: int) -> None:
    order = in_windows(np.zeros(50_000, dtype=np.int64), window)
    parts = np.array_split(order, -(-len(order) // window))
    assert max(map(len, parts)) <= window
    for part in parts:
        places = np.sort(part)
        runs = 1 + np.count_nonzero(np.diff(places) > 1)
        assert runs <= len(part) / run_images(window) + 2  # at either end a run may be cut by the next window
        assert places[-1] - places[0] > 30_000  # and they come from all over the files


def test_a_run_is_not_longer_than_a_disk_needs_nor_shorter_than_is_worth_going_there() -> None:
    assert [run_images(window) for window in (1, 4096, 8192, 10**6)] == [SHORTEST_RUN, 16, 32, LONGEST_RUN]


@pytest.mark.parametrize(("classes", "window", "least"), [(10, 8192, 3.2), (10, 1024, 3.1), (100, 8192, 5.9)])
def test_files_sorted_by_class_are_mixed_far_better_than_by_a_sliding_buffer(
    classes: int, window: int, least: float
) -> None:
    targets = np.repeat(np.arange(classes), 50_000 // classes).astype(np.int64)
    ours = entropies(targets[in_windows(targets, window)])
    buffered = entropies(targets[sliding_buffer(len(targets), window)])
    full = entropies(targets[epoch_order(targets, seed=0, epoch=0, sampling="shuffle")])
    assert ours.mean() > least
    assert ours.mean() > 0.94 * full.mean()
    assert ours.min() > buffered.mean()


def test_blocks_stay_together_and_whole() -> None:
    blocks = np.repeat(np.arange(40), 25)
    order = in_windows(np.zeros(1000, dtype=np.int64), 100, blocks=blocks)
    seen = [set(blocks[part].tolist()) for part in np.array_split(order, 10)]
    assert [len(part) for part in seen] == [4] * 10  # each window reads four whole blocks


def test_balanced_draws_the_same_images_as_without_windows_and_spreads_those_drawn_often() -> None:
    targets = np.repeat(np.arange(3), [4, 200, 996]).astype(np.int64)
    plain = epoch_order(targets, seed=1, epoch=0, sampling="balanced")
    order = in_windows(targets, 150, seed=1, sampling="balanced")
    assert np.array_equal(np.sort(order), np.sort(plain))
    rare = order[:1200].reshape(8, 150) == 0  # image 0 is drawn 100 times
    assert rare.sum() == 100
    assert (rare.sum(axis=1) > 0).all()
    assert rare.sum(axis=1).max() <= 40


def test_a_store_without_a_window_is_shuffled_as_ever() -> None:
    store = ArrayStore(np.zeros((9, 2, 2, 3), dtype=np.uint8))
    assert window_of(store, np.arange(9)) is None
    rows = np.array([5, 1, 7])
    found = window_of(ArrayStore(store.pixels, window=4), rows)
    assert found is not None
    assert (found.images, found.blocks) == (4, None)
    assert np.array_equal(found.rows, rows)
