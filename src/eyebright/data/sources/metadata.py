"""A folder of images with a metadata file in it: `metadata.csv`, `.jsonl` or `.parquet` (Hugging Face ImageFolder).

The file has a column `file_name`, with paths relative to it, and lies in the folder or in its `train`, `test`, ...
folders. With a label column it decides what is an image of which class, whatever the folders are named. Without one
the labels come from the class folders, and its columns are kept.

Layout: https://huggingface.co/docs/datasets/image_dataset#imagefolder
"""

from __future__ import annotations

import csv
import dataclasses
import json
import posixpath
from collections.abc import Iterator, Sequence

import pyarrow as pa
import pyarrow.parquet as pq

from eyebright.data.sources.address import is_address
from eyebright.data.sources.base import SPLIT_ALIASES, Item, Split, Stray, refuse_colliding_class_names
from eyebright.data.sources.folder import FolderSource
from eyebright.data.sources.folder_labels import items_of_paths
from eyebright.data.sources.listed import ListedImages
from eyebright.data.sources.pattern import images_below
from eyebright.data.sources.table import items_of_table
from eyebright.data.sources.tree import Tree
from eyebright.errors import DataError

FILE_NAMES = ("metadata.csv", "metadata.jsonl", "metadata.parquet")
PATH_COLUMN = "file_name"


@dataclasses.dataclass(frozen=True)
class MetadataFile:
    """One metadata file of a folder.

    Attributes:
        path: relative to the root.
        split: what the name of the folder says that it lies in, or None.
        content: its bytes.
    """

    path: str
    split: Split | None
    content: bytes


def find_metadata(tree: Tree) -> list[MetadataFile]:
    """The metadata files of a folder of images; a file of that name without the column `file_name` is none.

    Raises:
        DataError: two metadata files lie in one folder.
    """
    entries = tree.entries("")
    places: list[tuple[str, Split | None]] = [("", None)]
    places += [
        (f"{entry.name}/", SPLIT_ALIASES[entry.name.lower()])
        for entry in entries
        if entry.kind == "folder" and entry.name.lower() in SPLIT_ALIASES
    ]
    found = []
    for folder, split in places:
        names = {entry.name for entry in (tree.entries(folder.rstrip("/")) if folder else entries)}
        files = [MetadataFile(folder + name, split, tree.read(folder + name)) for name in FILE_NAMES if name in names]
        files = [file for file in files if PATH_COLUMN in _column_names(file)]
        if len(files) > 1:
            raise DataError(
                f"{' and '.join(file.path for file in files)} lie side by side in {tree.spec}",
                expected="one metadata file in a folder",
                remedy="keep one of them, or point to the file that counts",
            )
        found += files
    return found


class MetadataSource:
    """The images of a folder, with what its metadata files say of them.

    Raises:
        DataError: a metadata file cannot be read, names several classes in a row, or names an image twice.
    """

    kind = "metadata"

    def __init__(self, tree: Tree, files: Sequence[MetadataFile], spec: str) -> None:
        self.spec = spec
        self.class_names: tuple[str, ...] | None = None
        self._images = ListedImages(tree)
        rows = [row for file in files for row in _rows(file)]
        labelled = any(row.label is not None for row in rows)
        items, strays = _labelled(tree, rows) if labelled else _from_folders(tree, rows)
        own = {file.path for file in files}
        self._strays = [stray for stray in strays if stray.source not in own]
        refuse_colliding_class_names(
            {item.label for item in items if item.label is not None},
            remedy=f"write one spelling in {' and '.join(sorted(own))}"
            if labelled
            else "give the class folders one spelling",
        )
        self._items = self._images.named(items)

    def items(self) -> Iterator[Item]:
        """The images that the metadata names, in its order; without labels there, those of the class folders."""
        return iter(self._items)

    def strays(self) -> list[Stray]:
        """What is no image, and images that the metadata does not name although it gives the labels."""
        return list(self._strays)

    def read(self, source: str) -> bytes:
        """The bytes of one file."""
        return self._images.read(source)


def _rows(file: MetadataFile) -> list[Item]:
    """The rows of a metadata file, with paths relative to the root."""
    folder = posixpath.dirname(file.path)
    rows = items_of_table(file.content, file.path, needs_label=False, path_column=PATH_COLUMN)
    return [
        dataclasses.replace(
            row,
            source=row.source if is_address(row.source) else posixpath.normpath(posixpath.join(folder, row.source)),
            split=row.split or file.split,
        )
        for row in rows
    ]


def _labelled(tree: Tree, rows: Sequence[Item]) -> tuple[list[Item], list[Stray]]:
    """The rows as they are; images that none of them names become strays."""
    if all(row.split is None for row in rows):
        splits = [item.split for item in items_of_paths([row.source for row in rows])]
        rows = [dataclasses.replace(row, split=split) for row, split in zip(rows, splits, strict=True)]
    images, strays = images_below(tree)
    named = {row.source for row in rows}
    strays += [Stray(path, "the metadata does not name it") for path in images if path not in named]
    return list(rows), strays


def _from_folders(tree: Tree, rows: Sequence[Item]) -> tuple[list[Item], list[Stray]]:
    """The images of the class folders, with the columns of their rows; rows without an image there are kept, too."""
    by_path: dict[str, Item] = {}
    for row in rows:
        if row.source in by_path:
            raise DataError(
                f"the metadata in {tree.spec} names {row.source} twice",
                expected="one row for each image, or a label column",
                remedy="remove one of the rows",
            )
        by_path[row.source] = row
    folders = FolderSource(tree)
    items = []
    for item in folders.items():
        row = by_path.pop(item.source, item)
        items.append(dataclasses.replace(row, label=item.label, split=row.split or item.split))
    return [*items, *by_path.values()], [stray for stray in folders.strays() if stray.source not in by_path]


def _column_names(file: MetadataFile) -> list[str]:
    """The columns of a file that may be anything; none when it cannot be read."""
    try:
        if file.path.endswith(".parquet"):
            names = pq.read_schema(pa.BufferReader(file.content)).names
        else:
            head = file.content.partition(b"\n")[0].decode("utf-8-sig").strip()
            if file.path.endswith(".jsonl"):
                first = json.loads(head)
                names = list(first) if isinstance(first, dict) else []
            else:
                names = next(csv.reader([head], delimiter=max("\t,;", key=head.count)), [])
    except (ValueError, pa.ArrowException, csv.Error):
        return []
    return [name.strip().lower() for name in names]
