"""How well a tool's answer fits the planted faults; the rules are those in `planted_faults`."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from planting import CHANGES

NATURAL_FILE = Path(__file__).with_name("natural_duplicates.json")

Pair = tuple[str, str]


class Judged(NamedTuple):
    """Pairs of images of the untouched data that a person looked at, each sorted.

    Attributes:
        same: the same picture, or the next of a burst.
        different: two pictures.
    """

    same: frozenset[Pair]
    different: frozenset[Pair]

    @classmethod
    def read(cls, path: Path = NATURAL_FILE) -> Judged:
        lists = json.loads(path.read_text(encoding="utf-8"))
        return cls(*(frozenset(as_pair(*pair) for pair in lists[name]) for name in ("same", "different")))


def as_pair(one: str, other: str) -> Pair:
    return (one, other) if one <= other else (other, one)


class Truth:
    """What was planted, as it lies in the file of results."""

    def __init__(self, line: Mapping[str, Any], judged: Judged) -> None:
        self.wrong: dict[str, str] = line["wrong"]
        self.change = {as_pair(one, other): change for one, other, change in line["copies"]}
        self.copies = {other for _, other, _ in line["copies"]}
        self.leaks = {as_pair(*pair) for pair in line["leaks"]}
        self.shortcut: str = line["shortcut"]
        self.broken, self.strays = set(line["broken"]), set(line["strays"])
        self.origins: dict[str, str] = line["origins"]
        # Files with the same bytes need nobody to look at them.
        self.natural = judged.same | {as_pair(*pair) for pair in line["twins"]}
        self.different = judged.different

    def counts(self, pair: Pair) -> bool:
        """Whether the pair is of images of the set: strays and broken files are copies of one, and no matter here."""
        return all(place in self.origins for place in pair)

    def of_copy(self, pair: Pair) -> bool:
        return pair[0] in self.copies or pair[1] in self.copies

    def origin_pair(self, pair: Pair) -> Pair:
        return as_pair(self.origins[pair[0]], self.origins[pair[1]])

    def right(self, pair: Pair) -> bool:
        one, other = self.origin_pair(pair)
        return one == other or (one, other) in self.natural

    def unjudged(self, pair: Pair) -> bool:
        return not self.right(pair) and self.origin_pair(pair) not in self.different


def share(number: int, of: int) -> float | None:
    return number / of if of else None


def score_duplicates(truth: Truth, part: Mapping[str, Any]) -> dict[str, float | None]:
    """Recall and precision of near-duplicates, of leaks, and recall by the change that was made."""
    pairs = {as_pair(*pair) for pair in part["pairs"]}
    counted = {pair for pair in pairs if truth.counts(pair)}
    about = {pair for pair in counted if truth.of_copy(pair)}
    across = {pair for pair in about if _split(pair[0]) != _split(pair[1])}
    found = set(truth.change) & pairs
    scores = {
        "recall": share(len(found), len(truth.change)),
        "precision": share(sum(map(truth.right, about)), len(about)),
        "leak recall": share(len(truth.leaks & pairs), len(truth.leaks)),
        "leak precision": share(sum(map(truth.right, across)), len(across)),
        "not judged": float(sum(map(truth.unjudged, about))),
        "untouched": float(part["untouched"] if "untouched" in part else len(counted) - len(about)),
    }
    for change in CHANGES:
        planted = {pair for pair, made in truth.change.items() if made == change}
        scores[change] = share(len(planted & found), len(planted))
    return scores


def score_labels(truth: Truth, part: Mapping[str, Any]) -> dict[str, float | None]:
    """Average precision over all readable images, and recall and precision of those that are flagged."""
    from sklearn.metrics import average_precision_score

    places = sorted(truth.origins)
    flagged = set(part["flagged"]) & set(places)
    right = len(flagged & set(truth.wrong))
    # What a tool gives no score for comes last, as a tie.
    scores = [part["scores"].get(place, -1.0) for place in places]
    return {
        "average precision": float(average_precision_score([place in truth.wrong for place in places], scores)),
        "recall": share(right, len(truth.wrong)),
        "precision": share(right, len(flagged)),
        "flagged": float(len(flagged)),
    }


def score_files(truth: Truth, part: Mapping[str, Any]) -> dict[str, float | None]:
    """Recall and precision of broken files and of strays; None for what a tool does not say."""
    scores: dict[str, float | None] = {}
    for kind, planted, also in (("unreadable", truth.broken, truth.strays), ("strays", truth.strays, truth.broken)):
        named = set(part[kind]) if kind in part else None
        scores[f"{kind} recall"] = None if named is None else share(len(named & planted), len(planted))
        scores[f"{kind} precision"] = None if named is None else share(len(named & (planted | also)), len(named))
    return scores


def score_shortcut(truth: Truth, part: Mapping[str, Any]) -> dict[str, Any]:
    """Whether a grave finding tells the class that has the shortcut, with which codes, and what else is told."""
    grave = grave_shortcuts(part)
    right = [found for found in grave if found["classes"][:1] == [truth.shortcut]]
    return {
        "found": bool(right),
        "codes": [f"{found['code']} ({found['severity']})" for found in right],
        "others": [f"{found['code']} ({found['severity']})" for found in grave if found not in right],
    }


def grave_shortcuts(part: Mapping[str, Any]) -> list[dict[str, Any]]:
    return [found for found in part.get("shortcuts", ()) if found["severity"] in ("warning", "critical")]


def wrong_pairs(truth: Truth, part: Mapping[str, Any]) -> Iterable[Pair]:
    """Pairs of the untouched data behind what counts as wrong and that nobody looked at."""
    for pair in {as_pair(*pair) for pair in part.get("pairs", ())}:
        if truth.counts(pair) and truth.of_copy(pair) and truth.unjudged(pair):
            yield truth.origin_pair(pair)


def _split(place: str) -> str:
    return place.partition("/")[0]
