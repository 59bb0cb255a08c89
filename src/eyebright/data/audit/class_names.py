"""Class names that may stand for one class: other case, blanks or accents, singular and plural, two languages."""

from __future__ import annotations

import itertools
import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from eyebright.data.audit import words
from eyebright.data.audit.class_words import LANGUAGES, SEPARATOR, Meaning, folded, meanings, singulars
from eyebright.data.audit.findings import Finding, Suggestion

COLLIDE = "class-names-collide"
MIXED = "class-names-mixed"
_TITLE_PAIRS = 3
_PLURAL_S = ("English", "Spanish", "French")
_MIXED_SHARE = 0.1  # of the names that are known, from which names of another language are noted
_SURE = 0.6  # a confidence from which a collision is a warning


class Collision(NamedTuple):
    """Two names that may stand for one class.

    Attributes:
        one, other: the names.
        reason: in words.
        confidence: from 0 to 1.
    """

    one: str
    other: str
    reason: str
    confidence: float


def check_class_names(names: Sequence[str], counts: Mapping[str, int]) -> tuple[list[Finding], list[Suggestion]]:
    """Look for names that may stand for one class, and for names of several languages.

    Args:
        names: of the classes.
        counts: images of each; smaller classes are suggested to join the largest.

    Returns:
        Findings, and suggestions to merge, none of them proposed as accepted.
    """
    collisions = find_collisions(names)
    findings = [*_collide(collisions, counts), *_mixed(names)]
    if not findings:
        findings = [
            Finding(
                code="class-names-differ",
                section="labels",
                severity="passed",
                title=f"The names of the {len(names)} classes stand for different things",
                count=0,
                why="Compared without case, blanks and accents, in singular and plural, and with a small table of "
                f"common words in {words.listing(LANGUAGES, len(LANGUAGES))}.",
            )
        ]
    return findings, _merges(collisions, counts)


def find_collisions(names: Iterable[str]) -> list[Collision]:
    """Pairs of names that may stand for one class, the surest first."""
    names = sorted(set(names))
    main, known = _main_language(names)
    found: dict[tuple[str, str], Collision] = {}

    def add(same: Iterable[str], reason: str, confidence: float) -> None:
        for one, other in itertools.combinations(sorted(set(same)), 2):
            found.setdefault((one, other), Collision(one, other, reason, confidence))

    for same in _alike((_spelling(name), name) for name in names):
        add(same, "they differ only by case, blanks or hyphens", 0.95)
    for same in _alike((_joined(folded(name)), name) for name in names):
        add(same, "they differ only by accents", 0.9)
    by_word: dict[str, list[str]] = defaultdict(list)
    for name in names:
        by_word[folded(name)].append(name)
    for name in names:
        for language in LANGUAGES:
            for singular in singulars(folded(name), language):
                for other in by_word.get(singular, ()):
                    # Only an `s` says plural by itself: `corner` is not the German plural of `corn`.
                    if language in _PLURAL_S or language in {meaning.language for meaning in known.get(other, ())}:
                        add((name, other), f"`{name}` looks like the plural of `{other}`", 0.8)
    for one, other in itertools.combinations(known, 2):
        for concept in sorted({own.concept for own in known[one]} & {own.concept for own in known[other]}):
            languages = [_language(known[name], concept, main) for name in (one, other)]
            if languages[0] == languages[1]:
                add((one, other), f"both may stand for {concept}", 0.4)
            else:
                told = [f"`{name}` is {language}" for name, language in zip((one, other), languages, strict=True)]
                add((one, other), f"{' and '.join(told)} for {concept}", 0.7)
    return sorted(found.values(), key=lambda collision: (-collision.confidence, collision.one, collision.other))


def _merges(collisions: Sequence[Collision], counts: Mapping[str, int]) -> list[Suggestion]:
    """For every chain of names one merge for each name but that of the largest class, which takes them all."""
    chain_of: dict[str, set[str]] = {}
    for collision in collisions:
        chain = chain_of.get(collision.one, {collision.one}) | chain_of.get(collision.other, {collision.other})
        chain_of.update(dict.fromkeys(chain, chain))
    merges = []
    for name, chain in sorted(chain_of.items()):
        largest = max(sorted(chain), key=lambda other: counts.get(other, 0))
        if name == largest:
            continue
        own = [collision for collision in collisions if name in collision[:2]]
        why = next((collision for collision in own if largest in collision[:2]), own[0])
        merges.append(
            Suggestion(
                action="merge",
                finding=COLLIDE,
                ids=(),
                sources=(),
                label=name,
                to=largest,
                reason=why.reason,
                confidence=why.confidence,
            )
        )
    return merges


