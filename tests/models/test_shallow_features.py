"""Features that nobody had to learn: those of scikit-image and of exact fractions, to the last bit in every runtime."""

from __future__ import annotations

import math
from fractions import Fraction
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
from skimage.feature import hog, local_binary_pattern

from eyebright.export.onnx import export_features
from eyebright.models.catalog import create_network
from eyebright.models.shallow.features import (
    FAMILIES,
    GRID,
    WHOLE,
    Colour,
    LocalBinaryPatterns,
    OrientedGradients,
    brightness,
    make_family,
    uniform_bins,
)
from eyebright.preprocess import Preprocess


def photos(folder: Path, side: int, count: int = 6, channels: int = 3) -> np.ndarray:
    """uint8 (N, side, side, channels)."""
    preprocess = Preprocess(size=side, channels=channels, mean=(0.0,) * channels, std=(1.0,) * channels)
    files = sorted(folder.glob("*/*.jpg"))
    return np.stack([preprocess.pixels(file) for file in files[:: len(files) // count][:count]])


def levels(pixels: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(pixels).permute(0, 3, 1, 2).float()


@pytest.mark.parametrize(("side", "channels", "within"), [(64, 3, 1e-4), (128, 3, 4e-4), (64, 1, 1e-4)])
def test_oriented_gradients_are_those_of_scikit_image(
    side: int, channels: int, within: float, flowers_sample: Path
) -> None:
    pixels = photos(flowers_sample, side, channels=channels)
    cell = side // 8
    expected = np.stack([
        hog(
            image if channels == 3 else image[..., 0], orientations=9, pixels_per_cell=(cell, cell),
            cells_per_block=(2, 2), block_norm="L2-Hys", channel_axis=2 if channels == 3 else None,
        )
        for image in pixels
    ])  # fmt: skip
    received = OrientedGradients(side)(levels(pixels)).numpy()
    np.testing.assert_allclose(received, expected, atol=within)  # magnitudes are rounded
    assert np.abs(received - expected).mean() < within / 20


def test_every_gradient_falls_into_the_orientation_of_its_angle() -> None:
    """And none near enough to a border for the rounding of float32 to decide."""
    down, right = np.mgrid[0:256, -255:256]
    upper = (down > 0) | (right > 0)  # the half plane that the others are turned into
    angles = np.degrees(np.arctan2(down, right))
    expected = np.floor(angles / 20).astype(int)
    found = np.zeros_like(expected)
    for number in range(1, 9):
        angle = math.pi * number / 9
        margin = math.cos(angle) * down - math.sin(angle) * right
        assert np.abs(margin[upper]).min() > 1e-3
        found += margin.astype(np.float32) >= 0
    assert (found[upper] == expected[upper]).all()


def test_local_binary_patterns_are_those_of_scikit_image(flowers_sample: Path) -> None:
    grey = brightness(levels(photos(flowers_sample, 64)))
    received = LocalBinaryPatterns(64).patterns(grey).numpy()
    expected = np.stack([local_binary_pattern(one, 8, 1) for one in grey.numpy().astype(np.uint8)])[:, 1:-1, 1:-1]
    assert np.mean(received == expected) > 0.999  # where a neighbour is as bright to 1/4096, rounding decides there


def test_uniform_patterns_have_bins_as_in_scikit_image() -> None:
    """Two patterns share a bin here exactly when they share one there."""
    grey = np.random.default_rng(0).integers(0, 256, (200, 200), dtype=np.uint8)
    codes = local_binary_pattern(grey, 8, 1).astype(int).reshape(-1)
    labels = local_binary_pattern(grey, 8, 1, method="nri_uniform").astype(int).reshape(-1)
    pairs = {(int(uniform_bins()[code]), int(label)) for code, label in zip(codes, labels, strict=True)}
    assert len(pairs) == len({ours for ours, _ in pairs}) == len({theirs for _, theirs in pairs}) == 59


def test_equal_pixels_compare_as_equal_also_between_pixels() -> None:
    flat = torch.full((1, 32, 32), 137.0)
    assert (LocalBinaryPatterns(32).patterns(flat) == 255).all()


def test_colours_fall_into_bins_as_fractions_say() -> None:
    """Hue, saturation and brightness in exact arithmetic, for colours of all kinds and on the borders of bins."""
    random = np.random.default_rng(0)
    pixels = random.integers(0, 256, (32, 32, 3), dtype=np.uint8)
    pixels[:8] = random.choice([0, 32, 63, 64, 127, 128, 192, 255], (8, 32, 3))
    family = Colour(32, 3)
    received = family._bins(levels(pixels[None]))[0].numpy().astype(int)
    for row in range(32):
        for column in range(32):
            assert received[row, column] == colour_bin(*map(int, pixels[row, column]))


def colour_bin(red: int, green: int, blue: int) -> int:
    high, low = max(red, green, blue), min(red, green, blue)
    chroma = high - low
    if high < 32 or Fraction(chroma, max(high, 1)) < Fraction(1, 8):
        return 48 + high // 32
    if high == red:
        sixths = Fraction(green - blue, chroma)
    elif high == green:
        sixths = 2 + Fraction(blue - red, chroma)
    else:
        sixths = 4 + Fraction(red - green, chroma)
    hue = math.floor(2 * sixths + Fraction(1, 2)) % 12
    return 4 * hue + 2 * (Fraction(chroma, high) >= Fraction(1, 2)) + (high >= 128)


@pytest.mark.parametrize("channels", [3, 1])
@pytest.mark.parametrize("name", FAMILIES)
def test_every_feature_knows_its_cell(name: str, channels: int) -> None:
    """A change of pixels inside one cell leaves the features of cells far from it as they were."""
    family = make_family(name, 64, channels)
    before = np.random.default_rng(0).integers(0, 256, (1, 64, 64, channels), dtype=np.uint8)
    after = before.copy()
    after[:, :6, :6] = 255 - after[:, :6, :6]  # and gradients reach one pixel further
    changed = (family(levels(before)) != family(levels(after)))[0].numpy()
    assert len(changed) == len(family.cells)
    touched = set(family.cells[changed].tolist())
    assert 0 in touched
    assert touched <= {WHOLE, 0}


@pytest.mark.parametrize(("name", "channels"), [("colour", 3), ("colour", 1), ("lbp", 3)])
def test_histograms_are_roots_of_shares(name: str, channels: int, flowers_sample: Path) -> None:
    family = make_family(name, 64, channels)
    values = family(levels(photos(flowers_sample, 64, channels=channels))).double().numpy()
    for cell in range(WHOLE, GRID**2):
        np.testing.assert_allclose((values[:, family.cells == cell] ** 2).sum(1), 1, atol=1e-5)


def test_the_graph_finds_the_same_features_to_the_last_bit(flowers_sample: Path) -> None:
    """Trees compare features with thresholds: one bit could be another branch. Flat and extreme images count too."""
    side = 64
    random = np.random.default_rng(0)
    extremes = [
        np.zeros((side, side, 3), np.uint8), np.full((side, side, 3), 255, np.uint8),
        random.integers(0, 256, (side, side, 3), dtype=np.uint8),
        np.indices((side, side)).sum(0)[..., None].repeat(3, 2).astype(np.uint8) % 2 * 255,
    ]  # fmt: skip
    pixels = np.concatenate([np.stack(extremes), photos(flowers_sample, side)])
    network = create_network("shallow", classes=3, pretrained=False, arguments={"img_size": side}).eval()
    preprocess = Preprocess(size=side, mean=(0,) * 3, std=(1,) * 3)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    graph = export_features(network, preprocess).SerializeToString()
    session = onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
    with torch.inference_mode():
        expected = network.forward_features(torch.from_numpy(preprocess.normalise(pixels))).numpy()  # type: ignore[operator]
    assert np.isfinite(expected).all()
    for count in (1, len(pixels)):
        received = session.run(["features"], {"pixels": pixels[:count]})[0]
        assert np.array_equal(received, expected[:count])
