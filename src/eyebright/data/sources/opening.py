"""Which source a path or name stands for."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from eyebright.data.sources import hf_parquet, idx, named
from eyebright.data.sources.base import Source
from eyebright.data.sources.folder import IMAGE_SUFFIXES, FolderSource
from eyebright.data.sources.table import TableSource, is_image_table
from eyebright.errors import DataError, did_you_mean

ACCEPTED = (
    "a folder with a folder of images for each class (also below train, val and test), a CSV, TSV or Parquet table "
    "with the columns image_path and label, Parquet files in the Hugging Face layout, IDX files (MNIST), "
    "or one of the names " + ", ".join(named.NAMES)
)


def open_source(spec: str | Path, *, consent_download: bool = False) -> Source:
    """Open the images that `spec` stands for, by what is found there.

    Args:
        spec: a path, or one of `named.NAMES`; a path that exists comes before a name.
        consent_download: the user agrees to a download where a named data set is not on this machine.

    Raises:
        DataError: there is nothing, or nothing that is accepted; the message lists both.
        MissingDependencyError: a named data set is not on this machine.
    """
    text = str(spec)
    if not text.strip():
        raise DataError("no data was named: the path is empty", expected=ACCEPTED)
    path = Path(text).expanduser()
    if not path.exists():
        if text in named.NAMES:
            return named.open_named(text, consent_download=consent_download)
        raise _nothing_there(text, path)
    return _open_folder(path, text) if path.is_dir() else _open_file(path, text)


def _open_folder(path: Path, spec: str) -> Source:
    shards = hf_parquet.find_shards(path)
    if shards:
        return hf_parquet.HfParquetSource(path, shards, spec)
    pairs = idx.find_pairs(path)
    if pairs:
        return idx.IdxSource(pairs, spec)
    source = FolderSource(path, spec)
    if not source.has_items():
        raise DataError(
            f"there are no images in the folder {spec}: {_found(path)}",
            expected=ACCEPTED,
            remedy="put images there, or point to another folder",
        )
    return source


def _open_file(path: Path, spec: str) -> Source:
    suffix = path.suffix.lower()
    if suffix in (".csv", ".tsv"):
        return TableSource(path, spec)
    if suffix == ".parquet":
        try:
            schema = pq.read_schema(path)
        except (OSError, pa.ArrowException) as error:
            raise DataError(
                f"{spec} cannot be read as Parquet: {error}",
                expected="a whole Parquet file",
                remedy="fetch the file again",
            ) from error
        if hf_parquet.image_column(schema) is not None:
            return hf_parquet.HfParquetSource(path.parent, [path], spec)
        if is_image_table(schema):
            return TableSource(path, spec)
        raise DataError(
            f"{spec} has no column with images or image paths: its columns are {', '.join(schema.names)}",
            expected="a struct column with the image's bytes, or a text column image_path",
            remedy="name the column image_path that holds the paths",
        )
    if idx.is_images_file(path.name):
        return idx.IdxSource(idx.find_pairs(path.parent, only=path.name), spec)
    if suffix in IMAGE_SUFFIXES:
        raise DataError(
            f"{spec} is a single image",
            expected="many labelled images: a folder with a folder for each class, or a table",
            remedy="`eyebright predict RUN IMAGE` classifies one image",
        )
    if suffix in (".zip", ".tar", ".gz", ".tgz", ".7z", ".rar"):
        raise DataError(f"{spec} is an archive", expected=ACCEPTED, remedy="unpack it and point to the folder")
    raise DataError(
        f"{spec} is a file of an unknown kind ({suffix or 'no suffix'})",
        expected=ACCEPTED,
        remedy="point to the folder, the table or the Parquet file that holds the images",
    )


def _nothing_there(text: str, path: Path) -> DataError:
    try:
        beside = [entry.name for entry in path.parent.iterdir()]
    except OSError:
        beside = []
    hint = did_you_mean(path.name, [*beside, *(named.NAMES if path.parent == Path() else ())])
    parent = "" if path.parent.is_dir() else f"; the folder {path.parent} does not exist either"
    start = "" if path.is_absolute() else f"; it starts from {Path.cwd()}"
    return DataError(f"there is nothing at {text}{hint}{parent}", expected=ACCEPTED, remedy=f"check the path{start}")


def _found(path: Path) -> str:
    entries = sorted(path.iterdir())
    if not entries:
        return "it is empty"
    names = ", ".join(f"{entry.name}/" if entry.is_dir() else entry.name for entry in entries[:8])
    return f"found {names}" + (f" and {len(entries) - 8} more" if len(entries) > 8 else "")
