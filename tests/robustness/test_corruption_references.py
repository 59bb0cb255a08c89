"""Each corruption against another implementation, or against the formula that it claims."""

from __future__ import annotations

import io
import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from PIL import Image
from scipy import ndimage
from scipy.stats import poisson
from skimage.color import hsv2rgb, rgb2hsv
from torchvision.transforms.v2 import functional as vision

from eyebright.robustness import CORRUPTIONS, corrupt, severities
from eyebright.robustness.blur import disc_kernel, line_kernel
from eyebright.robustness.catalog import REFERENCE_SIDE
from eyebright.robustness.pixels import convolve_each, gaussian_kernel, planes_of

Photos = Callable[..., torch.Tensor]
IDS = ["a", "b", "c", "d"]


def flat(value: int, side: int = 224, channels: int = 3) -> torch.Tensor:
    return torch.full((2, side, side, channels), value, dtype=torch.uint8)


@pytest.mark.parametrize("severity", [1, 2, 3])
@pytest.mark.parametrize("side", [32, 224])
def test_gaussian_noise_has_the_deviation_that_it_says(severity: int, side: int) -> None:
    (deviation,) = CORRUPTIONS["gaussian_noise"].at(side)[severity - 1]
    noisy = corrupt(flat(128, side).repeat(4, 1, 1, 1), [str(n) for n in range(8)], "gaussian_noise", severity).double()
    # What is cut off at black and white is rare at these levels: 0.5 / 0.18 is 2.8 deviations.
    expected = math.sqrt((255 * deviation) ** 2 + 1 / 12)
    assert noisy.std() == pytest.approx(expected, rel=0.02 if severity < 3 else 0.03)
    assert noisy.mean() == pytest.approx(128, abs=1.5)


@pytest.mark.parametrize("value", [10, 60, 128, 220])
@pytest.mark.parametrize("severity", [1, 3, 5])
def test_shot_noise_is_a_count_of_photons(value: int, severity: int) -> None:
    (photons,) = CORRUPTIONS["shot_noise"].at(224)[severity - 1]
    noisy = corrupt(flat(value), ["a", "b"], "shot_noise", severity).double()
    counts = np.arange(200)
    weights = poisson.pmf(counts, value / 255 * photons)
    seen = np.clip(np.round(counts / photons * 255), 0, 255)
    mean = (weights * seen).sum()
    deviation = math.sqrt((weights * (seen - mean) ** 2).sum())
    assert noisy.mean() == pytest.approx(mean, abs=4 * deviation / math.sqrt(noisy.numel()) + 0.05)
    assert noisy.std() == pytest.approx(deviation, rel=0.02)


def test_impulse_noise_sets_its_share_half_to_black_half_to_white() -> None:
    for (share,), result in zip(
        CORRUPTIONS["impulse_noise"].at(224), severities(flat(128), ["a", "b"], "impulse_noise"), strict=True
    ):
        assert (result == 0).double().mean() == pytest.approx(share / 2, rel=0.06)
        assert (result == 255).double().mean() == pytest.approx(share / 2, rel=0.06)
        assert set(result.unique().tolist()) == {0, 128, 255}


@pytest.mark.parametrize("sigma", [0.5, 1.5, 3.0])
def test_gaussian_blur_is_that_of_scipy(photos: Photos, sigma: float) -> None:
    planes = planes_of(photos(64)[0])
    ours = next(convolve_each(planes, [gaussian_kernel(sigma)]))[0].double().numpy()
    theirs = ndimage.gaussian_filter(
        planes[0].double().numpy(), sigma, mode="mirror", axes=(1, 2), radius=math.ceil(4 * sigma)
    )
    assert np.abs(ours - theirs).max() < 1e-5


def test_several_kernels_give_what_each_gives_alone(photos: Photos) -> None:
    planes = planes_of(photos(64)[0])
    kernels = [disc_kernel(1.3), line_kernel(9, 30), gaussian_kernel(0.7)]
    for kernel, ours in zip(kernels, convolve_each(planes, kernels), strict=True):
        theirs = ndimage.correlate(planes[0].double().numpy(), kernel[None].double().numpy(), mode="mirror")
        assert np.abs(ours[0].double().numpy() - theirs).max() < 1e-5


