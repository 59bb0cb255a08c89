"""Mirroring by turns: every image is seen from both sides, in the one epoch and the next."""

from __future__ import annotations

import numpy as np
import torch

from eyebright.config import AugmentConfig, DataConfig
from eyebright.data.augment import augments, draw, step_generator
from eyebright.data.batches import Order, PixelSet
from eyebright.data.turns import by_turns, mirrored_rows
from eyebright.preprocess import Preprocess

PREPROCESS = Preprocess(size=6, channels=3, mean=(0.5,) * 3, std=(0.25,) * 3)
ALTERNATING = AugmentConfig(flip=True, flip_schedule="alternating", min_area=1.0, brightness=0, contrast=0)
ORDER = Order(seed=0, batch_size=7, settings=DataConfig(drop_last=False))


def make() -> PixelSet:
    """Images of which none is its own mirror image, some rows of a larger store."""
    pixels = np.random.default_rng(0).integers(0, 256, (60, 6, 6, 3), dtype=np.uint8)
    rows = np.random.default_rng(1).permutation(60)[:40]
    return PixelSet(pixels, rows, np.arange(40), preprocess=PREPROCESS, device=torch.device("cpu"))


def mirrored_in(images: PixelSet, plain: PixelSet, epoch: int, first: int = 0) -> dict[int, bool]:
    """Whether each image, by its number, came mirrored; anything else than one or the other fails."""
    seen = {}
    for batch in images.shuffled(ORDER, epoch=epoch, first=first):
        for pixels, number in zip(batch.pixels.permute(0, 2, 3, 1).numpy(), batch.targets.tolist(), strict=True):
            original = plain.store.take(plain.rows[[number]])[0]
            as_it_is, turned = np.array_equal(pixels, original), np.array_equal(pixels, original[:, ::-1])
            assert as_it_is != turned
            seen[number] = turned
    return seen


def test_every_image_is_seen_alternately() -> None:
    plain = make()
    images = by_turns(plain, ALTERNATING, seed=5)
    epochs = [mirrored_in(images, plain, epoch) for epoch in range(4)]
    assert all(len(seen) == 40 for seen in epochs)
    assert all(epochs[0][number] != epochs[1][number] for number in range(40))
    assert epochs[0] == epochs[2]
    assert epochs[1] == epochs[3]
    assert 5 < sum(epochs[0].values()) < 35


def test_it_is_a_function_of_row_epoch_and_seed_alone() -> None:
    plain = make()
    whole = mirrored_in(by_turns(plain, ALTERNATING, seed=5), plain, 1)
    resumed = mirrored_in(by_turns(plain, ALTERNATING, seed=5), plain, 1, first=3)
    assert resumed
    assert all(whole[number] == turned for number, turned in resumed.items())
    assert mirrored_in(by_turns(plain, ALTERNATING, seed=6), plain, 1) != whole
    assert (mirrored_rows(500, seed=1, epoch=0) ^ mirrored_rows(500, seed=1, epoch=7)).all()


def test_images_that_stay_on_the_device_come_as_those_that_do_not() -> None:
    moving, staying = by_turns(make(), ALTERNATING, seed=5), by_turns(make(), ALTERNATING, seed=5).staying(True)
    for epoch in (0, 1):
        pairs = zip(moving.shuffled(ORDER, epoch=epoch), staying.shuffled(ORDER, epoch=epoch), strict=True)
        assert all(torch.equal(one.pixels, other.pixels) for one, other in pairs)


def test_evaluation_sees_images_as_they_are_only_in_the_plain_set() -> None:
    plain = make()
    assert by_turns(plain, AugmentConfig(flip=True), seed=5) is plain
    assert by_turns(plain, AugmentConfig(flip=False, flip_schedule="alternating"), seed=5) is plain


def test_augmentation_does_not_mirror_what_is_mirrored_by_turns() -> None:
    assert not augments(ALTERNATING)
    assert augments(AugmentConfig(flip=True, min_area=1.0, brightness=0, contrast=0))
    draws = draw(ALTERNATING, 50, side=6, size=6, generator=step_generator(0, 0))
    assert not draws.flip.any()
    same = draw(AugmentConfig(flip=True), 50, side=6, size=6, generator=step_generator(0, 0))
    assert torch.equal(draws.brightness - 1, torch.zeros(50))
    assert 10 < int(same.flip.sum()) < 40
