"""The report page: sections in reading order, each a title, a template and what the template shows.

A later part of Eyebright adds to the page by passing more sections to `write_report`.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape

from eyebright.atomic import write_text
from eyebright.evaluation.calibrate import reliability
from eyebright.evaluation.metrics import Metrics
from eyebright.report import charts, wording
from eyebright.report.confusion import confusion_section
from eyebright.report.content import ReportContent
from eyebright.report.cost import cost_section
from eyebright.report.data import data_section, ledger_section
from eyebright.report.decisions import decisions_section
from eyebright.report.drawings import drawings_of
from eyebright.report.embedding import embedding_section
from eyebright.report.figures import write_figures
from eyebright.report.gallery import Gallery
from eyebright.report.importance import importance_section
from eyebright.report.pictures import pictures_section
from eyebright.report.provenance import provenance_section
from eyebright.report.robustness import robustness_section
from eyebright.report.scores import classes_section, headline, scores_section
from eyebright.report.section import Section
from eyebright.report.slices import slices_section
from eyebright.report.training import diagnosis_of, training_section
from eyebright.report.verdict import verdict_of

_FILTERS = ("percent", "percent_range", "count", "plural", "duration", "size", "sentence")


def write_report(
    folder: Path,
    content: ReportContent,
    *,
    first_look: Section | None = None,
    more_sections: Sequence[Section] = (),
) -> Path:
    """Write `folder/report.html` and `folder/figures/*`; returns the path of the page.

    Args:
        folder: where to.
        content: what the page shows.
        first_look: the section about what was found before training; it stands behind the one about the images.
        more_sections: sections for the end of the page.

    Raises:
        StorageError: the folder cannot be written.
    """
    gallery = Gallery(content.thumbnails)
    parts = sections(content, gallery)
    if first_look is not None:
        place = next((index for index, part in enumerate(parts) if part.anchor == "data"), -1) + 1
        parts.insert(place, first_look)
    page = render(content, gallery, [*parts, *more_sections])
    write_figures(folder / "figures", content, gallery, drawings=drawings_of(page))
    path = folder / "report.html"
    write_text(path, page)
    return path


def render(content: ReportContent, gallery: Gallery, parts: Sequence[Section]) -> str:
    """The whole page as text: style, figures and images inside, nothing to fetch."""
    anchors = {part.anchor for part in parts}
    verdict = verdict_of(content, diagnosis=diagnosis_of(content) if content.history else None)
    return render_page(
        "report.html", parts, content=content, headline=headline(content), verdict=verdict, anchors=anchors
    )  # fmt: skip


def render_page(template: str, parts: Sequence[Section], **context: Any) -> str:
    """A page as text: `template` extends `base.html` and gives it title, header and footer; `parts` stand between."""
    environment = Environment(
        loader=PackageLoader("eyebright.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    for name in _FILTERS:
        environment.filters[name] = getattr(wording, name)
    environment.filters["with_code"] = _with_code
    bodies = [(part, environment.get_template(part.template).render(**part.context)) for part in parts]
    return environment.get_template(template).render(bodies=bodies, **context)


def sections(content: ReportContent, gallery: Gallery) -> list[Section]:
    """The sections that this content has something to say in, in reading order."""
    found: list[Section | None] = []
    if content.class_counts:
        found.append(data_section(content, gallery))
    if content.plan or content.summary:
        found.append(_plan_section(content))
    if content.history:
        found.append(Section("training", "Training", "training.html", training_section(content)))
    metrics = content.metrics
    if metrics is not None:
        split = wording.SPLIT_NAMES[content.scored_split]
        found += [
            scores_section(content),
            classes_section(metrics, split=split),
            confusion_section(metrics, split=split),
            pictures_section(content, gallery),
            decisions_section(content, gallery) or _confidence_section(content, metrics, split),
            slices_section(content, gallery),
            robustness_section(content, gallery) if content.robustness else None,
            embedding_section(content, gallery),
            importance_section(content, gallery),
        ]
    found.append(cost_section(content))
    if content.class_counts:
        found.append(ledger_section(content))
    found.append(provenance_section(content))
    return [section for section in found if section is not None]


def _with_code(text: str) -> Markup:
    """Text with what stands between backticks as code; everything is escaped."""
    return Markup(re.sub(r"`([^`]+)`", r"<code>\1</code>", str(escape(text))))


def _plan_section(content: ReportContent) -> Section:
    context = {
        # The last thing that was decided is the first that a reader wants to know.
        "summary": [wording.sentence(text) for text in reversed(content.summary)],
        "plan": [wording.sentence(text) for text in content.plan],
    }
    return Section("plan", "What was done", "plan.html", context)


def _confidence_section(content: ReportContent, metrics: Metrics, split: str) -> Section:
    """For a run without decisions: the reliability diagram alone."""
    scored = content.scored()
    probabilities = scored.probabilities()
    bins = reliability(probabilities, scored.labels_index())
    context = {
        "metrics": metrics,
        "split": split,
        "finding": wording.calibration_finding(scored, metrics),
        "chart": charts.reliability_chart(bins, probabilities.max(axis=1), "Accuracy against confidence"),
        "temperature": content.predictions.calibration.temperature,
    }
    return Section("confidence", "Can its confidence be trusted?", "confidence.html", context)
