"""Accuracy by image property, origin and the user's own columns, and the worst slices among all of them. No torch."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from eyebright.data.audit.evidence import gather_evidence
from eyebright.data.audit.properties import probe_images
from eyebright.data.cache import default_cache
from eyebright.data.listing import MANIFEST_SCHEMA
from eyebright.data.manifest import Manifest
from eyebright.data.sources import Source
from eyebright.data.sources.combined import DATASET_COLUMN
from eyebright.decode import DEFAULT_MAX_PIXELS
from eyebright.errors import BundleError, DataError, did_you_mean
from eyebright.evaluation.image_properties import ImageProperties, properties_of
from eyebright.evaluation.predictions import Predictions
from eyebright.evaluation.slice_search import search_slices
from eyebright.evaluation.slices import SliceColumn, accuracy_of_parts, make_column
from eyebright.progress import Progress, Silent

SPLIT_COLUMN, FOLDER_COLUMN, FORMAT_COLUMN = "split", "folder", "format"
_OURS = (*MANIFEST_SCHEMA.names, DATASET_COLUMN)


def run_slices(
    manifest: Manifest,
    source: Source | None,
    predictions: Predictions,
    *,
    progress: Progress | None = None,
    keep: Path | None = None,
    max_pixels: int = DEFAULT_MAX_PIXELS,
    seed: int = 0,
) -> dict[str, Any]:
    """Everything about slices that `metrics.json` holds.

    Args:
        manifest: of the images, with the user's columns.
        source: what reads them; None when they are gone, and slices by property with them unless they were kept.
        predictions: of all scored splits. All are measured; the slices are those of the test split where there is one.
        progress: told of the images that were not measured before.
        keep: where the properties are kept, such as `run/properties.parquet`; read when it has all images.
        max_pixels: larger images are not measured.
        seed: of the search.

    Returns:
        `slices`: {column: {part: {images, accuracy, expected}}}; `worst_slices`: rows as in `WorstSlice.as_dict`.
    """
    progress = progress or Silent()
    properties = measure_properties(
        manifest, source, _ids(predictions), keep=keep, max_pixels=max_pixels, progress=progress
    )
    by_split = _by_split(predictions)
    if "test" in predictions.column("split"):
        predictions = predictions.select("test")
    predictions = predictions.labelled()
    if not len(predictions):
        return {"slices": {}, "worst_slices": []}
    columns = slice_columns(manifest, predictions, properties)
    slices = slices_by(predictions, columns) | by_split
    worst = search_slices(predictions, columns, seed=seed)
    return {"slices": slices, "worst_slices": [one.as_dict() for one in worst]}


def slices_by(predictions: Predictions, columns: Sequence[SliceColumn]) -> dict[str, dict[str, Any]]:
    """Accuracy of each part of each column: {column: {part: {images, accuracy, expected}}}."""
    return {
        column.name: {part: one.as_dict() for part, one in accuracy_of_parts(predictions, column).items()}
        for column in columns
    }


def chosen_columns(manifest: Manifest, predictions: Predictions, names: Sequence[str]) -> list[SliceColumn]:
    """The columns of the manifest that a user asks for by name, whatever they are.

    Raises:
        DataError: there is no such column.
    """
    found = []
    known = manifest.table.schema.names
    for name in names:
        if name not in known:
            own = [column for column in known if column not in MANIFEST_SCHEMA.names]
            raise DataError(
                f"the images have no column {name!r}{did_you_mean(name, known)}",
                expected=f"one of {', '.join(map(repr, own))}"
                if own
                else "a column of a table of images, beside image_path and label; these images come with none",
                remedy="check the name, or add the column to the table of images",
            )
        column = make_column(name, _aligned(manifest, name, predictions), always=True)
        assert column is not None
        found.append(column)
    return found


def slice_columns(
    manifest: Manifest, predictions: Predictions, properties: ImageProperties | None
) -> list[SliceColumn]:
    """What the images can be cut by: where they come from, the user's columns, their properties.

    Columns that tell nothing are left out: the same for all images, different for each, or a matter of the class.
    """
    found = [*_origins(manifest, predictions)]
    for name in manifest.table.schema.names:
        if name not in _OURS or name == "group":
            column = make_column(name, _aligned(manifest, name, predictions))
            if column is not None and not _settled_by_class(column, predictions):
                found.append(column)
    taken = {column.name for column in found}
    for column in properties.columns(_ids(predictions)) if properties else ():
        if column.name not in taken:  # the user's own measure of it comes first
            found.append(column)
    return found


def measure_properties(
    manifest: Manifest,
    source: Source | None,
    ids: Sequence[str],
    *,
    keep: Path | None = None,
    max_pixels: int = DEFAULT_MAX_PIXELS,
    progress: Progress | None = None,
) -> ImageProperties | None:
    """Properties of these images: kept ones, else measured, once for each content id; None when there are none.

    What the look at the images before training has measured comes from the cache.
    """
    if keep is not None and keep.is_file():
        try:
            kept = ImageProperties.read(keep)
        except BundleError:
            kept = None  # of another version, or damaged: measured again
        if kept is not None and (source is None or set(ids) <= set(kept.ids)):
            return kept
    if source is None:
        return None
    wanted = pc.is_in(manifest.ok["id"], value_set=pa.array(sorted(set(ids)), pa.string()))
    rows = manifest.ok.filter(wanted)
    part = Manifest(rows, classes=manifest.classes, spec=manifest.spec, kind=manifest.kind)
    table, failures = probe_images(part, source, progress=progress, max_pixels=max_pixels, cache=default_cache())
    if not table.num_rows:
        return None
    readable = part.mark(failures).ok
    found = properties_of(
        gather_evidence(Manifest(readable, classes=part.classes, spec=part.spec, kind=part.kind), table)
    )
    if keep is not None:
        found.write(keep)
    return found


def _by_split(predictions: Predictions) -> dict[str, dict[str, Any]]:
    """Accuracy on validation beside test, where both were scored."""
    column = make_column(SPLIT_COLUMN, predictions.column("split"))
    return {} if column is None else slices_by(predictions, [column])


def _origins(manifest: Manifest, predictions: Predictions) -> list[SliceColumn]:
    """The data set, the top folder and the file format, where several occur and the class does not settle them."""
    values: dict[str, list[Any]] = {}
    if DATASET_COLUMN in manifest.table.schema.names:
        values[DATASET_COLUMN] = _aligned(manifest, DATASET_COLUMN, predictions)
    values[FOLDER_COLUMN] = _top_folders([str(name) for name in predictions.column("source")])
    values[FORMAT_COLUMN] = _aligned(manifest, FORMAT_COLUMN, predictions)
    found: list[SliceColumn] = []
    for name, column_values in values.items():
        column = make_column(name, column_values)
        if column is None or any(_same_parts(column, other) for other in found):
            continue
        # Combined data sets often bring classes of their own, and how each does is worth a line all the same.
        if name == DATASET_COLUMN or not _settled_by_class(column, predictions):
            found.append(column)
    return found


def _settled_by_class(column: SliceColumn, predictions: Predictions) -> bool:
    """Whether all images of a class have the same value, so that the column says no more than the class."""
    pairs = set(zip(predictions.column("label"), column.codes.tolist(), strict=True))
    return len(pairs) == len({label for label, _ in pairs})


def _top_folders(sources: Sequence[str]) -> list[str | None]:
    """The first folder of each path, below the folders that all have in common; None for a file outside of any."""
    folders = [source.partition("#")[0].split("/")[:-1] for source in sources]
    shared = 0
    while len({tuple(folder[: shared + 1]) for folder in folders}) == 1 and shared < len(folders[0]):
        shared += 1
    return [folder[shared] if len(folder) > shared else None for folder in folders]


def _same_parts(one: SliceColumn, other: SliceColumn) -> bool:
    pairs = set(zip(one.codes.tolist(), other.codes.tolist(), strict=True))
    return len(pairs) == len(np.unique(one.codes)) == len(np.unique(other.codes))


def _aligned(manifest: Manifest, column: str, predictions: Predictions) -> list[Any]:
    """The values of a column of the manifest for each row of the predictions, matched by content id."""
    ids, splits, values = (manifest.ok[name].to_pylist() for name in ("id", "split", column))
    # Scored as new images, they may have had another split; the same image of two splits may have two values.
    of_image = dict(zip(ids, values, strict=True))
    of_row = dict(zip(zip(ids, splits, strict=True), values, strict=True))
    return [
        of_row.get((image, split), of_image.get(image))
        for image, split in zip(predictions.column("id"), predictions.column("split"), strict=True)
    ]


def _ids(predictions: Predictions) -> list[str]:
    return [str(image) for image in predictions.column("id")]
