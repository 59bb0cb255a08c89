"""The map of images by what the network sees in them: a drawing with thumbnails, and what it shows in words."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping, Sequence
from typing import Any

from markupsafe import Markup, escape

from eyebright.report.content import ReportContent
from eyebright.report.gallery import Gallery
from eyebright.report.section import Section
from eyebright.report.wording import percent

WIDTH, HEIGHT, MARGIN = 720, 540, 22
THUMBNAILS, THUMBNAIL_SIDE = 160, 26
_SOURCE_SIDE = 52
_COLOURS = 8
_JPEG_QUALITY = 72


def embedding_section(content: ReportContent, gallery: Gallery) -> Section | None:
    """The section, or None when no map was made."""
    if not content.embedding:
        return None
    images: Sequence[Mapping[str, Any]] = content.embedding["images"]
    classes = [name for name in content.classes if any(image["label"] == name for image in images)]
    few = len(classes) <= _COLOURS
    context = {
        "finding": _finding(content.embedding, len(images)),
        "chart": _drawing(images, classes if few else [], gallery),
        "legend": [(name, f"k{number}") for number, name in enumerate(classes)] if few else [],
        "method": content.embedding["method"],
    }
    return Section("embedding", "What it takes for alike", "embedding.html", context)


def _finding(values: Mapping[str, Any], count: int) -> str:
    alike, faithful = float(values["neighbours_alike"]), float(values["trustworthiness"])
    told = f"Of the ten images that the network finds most like an image, {percent(alike, 0)} have its label."
    if faithful < 0.9:
        return f"{told} The map shows these {count} images only roughly (trustworthiness {faithful:.2f} of 1)."
    return f"{told} The map keeps such neighbours together (trustworthiness {faithful:.2f} of 1, {count} images)."


def _drawing(images: Sequence[Mapping[str, Any]], classes: Sequence[str], gallery: Gallery) -> Markup:
    """Dots for all images; thumbnails for as many as have room, mistakes first."""
    index = {name: number for number, name in enumerate(classes)}
    parts: list[str] = []
    pictures: list[str] = []
    taken = set[tuple[int, int]]()
    for image in sorted(images, key=lambda one: one["predicted"] in (None, one["label"])):
        x, y = _place(image)
        wrong = image["predicted"] is not None and image["label"] is not None and image["predicted"] != image["label"]
        title = f"<title>{escape(_says(image, wrong))}</title>"
        style = f"k{index[image['label']]}" if image["label"] in index else "c-muted"
        shape = (
            f'<path class="dot wrong {style}" d="M{x - 4:.1f} {y - 4:.1f}l8 8m0-8l-8 8">'
            if wrong
            else f'<circle class="dot {style}" cx="{x:.1f}" cy="{y:.1f}" r="3.5">'
        )
        parts.append(f"{shape}{title}</{'path' if wrong else 'circle'}>")
        cell = (int(x // THUMBNAIL_SIDE), int(y // THUMBNAIL_SIDE))
        if len(pictures) < THUMBNAILS and cell not in taken and (uri := _small(gallery, image["id"])):
            taken.add(cell)
            corner = f'x="{x - THUMBNAIL_SIDE / 2:.1f}" y="{y - THUMBNAIL_SIDE / 2:.1f}"'
            side = f'width="{THUMBNAIL_SIDE}" height="{THUMBNAIL_SIDE}"'
            pictures.append(
                f'<g class="{style}{" wrong" if wrong else ""}"><image href="{uri}" {corner} {side} '
                f'preserveAspectRatio="xMidYMid slice"/><rect class="frame" {corner} {side}/>{title}</g>'
            )
    label = f"Map of {len(images)} images; those lie close together that the network finds alike."
    return Markup(
        f'<svg class="embedding" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{label}">'
        f"{''.join(parts)}{''.join(pictures)}</svg>"
    )


def _place(image: Mapping[str, Any]) -> tuple[float, float]:
    return MARGIN + image["x"] * (WIDTH - 2 * MARGIN), MARGIN + (1 - image["y"]) * (HEIGHT - 2 * MARGIN)


def _says(image: Mapping[str, Any], wrong: bool) -> str:
    label = image["label"] or "no label"
    return f"{label}, taken for {image['predicted']}" if wrong else label


def _small(gallery: Gallery, image: str) -> str:
    """A picture much smaller than the page's other ones, as a data URI; empty when it is gone."""
    picture = gallery.image(image)
    if picture is None:
        return ""
    picture = picture.copy()
    picture.thumbnail((_SOURCE_SIDE, _SOURCE_SIDE))
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", quality=_JPEG_QUALITY)
    return f"data:image/jpeg;base64,{base64.b64encode(buffer.getvalue()).decode('ascii')}"
