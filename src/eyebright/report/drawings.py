"""The charts of a page as SVG files: the same drawings, with their colours inside, for papers and slides.

They are taken from the finished page, so that a chart of any section gets its file without more ado.
"""

from __future__ import annotations

import re
from functools import cache
from importlib.resources import files

_SECTION = re.compile(r'<section id="([^"]+)"')
_BEGIN, _EDGE = re.compile(r'<svg class="chart[^>]*>'), re.compile(r"<svg\b|</svg>")
_NAME = re.compile(r'aria-label="([^"]*)"')
_BOX = re.compile(r'viewBox="([-\d.]+) ([-\d.]+) ([-\d.]+) ([-\d.]+)"')
_LONGEST_NAME = 60
_SCALE = 2


def drawings_of(page: str) -> dict[str, str]:
    """The charts of a page, {file name without ending: SVG document}, named by their section and title.

    A chart is an `<svg class="chart ...">` with an `aria-label` in a section of the page.
    """
    found: dict[str, str] = {}
    places = [(match.start(), match.group(1)) for match in _SECTION.finditer(page)]
    for begin in _BEGIN.finditer(page):
        name = _NAME.search(begin.group())
        anchor = next((anchor for start, anchor in reversed(places) if start < begin.start()), "")
        if name is None:
            continue
        stem = _slug(f"{anchor} {name.group(1)}")
        number = 2
        while stem in found:
            stem = _slug(f"{anchor} {name.group(1)}") + f"-{number}"
            number += 1
        found[stem] = _document(page[begin.start() : _end(page, begin.start())])
    return found


def _end(page: str, start: int) -> int:
    """Where the element that begins at `start` ends, elements of the same name inside it passed over."""
    depth = 0
    for edge in _EDGE.finditer(page, start):
        depth += 1 if edge.group() == "<svg" else -1
        if depth == 0:
            return edge.end()
    raise AssertionError("an <svg> is not closed")


def _slug(text: str) -> str:
    plain = re.sub(r"&[#\w]+;", " ", text.casefold())
    words = re.sub(r"[^a-z0-9]+", "-", plain).strip("-")
    return words[:_LONGEST_NAME].rstrip("-") or "chart"


def _document(svg: str) -> str:
    """The chart as a document of its own: a size, light colours and white ground."""
    opening, rest = svg.split(">", 1)
    box = _BOX.search(opening)
    size = ""
    ground = ""
    if box:
        x, y, width, height = box.groups()
        size = f' width="{_SCALE * float(width):g}" height="{_SCALE * float(height):g}"'
        ground = f'<rect class="ground" x="{x}" y="{y}" width="{width}" height="{height}"/>'
    opening = opening.replace("<svg", '<svg xmlns="http://www.w3.org/2000/svg"', 1) + size
    return f'<?xml version="1.0" encoding="UTF-8"?>\n{opening}><style>{style()}</style>{ground}{rest}\n'


@cache
def style() -> str:
    """The rules of the page that charts use, with the colours of its light theme in the place of variables."""
    text = "".join(
        (files("eyebright.report") / "templates" / name).read_text(encoding="utf-8")
        for name in ("style.css", *TOPIC_STYLES)
        if (files("eyebright.report") / "templates" / name).is_file()
    )
    text = re.sub(r"\{%.*?%\}", "", re.sub(r"/\*.*?\*/", "", text, flags=re.S))
    root = re.search(r":root \{(.*?)\}", text, re.S)
    assert root is not None
    colours = dict(re.findall(r"(--[\w-]+):\s*([^;]+);", root.group(1)))
    kept = [
        (selector.strip(), rules.strip())
        for selector, rules in re.findall(r"([^{}@;]+)\{([^{}]*)\}", text)
        if re.search(r"\.(chart|plot)\b", selector) and "hover" not in selector and "focus" not in selector
    ]
    lines = [".ground { fill: var(--paper) }", ".chart { font-family: sans-serif }"]
    lines += [f"{selector} {{ {rules} }}" for selector, rules in kept]
    resolved = "\n".join(lines)
    for name, value in colours.items():
        resolved = resolved.replace(f"var({name})", value)
    return resolved


TOPIC_STYLES = ("decisions.css", "slices.css", "robustness.css", "embedding.css", "importance.css")
"""Style sheets of sections that have a module of their own."""
