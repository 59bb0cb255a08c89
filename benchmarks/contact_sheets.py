"""Sheets of pictures with a number and a few words under each, for a person to look at."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont, ImageOps

SIDE = 150
LINE = 14
LINES = 3
GAP = 6
COLUMNS = 5
ROWS = 10


def draw_sheets(cases: Sequence[tuple[Sequence[Path], str]], folder: Path, name: str) -> list[Path]:
    """Write `folder/name-1.png` and so on, 50 cases a sheet; gives the paths.

    Args:
        cases: the images of a case, side by side, and up to three lines about them; numbered from 1 in this order.
        folder: made when it is not there.
        name: of the sheets.
    """
    folder.mkdir(parents=True, exist_ok=True)
    widest = max((len(images) for images, _ in cases), default=1)
    cell = (widest * SIDE + GAP, SIDE + LINES * LINE + GAP)
    font = ImageFont.load_default(LINE - 3)
    paths = []
    for start in range(0, len(cases), COLUMNS * ROWS):
        page = cases[start : start + COLUMNS * ROWS]
        rows = -(-len(page) // COLUMNS)
        sheet = Image.new("RGB", (COLUMNS * cell[0] + GAP, rows * cell[1] + GAP), "white")
        pen = ImageDraw.Draw(sheet)
        for place, (images, words) in enumerate(page):
            left, top = GAP + place % COLUMNS * cell[0], GAP + place // COLUMNS * cell[1]
            for number, path in enumerate(images):
                with Image.open(path) as image:
                    small = ImageOps.contain(image.convert("RGB"), (SIDE - 2, SIDE - 2))
                sheet.paste(small, (left + number * SIDE, top))
            pen.multiline_text((left, top + SIDE), f"{start + place + 1}. {words}", fill="black", font=font, spacing=1)
        path = folder / f"{name}-{start // (COLUMNS * ROWS) + 1}.png"
        sheet.save(path)
        paths.append(path)
    return paths
