"""Folders of images inside a zip or tar archive, read in place: `ZipTree` and `TarTree` below a `FolderSource`.

A single folder at the top, such as `flowers-main/`, is looked through. A metadata file counts as in a folder of this
machine. Paths of images are those inside the archive.
"""

from __future__ import annotations

from pathlib import Path

from eyebright.data.sources.base import Source
from eyebright.data.sources.folder import FolderSource
from eyebright.data.sources.metadata import MetadataSource, find_metadata
from eyebright.data.sources.samples import is_webdataset
from eyebright.data.sources.shard_names import TAR_ENDINGS
from eyebright.data.sources.tar import TarTree, index_tar
from eyebright.data.sources.tree import Tree
from eyebright.data.sources.webdataset import WebDatasetSource
from eyebright.data.sources.zip import ZipTree
from eyebright.errors import DataError

__all__ = ["ARCHIVE_ENDINGS", "TarTree", "ZipTree", "open_archive", "refuse_other_archives"]

ARCHIVE_ENDINGS = (".zip", *TAR_ENDINGS)
_UNPACK = {
    ".7z": "unpack it (`7z x FILE`) and point to the folder",
    ".rar": "unpack it (`unrar x FILE`) and point to the folder",
    ".gz": "unpack it (`gunzip FILE`); folders are read from .tar.gz and .zip",
    ".bz2": "unpack it (`bunzip2 FILE`); folders are read from .tar.bz2 and .zip",
    ".xz": "unpack it (`unxz FILE`); folders are read from .tar.xz and .zip",
    ".zst": "unpack it (`unzstd FILE`); folders are read from .tar and .zip",
}
_SHOWN_STRAYS = 5


def open_archive(path: Path, spec: str) -> Source:
    """The images in a zip or tar archive: folders of classes, or the samples of a WebDataset shard.

    Raises:
        DataError: it is damaged, protected by a password, or holds no image.
        StorageError: it is a compressed tar, and the cache has no room for an unpacked copy.
    """
    source: Source
    if path.name.lower().endswith(TAR_ENDINGS):
        index = index_tar(path, spec)
        if is_webdataset(index.file, index.members):
            source = WebDatasetSource(path.parent, [path], spec, indexed={path: index})
        else:
            source = _open_tree(TarTree(path, spec, index))
    else:
        source = _open_tree(ZipTree(path, spec))
    if next(source.items(), None) is None:
        found = [f"{stray.source} ({stray.reason})" for stray in source.strays()]
        more = f" and {len(found) - _SHOWN_STRAYS} more" if len(found) > _SHOWN_STRAYS else ""
        raise DataError(
            f"there are no images in the archive {spec}: "
            + (f"found {', '.join(found[:_SHOWN_STRAYS])}{more}" if found else "it is empty"),
            expected="a folder of images for each class in the archive, or the samples of a WebDataset",
            remedy="check what is in it; an archive in an archive must be unpacked",
        )
    return source


def _open_tree(tree: Tree) -> Source:
    metadata = find_metadata(tree)
    return MetadataSource(tree, metadata, tree.spec) if metadata else FolderSource(tree, look_through=True)


def refuse_other_archives(path: Path, spec: str) -> None:
    """Raise for archives of kinds that cannot be read in place.

    Raises:
        DataError: saying how to unpack it.
    """
    remedy = _UNPACK.get(path.suffix.lower())
    if remedy is not None:
        raise DataError(
            f"{spec} is {'an archive' if path.suffix.lower() in ('.7z', '.rar') else 'a compressed file'} of a kind "
            f"that is not read in place ({path.suffix.lower()})",
            expected="a .zip or .tar archive (also .tar.gz, .tar.bz2, .tar.xz), or a folder",
            remedy=remedy.replace("FILE", path.name),
        )
