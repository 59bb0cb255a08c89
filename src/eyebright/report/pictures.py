"""The section of pictures: which of the scored images are shown, and how they get into the page, each once.

Clicking a cell of the confusion matrix shows pictures of this section again; they are in the page only here.
"""

from __future__ import annotations

import dataclasses
import heapq
from typing import Any

import numpy as np

from eyebright.evaluation.intervals import Integers
from eyebright.evaluation.predictions import Predictions
from eyebright.report import wording
from eyebright.report.content import ReportContent
from eyebright.report.gallery import Gallery, data_uri, most_confident_mistakes, random_examples, small
from eyebright.report.section import Section

MISTAKES = 100
"""Mistakes in the page at most."""
FEWEST_RIGHT, MOST_RIGHT = 60, 100
"""Right predictions in the page: as many as there are classes, between these two."""
OVERLAYS = 40
"""How many pictures get an overlay of what the classifier looked at; nothing else decides it."""
_IN_VIEW = 24


@dataclasses.dataclass(frozen=True)
class Shown:
    """Which images a report shows.

    Attributes:
        predictions: their rows: mistakes, then right predictions, each group most confident first.
        drawn: those that were drawn by chance, {id: place}.
        overlaid: ids of those that should have an overlay.
    """

    predictions: Predictions
    drawn: dict[str, int]
    overlaid: list[str]


def shown_pictures(scored: Predictions) -> Shown:
    """Choose from the labelled predictions of one split.

    The most confident mistakes and some images drawn by chance are always there. Of the other mistakes, cells of the
    confusion matrix with many get more than cells with few, and the most confident of a cell come first. Of the right
    predictions every class in turn gives its most confident and its least confident ones.
    """
    truth, guess = scored.labels_index(), scored.predicted_index()
    confidence = scored.probabilities().max(axis=1)
    row_of = {str(id_): row for row, id_ in enumerate(scored.column("id"))}
    drawn = {str(id_): place for place, id_ in enumerate(random_examples(scored).column("id"))}
    worst = [row_of[str(id_)] for id_ in most_confident_mistakes(scored).column("id")]
    wrong = np.flatnonzero(truth != guess)
    right = np.flatnonzero(truth == guess)
    mistakes = list(dict.fromkeys([*worst, *_in_turn(wrong, truth * len(scored.classes) + guess, confidence)]))
    most_right = min(MOST_RIGHT, max(FEWEST_RIGHT, len(scored.classes)))
    good = _both_ends(right, truth, confidence)[:most_right]
    chosen = {*mistakes[:MISTAKES], *good, *(row_of[id_] for id_ in drawn)}
    rows = np.array(sorted(chosen, key=lambda row: (truth[row] == guess[row], -confidence[row], row)), dtype=np.int64)
    ids = scored.column("id")
    overlaid = [int(row) for row in rows if truth[row] != guess[row]][: OVERLAYS * 3 // 5]
    overlaid += good[: OVERLAYS - len(overlaid)]
    return Shown(scored.rows(rows), drawn, [str(ids[row]) for row in overlaid])


def _in_turn(rows: Integers, groups: Integers, confidence: np.ndarray[Any, Any]) -> list[int]:
    """Rows in an order in which every beginning has of each group about its share: the method of highest averages.

    Within a group the most confident come first (V. D'Hondt, 1882, for the turns).
    """
    members: dict[int, list[int]] = {}
    for row in rows[np.argsort(-confidence[rows], kind="stable")]:
        members.setdefault(int(groups[row]), []).append(int(row))
    waiting = [(-float(len(found)), group, 0) for group, found in sorted(members.items())]
    heapq.heapify(waiting)
    order: list[int] = []
    while waiting and len(order) < MISTAKES:
        _, group, place = heapq.heappop(waiting)
        order.append(members[group][place])
        if place + 1 < len(members[group]):
            heapq.heappush(waiting, (-len(members[group]) / (place + 2), group, place + 1))
    return order


def _both_ends(rows: Integers, truth: Integers, confidence: np.ndarray[Any, Any]) -> list[int]:
    """Right predictions, going round the classes: the most confident of each, then the least confident, and so on."""
    members: dict[int, list[int]] = {}
    for row in rows[np.argsort(-confidence[rows], kind="stable")]:
        members.setdefault(int(truth[row]), []).append(int(row))
    order: list[int] = []
    for turn in range(max((len(found) for found in members.values()), default=0)):
        if len(order) >= MOST_RIGHT:
            break
        for _, found in sorted(members.items()):
            if turn < len(found):
                order.append(found[turn // 2] if turn % 2 == 0 else found[-1 - turn // 2])
    return order


def pictures_section(content: ReportContent, gallery: Gallery) -> Section:
    """The section; pictures whose overlay could not be made are shown without one."""
    scored = content.scored()
    shown = shown_pictures(scored)
    made = {} if content.overlays is None else content.overlays(shown.overlaid)
    overlays = {id_: data_uri(small(picture)) for id_, picture in made.items()}
    pictures = gallery.pictures(shown.predictions, overlays=overlays, drawn=shown.drawn)
    wrong = int((scored.labels_index() != scored.predicted_index()).sum())
    names = sorted({name for one in pictures for name in (one.label, one.predicted)}, key=str.casefold)
    context = {
        "finding": wording.mistakes_finding(scored),
        "pictures": pictures,
        "wrong": wrong,
        "right": len(scored) - wrong,
        "classes": [(name, content.predictions.classes.index(name)) for name in names],
        "explanation": content.explanation,
        "overlays": len(overlays),
        "in_view": _IN_VIEW,
        "split": wording.SPLIT_NAMES[content.scored_split],
    }
    return Section("pictures", "Right and wrong, picture by picture", "pictures.html", context)
