"""Images that stay on the device give the batches that gathered ones give, bit for bit."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch

from eyebright.config import DataConfig
from eyebright.data import resident
from eyebright.data.batches import COPYING, WAITING, Order, PixelSet
from eyebright.errors import UsageError
from eyebright.preprocess import Preprocess

CPU, CUDA = torch.device("cpu"), torch.device("cuda")
COUNT = 53


def make() -> PixelSet:
    """Random images in a store that holds others besides; with a margin around the centre."""
    random = np.random.default_rng(0)
    pixels = random.integers(0, 256, (2 * COUNT, 12, 12, 3), dtype=np.uint8)
    rows = random.permutation(2 * COUNT)[:COUNT]
    preprocess = Preprocess(size=8, resize="crop", resize_to=12)
    weights = random.random(COUNT).astype(np.float32)
    targets = random.integers(0, 3, COUNT)
    return PixelSet(pixels, rows, targets, preprocess=preprocess, device=CPU, weights=weights)


def assert_same_batches(one: PixelSet, other: PixelSet, order: Order, *, epoch: int, first: int) -> None:
    batches = (images.shuffled(order, epoch=epoch, first=first) for images in (one, other))
    pairs = list(zip(*batches, strict=True))
    assert pairs
    for gathered, there in pairs:
        assert torch.equal(gathered.pixels, there.pixels)
        assert gathered.pixels.stride() == there.pixels.stride()
        assert gathered.rows == there.rows
        assert torch.equal(gathered.targets, there.targets)
        assert torch.equal(gathered.weights, there.weights)


@pytest.mark.parametrize("part", [slice, lambda count: slice(count // 2, count)], ids=["whole", "half"])
@pytest.mark.parametrize(("sampling", "drop_last"), [("shuffle", True), ("balanced", False)])
def test_batches_are_those_that_are_gathered(part: Callable[[int], slice], sampling: str, drop_last: bool) -> None:
    settings = DataConfig.model_validate({"sampling": sampling, "drop_last": drop_last})
    order = Order(seed=1, batch_size=10, settings=settings, part=part)
    images = make()
    staying = images.staying(True)
    assert staying.resident is not None
    for epoch, first in ((0, 0), (3, 0), (3, 4)):
        assert_same_batches(images, staying, order, epoch=epoch, first=first)


def test_images_are_uploaded_in_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resident, "_CHUNK_BYTES", 12 * 12 * 3 * 7)
    images = make()
    staying = images.staying(True)
    assert staying.resident is not None
    assert np.array_equal(staying.resident.pixels.numpy(), images.store.take(images.rows))


def test_evaluation_sees_the_same() -> None:
    images = make()
    for size in (None, 16):
        pairs = zip(images.in_order(16, size=size), images.staying(True).in_order(16, size=size), strict=True)
        for gathered, there in pairs:
            assert torch.equal(gathered.images, there.images)
            assert torch.equal(gathered.targets, there.targets)


def test_a_part_stays_there_too() -> None:
    images = make()
    staying = images.staying(True).part(slice(10, 30))
    assert staying.resident is not None
    whole = torch.cat([batch.images for batch in staying.in_order(7)])
    assert torch.equal(whole, torch.cat([batch.images for batch in images.part(slice(10, 30)).in_order(7)]))


def test_what_happens_to_single_images_still_happens() -> None:
    order = Order(seed=1, batch_size=10, settings=DataConfig(), change=lambda image, epoch, row: 255 - image)
    images = make()
    assert_same_batches(images, images.staying(True), order, epoch=0, first=0)


def test_nothing_is_waited_for_but_the_order() -> None:
    told: list[str] = []
    order = Order(seed=1, batch_size=10, settings=DataConfig(), doing=told.append)
    list(make().shuffled(order, epoch=0))
    assert set(told) == {WAITING, COPYING}
    told.clear()
    list(make().staying(True).shuffled(order, epoch=0))
    assert set(told) == {COPYING}


def test_a_cpu_keeps_nothing_unasked() -> None:
    images = make()
    assert images.staying("auto") is images
    assert images.staying(False) is images
    once = images.staying(True)
    assert once.staying(True) is once


def test_half_of_the_free_memory_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (1000, 2000))
    assert resident.stays("auto", images_bytes=500, device=CUDA)
    assert not resident.stays("auto", images_bytes=501, device=CUDA)
    assert not resident.stays(False, images_bytes=1, device=CUDA)
    with pytest.raises(UsageError, match="GiB free"):
        resident.stays(True, images_bytes=501, device=CUDA)
