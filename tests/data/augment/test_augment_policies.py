"""RandAugment and TrivialAugment: operations, magnitudes and frequencies against torchvision on images of 8 bits."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable

import numpy as np
import pytest
import torch
from PIL import Image, ImageOps
from scipy import stats
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional as reference

from eyebright.config import AugmentConfig
from eyebright.data.augment import augment, draw, step_generator
from eyebright.data.augment.operations import operate
from eyebright.data.augment.policies import OPERATIONS, magnitude_table

Theirs = Callable[[torch.Tensor, float], torch.Tensor]
POLICIES = {"randaugment": v2.RandAugment, "trivialaugment": v2.TrivialAugmentWide}
NAMES = dict(
    zip(
        OPERATIONS,
        ("Identity", "ShearX", "ShearY", "TranslateX", "TranslateY", "Rotate", "Brightness", "Color", "Contrast",
         "Sharpness", "Posterize", "Solarize", "AutoContrast", "Equalize"),
        strict=True,
    )
)  # fmt: skip
SIGNED = OPERATIONS[1:10]


def degrees(magnitude: float) -> float:
    return math.degrees(math.atan(magnitude))


def affine(image: torch.Tensor, **values: list[float]) -> torch.Tensor:
    return reference.affine(image, **{"angle": 0.0, "translate": [0, 0], "scale": 1.0, "shear": [0.0, 0.0]} | values)


MOVES: dict[str, Theirs] = {
    "shear_x": lambda image, magnitude: affine(image, shear=[degrees(magnitude), 0.0], center=[0, 0]),
    "shear_y": lambda image, magnitude: affine(image, shear=[0.0, degrees(magnitude)], center=[0, 0]),
    "translate_x": lambda image, magnitude: affine(image, translate=[int(magnitude), 0]),
    "translate_y": lambda image, magnitude: affine(image, translate=[0, int(magnitude)]),
    "rotate": lambda image, magnitude: reference.rotate(image, magnitude),
}
COLOURS: dict[str, Theirs] = {
    "identity": lambda image, magnitude: image,
    "brightness": lambda image, magnitude: reference.adjust_brightness(image, 1 + magnitude),
    "colour": lambda image, magnitude: reference.adjust_saturation(image, 1 + magnitude),
    "contrast": lambda image, magnitude: reference.adjust_contrast(image, 1 + magnitude),
    "sharpness": lambda image, magnitude: reference.adjust_sharpness(image, 1 + magnitude),
    "posterize": lambda image, magnitude: reference.posterize(image, round(magnitude)),
    "solarize": lambda image, magnitude: reference.solarize(image, 255 * magnitude),
    "autocontrast": lambda image, magnitude: reference.autocontrast(image),
    "equalize": lambda image, magnitude: reference.equalize(image),
}
# In levels. Operations that choose between levels agree; elsewhere torchvision cuts off fractions that we keep, and
# some of those twice.
TOLERANCE = {"identity": 0, "posterize": 0, "solarize": 0, "equalize": 0, "colour": 2, "contrast": 2, "sharpness": 2}


def strengths(name: str, policy: str) -> list[float]:
    """Some steps of the table, in both directions where there are two."""
    steps = magnitude_table(policy, 48)[OPERATIONS.index(name), [0, 4, 9, 15, 20, 23, 30]].tolist()
    return steps + [-step for step in steps] if name in SIGNED else steps


def test_all_operations_are_compared() -> None:
    assert set(MOVES) | set(COLOURS) == set(OPERATIONS)


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("name", COLOURS)
def test_colour_operations_are_those_of_torchvision(
    levels: torch.Tensor, photos: torch.Tensor, name: str, policy: str
) -> None:
    for magnitude in strengths(name, policy):
        ours = operate(name, photos.clone(), torch.full((len(photos),), magnitude)) * 255
        for image, changed in zip(levels, ours, strict=True):
            difference = (changed - COLOURS[name](image, magnitude)).abs().max()
            assert difference <= TOLERANCE.get(name, 1) + 1e-3, magnitude


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("name", MOVES)
@pytest.mark.parametrize("channels", [1, 3])
def test_moving_operations_are_those_of_torchvision(
    levels: torch.Tensor, photos: torch.Tensor, name: str, policy: str, channels: int
) -> None:
    """Of two pixels that are equally near, rounding chooses; a magnitude a little off chooses the other."""
    for magnitude in strengths(name, policy):
        given = photos[:, :channels].clone()
        ours = operate(name, given, torch.full((len(photos),), magnitude)) * 255
        around = [MOVES[name](levels[:, :channels], magnitude * factor) for factor in (1, 1 + 1e-5, 1 - 1e-5)]
        off = torch.stack([(ours - theirs).abs() for theirs in around]).amin(0)
        assert off.max() < 1e-3, magnitude
        assert ((ours - around[0]).abs() > 1e-3).float().mean() < 0.05


@pytest.mark.parametrize("name", [name for name in COLOURS if name != "colour"])
def test_grey_images_too(levels: torch.Tensor, photos: torch.Tensor, name: str) -> None:
    for magnitude in strengths(name, "randaugment"):
        ours = operate(name, photos[:, :1].clone(), torch.full((len(photos),), magnitude)) * 255
        for image, changed in zip(levels[:, :1], ours, strict=True):
            difference = (changed - COLOURS[name](image, magnitude)).abs().max()
            assert difference <= TOLERANCE.get(name, 1) + 1e-3, magnitude


def test_each_image_has_a_magnitude_of_its_own(photos: torch.Tensor) -> None:
    for name in OPERATIONS:
        magnitudes = torch.tensor((strengths(name, "randaugment") * 2)[: len(photos)])
        together = operate(name, photos.clone(), magnitudes)
        for row in range(len(photos)):
            assert torch.equal(
                operate(name, photos[row : row + 1].clone(), magnitudes[row : row + 1])[0], together[row]
            )


def test_equalize_and_autocontrast_are_those_of_pil(levels: torch.Tensor, photos: torch.Tensor) -> None:
    for name, theirs in (("equalize", ImageOps.equalize), ("autocontrast", ImageOps.autocontrast)):
        ours = operate(name, photos.clone(), torch.zeros(len(photos))) * 255
        for image, changed in zip(levels, ours, strict=True):
            expected = np.asarray(theirs(Image.fromarray(image.permute(1, 2, 0).numpy())), dtype=np.float32)
            assert np.abs(changed.permute(1, 2, 0).numpy() - expected).max() <= 1


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("size", [32, 96, 224])
def test_magnitudes_are_those_of_torchvision(policy: str, size: int) -> None:
    theirs = POLICIES[policy]._AUGMENTATION_SPACE
    ours = magnitude_table(policy, size)
    assert list(theirs) == list(NAMES.values())
    for row, (magnitudes, signed) in enumerate(theirs.values()):
        expected = magnitudes(31, size, size)
        if expected is None:
            assert (ours[row] == 0).all()
        elif OPERATIONS[row] == "posterize":
            assert torch.equal(ours[row].round().int(), expected)
        else:
            assert torch.equal(ours[row], expected)
        assert signed == (OPERATIONS[row] in SIGNED)


def test_randaugment_draws_every_operation_and_direction_equally_often(nothing: AugmentConfig) -> None:
    changed = nothing.model_copy(update={"policy": "randaugment", "policy_operations": 3})
    draws = draw(changed, 5000, side=48, size=48, generator=step_generator(0, 0))
    assert draws.operations.shape == (5000, 3)
    table = magnitude_table("randaugment", 48)[:, 9]
    assert torch.equal(draws.magnitudes.abs(), table[draws.operations])
    for place in range(3):
        counts = draws.operations[:, place].bincount(minlength=14)
        assert stats.chisquare(counts).pvalue > 0.01
    first, second = draws.operations[:, 0], draws.operations[:, 1]
    assert stats.chisquare((first * 14 + second).bincount(minlength=196)).pvalue > 0.01, "each drawn apart"
    for number in range(14):
        share = (draws.magnitudes[draws.operations == number] < 0).float().mean()
        assert share == pytest.approx(0.5 if OPERATIONS[number] in SIGNED else 0.0, abs=0.08)


def test_trivialaugment_draws_one_operation_and_every_step_equally_often(nothing: AugmentConfig) -> None:
    changed = nothing.model_copy(update={"policy": "trivialaugment", "policy_operations": 3})
    draws = draw(changed, 14_000, side=48, size=48, generator=step_generator(0, 1))
    assert draws.operations.shape == (14_000, 1)
    assert stats.chisquare(draws.operations[:, 0].bincount(minlength=14)).pvalue > 0.01
    turned = draws.magnitudes[draws.operations == OPERATIONS.index("rotate")].abs()
    steps = (turned / 4.5).round().long().bincount(minlength=31)
    assert stats.chisquare(steps).pvalue > 0.01


def test_magnitudes_between_two_steps_are_in_proportion(nothing: AugmentConfig) -> None:
    drawn = {}
    for magnitude in (9.0, 9.5, 10.0, 30.0):
        changed = nothing.model_copy(update={"policy": "randaugment", "policy_magnitude": magnitude})
        drawn[magnitude] = draw(changed, 500, side=48, size=48, generator=step_generator(0, 0)).magnitudes
    assert torch.allclose(drawn[9.5], (drawn[9.0] + drawn[10.0]) / 2, atol=1e-5)
    assert drawn[30.0].abs().max() == 30  # degrees


def test_outcomes_have_the_frequencies_of_torchvision(
    levels: torch.Tensor, photos: torch.Tensor, nothing: AugmentConfig
) -> None:
    """One image, one operation of one strength: 23 outcomes, counted in both."""
    count, image = 1500, levels[1, :, ::2, ::2].contiguous()
    torch.manual_seed(0)
    theirs = torch.stack([v2.RandAugment(num_ops=1, magnitude=9)(image) for _ in range(count)])
    changed = nothing.model_copy(update={"policy": "randaugment", "policy_operations": 1})
    given = (image.float() / 255).expand(count, 3, 24, 24)
    draws = draw(changed, count, side=24, size=24, generator=step_generator(0, 0))
    ours = augment(given, draws, size=24, settings=changed) * 255
    outcomes = theirs.unique(dim=0).float()
    assert len(outcomes) == 23
    nearest = [
        Counter((batch.float()[:, None] - outcomes).abs().flatten(2).mean(2).argmin(1).tolist())
        for batch in (theirs, ours)
    ]
    distance = torch.cdist(ours.flatten(1), outcomes.flatten(1), p=1).amin(1) / image.numel()
    assert distance.max() < 1
    table = [[counter[outcome] for outcome in range(23)] for counter in nearest]
    assert stats.chi2_contingency(table).pvalue > 0.01


def test_a_policy_comes_on_top_of_geometry_and_colour(photos: torch.Tensor, nothing: AugmentConfig) -> None:
    """Its operations are applied to what the rest has made, from the first to the last."""
    rest = nothing.model_copy(update={"rotation": 20.0, "brightness": 0.3, "policy": "randaugment"})
    draws = draw(rest, len(photos), side=48, size=40, generator=step_generator(0, 0))
    result = augment(photos, draws, size=40, settings=rest)
    expected = augment(photos, draws, size=40, settings=rest.model_copy(update={"policy": "none"})).contiguous()
    for place in range(2):
        expected = torch.cat(
            [
                operate(OPERATIONS[number], image[None].clone(), magnitude[None])
                for number, image, magnitude in zip(
                    draws.operations[:, place].tolist(), expected, draws.magnitudes[:, place], strict=True
                )
            ]
        )
    assert torch.equal(result, expected)
