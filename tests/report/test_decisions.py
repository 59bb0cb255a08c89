"""The section about confidence: what it says is what was measured, with as much or as little as there is."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from typing import Any

import numpy as np
import pytest
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression

from eyebright.config.decisions import DecisionsConfig
from eyebright.evaluation.decide import fit_decisions, measure_decisions
from eyebright.evaluation.predictions import make_predictions
from eyebright.report.content import ReportContent
from eyebright.report.decision_charts import named_columns, score_histogram
from eyebright.report.decisions import calibration_finding, decisions_section
from eyebright.report.gallery import Gallery
from eyebright.report.page import render_page
from eyebright.report.section import Section

SIBLINGS = np.arange(10)[:, None] % 2 == np.arange(10)[None] % 2  # odd and even digits
NAMES = [f"<{digit}>" for digit in range(10)]


def _content(validation: int = 400, siblings: np.ndarray | None = None, **settings: Any) -> ReportContent:
    """Real digits, classified by logistic regression on every third pixel."""
    digits = load_digits()
    pixels, labels = digits.data[:, ::3], digits.target
    logits = LogisticRegression(max_iter=2000, C=0.01).fit(pixels[:600], labels[:600]).decision_function(pixels) * 2
    val, test = slice(600, 600 + validation), slice(1000, None)
    decisions, fitted = fit_decisions(
        DecisionsConfig(**settings), val_logits=logits[val], val_labels=labels[val], val_features=pixels[val],
        train_features=pixels[:600], train_labels=labels[:600], siblings=siblings,
    )  # fmt: skip
    probabilities = decisions.calibration.probabilities(logits[test])
    measured = measure_decisions(
        decisions, probabilities=probabilities, logits=logits[test], labels=labels[test], features=pixels[test],
        siblings=siblings,
    )  # fmt: skip
    rows = np.arange(1000, len(labels))
    predictions = make_predictions(
        [f"{row:032x}" for row in rows], [f"digits#{row}" for row in rows], [NAMES[label] for label in labels[test]],
        ["test"] * len(rows), logits[test], decisions.calibration, NAMES,
    )  # fmt: skip
    told = json.loads(json.dumps({"fitted": fitted, "test": measured}, allow_nan=False))
    return ReportContent(
        run_name="digits", data="digits", classes=NAMES, predictions=predictions, decisions=told,
        thumbnails=lambda name: pytest.fail("no picture is needed"),
    )  # fmt: skip


def _section(content: ReportContent) -> Section:
    section = decisions_section(content, Gallery(content.thumbnails))
    assert section is not None
    return section


def _rendered(content: ReportContent) -> str:
    """The section as it stands in a page, alone."""
    page = render_page("base.html", [_section(content)])
    return page[page.index('<section id="confidence"') : page.index("</section>")]


class _Words(HTMLParser):
    """What a reader sees, without scripts."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.parts: list[str] = []
        self.inside: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.inside.append(tag)

    def handle_endtag(self, tag: str) -> None:
        self.inside.pop()

    def handle_data(self, data: str) -> None:
        if "script" not in self.inside:
            self.parts.append(data)


def _words(content: ReportContent) -> str:
    return re.sub(r"\s+", " ", " ".join(_Words(_rendered(content)).parts))


def test_it_says_what_was_measured() -> None:
    content = _content()
    test, words = content.decisions["test"], _words(content)
    for part in (
        test["calibration"]["chosen"]["accuracy"], test["sets"]["coverage"], test["selection"]["answered"],
        test["selection"]["error"], test["outliers"]["scores"]["distance"]["false_alarms"],
    ):  # fmt: skip
        assert f"{100 * part['value']:.1f} %" in words
    assert f"{content.decisions['fitted']['calibration']['method'].capitalize()} (in use)" in words
    assert "distance of the features" in words
    assert "superclass" not in words


def test_what_comes_from_the_user_is_escaped() -> None:
    page = _rendered(_content(thresholds="per-class"))
    assert "&lt;3&gt;" in page
    assert "<3>" not in page


def test_every_chart_says_what_it_shows() -> None:
    page = _rendered(_content())
    charts = re.findall(r'<svg class="chart[^>]*aria-label="([^"]+)"', page)
    assert len(charts) == 5  # reliability, sizes, curve, two scores
    assert len(set(charts)) == 5


def test_superclasses_and_thresholds_of_classes_are_told_where_they_are() -> None:
    content = _content(siblings=SIBLINGS, thresholds="per-class", error_rate=0.1)
    words = _words(content)
    assert "the superclass only" in words
    assert "The threshold of each class" in words
    assert 'class="marked"' not in _rendered(content)  # no single threshold holds for all
    one = _content(error_rate=0.1)
    assert "The threshold of each class" not in _words(one)
    assert 'class="marked"' in _rendered(one)


def test_too_few_validation_images_are_named_as_the_reason() -> None:
    words = _words(_content(validation=8))
    assert "8 validation images are too few to show that, even without an error: it takes" in words
    assert "every set holds all classes" in words
    assert "Ways to calibrate" not in words


def test_a_rate_that_cannot_be_kept_is_told_from_too_few_images() -> None:
    content = _content(error_rate=0.001)
    assert "No confidence is known" in _words(content)
    hopeless = json.loads(json.dumps(content.decisions))
    hopeless["fitted"]["selection"]["least_images"] = 10
    words = _words(ReportContent(**{**vars(content), "decisions": hopeless}))
    assert "not even its most confident answers" in words


@pytest.mark.parametrize("missing", ["sets", "selection", "outliers"])
def test_parts_that_a_bundle_lacks_are_left_out(missing: str) -> None:
    content = _content()
    less = json.loads(json.dumps(content.decisions))
    del less["test"][missing]
    assert _rendered(ReportContent(**{**vars(content), "decisions": less}))


def test_without_decisions_or_labels_there_is_no_section() -> None:
    content = _content()
    for nothing in ({}, {"fitted": content.decisions["fitted"], "test": {"images": 0}}):
        bare = ReportContent(**{**vars(content), "decisions": nothing})
        assert decisions_section(bare, Gallery(bare.thumbnails)) is None


@pytest.mark.parametrize(
    ("claimed", "verdict"), [(0.9, "overconfident by 10.0 points"), (0.7, "underconfident by 10.0 points"),
                             (0.81, "within what chance allows")],
)  # fmt: skip
def test_the_verdict_on_the_confidence(claimed: float, verdict: str) -> None:
    accuracy = {"value": 0.8, "low": 0.77, "high": 0.83}
    measured = {
        "method": "temperature",
        "chosen": {"mean_confidence": claimed, "accuracy": accuracy},
        "uncalibrated": {"mean_confidence": 0.95, "accuracy": accuracy},
    }
    assert verdict in calibration_finding(measured)
    assert "Without calibration it would claim 95.0" in calibration_finding(measured)


def test_charts_of_extreme_values() -> None:
    assert named_columns([0, 0], ["1", "2"], "t", "b")
    assert "&lt; 1" in named_columns([1, 5000], ["1", "2"], "t", "b")
    histogram = {"edges": [1.0, 1.0 + 1e-12], "own": [5]}
    for threshold in (None, 1.0, 50.0):
        assert "nan" not in score_histogram(histogram, threshold, "t", "b")
