"""The section about robustness: plain words first, every number there, and a way to measure where it was not."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest
from test_page import Page, digits_content

from eyebright.evaluation.robustness import Measured, Robustness, summarise
from eyebright.report import ReportContent
from eyebright.report.gallery import Gallery
from eyebright.report.page import render_page
from eyebright.report.robustness import findings, points, robustness_section

LEVELS = {"rotation": (5, 10, 20, 30, 45), "resolution": (0.75, 0.5, 0.35, 0.25, 0.15)}
UNITS = {"rotation": "degrees", "resolution": "of the side's pixels kept"}
TITLES = {"gaussian_noise": "Gaussian noise", "fog": "Fog", "rotation": "Rotation", "resolution": "Lower resolution"}


def record(
    shares: dict[str, tuple[float, ...]], *, clean: float = 0.9, claims: float | None = None, images: int = 400,
    **changes: Any,
) -> Robustness:  # fmt: skip
    """A classifier that is right on the first so many images."""
    place = (np.arange(images) * 7919 % images) / images

    def one(name: str, values: tuple[float, ...]) -> Measured:
        right = np.stack([place < value for value in values], axis=1)
        confidence = np.broadcast_to(np.asarray(values) if claims is None else claims, right.shape).astype(float)
        family = "quality" if name in UNITS else "noise" if "noise" in name else "weather"
        return Measured(
            name=name, title=TITLES[name], family=family,
            unit=UNITS.get(name, ""), levels=LEVELS.get(name, (1, 2, 3, 4, 5)), right=right, confidence=confidence,
        )  # fmt: skip

    return summarise(
        labels=np.arange(images) % 12, classes=[f"kind <{index}>" for index in range(12)], right=place < clean,
        confidence=np.full(images, clean), measured=[one(name, values) for name, values in shares.items()],
        choice="all test images", side=32, channels=3, seed=0, seconds=75.0, **changes,
    )  # fmt: skip


SHARES = {
    "gaussian_noise": (0.8, 0.7, 0.5, 0.3, 0.2),
    "fog": (0.88, 0.86, 0.85, 0.84, 0.83),
    "rotation": (0.9, 0.89, 0.88, 0.7, 0.5),
    "resolution": (0.6, 0.5, 0.4, 0.3, 0.2),
}


@pytest.fixture(scope="module")
def content() -> ReportContent:
    return digits_content()


def page_of(content: ReportContent, values: dict[str, Any]) -> tuple[Page, str]:
    content = dataclasses.replace(content, robustness=values)
    section = robustness_section(content, Gallery(content.thumbnails))
    assert section is not None
    text = render_page("report.html", [section], content=content, headline=None, verdict=None, anchors=[])
    return Page(text), text


def words(page: Page) -> str:
    return page.text.replace("\u202f", " ")


def test_without_a_measurement_it_says_how_to_make_one(content: ReportContent) -> None:
    page, _ = page_of(content, {})
    assert "was not measured" in page.text
    assert f"eyebright evaluate {content.path} --robustness" in page.text


def test_plain_words_say_what_hurts_and_how_far_one_may_go() -> None:
    text = " ".join(findings(record(SHARES))).replace("\u202f", " ")
    assert "On clean images it is right 90.0 % of the time" in text
    assert "suffers most from Gaussian noise (50 % right)" in text
    assert "bears fog best (85 % right)" in text
    assert "at least 90 % of its clean accuracy under rotation up to 20°" in text
    assert "Less than 90 % of its clean accuracy is left under the mildest lower resolution (75 %)" in text
    assert "its confidence falls with its accuracy" in text


def test_a_limit_that_was_never_reached_is_said() -> None:
    text = " ".join(findings(record({"rotation": (0.9,) * 5, "fog": (0.9,) * 5})))
    assert "rotation up to 45° (the most that was tried)" in text


def test_confidence_that_does_not_follow_is_a_warning() -> None:
    assert "overconfident" in " ".join(findings(record(SHARES, claims=0.9)))
    assert "better than it says" in " ".join(findings(record(SHARES, claims=0.2)))


def test_a_loss_within_chance_is_not_called_one() -> None:
    text = " ".join(findings(record({"fog": (0.9,) * 5, "gaussian_noise": (0.9,) * 5})))
    assert "no loss can be told from chance" in text
    assert "No single corruption costs it more than chance could" in text


def test_the_page_has_every_cell_every_curve_and_the_classes(content: ReportContent) -> None:
    measured = record(
        SHARES, unreadable=3, left_out={"snow": "no room"},
        examples=dict.fromkeys(SHARES, "data:image/png;base64,AAAA"),
    )  # fmt: skip
    page, source = page_of(content, measured.as_dict())
    text = words(page)
    cells = [attributes for tag, attributes in page.tags if tag == "td" and "--s" in (attributes.get("style") or "")]
    assert len(cells) == 10
    assert sum("data-curves" in attributes for _, attributes in page.tags) == 4
    assert all(attributes.get("alt") for tag, attributes in page.tags if tag == "img")
    assert "The 8 classes that suffer most" in text
    assert "kind <" in text
    assert "kind <0>" not in source  # escaped
    assert "3 images could not be used" in text
    assert "snow was left out: no room" in text
    assert "1 min 15 s" in text
    groups = sum("data-across" in attributes for _, attributes in page.tags)
    controls = sum("data-controls" in attributes for _, attributes in page.tags)
    assert groups == controls == 3  # the script asks each group for its controls


def test_images_without_the_usual_corruptions_still_have_a_page(content: ReportContent) -> None:
    page, _ = page_of(content, record({"rotation": SHARES["rotation"]}).as_dict())
    assert "Rotation" in page.text
    assert "Mean corruption error" not in page.text


def test_a_table_of_a_later_version_does_not_break_the_report(content: ReportContent) -> None:
    page, _ = page_of(content, record(SHARES).as_dict() | {"version": 99})
    assert "later version" in page.text


def test_a_classifier_that_is_never_right_has_a_page(content: ReportContent) -> None:
    page, _ = page_of(content, record({"fog": (0.0,) * 5, "rotation": (0.0,) * 5}, clean=0.0).as_dict())
    assert "0.0" in page.text


@pytest.mark.parametrize(("share", "text"), [(0.2836, "28.4"), (-0.00001, "0.0"), (-0.0123, "\u22121.2"), (0, "0.0")])
def test_points_have_no_signed_zero(share: float, text: str) -> None:
    assert points(share) == text
