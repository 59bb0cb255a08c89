"""What a user points at when asking for predictions: images, folders, tables, archives, named sets, addresses."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from eyebright.data.sources import open_source
from eyebright.data.sources.address import file_name, is_address, is_file_address, parent, without_secrets
from eyebright.data.sources.archive import ARCHIVE_ENDINGS
from eyebright.data.sources.folder import IMAGE_SUFFIXES
from eyebright.data.sources.pattern import is_pattern
from eyebright.data.sources.remote import RemoteTree
from eyebright.data.sources.text_list import LIST_SUFFIXES
from eyebright.decode import UndecodableImage, read_image_file
from eyebright.errors import did_you_mean_beside

# Files that hold or name many images; any other file is taken for one image.
DATA_ENDINGS = (".csv", ".tsv", ".jsonl", ".parquet", ".npz", ".mat", ".gz", *LIST_SUFFIXES, *ARCHIVE_ENDINGS)
Content = bytes | npt.NDArray[np.uint8]


class Opened(NamedTuple):
    """One input: a title, the names of its images, what stands before a name when it is shown, and how to read one."""

    title: str
    names: list[str]
    prefix: str
    read: Callable[[str], Content]


def open_input(given: str | Path) -> Opened:
    """What a user named: one image, or all images of a folder, table, archive, named set or address.

    Raises:
        DataError: it does not exist or holds nothing that could be an image.
    """
    text, path = str(given), Path(given)
    if is_address(text) and not is_file_address(text) and path.suffix.lower() in IMAGE_SUFFIXES:
        folder = RemoteTree(parent(text))
        return Opened(without_secrets(text), [file_name(text)], f"{without_secrets(parent(text))}/", folder.read)
    if (
        not path.exists() and path.suffix.lower() in IMAGE_SUFFIXES and not is_pattern(text)
    ):  # one of many that has gone
        return Opened(str(given), [str(given)], "", _read_file)
    if path.is_file() and not path.name.lower().endswith((*DATA_ENDINGS, "-ubyte")):
        return Opened(str(given), [str(given)], "", _read_file)
    source = open_source(given)
    names = [item.source for item in source.items()]
    # Where a source can give a reader without its list of items, that list need not stay in memory.
    read = source.reader() if hasattr(source, "reader") else source.read
    return Opened(source.spec, names, f"{given}/" if path.is_dir() else "", read)


def _read_file(name: str) -> bytes:
    try:
        return read_image_file(name)
    except UndecodableImage as error:
        if error.status == "missing":
            error.problem += did_you_mean_beside(Path(name))
        raise
