"""Colours of the pages: text can be read in both themes, and right and wrong differ for every kind of sight."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

import eyebright.report as report

STYLE = (Path(report.__file__).parent / "templates" / "style.css").read_text(encoding="utf-8")
THEMES = dict(zip(("light", "dark"), re.findall(r":root \{(.*?)\}", STYLE, re.S)[:2], strict=True))
# From linear RGB to what is seen, for complete dichromats (Machado, Oliveira and Fernandes 2009).
SIGHTS = {
    "usual": np.eye(3),
    "protanopia": np.array([
        [0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]
    ]),
    "deuteranopia": np.array([
        [0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]
    ]),
    "tritanopia": np.array([
        [1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.303900]
    ]),
}  # fmt: skip


def colour(theme: str, name: str) -> np.ndarray:
    """A token as linear RGB."""
    match = re.search(rf"--{name}: #([0-9a-f]{{6}})", THEMES[theme])
    assert match is not None, name
    values = np.array([int(match.group(1)[place : place + 2], 16) for place in (0, 2, 4)]) / 255
    return np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)


def contrast(one: np.ndarray, two: np.ndarray) -> float:
    """As WCAG 2 defines it."""
    high, low = sorted((float(values @ [0.2126, 0.7152, 0.0722]) for values in (one, two)), reverse=True)
    return (high + 0.05) / (low + 0.05)


def lab(values: np.ndarray) -> np.ndarray:
    """CIE L*a*b* of linear RGB."""
    matrix = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])
    xyz = matrix @ np.clip(values, 0, 1) / np.array([0.9505, 1.0, 1.089])
    f = np.where(xyz > 0.008856, np.cbrt(xyz), 7.787 * xyz + 16 / 116)
    return np.array([116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])])


@pytest.mark.parametrize("theme", THEMES)
@pytest.mark.parametrize("ground", ["paper", "sheet"])
@pytest.mark.parametrize("name", ["ink", "soft", "accent", "right", "wrong", "warn"])
def test_text_can_be_read_on_every_ground(theme: str, ground: str, name: str) -> None:
    assert contrast(colour(theme, name), colour(theme, ground)) >= 4.5


@pytest.mark.parametrize("theme", THEMES)
def test_text_on_the_accent_and_lines_on_paper_can_be_seen(theme: str) -> None:
    assert contrast(colour(theme, "on-accent"), colour(theme, "accent")) >= 4.5
    assert contrast(colour(theme, "muted"), colour(theme, "paper")) >= 3


@pytest.mark.parametrize("theme", THEMES)
@pytest.mark.parametrize("sight", SIGHTS)
@pytest.mark.parametrize("pair", [("right", "wrong"), ("accent", "wrong"), ("accent", "muted")])
def test_colours_that_mean_something_differ_for_every_sight(theme: str, sight: str, pair: tuple[str, str]) -> None:
    one, two = (lab(SIGHTS[sight] @ colour(theme, name)) for name in pair)
    assert np.linalg.norm(one - two) > 18


@pytest.mark.parametrize("theme", THEMES)
@pytest.mark.parametrize("name", ["accent", "wrong"])
def test_numbers_in_cells_of_any_strength_can_be_read(theme: str, name: str) -> None:
    script = (Path(report.__file__).parent / "templates" / "confusion.js").read_text(encoding="utf-8")
    assert "return level <= 6 ? 0.07 * level : 0.86 + 0.035 * (level - 6);" in script
    to_byte = lambda values: np.where(values <= 0.0031308, values * 12.92, 1.055 * values ** (1 / 2.4) - 0.055)  # noqa: E731
    to_linear = lambda values: np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)  # noqa: E731
    for level in range(1, 11):
        share = 0.07 * level if level <= 6 else 0.86 + 0.035 * (level - 6)
        cell = to_linear(share * to_byte(colour(theme, name)) + (1 - share) * to_byte(colour(theme, "sheet")))
        text = colour(theme, "on-accent" if share > 0.5 else "ink")
        assert contrast(cell, text) >= 4.5, level
