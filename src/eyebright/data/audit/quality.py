"""Images too dark, too bright, too flat, too blurred or too small to learn from, and the classes that have many.

An image is named when it is bad by itself and unlike most of its set: a set of night photos is dark as it should be.
The measures are those of cleanvision, but for blur: the variance of the Laplacian is divided by that of the luma, as a
plain wall is no blurred photo.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from eyebright.data.audit import words
from eyebright.data.audit.evidence import Evidence
from eyebright.data.audit.findings import Example, Finding

DARK = 0.32  # 99th percentile of luma below this (cleanvision's limit)
BRIGHT = 0.80  # 5th percentile of luma above this; cleanvision's 0.95 finds blank pages only
FLAT = 0.05  # standard deviation of luma below this
BLURRED = 0.03  # variance of the Laplacian over that of luma below this, ...
# ... and so many robust standard deviations under the median, on a logarithmic scale. That names 0.4 % of flowers and
# 0.8 % of trashnet. Of these photos blurred by 3 of 128 pixels (sigma) it names all of trashnet and 44 % of flowers,
# soft as they are. At 2.5 it would be 64 %, but about half of the untouched photos that this adds are silhouettes.
BLURRED_SCORE = 3.0
SMALL_PIXELS = 112  # half of what networks commonly take
OF_MEDIAN = 0.5  # worse than most: less (or more) than this share of the median
# A class is named when so large a share of it, and so many times the share in the other classes, is concerned.
CLASS_SHARE = 0.1
CLASS_TIMES = 3.0
_MIN_CLASS_IMAGES = 5
_EXAMPLES = 12


class _Quality(NamedTuple):
    code: str
    title: tuple[str, str]  # of one image, of several
    why: str
    concerned: npt.NDArray[np.bool_]
    badness: npt.NDArray[np.float64]  # the worst have the highest
    note: str  # with a place for `value`
    value: npt.NDArray[np.float64]


def check_quality(evidence: Evidence) -> list[Finding]:
    """A finding for each kind of bad image; `quality-good` when there is none."""
    if not len(evidence):
        return []
    findings = [_finding(evidence, quality) for quality in _qualities(evidence) if quality.concerned.any()]
    if findings:
        return findings
    return [
        Finding(
            code="quality-good",
            section="coverage",
            severity="passed",
            title="No image is too dark, too bright, too flat, too blurred or too small",
            count=0,
            why="Each was compared with fixed limits and with the median of the set.",
        )
    ]


def relative_sharpness(evidence: Evidence) -> npt.NDArray[np.float64]:
    """Variance of the Laplacian over the variance of luma, float64 (N,): what is sharp for its contrast."""
    luma = 255 * evidence.column("contrast")
    return np.asarray(evidence.column("sharpness") / np.maximum(luma**2, 1.0), dtype=np.float64)


def _qualities(evidence: Evidence) -> list[_Quality]:
    bright_end, dark_end = evidence.column("bright_end"), evidence.column("dark_end")
    brightness, contrast = evidence.column("brightness"), evidence.column("contrast")
    sharpness = relative_sharpness(evidence)
    shortest = np.minimum(evidence.column("width"), evidence.column("height"))
    spread = np.log(np.maximum(sharpness, 1e-6))
    middle = float(np.median(spread))
    scale = 1.4826 * float(np.median(np.abs(spread - middle)))
    lower = {
        name: values < OF_MEDIAN * float(np.median(values))
        for name, values in (("brightness", brightness), ("contrast", contrast), ("shortest", shortest))
    }
    return [
        _Quality(
            "dark-images",
            ("image is very dark", "images are very dark"),
            "Even the brightest parts are dark: little can be seen, and noise is learnt.",
            (bright_end < DARK) & lower["brightness"],
            -bright_end,
            "brightest parts {value:.2f}",
            bright_end,
        ),
        _Quality(
            "bright-images",
            ("image is overexposed or almost blank", "images are overexposed or almost blank"),
            "Even the darkest parts are bright: the content is washed out.",
            # The darkness that is left is compared: 1 is white.
            (dark_end > BRIGHT) & (1 - dark_end < OF_MEDIAN * (1 - float(np.median(dark_end)))),
            dark_end,
            "darkest parts {value:.2f}",
            dark_end,
        ),
        _Quality(
            "flat-images",
            ("image has hardly any contrast", "images have hardly any contrast"),
            "The content can hardly be told from its background.",
            (contrast < FLAT) & lower["contrast"],
            -contrast,
            "contrast {value:.3f}",
            contrast,
        ),
        _Quality(
            "blurred-images",
            ("image is blurred", "images are blurred"),
            "Texture is lost, and with it much of what tells classes apart.",
            (sharpness < BLURRED) & (spread < middle - BLURRED_SCORE * scale),
            -sharpness,
            "sharpness for its contrast {value:.4f}",
            sharpness,
        ),
        _Quality(
            "small-images",
            ("image has a low resolution", "images have a low resolution"),
            f"Less than {SMALL_PIXELS} pixels on the shortest side, and less than half of the median: enlarged, they "
            "look blurred.",
            (shortest < SMALL_PIXELS) & lower["shortest"],
            -shortest,
            "{value:.0f} pixels on the shortest side",
            shortest,
        ),
    ]


def _finding(evidence: Evidence, quality: _Quality) -> Finding:
    rows = np.flatnonzero(quality.concerned)
    rows = rows[np.argsort(-quality.badness[rows], kind="stable")]
    by_class = _by_class(evidence, quality.concerned)
    uneven = [row for row in by_class if row["uneven"]]
    title = f"{words.count(len(rows))} {quality.title[0] if len(rows) == 1 else quality.title[1]}"
    if uneven:
        title += f", {words.percent(float(uneven[0]['share']))} of {uneven[0]['class']}"
    return Finding(
        code=quality.code,
        section="coverage",
        severity="warning" if uneven else "note",
        title=title,
        count=len(rows),
        why=quality.why
        + (" One class has more of them than the others, so that a network may take it for a sign." if uneven else ""),
        remedy="Look at them, and leave out those on which you could not tell the class yourself.",
        examples=[
            Example(
                (evidence.ref(int(row), quality.note.format(value=quality.value[row])),),
                score=float(quality.badness[row]),
            )
            for row in rows[:_EXAMPLES]
        ],
        details={"classes": [{key: row[key] for key in ("class", "images", "share")} for row in by_class]},
    )


def _by_class(evidence: Evidence, concerned: npt.NDArray[np.bool_]) -> list[dict[str, str | int | float | bool]]:
    """Number and share of such images in every class that has any, the highest share first."""
    rows: list[dict[str, str | int | float | bool]] = []
    for name in evidence.manifest.classes:
        own = evidence.labels == name
        images = int((own & concerned).sum())
        if images == 0:
            continue
        share = images / int(own.sum())
        rest = float(concerned[~own].mean()) if (~own).any() else share
        uneven = images >= _MIN_CLASS_IMAGES and share >= CLASS_SHARE and share >= CLASS_TIMES * rest
        rows.append({"class": name, "images": images, "share": share, "uneven": uneven})
    return sorted(rows, key=lambda row: -float(row["share"]))