@pytest.mark.parametrize("radius", [0.6, 1.4, 3.0, 10.0])
def test_a_disc_has_the_area_and_the_spread_of_a_disc(radius: float) -> None:
    kernel = disc_kernel(radius).double()
    places = torch.arange(len(kernel)) - len(kernel) // 2
    assert kernel.sum() == pytest.approx(1, abs=1e-6)
    assert torch.equal(kernel, kernel.T)
    assert torch.equal(kernel, kernel.flip(0))
    # The variance of a disc is a quarter of its squared radius along each axis; a pixel's own width adds 1/12 at most.
    variance = (kernel.sum(0) * places**2).sum()
    assert variance == pytest.approx(radius**2 / 4 + 1 / 24, abs=0.08)
    inside = (kernel > 0.5 * kernel.max()).sum()
    assert inside == pytest.approx(math.pi * radius**2, rel=0.25, abs=1)


@pytest.mark.parametrize(("length", "degrees"), [(6.0, 0.0), (30.0, 37.0), (2.5, -20.0), (17.0, 90.0)])
def test_a_line_is_even_and_lies_at_its_angle(length: float, degrees: float) -> None:
    kernel = line_kernel(length, degrees).double()
    places = (torch.arange(len(kernel)) - len(kernel) // 2).double()
    x, y = kernel.sum(0), kernel.sum(1)
    assert (x * places).sum() == pytest.approx(0, abs=1e-5)
    assert (y * places).sum() == pytest.approx(0, abs=1e-5)
    xx, yy = (x * places**2).sum(), (y * places**2).sum()
    xy = (kernel * places[None] * places[:, None]).sum()
    # Sharing a point among four pixels adds a little along both axes alike.
    assert xx + yy == pytest.approx(length**2 / 12, abs=0.6)
    assert math.degrees(math.atan2(2 * xy, xx - yy) / 2) % 180 == pytest.approx(degrees % 180, abs=2.5)


def test_zoom_blur_is_the_mean_of_enlargements_by_torchvision(photos: Photos) -> None:
    pixels = photos(96, number=1)
    planes = planes_of(pixels[0])
    sharp = torch.stack([
        vision.affine(planes, angle=0, translate=[0, 0], scale=1 + 0.025 * step, shear=[0.0],
                      interpolation=vision.InterpolationMode.BILINEAR)
        for step in range(5)
    ]).mean(0)  # fmt: skip
    ours = planes_of(corrupt(pixels, ["a"], "zoom_blur", 1)[0])
    inner = (..., slice(4, -4), slice(4, -4))  # at the border torchvision shows black, Eyebright the mirrored image
    assert (ours - sharp)[inner].abs().max() < 2 / 255


def test_rotation_is_that_of_torchvision(photos: Photos) -> None:
    pixels = photos(97, number=1)
    y, x = np.mgrid[:97, :97] - 48
    inner = torch.from_numpy(np.hypot(x, y) < 46)
    for (degrees,), result in zip(CORRUPTIONS["rotation"].at(97), severities(pixels, ["a"], "rotation"), strict=True):
        both = [
            vision.rotate(pixels.permute(0, 3, 1, 2), angle, interpolation=vision.InterpolationMode.BILINEAR)
            for angle in (degrees, -degrees)
        ]
        apart = [(turned.permute(0, 2, 3, 1).int() - result.int()).abs()[0][inner].max() for turned in both]
        assert min(apart) <= 1
        assert max(apart) > 20


def test_the_direction_of_rotation_is_drawn() -> None:
    pixels = torch.zeros((24, 33, 33, 1), dtype=torch.uint8)
    pixels[:, 4, 16] = 255  # a point at the top
    turned = corrupt(pixels, [str(n) for n in range(24)], "rotation", 5)
    rightwards = [int(one[..., 0].sum(0).argmax()) > 16 for one in turned]
    assert 4 < sum(rightwards) < 20


def test_brightness_raises_the_value_of_hsv(photos: Photos) -> None:
    pixels = photos(64)
    for (added,), result in zip(CORRUPTIONS["brightness"].at(64), severities(pixels, IDS, "brightness"), strict=True):
        hsv = rgb2hsv(pixels.numpy())
        hsv[..., 2] = np.clip(hsv[..., 2] + added, 0, 1)
        assert np.abs(hsv2rgb(hsv) * 255 - result.numpy()).max() < 1.01


def test_contrast_shrinks_the_distance_to_the_mean(photos: Photos) -> None:
    pixels = photos(64)
    mean = pixels.double().mean((1, 2), keepdim=True)
    for (left,), result in zip(CORRUPTIONS["contrast"].at(64), severities(pixels, IDS, "contrast"), strict=True):
        assert ((pixels - mean) * left + mean - result).abs().max() < 0.51


def test_pixelate_shows_block_means() -> None:
    generator = np.random.default_rng(0)
    pixels = generator.integers(0, 256, (1, 224, 224, 3), dtype=np.uint8)
    result = corrupt(torch.from_numpy(pixels), ["a"], "pixelate", 5)[0].numpy()  # a quarter of 224
    blocks = pixels[0].reshape(56, 4, 56, 4, 3).mean((1, 3))
    assert np.abs(np.repeat(np.repeat(blocks, 4, 0), 4, 1) - result).max() <= 1


def test_resolution_is_what_is_left_after_pillow_made_it_smaller(photos: Photos) -> None:
    pixels = photos(64, number=1)
    result = corrupt(pixels, ["a"], "resolution", 4)[0].numpy()  # a quarter
    picture = Image.fromarray(pixels[0].numpy()).resize((16, 16), Image.Resampling.BICUBIC)
    assert np.array_equal(np.asarray(picture.resize((64, 64), Image.Resampling.BICUBIC)), result)


@pytest.mark.filterwarnings("ignore:The image decoding and encoding capabilities:DeprecationWarning")
def test_jpeg_is_the_round_trip_of_torchvision(photos: Photos) -> None:
    from torchvision.io import decode_jpeg, encode_jpeg

    pixels = photos(224, number=1)
    planes = pixels[0].permute(2, 0, 1).contiguous()
    for (quality,), result in zip(
        CORRUPTIONS["jpeg_quality"].at(224), severities(pixels, ["a"], "jpeg_quality"), strict=True
    ):
        theirs = decode_jpeg(encode_jpeg(planes, int(quality))).permute(1, 2, 0)
        # Both use libjpeg-turbo, perhaps of another version with another rounding.
        assert (theirs.int() - result[0].int()).abs().double().mean() < 0.5


def test_a_smaller_image_gets_a_milder_quality_by_the_steps_of_libjpeg() -> None:
    def first_step(quality: float) -> float:
        buffer = io.BytesIO()
        Image.new("L", (8, 8)).save(buffer, "JPEG", quality=int(quality))
        return float(Image.open(buffer).quantization[0][0])  # type: ignore[attr-defined]

    at_56 = CORRUPTIONS["jpeg_compression"].at(REFERENCE_SIDE // 4)
    for (mild,), (full,) in zip(at_56, CORRUPTIONS["jpeg_compression"].at(REFERENCE_SIDE), strict=True):
        assert first_step(mild) == pytest.approx(first_step(full) / 2, rel=0.08)


def test_occlusion_hides_the_share_that_it_says_and_grows_over_itself() -> None:
    pixels, ids = flat(0, 96), ["a", "b"]
    before = torch.zeros(2, 96, 96, dtype=torch.bool)
    for (share,), result in zip(CORRUPTIONS["occlusion"].at(96), severities(pixels, ids, "occlusion"), strict=True):
        hidden = (result == 128).all(-1)
        assert hidden.double().mean((1, 2)).numpy() == pytest.approx(share, abs=0.02)
        assert (hidden | ~before).all()
        before = hidden


def test_glass_blur_takes_pixels_from_near_only(photos: Photos) -> None:
    ramp = torch.arange(224, dtype=torch.uint8)[None, None, :, None].expand(1, 224, 224, 1).contiguous()
    for (deviation, reach), result in zip(
        CORRUPTIONS["glass_blur"].at(224), severities(ramp, ["a"], "glass_blur"), strict=True
    ):
        moved = (result.int() - ramp.int()).abs()[:, 20:-20, 20:-20].max()
        assert 0.3 * reach < moved <= reach + 1 + deviation


def test_elastic_displacements_have_the_deviation_that_they_say() -> None:
    ramp = torch.arange(224, dtype=torch.uint8)[None, None, :, None].expand(8, 224, 224, 1).contiguous()
    ids = [str(n) for n in range(8)]
    for (deviation,), result in zip(
        CORRUPTIONS["elastic_transform"].at(224), severities(ramp, ids, "elastic_transform"), strict=True
    ):
        moved = (result.double() - ramp.double())[:, 24:-24, 24:-24]
        assert moved.std() == pytest.approx(deviation, rel=0.15)


def test_weather_lightens_what_is_dark_and_fog_adds_no_light(photos: Photos) -> None:
    """No reference exists; they do to brightness what they should."""
    dark = flat(20, 96)
    frost, snow = (corrupt(dark, ["a", "b"], name, 3).double() for name in ("frost", "snow"))
    assert min(frost.mean(), snow.mean()) > 60
    bright = photos(96)
    assert corrupt(bright, IDS, "fog", 5).amax() <= bright.amax()  # brought back to the brightest pixel
    assert (corrupt(bright, IDS, "snow", 1).int() - bright.int()).min() >= -1  # snow darkens nothing
