"""Batches from a pack: order, normalisation, threads that end."""

from __future__ import annotations

import threading

import numpy as np
import pytest
import torch

from eyebright.data.batches import PixelSet
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
    expected = PREPROCESS.normalise(PREPROCESS.centre(images.pixels[images.rows]))
    assert np.abs(seen - expected).max() < 1e-5
    assert torch.cat([batch.targets for batch in batches]).tolist() == list(range(50))
    assert batches[0].images.is_contiguous(memory_format=torch.channels_last)


def test_an_epoch_shows_each_image_at_most_once_with_its_own_target_and_weight() -> None:
    images = make(weights=True)
    targets = []
    for batch in images.shuffled(16, seed=0, epoch=3):
        expected = PREPROCESS.normalise(images.pixels[images.rows[batch.targets.numpy()]])
        assert np.abs(batch.images.numpy() - expected).max() < 1e-5
        assert np.allclose(batch.weights.numpy(), images.weights[batch.targets.numpy()])
        targets += batch.targets.tolist()
    assert len(targets) == len(set(targets)) == 48  # the incomplete batch of two is left out


def test_order_is_a_function_of_seed_and_epoch() -> None:
    def order(seed: int, epoch: int, first: int = 0) -> list[list[int]]:
        return [batch.targets.tolist() for batch in make().shuffled(16, seed=seed, epoch=epoch, first=first)]

    assert order(0, 1) == order(0, 1)
    assert order(0, 1) != order(0, 2)
    assert order(0, 1) != order(1, 1)
    assert order(0, 1, first=2) == order(0, 1)[2:]


def test_fewer_images_than_a_batch_still_make_one() -> None:
    assert [len(batch.targets) for batch in make(5).shuffled(16, seed=0, epoch=0)] == [5]


@pytest.mark.parametrize("taken", [0, 1, 2])
def test_leaving_an_epoch_early_ends_the_thread(taken: int) -> None:
    """Also when all that is left to hand over is the end: it used to wait for ever."""
    for batch_size in (16, 25):
        iterator = make().shuffled(batch_size, seed=0, epoch=0)
        for _ in range(taken):
            next(iterator)
        closing = threading.Thread(target=iterator.close)  # type: ignore[attr-defined]
        closing.start()
        closing.join(timeout=20)
        assert not closing.is_alive()


def test_an_error_while_gathering_reaches_the_consumer() -> None:
    images = make()
    images.rows = images.rows + 1000
    with pytest.raises(IndexError):
        list(images.in_order(16))
