"""Augmentation as a whole: repeatable, the same on slices of a batch, and every key of the settings at work."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from eyebright.config import AugmentConfig
from eyebright.data.augment import Draws, augment, augments, draw, draw_mixing, mix, step_generator

EVERYTHING = {
    "flip": True, "vertical_flip": True, "min_area": 0.5, "aspect": 0.3, "rotation": 20.0, "shift": 0.1, "scale": 0.1,
    "zoom": 0.1, "shear": 10.0, "brightness": 0.2, "contrast": 0.2, "saturation": 0.2, "hue": 0.1,
    "policy": "randaugment", "erasing": 0.5, "mixup": 0.2, "cutmix": 1.0,
}  # fmt: skip

# For each key, what it needs beside it, and two values that must give different pixels.
CHANGES: dict[str, tuple[dict[str, Any], Any, Any]] = {
    "flip": ({}, False, True),
    "vertical_flip": ({}, False, True),
    "min_area": ({}, 1.0, 0.7),
    "aspect": ({"min_area": 0.6}, 0.0, 0.3),
    "rotation": ({}, 0.0, 10.0),
    "shift": ({}, 0.0, 0.1),
    "scale": ({}, 0.0, 0.1),
    "zoom": ({}, 0.0, 0.1),
    "shear": ({}, 0.0, 10.0),
    "flip_schedule": ({"flip": True}, "alternating", "random"),  # by turns it is done elsewhere: test_turns.py
    "whole_pixels": ({"shift": 0.1}, False, True),
    "fill": ({"rotation": 40.0}, "reflect", "edge"),
    "brightness": ({}, 0.0, 0.2),
    "contrast": ({}, 0.0, 0.2),
    "saturation": ({}, 0.0, 0.2),
    "hue": ({}, 0.0, 0.1),
    "policy": ({}, "randaugment", "trivialaugment"),
    "policy_operations": ({"policy": "randaugment"}, 2, 3),
    "policy_magnitude": ({"policy": "randaugment"}, 5.0, 15.0),
    "erasing": ({}, 0.0, 0.5),
    "erasing_area": ({"erasing": 0.5}, (0.02, 0.1), (0.2, 0.3)),
    "erasing_side": ({"erasing": 0.5}, None, 8),
    "mixup": ({}, None, 0.4),
    "cutmix": ({}, 0.0, 1.0),
}  # fmt: skip


def changed(base: AugmentConfig, **values: Any) -> AugmentConfig:
    return AugmentConfig(**(base.model_dump() | values))


def run(images: torch.Tensor, settings: AugmentConfig, *, size: int = 48, step: int = 0) -> torch.Tensor:
    """What a training step does to its images."""
    generator = step_generator(7, step)
    draws = draw(settings, len(images), side=images.shape[-1], size=size, generator=generator)
    mixing = draw_mixing(settings, len(images), size=size, generator=generator)
    result = augment(images, draws, size=size, settings=settings)
    return result if mixing is None else mix(result, result[mixing.partner], mixing)


@pytest.mark.parametrize("key", AugmentConfig.model_fields)
def test_every_key_of_the_settings_changes_pixels(photos: torch.Tensor, nothing: AugmentConfig, key: str) -> None:
    if key == "albumentations":
        return  # see test_albumentations.py
    beside, one, other = CHANGES[key]
    before = run(photos, changed(nothing, **beside, **{key: one}))
    after = run(photos, changed(nothing, **beside, **{key: other}))
    assert (before - after).abs().max() > 0.02
    moved = {"mixup", "cutmix"}
    assert key in moved or augments(changed(nothing, **beside, **{key: other}))


def test_nothing_to_do_is_said_so(nothing: AugmentConfig) -> None:
    assert not augments(nothing)
    assert augments(AugmentConfig())
    assert not augments(AugmentConfig(albumentations=({"HorizontalFlip": {}},)))


def test_an_albumentations_pipeline_stands_in_place_of_the_rest(photos: torch.Tensor) -> None:
    settings = AugmentConfig(**{**EVERYTHING, "mixup": 0.0, "cutmix": 0.0, "albumentations": ({"HorizontalFlip": {}},)})
    assert torch.equal(run(photos, settings), photos)


def test_same_seed_and_step_same_images_another_step_others(photos: torch.Tensor) -> None:
    settings = AugmentConfig(**EVERYTHING)
    one, same, other = (run(photos, settings, step=step) for step in (5, 5, 6))
    assert torch.equal(one, same)
    assert not torch.equal(one, other)
    streams = [torch.rand(3, generator=step_generator(0, 1, stream)) for stream in range(8)]
    following = torch.rand(3, generator=step_generator(0, 2))
    assert len({tuple(numbers.tolist()) for numbers in [*streams, following]}) == 9


def test_results_are_in_range_and_channels_last(photos: torch.Tensor) -> None:
    for policy in ("none", "randaugment", "trivialaugment"):
        for size in (32, 48, 56):
            result = run(photos, AugmentConfig(**{**EVERYTHING, "policy": policy}), size=size)
            assert result.shape == (12, 3, size, size)
            assert result.dtype == torch.float32
            assert result.is_contiguous(memory_format=torch.channels_last)
            assert result.min() >= 0
            assert result.max() <= 1


@given(
    rows=st.one_of(
        st.tuples(st.integers(0, 11), st.integers(1, 12)).map(lambda pair: slice(pair[0], pair[0] + pair[1])),
        st.lists(st.integers(0, 11), min_size=1, max_size=5).map(torch.tensor),
    ),
    policy=st.sampled_from(["none", "randaugment", "trivialaugment"]),
    on=st.sets(st.sampled_from(sorted(set(EVERYTHING) - {"policy", "mixup", "cutmix"}))),
    channels=st.sampled_from([1, 3]),
    channels_last=st.booleans(),
    size=st.sampled_from([30, 48, 50]),
    threads=st.sampled_from([1, 2]),
    step=st.integers(0, 1000),
)
@hypothesis_settings(max_examples=120, deadline=None)
def test_a_slice_of_a_batch_has_the_bits_of_the_whole(
    photos: torch.Tensor, nothing: AugmentConfig, rows: slice | torch.Tensor, policy: str, on: set[str],
    channels: int, channels_last: bool, size: int, threads: int, step: int,
) -> None:  # fmt: skip
    settings = changed(nothing, policy=policy, **{key: EVERYTHING[key] for key in on})
    images = photos[:, :channels]
    if channels_last:
        images = images.contiguous(memory_format=torch.channels_last)
    draws = draw(settings, 12, side=48, size=size, generator=step_generator(0, step))
    before = torch.get_num_threads()
    try:
        whole = augment(images, draws, size=size, settings=settings)
        torch.set_num_threads(threads)
        part = augment(images[rows], draws.take(rows), size=size, settings=settings)
    finally:
        torch.set_num_threads(before)
    assert torch.equal(part, whole[rows])


def test_large_batches_that_threads_divide_have_the_same_bits(many: torch.Tensor) -> None:
    """Here torch splits every operation between threads, at other places for other batches."""
    settings = AugmentConfig(**EVERYTHING)
    many = many[:80]
    draws = draw(settings, len(many), side=48, size=47, generator=step_generator(0, 0))
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(2)
        whole = augment(many, draws, size=47, settings=settings)
        for rows in (slice(0, 1), slice(0, 33), slice(33, 80)):
            assert torch.equal(augment(many[rows], draws.take(rows), size=47, settings=settings), whole[rows])
    finally:
        torch.set_num_threads(before)


def test_draws_are_for_each_image_and_on_the_cpu(nothing: AugmentConfig) -> None:
    draws = draw(AugmentConfig(**EVERYTHING), 9, side=48, size=40, generator=step_generator(0, 0))
    assert len(draws) == 9
    for field in dataclasses.fields(Draws):
        tensor = getattr(draws, field.name)
        assert tensor.shape[0] == 9
        assert tensor.device.type == "cpu"
    taken = draws.take(torch.tensor([3, 3, 0]))
    assert torch.equal(taken.maps, draws.maps[[3, 3, 0]])
    assert len(draws.take(torch.arange(9) < 4)) == 4


@pytest.mark.gpu
def test_a_gpu_makes_the_same_images(photos: torch.Tensor) -> None:
    """To rounding; sampling of the nearest pixel may choose another of two."""
    settings = AugmentConfig(**EVERYTHING)
    draws = draw(settings, len(photos), side=48, size=40, generator=step_generator(0, 0))
    here = augment(photos, draws, size=40, settings=settings)
    there = augment(photos.cuda(), draws, size=40, settings=settings).cpu()
    assert ((here - there).abs() > 1e-3).float().mean() < 0.01
