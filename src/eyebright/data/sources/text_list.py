"""A text file with an image a line: a path, or a path and a label. Paths are relative to the list.

How a line is read:

- blank lines, and lines that begin with `#`, are left out;
- with a tab, the path ends before the first tab, and the label follows;
- a line that ends like an image (`.jpg`, ...) is a path and nothing else, whatever blanks and commas are in it;
- otherwise the path ends at the last such ending that a comma or a blank follows, and the label comes after it:
  `my photos/1.jpg 3`, `1.jpg,Labrador retriever`;
- without any such ending (`scans/0001 3`), a path that exists is a path; else the label follows the last comma, or,
  where there is none, the last blank.

All lines of a list must be of one form: all without a label, or all with a label after the same separator. A list
without labels takes them from the folders in the paths, as a glob pattern does.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Literal, NamedTuple

from eyebright.data.sources.base import Item, Stray, refuse_colliding_class_names
from eyebright.data.sources.folder import IMAGE_SUFFIXES
from eyebright.data.sources.folder_labels import items_of_paths
from eyebright.data.sources.listed import ListedImages
from eyebright.data.sources.multi_label import one_class, refuse_several_classes
from eyebright.data.sources.table import COLUMN_ALIASES, decode_text
from eyebright.data.sources.tree import LocalTree, Tree
from eyebright.errors import DataError

LIST_SUFFIXES = (".txt", ".lst", ".list")

Form = Literal["a path", "a path, a tab and a label", "a path, a comma and a label", "a path, a blank and a label"]

_ENDING = "(?:" + "|".join(re.escape(suffix) for suffix in sorted(IMAGE_SUFFIXES)) + ")"
_ENDS_LIKE_AN_IMAGE = re.compile(rf"{_ENDING}$", re.IGNORECASE)
_IMAGE_THEN_LABEL = re.compile(rf"(?P<path>.*{_ENDING})(?P<gap>\s*,\s*|\s+)(?P<label>.+)", re.IGNORECASE)
_COMMA_THEN_LABEL = re.compile(r"(?P<path>.*?)(?P<gap>\s*,\s*)(?P<label>[^,]*)")
_BLANK_THEN_LABEL = re.compile(r"(?P<path>.*?)(?P<gap>\s+)(?P<label>\S+)")
# `1.jpg 0 1 1` and `1.jpg 10,20,50,60,3`: a vector of classes, or boxes of objects.
_SEVERAL_NUMBERS = re.compile(r"[-+.\d]+([\s,]+[-+.\d]+)+")


class _Line(NamedTuple):
    number: int
    form: Form
    path: str
    label: str | None


class TextListSource:
    """The images that a text file lists.

    Args:
        path: the list.
        spec: what the user gave, when it is not `path`.
        tree: where the images lie that the list names; the folder of the list when left out.

    Raises:
        DataError: the list cannot be read, or its lines are not of one form; with the first line that differs.
    """

    kind = "text-list"

    def __init__(self, path: Path, spec: str | None = None, *, tree: Tree | None = None) -> None:
        self.spec = str(path) if spec is None else spec
        self.class_names: tuple[str, ...] | None = None
        self._images = ListedImages(LocalTree(path.parent) if tree is None else tree)
        lines = _read(path, there=path.parent if tree is None else None)
        _check_labels(lines, path.name)
        if lines[0].label is None:
            items = items_of_paths([line.path for line in lines])
        else:
            items = [Item(source=line.path, label=one_class(line.label)) for line in lines]
        refuse_colliding_class_names(
            {item.label for item in items if item.label is not None},
            remedy=f"write one spelling in {path.name}"
            if lines[0].label is not None
            else f"give the folders one spelling, or write the labels into {path.name}",
        )
        self._items = self._images.named(items)

    def items(self) -> Iterator[Item]:
        """All lines, in the order of the list."""
        return iter(self._items)

    def strays(self) -> list[Stray]:
        """None: a list names images only."""
        return []

    def read(self, source: str) -> bytes:
        """The bytes of one file."""
        return self._images.read(source)


def is_table(path: Path) -> bool:
    """Whether a text file is a table: its first line is a header that names the columns of paths and labels."""
    try:
        with open(path, encoding="utf-8-sig", errors="replace") as handle:
            head = handle.readline().strip().lower()
    except OSError:
        return False
    names = [name.strip() for name in re.split(r"[\t,;]", head)]
    return all(any(name in COLUMN_ALIASES[column] for name in names) for column in ("image_path", "label"))


def _read(path: Path, there: Path | None) -> list[_Line]:
    try:
        content = path.read_bytes()
    except OSError as error:
        raise DataError(f"the list {path} cannot be read: {error.strerror}") from error
    # Tabs stay: a label that is missing after one should be told.
    texts = [text.strip(" \r") for text in decode_text(content, path.name).split("\n")]
    lines = [
        _Line(number, *_parts(text, there))
        for number, text in enumerate(texts, start=1)
        if text.strip() and not text.startswith("#")
    ]
    if not lines:
        raise DataError(
            f"the list {path} names no image",
            expected="a path a line, or a path and a label",
            remedy="write one line for each image",
        )
    odd = next((line for line in lines if line.form != lines[0].form), None)
    if odd is not None:
        raise DataError(
            f"line {odd.number} of {path.name} holds {odd.form} ({texts[odd.number - 1]!r}), and line "
            f"{lines[0].number} {lines[0].form} ({texts[lines[0].number - 1]!r})",
            expected="all lines of one form: a path; or a path, a separator (tab, comma or blank) and a label",
            remedy="correct the line, or write a CSV with the header `image_path,label`",
        )
    return lines


def _parts(text: str, there: Path | None) -> tuple[Form, str, str | None]:
    """Form, path and label of one line; `there` is the folder of the list, where it is on this machine."""
    if "\t" in text:
        path, _, label = text.partition("\t")
        return "a path, a tab and a label", path.strip(), label.strip()
    if _ENDS_LIKE_AN_IMAGE.search(text):
        return "a path", text, None
    found = _IMAGE_THEN_LABEL.fullmatch(text)
    if found is None and there is not None and os.path.lexists(there / text):
        return "a path", text, None
    found = found or _COMMA_THEN_LABEL.fullmatch(text) or _BLANK_THEN_LABEL.fullmatch(text)
    if found is None:
        return "a path", text, None
    form: Form = "a path, a comma and a label" if "," in found["gap"] else "a path, a blank and a label"
    return form, found["path"], found["label"]


def _check_labels(lines: list[_Line], name: str) -> None:
    empty = next((line for line in lines if not line.path or line.label == ""), None)
    if empty is not None:
        raise DataError(
            f"line {empty.number} of {name} has no {'path' if not empty.path else 'label'}",
            expected="a path and a label in every line that has a separator",
            remedy="correct the line",
        )
    refuse_several_classes(
        ((f"line {line.number} of {name}", line.label) for line in lines), column="label", table=name
    )
    numbers = [line for line in lines if line.label is not None and _SEVERAL_NUMBERS.fullmatch(line.label)]
    if numbers:
        raise DataError(
            f"{len(numbers)} of {len(lines)} lines of {name} hold several numbers after the path; the first is line "
            f"{numbers[0].number}: {numbers[0].label!r}",
            expected="one class an image: training on several classes, or on boxes of objects, is not there yet",
            remedy="keep one class in each line",
        )
