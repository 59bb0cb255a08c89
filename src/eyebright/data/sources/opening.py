"""Which source a path or name stands for."""

from __future__ import annotations

import functools
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from eyebright.data.sources import (
    archive,
    by_address,
    by_name,
    catalogue,
    hf_parquet,
    hub,
    manifest_file,
    named,
    pattern,
    published,
    shard_names,
    text_list,
    webdataset,
)
from eyebright.data.sources.address import is_address, is_file_address, path_of_file_address
from eyebright.data.sources.base import Source
from eyebright.data.sources.folder import IMAGE_SUFFIXES, FolderSource
from eyebright.data.sources.metadata import MetadataSource, find_metadata
from eyebright.data.sources.table import TableSource, is_image_table
from eyebright.data.sources.tree import LocalTree, Tree
from eyebright.errors import DataError, did_you_mean

ACCEPTED = (
    "a folder with a folder of images for each class (also below train, val and test), a CSV, TSV or Parquet table "
    "with the columns image_path and label, Parquet files in the Hugging Face layout, IDX files (MNIST), "
    "CIFAR, SVHN and STL-10 as published, NumPy archives (.npz) of images and labels, "
    "a zip or tar archive of such a folder, WebDataset shards (.tar), "
    "a pattern such as 'photos/**/*.jpg', a text file with a path a line, an address (https://, s3://, gs://, ...), "
    "a data set of the Hugging Face hub (hf://datasets/OWNER/NAME), "
    "or one of the names " + ", ".join(named.NAMES) + " and those of `eyebright datasets`"
)


def open_source(spec: str | Path, *, consent_download: bool = False) -> Source:
    """Open the images that `spec` stands for, by what is found there.

    Args:
        spec: a path, a pattern, an address, one of `named.NAMES`, a name of the catalogue or of the Hugging Face hub;
            a path that exists comes before everything else.
        consent_download: the user agrees to a download where a named data set is not on this machine.

    Raises:
        DataError: there is nothing, or nothing that is accepted; the message lists both.
        MissingDependencyError: a named data set is not on this machine.
    """
    text = str(spec)
    if not text.strip():
        raise DataError("no data was named: the path is empty", expected=ACCEPTED)
    path = path_of_file_address(text) if is_file_address(text) else Path(text).expanduser()
    if not _exists(path):
        if hub.is_hub_name(text):
            return hub.open_hub(text, open_file=_open_file, open_folder=_open_folder)
        if is_address(text) and not is_file_address(text):
            return by_address.open_address(text, open_file=_open_file, open_tree=_open_tree)
        if text in named.NAMES:
            return named.open_named(text, consent_download=consent_download)
        if text in catalogue.entry_names():
            open_path = functools.partial(open_source, consent_download=consent_download)
            return by_name.open_entry(text, open_path, consent_download=consent_download)
        if shard_names.is_shard_pattern(text):
            return webdataset.open_shards(text)
        if pattern.is_pattern(text):
            return pattern.open_pattern(text)
        raise _nothing_there(text, path)
    return _open_folder(path, text) if path.is_dir() else _open_file(path, text)


def _open_folder(path: Path, spec: str) -> Source:
    shards = hf_parquet.find_shards(path)
    if shards:
        return hf_parquet.HfParquetSource(path, shards, spec)
    known = published.open_folder(path, spec)
    if known is not None:
        return known
    sharded = webdataset.open_shard_folder(path, spec)
    if sharded is not None:
        return sharded
    source = _open_tree(LocalTree(path, spec), spec)
    if next(source.items(), None) is None:
        raise DataError(
            f"there are no images in the folder {spec}: {_found(path)}",
            expected=ACCEPTED,
            remedy="put images there, or point to another folder",
        )
    return source


def _open_tree(tree: Tree, spec: str) -> Source:
    """Folders of images, wherever they lie."""
    metadata = find_metadata(tree)
    return MetadataSource(tree, metadata, spec) if metadata else FolderSource(tree, spec)


def _open_file(path: Path, spec: str, tree: Tree | None = None) -> Source:
    """Open a file; what a table or list names lies in `tree`, or beside the file when that is left out."""
    known = published.open_file(path, spec)
    if known is not None:
        return known
    suffix = path.suffix.lower()
    if suffix in (".csv", ".tsv", ".jsonl"):
        return TableSource(path, spec, tree=tree)
    if suffix in text_list.LIST_SUFFIXES:
        if text_list.is_table(path):
            return TableSource(path, spec, tree=tree)
        return text_list.TextListSource(path, spec, tree=tree)
    if suffix == ".parquet":
        try:
            schema = pq.read_schema(path)
        except (OSError, pa.ArrowException) as error:
            raise DataError(
                f"{spec} cannot be read as Parquet: {error}",
                expected="a whole Parquet file",
                remedy="fetch the file again",
            ) from error
        if manifest_file.is_manifest(schema):
            return manifest_file.ManifestSource(path, spec, open_inner=open_source)
        if hf_parquet.image_column(schema) is not None:
            return hf_parquet.HfParquetSource(path.parent, [path], spec)
        if is_image_table(schema):
            return TableSource(path, spec, tree=tree)
        raise DataError(
            f"{spec} has no column with images or image paths: its columns are {', '.join(schema.names)}",
            expected="a struct column with the image's bytes, or a text column image_path",
            remedy="name the column image_path that holds the paths",
        )
    if suffix in IMAGE_SUFFIXES:
        raise DataError(
            f"{spec} is a single image",
            expected="many labelled images: a folder with a folder for each class, or a table",
            remedy="`eyebright predict RUN IMAGE` classifies one image",
        )
    if path.name.lower().endswith(archive.ARCHIVE_ENDINGS):
        return archive.open_archive(path, spec)
    archive.refuse_other_archives(path, spec)
    raise DataError(
        f"{spec} is a file of an unknown kind ({suffix or 'no suffix'})",
        expected=ACCEPTED,
        remedy="point to the folder, the table or the Parquet file that holds the images",
    )


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except OSError:  # longer than a name may be, as a signed address is
        return False


def _nothing_there(text: str, path: Path) -> DataError:
    try:
        beside = [entry.name for entry in path.parent.iterdir()]
    except OSError:
        beside = []
    names = [*named.NAMES, *catalogue.entry_names()] if path.parent == Path() else []
    hint = did_you_mean(path.name, [*beside, *names])
    parent = "" if path.parent.is_dir() else f"; the folder {path.parent} does not exist either"
    start = "" if path.is_absolute() else f"; it starts from {Path.cwd()}"
    return DataError(
        f"there is nothing at {text}{hint}{parent}", expected=ACCEPTED, remedy=f"check the path{start}{hub.hint(text)}"
    )


def _found(path: Path) -> str:
    entries = sorted(path.iterdir())
    if not entries:
        return "it is empty"
    names = ", ".join(f"{entry.name}/" if entry.is_dir() else entry.name for entry in entries[:8])
    return f"found {names}" + (f" and {len(entries) - 8} more" if len(entries) > 8 else "")
