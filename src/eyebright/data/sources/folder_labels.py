"""Labels and splits from the folders in paths, where images are named one by one and no label is given.

The label is the folder that holds the image: `photos/cat/1.jpg` is a cat. Images that all lie in one folder have no
label, as those of a flat folder. Where paths begin with `train/` and with `val/` or `test/`, that is their split.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from pathlib import PurePosixPath
from urllib.parse import unquote, urlsplit

from eyebright.data.sources.base import SPLIT_ALIASES, Item, Split

_NO_CLASS = (".", "..")


def items_of_paths(paths: Sequence[str]) -> list[Item]:
    """An item for every path, in the same order.

    Args:
        paths: relative to the root, with forward slashes; absolute paths and addresses are taken too.
    """
    inside = [_folders(path) for path in paths]
    if len(set(inside)) == 1:
        return [Item(source=path) for path in paths]
    # What all paths go through says nothing: `images/train/cat` and `images/test/cat` are split by `train` and `test`.
    common = _common_length(min(inside), max(inside))
    inside = [folders[common:] for folders in inside]
    outer = {SPLIT_ALIASES[folders[0].lower()] for folders in inside if folders and folders[0].lower() in SPLIT_ALIASES}
    # `train` alone may be a class of vehicles; beside `val` or `test` it is a split.
    has_splits = "train" in outer and bool(outer & {"val", "test"})
    items = []
    for path, folders in zip(paths, inside, strict=True):
        split: Split | None = SPLIT_ALIASES.get(folders[0].lower()) if has_splits and folders else None
        items.append(Item(source=path, label=_label(folders[1:] if split else folders), split=split))
    return items


def _common_length(one: tuple[str, ...], other: tuple[str, ...]) -> int:
    """How many folders two paths share from the outside in; all paths in between share them, too."""
    return next(
        (number for number, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other))
    )


def _folders(path: str) -> tuple[str, ...]:
    """The folders that a path goes through, from the outside in."""
    if "://" in path:
        path = unquote(urlsplit(path).path)
    return tuple(part for part in PurePosixPath(path).parts[:-1] if part != "/")


def _label(folders: tuple[str, ...]) -> str | None:
    if not folders or folders[-1] in _NO_CLASS:
        return None
    # The same name may be spelled in two Unicode forms, by macOS and by others.
    return unicodedata.normalize("NFC", folders[-1])
