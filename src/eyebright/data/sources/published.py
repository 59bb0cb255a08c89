"""Published data sets as their authors, torchvision and Keras leave them on a disk, recognised by their files.

A folder is such a set itself, or a root that torchvision or Keras keep sets in. A root that holds one set stands for
it; one that holds several is an error that lists them.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path, PurePath
from typing import NoReturn

from eyebright.data.sources import cifar, idx, idx_sets, npz, stl10, svhn
from eyebright.data.sources.base import Source, Stray
from eyebright.data.sources.folder import IMAGE_SUFFIXES
from eyebright.data.sources.listing import names_in
from eyebright.errors import DataError

# A folder with more of them is no place for data sets, and looking into each would take long.
_MAX_NPZ_FILES = 32
_FOLDERS_BELOW = 2


@dataclasses.dataclass(frozen=True, kw_only=True)
class FoundSet:
    """A data set on this machine.

    Attributes:
        name: for messages.
        path: what to give to open this set and no other.
        open: opens it for a spec, with the strays that lie beside it.
        entries: the names in the folder looked through that belong to it; empty when that folder is the set.
        data_set: the name by which Eyebright knows it, such as `cifar10`, or None.
    """

    name: str
    path: Path
    open: Callable[[str, Sequence[Stray]], Source]
    entries: tuple[str, ...] = ()
    data_set: str | None = None


def open_folder(folder: Path, spec: str) -> Source | None:
    """The published set in `folder`, or None when there is none.

    Raises:
        DataError: there are several, or folders of images beside one; or the set is damaged.
    """
    found = find_sets(folder)
    if not found:
        return None
    first = found[0]
    if len(found) > 1:
        _refuse_several(found, [], spec)
    if not first.entries:
        return first.open(spec, ())
    files, folders = names_in(folder)
    beside = sorted((files | folders) - set(first.entries))
    with_images = [folder / name for name in beside if name in folders and _holds_images(folder / name)]
    if with_images:
        _refuse_several(found, with_images, spec)
    reason = f"beside {', '.join(first.entries)}, the data set that is used"
    return first.open(spec, [Stray(f"{name}/" if name in folders else name, reason) for name in beside])


def open_file(path: Path, spec: str) -> Source | None:
    """The published set in one file (an archive of CIFAR, IDX images, .npz, .mat), or None when it is none.

    Raises:
        DataError: it is damaged, or holds something else.
    """
    if idx.is_images_file(path.name):
        return idx_sets.open_pairs(path.parent, spec, only=path.name)
    if path.suffix.lower() == ".npz":
        return npz.open_npz(path, spec)
    if path.suffix.lower() == ".mat":
        return svhn.open_svhn([path], spec)
    layout = cifar.layout_of_archive(path)
    return None if layout is None else cifar.open_archive(path, layout, spec)


def find_sets(folder: Path) -> list[FoundSet]:
    """Every published set that `folder` is or holds. Nothing is read but names and headers."""
    files, folders = names_in(folder)
    sets = [*_cifar(folder, files), *_idx(folder, folders), *_stl10(folder, files, folders)]
    mats = [name for name in svhn.SPLITS if name in files]
    if mats:
        opened = functools.partial(_open_svhn, [folder / name for name in mats])
        sets.append(FoundSet(name="SVHN", path=folder / mats[0], open=opened, entries=tuple(mats)))
    archives = [name for name in sorted(files) if name.endswith(".npz")]
    if len(archives) <= _MAX_NPZ_FILES:
        sets += [_npz(folder / name) for name in archives if npz.holds_images(folder / name)]
    return sets


def _cifar(folder: Path, files: frozenset[str]) -> Iterator[FoundSet]:
    itself = cifar.layout_of_folder(folder)
    if itself is not None:
        yield _cifar_set(itself, folder, functools.partial(cifar.open_folder, folder, itself))
        return
    for layout in cifar.LAYOUTS:
        # Keras 3 unpacks into a folder of its own.
        places = [layout.folder, f"{layout.folder}-target/{layout.folder}"]
        there = [place for place in places if (folder / place).is_dir()]
        unpacked = next((place for place in there if cifar.layout_of_folder(folder / place) == layout), None)
        packed = [name for name in layout.archives if name in files]
        if unpacked is not None:
            opened = functools.partial(cifar.open_folder, folder / unpacked, layout)
            yield _cifar_set(layout, folder / unpacked, opened, unpacked.split("/")[0])
        elif packed:
            opened = functools.partial(cifar.open_archive, folder / packed[0], layout)
            yield _cifar_set(layout, folder / packed[0], opened, packed[0])


def _cifar_set(
    layout: cifar.Layout, path: Path, opened: Callable[[str, Sequence[Stray]], Source], *entries: str
) -> FoundSet:
    return FoundSet(name=layout.name, path=path, open=opened, entries=entries, data_set=layout.data_set)


def _idx(folder: Path, folders: frozenset[str]) -> Iterator[FoundSet]:
    """The folder itself, the folder `raw` of one of torchvision's sets, or such sets and Keras' below it."""
    if idx_sets.holds_pairs(folder):
        yield _idx_set(folder, ())
        return
    if folder.absolute().name in idx_sets.TORCHVISION_FOLDERS and "raw" in folders:
        places = ["raw"]
    else:
        places = [*(f"{name}/raw" for name in idx_sets.TORCHVISION_FOLDERS), idx_sets.KERAS_FASHION_MNIST]
    for place in places:
        if idx_sets.holds_pairs(folder / place):
            yield _idx_set(folder / place, (place.split("/")[0],))


def _idx_set(path: Path, entries: tuple[str, ...]) -> FoundSet:
    name = idx_sets.name_of_folder(path)
    opened = functools.partial(_open_idx, path)
    data_set = {"MNIST": "mnist", "FashionMNIST": "fashion-mnist", "fashion-mnist": "fashion-mnist"}.get(name)
    return FoundSet(name=name, path=path, open=opened, entries=entries, data_set=data_set)


def _stl10(folder: Path, files: frozenset[str], folders: frozenset[str]) -> Iterator[FoundSet]:
    if stl10.IMAGES_FILE in files:
        yield FoundSet(name="STL-10", path=folder, open=functools.partial(stl10.open_stl10, folder))
    elif stl10.FOLDER in folders:
        path = folder / stl10.FOLDER
        yield FoundSet(
            name="STL-10", path=path, open=functools.partial(stl10.open_stl10, path), entries=(stl10.FOLDER,)
        )


def _npz(path: Path) -> FoundSet:
    data_set = "mnist" if path.name == "mnist.npz" else None
    opened = functools.partial(npz.open_npz, path)
    return FoundSet(name=path.name, path=path, open=opened, entries=(path.name,), data_set=data_set)


def _open_idx(folder: Path, spec: str, strays: Sequence[Stray]) -> Source:
    return idx_sets.open_pairs(folder, spec, strays=strays)


def _open_svhn(paths: list[Path], spec: str, strays: Sequence[Stray]) -> Source:
    return svhn.open_svhn(paths, spec, strays)


def _refuse_several(found: Sequence[FoundSet], folders: Sequence[Path], spec: str) -> NoReturn:
    listed = [f"{each.path} ({each.name})" for each in found]
    listed += [f"{folder} (a folder of images)" for folder in folders]
    raise DataError(
        f"{spec} holds several data sets: {', '.join(listed[:8])}" + (", ..." if len(listed) > 8 else ""),
        expected="one data set",
        remedy=f"give the path of one, such as {found[0].path}",
    )


def _holds_images(folder: Path, below: int = _FOLDERS_BELOW) -> bool:
    """Whether an image lies in `folder` or not far below it."""
    files, folders = names_in(folder)
    if any(PurePath(name).suffix.lower() in IMAGE_SUFFIXES for name in files):
        return True
    return below > 0 and any(_holds_images(folder / name, below - 1) for name in folders if not name.startswith("."))
