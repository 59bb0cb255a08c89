"""What holds for every corruption: repeatable, alone, ever stronger, within 8 bits, on images of any kind."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from eyebright.errors import DataError, UsageError
from eyebright.robustness import CORRUPTIONS, SEVERITIES, corrupt, meaningless, severities

ALL = list(CORRUPTIONS)
Photos = Callable[..., torch.Tensor]
IDS = ["a", "b", "c", "d"]


def test_the_usual_fifteen_and_four_more() -> None:
    assert sum(one.common for one in CORRUPTIONS.values()) == 15
    assert [name for name, one in CORRUPTIONS.items() if not one.common] == [
        "resolution", "jpeg_quality", "rotation", "occlusion"
    ]  # fmt: skip
    assert all(len(one.levels) == SEVERITIES for one in CORRUPTIONS.values())


@pytest.mark.parametrize("name", ALL)
def test_an_image_becomes_the_same_in_any_batch_and_order(photos: Photos, name: str) -> None:
    pixels = photos(50)
    whole = list(severities(pixels, IDS, name, seed=3))
    backwards = list(severities(pixels.flip(0), IDS[::-1], name, seed=3))
    for index, image in enumerate(IDS):
        alone = list(severities(pixels[index : index + 1], [image], name, seed=3))
        for one, batch, other in zip(alone, whole, backwards, strict=True):
            assert torch.equal(one[0], batch[index])
            assert torch.equal(one[0], other[len(IDS) - 1 - index])


@pytest.mark.parametrize("threads", [1, 2])
def test_the_number_of_threads_changes_nothing(photos: Photos, threads: int) -> None:
    pixels = photos(48, number=1)
    before = torch.get_num_threads()
    expected = {name: torch.stack(list(severities(pixels, ["a"], name))) for name in ALL}
    torch.set_num_threads(threads)
    try:
        for name in ALL:
            assert torch.equal(torch.stack(list(severities(pixels, ["a"], name))), expected[name]), name
    finally:
        torch.set_num_threads(before)


CHANCE = [name for name in ALL if name not in (
    "defocus_blur", "zoom_blur", "brightness", "contrast", "pixelate", "jpeg_compression", "resolution", "jpeg_quality"
)]  # fmt: skip


@pytest.mark.parametrize("name", CHANCE)
def test_another_seed_or_image_draws_other_numbers(photos: Photos, name: str) -> None:
    pixels = photos(48, number=1)
    # A direction is drawn from two: among eight seeds both occur.
    results = [corrupt(pixels, ["a"], name, 3, seed=seed) for seed in range(8)]
    assert any(not torch.equal(results[0], other) for other in results[1:])
    others = [corrupt(pixels, [str(number)], name, 3) for number in range(8)]
    assert any(not torch.equal(others[0], other) for other in others[1:])


@pytest.mark.parametrize("side", [28, 32, 96, 224])
@pytest.mark.parametrize("channels", [1, 3])
def test_each_severity_harms_more_than_the_one_before(photos: Photos, side: int, channels: int) -> None:
    number = 8 if side < 200 else 2
    pixels = photos(side, channels, number)
    ids = [str(n) for n in range(number)]
    for name in ALL:
        before = 0.0
        for severity, result in enumerate(severities(pixels, ids, name), start=1):
            assert result.dtype == torch.uint8
            assert result.shape == pixels.shape
            difference = (result.double() - pixels.double()).abs().mean().item()
            assert difference > before, (name, severity, difference, before)
            before = difference


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize("value", [0, 255])
def test_black_and_white_images_stay_within_eight_bits(name: str, value: int) -> None:
    pixels = torch.full((1, 40, 40, 3), value, dtype=torch.uint8)
    for result in severities(pixels, ["a"], name):
        values = result.double()
        assert (values - value).abs().median() < 200  # nothing wraps around


@pytest.mark.parametrize("name", ALL)
def test_the_image_that_was_given_is_left_alone(photos: Photos, name: str) -> None:
    pixels = photos(40, number=1)
    before = pixels.clone()
    results = list(severities(pixels, ["a"], name))
    assert torch.equal(pixels, before)
    results[0].fill_(7)
    assert torch.equal(pixels, before)


@pytest.mark.parametrize("name", ALL)
def test_one_severity_is_the_same_as_among_all(photos: Photos, name: str) -> None:
    pixels = photos(40, number=2)
    fourth = list(severities(pixels, ["a", "b"], name))[3]
    assert torch.equal(corrupt(pixels, ["a", "b"], name, 4), fourth)


@pytest.mark.parametrize("side", [16, 17, 21])
def test_the_smallest_images_bear_all_and_smaller_ones_lose_what_needs_room(side: int) -> None:
    pixels = torch.randint(0, 256, (2, side, side, 1), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    assert meaningless(side) == {}
    for name in ALL:
        assert len(list(severities(pixels, ["a", "b"], name))) == SEVERITIES


def test_images_without_room_say_what_is_left_out_and_why() -> None:
    left_out = meaningless(8)
    assert "fog" in left_out
    assert "gaussian_noise" not in left_out
    assert "8 x 8 pixels has no room" in left_out["fog"]
    pixels = torch.full((1, 8, 8, 1), 90, dtype=torch.uint8)
    for name in set(ALL) - set(left_out):
        assert len(list(severities(pixels, ["a"], name))) == SEVERITIES


def test_an_empty_batch_stays_empty() -> None:
    pixels = torch.zeros((0, 32, 32, 3), dtype=torch.uint8)
    assert [result.shape[0] for result in severities(pixels, [], "fog")] == [0] * SEVERITIES


def test_what_does_not_fit_is_refused() -> None:
    pixels = torch.zeros((1, 32, 32, 3), dtype=torch.uint8)
    with pytest.raises(UsageError, match="did you mean 'fog'"):
        corrupt(pixels, ["a"], "fogg", 1)
    with pytest.raises(UsageError, match="1 to 5"):
        corrupt(pixels, ["a"], "fog", 0)
    with pytest.raises(DataError, match="2 ids"):
        corrupt(pixels, ["a", "b"], "fog", 1)
    with pytest.raises(DataError, match="float32"):
        corrupt(pixels.float(), ["a"], "fog", 1)
    with pytest.raises(DataError, match="uint8"):
        corrupt(pixels[:, :16], ["a"], "fog", 1)


@pytest.mark.gpu
@pytest.mark.parametrize("name", ALL)
def test_a_gpu_gives_nearly_the_same_pixels(photos: Photos, name: str) -> None:
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device here")
    pixels = photos(64, number=2)
    for here, there in zip(
        severities(pixels, ["a", "b"], name), severities(pixels.cuda(), ["a", "b"], name), strict=True
    ):
        assert there.is_cuda
        apart = (here.int() - there.cpu().int()).abs()
        assert apart.double().mean() < 0.05