def _collide(collisions: Sequence[Collision], counts: Mapping[str, int]) -> list[Finding]:
    if not collisions:
        return []
    pairs = "; ".join(f"`{collision.one}` and `{collision.other}`" for collision in collisions[:_TITLE_PAIRS])
    more = f"; and {words.count(len(collisions) - _TITLE_PAIRS)} more" if len(collisions) > _TITLE_PAIRS else ""
    sure = any(collision.confidence >= _SURE for collision in collisions)
    return [
        Finding(
            code=COLLIDE,
            section="labels",
            severity="warning" if sure else "note",
            title=f"{words.plural(len(collisions), 'pair')} of class names may stand for one class: {pairs}{more}",
            count=len(collisions),
            why="Images of one thing under two names teach the network to tell what cannot be told, and every such "
            "image counts as a mistake half of the time.",
            remedy="Merge the classes (`--fix` writes the merges into a plan, none of them accepted), or keep them if "
            "they are different things.",
            details={
                "pairs": [
                    {
                        "name": collision.one,
                        "images": counts.get(collision.one, 0),
                        "other_name": collision.other,
                        "other_images": counts.get(collision.other, 0),
                        "because": collision.reason,
                    }
                    for collision in collisions
                ]
            },
        )
    ]


def _mixed(names: Sequence[str]) -> list[Finding]:
    """A note about names of another language than most."""
    main, known = _main_language(sorted(set(names)))
    foreign = {name: own for name, own in known.items() if main not in {meaning.language for meaning in own}}
    # A few words that other languages have lent (`sombrero`) are no mixture.
    if len(foreign) < _MIXED_SHARE * len(known) or not foreign:
        return []
    rows = [
        {"name": name, "language": " or ".join(sorted({meaning.language for meaning in own}))}
        for name, own in foreign.items()
    ]
    is_are = "name is" if len(foreign) == 1 else "names are"
    return [
        Finding(
            code=MIXED,
            section="labels",
            severity="note",
            title=f"{words.count(len(foreign))} class {is_are} not {main} as the rest: {words.listing(list(foreign))}",
            count=len(foreign),
            why="Sets that were joined often keep a class twice, under the names of two languages.",
            remedy="Rename the classes into one language, and see whether any of them is there already.",
            details={"names": rows},
        )
    ]


def _main_language(names: Sequence[str]) -> tuple[str, dict[str, set[Meaning]]]:
    """The language that most names may be of, and the meanings of those names that are known.

    A name that is a word of the main language has no other meaning: among English names `pan` is no bread.
    """
    every = {name: found for name in names if (found := meanings(name))}
    votes = Counter(language for found in every.values() for language in {meaning.language for meaning in found})
    main = max(LANGUAGES, key=lambda language: (votes[language], -LANGUAGES.index(language)))
    return main, {
        name: {meaning for meaning in found if meaning.language == main} or found for name, found in every.items()
    }


def _alike(keyed: Iterable[tuple[str, str]]) -> list[list[str]]:
    """The names of every key that has several."""
    names: dict[str, list[str]] = defaultdict(list)
    for key, name in keyed:
        names[key].append(name)
    return [same for same in names.values() if len(same) > 1]


def _spelling(name: str) -> str:
    """Without the difference of case, width, blanks, hyphens and underscores, but with accents."""
    return _joined(SEPARATOR.sub(" ", unicodedata.normalize("NFKC", name).casefold()).strip())


def _joined(text: str) -> str:
    """Without the blanks, except between digits: `1 5` is not `15`."""
    return re.sub(r"(?<!\d) | (?!\d)", "", text)


def _language(own: set[Meaning], concept: str, main: str) -> str:
    languages = sorted(meaning.language for meaning in own if meaning.concept == concept)
    return main if main in languages else languages[0]
