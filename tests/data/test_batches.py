"""Batches from a pack: order, normalisation, threads that end."""

from __future__ import annotations

import threading

import numpy as np
import numpy.typing as npt
import pytest
import torch

from eyebright.config import DataConfig
from eyebright.data.batches import Order, PixelSet
from eyebright.preprocess import Preprocess

PREPROCESS = Preprocess(size=8, resize="crop", resize_to=12, mean=(0.4, 0.5, 0.6), std=(0.2, 0.3, 0.4))


def make(count: int = 50, weights: bool = False) -> PixelSet:
    pixels = np.random.default_rng(0).integers(0, 256, (80, 12, 12, 3), dtype=np.uint8)
    rows = np.random.default_rng(1).permutation(80)[:count]
    return PixelSet(
        pixels, rows, np.arange(count), preprocess=PREPROCESS, device=torch.device("cpu"),
        weights=np.linspace(1, 2, count, dtype=np.float32) if weights else None,
    )  # fmt: skip


def test_evaluation_sees_what_preprocess_gives() -> None:
    images = make()
    batches = list(images.in_order(16))
    seen = torch.cat([batch.images for batch in batches]).numpy()
    expected = PREPROCESS.normalise(PREPROCESS.centre(images.store.take(images.rows)))
    assert np.abs(seen - expected).max() < 1e-5
    assert torch.cat([batch.targets for batch in batches]).tolist() == list(range(50))
    assert batches[0].images.is_contiguous(memory_format=torch.channels_last)


def in_batches(batch_size: int = 16, seed: int = 0, **more: object) -> Order:
    return Order(seed=seed, batch_size=batch_size, **{"settings": DataConfig(), **more})  # type: ignore[arg-type]


def test_an_epoch_shows_each_image_at_most_once_with_its_own_target_and_weight() -> None:
    images = make(weights=True)
    targets = []
    for batch in images.shuffled(in_batches(), epoch=3):
        expected = images.store.take(images.rows[batch.targets.numpy()])
        assert np.array_equal(batch.pixels.permute(0, 2, 3, 1).numpy(), expected)
        assert np.allclose(batch.weights.numpy(), images.weights[batch.targets.numpy()])
        normal = images.normalised(batch.pixels.float() / 255).permute(0, 2, 3, 1).numpy()
        assert np.abs(normal - PREPROCESS.normalise(expected).transpose(0, 2, 3, 1)).max() < 1e-5
        targets += batch.targets.tolist()
    assert len(targets) == len(set(targets)) == 48  # the incomplete batch of two is left out


def test_the_incomplete_batch_can_be_kept_but_never_a_lone_image() -> None:
    kept = in_batches(settings=DataConfig(drop_last=False))
    for count, sizes in ((50, [16, 16, 16, 2]), (49, [16, 16, 16]), (48, [16, 16, 16]), (1, [1])):
        images = make(count)
        assert [len(batch.targets) for batch in images.shuffled(kept, epoch=0)] == sizes
        assert images.steps_per_epoch(16, drop_last=False) == len(sizes)


def test_order_is_a_function_of_seed_and_epoch() -> None:
    def order(seed: int, epoch: int, first: int = 0) -> list[list[int]]:
        return [batch.targets.tolist() for batch in make().shuffled(in_batches(seed=seed), epoch=epoch, first=first)]

    assert order(0, 1) == order(0, 1)
    assert order(0, 1) != order(0, 2)
    assert order(0, 1) != order(1, 1)
    assert order(0, 1, first=2) == order(0, 1)[2:]


def test_parts_of_a_batch_are_those_of_the_whole_batch() -> None:
    """Two processes together see each batch exactly as one process does; both know all its targets."""
    images = make()
    whole = list(images.shuffled(in_batches(), epoch=1))
    halves = [
        list(images.shuffled(in_batches(part=part), epoch=1))
        for part in (lambda count: slice(0, count // 2), lambda count: slice(count // 2, count))
    ]
    for one, first, second in zip(whole, *halves, strict=True):
        assert torch.equal(one.pixels, torch.cat([first.pixels, second.pixels]))
        assert torch.equal(one.targets, first.targets)
        assert torch.equal(one.targets, second.targets)
        assert (first.rows, second.rows) == (slice(0, 8), slice(8, 16))


@pytest.mark.parametrize("workers", [1, 3])
def test_what_happens_to_single_images_knows_epoch_and_row(workers: int) -> None:
    def mark(image: npt.NDArray[np.uint8], epoch: int, row: int) -> npt.NDArray[np.uint8]:
        return np.full_like(image, 10 * epoch + row % 7)

    images = make()
    for batch in images.shuffled(in_batches(change=mark, workers=workers), epoch=4):
        expected = 40 + images.rows[batch.targets.numpy()] % 7
        assert np.array_equal(batch.pixels[:, 0, 0, 0].numpy(), expected)


def test_evaluation_can_see_another_size() -> None:
    assert [tuple(batch.images.shape) for batch in make(5).in_order(4, size=6)] == [(4, 3, 6, 6), (1, 3, 6, 6)]


def test_fewer_images_than_a_batch_still_make_one() -> None:
    assert [len(batch.targets) for batch in make(5).shuffled(in_batches(), epoch=0)] == [5]


@pytest.mark.parametrize("taken", [0, 1, 2])
def test_leaving_an_epoch_early_ends_the_threads(taken: int) -> None:
    for batch_size in (16, 25):
        before = threading.active_count()
        iterator = make().shuffled(in_batches(batch_size, workers=2), epoch=0)
        for _ in range(taken):
            next(iterator)
        closing = threading.Thread(target=iterator.close)  # type: ignore[attr-defined]
        closing.start()
        closing.join(timeout=20)
        assert not closing.is_alive()
        assert threading.active_count() == before


def test_an_error_while_gathering_reaches_the_consumer() -> None:
    images = make()
    images.rows = images.rows + 1000
    with pytest.raises(IndexError):
        list(images.in_order(16))
