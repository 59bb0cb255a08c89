"""The findings of an audit as cards: which of their examples are shown, and each picture embedded once."""

from __future__ import annotations

import dataclasses
import re
from collections import Counter
from collections.abc import Sequence

from eyebright.data.audit.findings import SEVERITIES, Example, Finding, ImageRef
from eyebright.report.audit_details import Block, detail_blocks
from eyebright.report.gallery import Gallery
from eyebright.report.wording import SPLIT_NAMES

# All pictures together, as text in the page: the page stays easy to open and to send.
_BUDGET_BYTES = 5_000_000
_IMAGES_IN_VIEW = 24
_IMAGES_OF_A_CASE = 8
_SOURCE_LETTERS = 30


@dataclasses.dataclass(frozen=True)
class Shared:
    """A picture that several cards show: embedded once under a name."""

    name: str
    uri: str
    enlarged: bool


@dataclasses.dataclass(frozen=True)
class Tile:
    """One image of a card.

    Attributes:
        uri: its data URI; empty when there is no picture, or when it is shared.
        shared: the name of the shared picture, or empty.
    """

    ref: ImageRef
    uri: str
    shared: str
    enlarged: bool

    @property
    def split(self) -> str:
        """The split in words; empty when there is none."""
        return SPLIT_NAMES.get(self.ref.split, self.ref.split) if self.ref.split else ""

    @property
    def short_source(self) -> str:
        """The end of the path: the file name tells more than the folders above it."""
        source = self.ref.source
        if len(source) <= _SOURCE_LETTERS:
            return source
        name = "…/" + source.rpartition("/")[2]
        return name if len(name) <= _SOURCE_LETTERS else "…" + source[1 - _SOURCE_LETTERS :]

    @property
    def words(self) -> str:
        """The picture in words, for who cannot see it."""
        facts = [self.ref.source, f"labelled {self.ref.label}" if self.ref.label else "", self.split, self.ref.note]
        return ", ".join(fact for fact in facts if fact)


@dataclasses.dataclass(frozen=True)
class Case:
    """One example: images that belong together, and how many of them are not shown."""

    tiles: Sequence[Tile]
    caption: str
    more: int

    @property
    def labels_differ(self) -> bool:
        """Whether the images have different labels."""
        return len({tile.ref.label for tile in self.tiles}) > 1

    @property
    def splits_differ(self) -> bool:
        """Whether the images stand in different splits."""
        return len({tile.ref.split for tile in self.tiles}) > 1


@dataclasses.dataclass(frozen=True)
class Card:
    """One finding as it is shown.

    Attributes:
        anchor: its id in the page.
        style: `frames` for images side by side, `tiles` for single images, `rows` for files without a picture.
        cases: the examples in view; `folded` the ones behind a click.
        left_out: how many examples are not in the page.
        blocks: the details that can be shown.
    """

    finding: Finding
    anchor: str
    style: str
    cases: Sequence[Case]
    folded: Sequence[Case]
    left_out: int
    blocks: Sequence[Block]


def make_cards(
    findings: Sequence[Finding], gallery: Gallery, images_in_turn: Sequence[int], *, prefix: str = ""
) -> tuple[list[Card], list[Shared]]:
    """The cards, in the order of the findings, and the pictures that they share.

    Args:
        images_in_turn: each finding gets so many images first, then so many, while `_BUDGET_BYTES` lasts.
        prefix: stands before every anchor, so that two audits can stand in one page.
    """
    chosen = _choose(findings, gallery, images_in_turn)
    uses = Counter(ref.id for examples in chosen for example in examples for ref in _shown(example) if ref.id)
    shared = {
        id_: Shared(f"{prefix}image-{number}", gallery.uri(id_), gallery.is_tiny(id_))
        for number, id_ in enumerate(id_ for id_, times in uses.items() if times > 1 and gallery.uri(id_))
    }

    def tile(ref: ImageRef) -> Tile:
        if ref.id in shared:
            return Tile(ref, "", shared[ref.id].name, shared[ref.id].enlarged)
        uri = gallery.uri(ref.id) if ref.id else ""
        return Tile(ref, uri, "", bool(ref.id and uri) and gallery.is_tiny(str(ref.id)))

    cards = []
    anchors: Counter[str] = Counter()
    for finding, examples in zip(findings, chosen, strict=True):
        cases = [
            Case([tile(ref) for ref in _shown(example)], example.caption, len(example.images) - len(_shown(example)))
            for example in examples
        ]
        in_view = _fitting(examples, _IMAGES_IN_VIEW)
        name = f"{prefix}finding-{re.sub(r'[^a-z0-9]+', '-', finding.code.lower())}"
        anchors[name] += 1
        cards.append(
            Card(
                finding=finding,
                anchor=name if anchors[name] == 1 else f"{name}-{anchors[name]}",
                style=_style(cases),
                cases=cases[:in_view],
                folded=cases[in_view:],
                left_out=len(finding.examples) - len(cases),
                blocks=detail_blocks(finding.details),
            )
        )
    return cards, list(shared.values())


def _choose(findings: Sequence[Finding], gallery: Gallery, images_in_turn: Sequence[int]) -> list[Sequence[Example]]:
    """The examples of each finding that go into the page. The gravest findings are served first in each turn."""
    number_of = [0] * len(findings)
    embedded: set[str] = set()
    spent = 0
    for most in images_in_turn:
        for place in sorted(range(len(findings)), key=lambda place: SEVERITIES.index(findings[place].severity)):
            examples = findings[place].examples
            for example in examples[number_of[place] : _fitting(examples, most)]:
                new = {ref.id for ref in _shown(example) if ref.id} - embedded
                spent += sum(len(gallery.uri(id_)) for id_ in new)
                if spent > _BUDGET_BYTES:
                    return [finding.examples[:number] for finding, number in zip(findings, number_of, strict=True)]
                embedded |= new
                number_of[place] += 1
    return [finding.examples[:number] for finding, number in zip(findings, number_of, strict=True)]


def _fitting(examples: Sequence[Example], most: int) -> int:
    """How many of the first examples have at most `most` images together; at least one."""
    images = 0
    for number, example in enumerate(examples):
        images += len(_shown(example))
        if images > most:
            return max(1, number)
    return len(examples)


def _shown(example: Example) -> Sequence[ImageRef]:
    return example.images[:_IMAGES_OF_A_CASE]


def _style(cases: Sequence[Case]) -> str:
    if any(len(case.tiles) > 1 for case in cases):
        return "frames"
    pictured = any(tile.uri or tile.shared for case in cases for tile in case.tiles)
    return "tiles" if pictured else "rows"
