"""Which image a row of a table of predictions is about, its split, and its true class where that is elsewhere."""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import numpy.typing as npt

from eyebright.data.manifest import Manifest
from eyebright.data.sources import open_source
from eyebright.data.sources.base import SPLIT_ALIASES
from eyebright.data.sources.table import COLUMN_ALIASES
from eyebright.errors import DataError, did_you_mean
from eyebright.identity import content_id
from eyebright.jobs.text_table import TextTable, is_prediction_table, listed, read_table
from eyebright.progress import Progress

IMAGE_COLUMNS = ("source", *COLUMN_ALIASES["image_path"])
"""Columns that hold the path of an image."""
TRUTH_COLUMNS = ("true", "true_label", "truth", "target", "label")
"""Columns that hold the true class, the surest first: `label` is the prediction in some tables."""


def images_of(table: TextTable, path: Path, progress: Progress) -> tuple[list[str], list[str]]:
    """Id and source of each row; files that are there are hashed."""
    column = next((name for name in IMAGE_COLUMNS if table.has(name)), None)
    if table.has("id"):
        ids = table.texts("id")
        places = table.texts(column) if column is not None else ids
        _check_given(ids, table, "id", unique=column is None)
        _check_given(places, table, column or "id", unique=True)
        return [str(one) for one in ids], [str(one) for one in places]
    if column is None:
        raise DataError(
            f"{table.name} does not say which image a row is about: its columns are {listed(table.names)}",
            expected="a column `id`, or `source` with paths",
            remedy="add one: rows are matched by image, never by position",
        )
    names = table.texts(column)
    _check_given(names, table, column, unique=True)
    sources = [str(name) for name in names]
    with ThreadPoolExecutor() as pool:
        hashed = list(pool.map(lambda name: _content_id(name, path.parent), sources))
    there = sum(one is not None for one in hashed)
    if there:
        progress.note(f"{there} of {len(sources)} image files are here and were read for their ids")
    if there < len(sources):
        progress.note(
            f"{len(sources) - there} images are not at their paths: the path itself serves as the id, so that these "
            "rows match only tables with the same paths"
        )
    return [one or name for one, name in zip(hashed, sources, strict=True)], sources


def _check_given(values: Sequence[str | None], table: TextTable, column: str, *, unique: bool) -> None:
    first: dict[tuple[str, str | None], int] = {}
    splits = splits_of(table)
    for row, (value, split) in enumerate(zip(values, splits, strict=True)):
        if value is None:
            raise DataError(f"{table.row(row)} names no image", expected=f"a value in the column {column!r}")
        before = first.setdefault((value, split), row)
        if unique and before != row:
            raise DataError(
                f"{table.row(row)} is about the same image as {table.row(before)}: {value}",
                expected="one row an image",
                remedy="remove one of them",
            )


def _content_id(name: str, folder: Path) -> str | None:
    """The content id of a file, beside the table or in the working folder; None when it is at neither."""
    for place in (folder / name, Path(name)):
        try:
            return content_id(place.read_bytes())
        except (OSError, ValueError):
            continue
    return None


def without_copies(
    ids: Sequence[str], splits: Sequence[str | None], labels: Sequence[str | None], table: TextTable,
    progress: Progress,
) -> npt.NDArray[np.int64]:  # fmt: skip
    """The rows without those whose file has the same bytes as that of an earlier row, as in a manifest."""
    first: dict[tuple[str, str | None], int] = {}
    kept = []
    for row, key in enumerate(zip(ids, splits, strict=True)):
        before = first.setdefault(key, row)
        if before == row:
            kept.append(row)
        elif labels[row] != labels[before]:
            raise DataError(
                f"the images of {table.row(before)} and {table.row(row)} have the same bytes and the labels "
                f"{labels[before]!r} and {labels[row]!r}",
                expected="one label for an image",
                remedy="remove the row that is wrong",
            )
    if len(kept) < len(ids):
        progress.note(f"{len(ids) - len(kept)} images have the same bytes as another one and are left out")
    return np.array(kept, dtype=np.int64)


def splits_of(table: TextTable) -> list[str | None]:
    """The split of each row; None where the table says none."""
    if not table.has("split"):
        return [None] * len(table)
    splits: list[str | None] = []
    for row, value in enumerate(table.texts("split")):
        split = None if value is None else SPLIT_ALIASES.get(value.strip().lower())
        if value is not None and split is None:
            raise DataError(
                f"{table.row(row)} has the split {value!r}{did_you_mean(value, SPLIT_ALIASES)}",
                expected="train, val or test, or nothing",
            )
        splits.append(split)
    return splits


def truth_elsewhere(place: Path, ids: Sequence[str], sources: Sequence[str]) -> list[str | None]:
    """The true classes from a table of labels, or from labelled images, matched by id, else by path."""
    by_name: dict[str, str | None] = {}
    if is_prediction_table(place) and place.is_file():
        table = read_table(place)
        label = next((name for name in TRUTH_COLUMNS if table.has(name)), None)
        named = [name for name in ("id", *IMAGE_COLUMNS) if table.has(name)]
        if label is None or not named:
            raise DataError(
                f"{place} has the columns {listed(table.names)}",
                expected="`id` or a path, and `label`",
                remedy="rename the columns in the header",
            )
        for column in named:
            by_name |= {str(name): text for name, text in zip(table.texts(column), table.texts(label), strict=True)}
    else:
        manifest = Manifest.scan(open_source(place))
        columns = (manifest.ok[name].to_pylist() for name in ("id", "source", "label"))
        for image, source, text in zip(*columns, strict=True):
            by_name[image] = by_name[source] = by_name[os.fspath(place / source)] = text
    found = [by_name.get(image, by_name.get(source)) for image, source in zip(ids, sources, strict=True)]
    if not any(text is not None for text in found):
        raise DataError(
            f"{place} has no label for any of the {len(ids)} images, such as {sources[0]}",
            expected="the same ids or the same paths as in the table of predictions",
        )
    return found
