"""CIFAR-10 and CIFAR-100 as they are published: the Python and the binary version, unpacked or as the tar archive.

An archive is read in place: nothing is unpacked to disk. The batches of the Python version are pickles, which are read
without executing them (`unpickle`). Images are named alike wherever they lie, as `data_batch_1#17` or `test#3`.

Source: Alex Krizhevsky, "Learning Multiple Layers of Features from Tiny Images", 2009, and the layouts described on
https://www.cs.toronto.edu/~kriz/cifar.html: 3,072 bytes an image, a plane each of red, green and blue, row by row; in
the binary version after one byte with the label (CIFAR-10) or two with the coarse and the fine label (CIFAR-100).
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import itertools
import tarfile
import zlib
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from eyebright.data.sources.array_rows import ArrayRowsSource, Rows
from eyebright.data.sources.base import Split, Stray
from eyebright.data.sources.listing import names_in, printable
from eyebright.data.sources.unpickle import read_pickle
from eyebright.errors import DataError

_SIDE_PIXELS = 32
_IMAGE_BYTES = 3 * _SIDE_PIXELS * _SIDE_PIXELS
# The largest published file, `train` of CIFAR-100, has 155 million.
_MAX_FILE_BYTES = 1_000_000_000
_DAMAGED = "fetch the data set again: this copy is cut off or damaged"
_NO_PART = "no part of the data set"
# As far as the mark of a tar archive.
_HEAD_BYTES = 262


@dataclasses.dataclass(frozen=True, kw_only=True)
class Layout:
    """One of the four forms in which CIFAR is published.

    Attributes:
        name: for messages.
        data_set: the name by which Eyebright knows the set, in whatever form.
        folder: the folder inside the archive.
        archives: what the archive is called by its publisher and by Keras.
        splits: the files of images, in the order of the items.
        meta: the files with class names: of the classes, then of the superclasses where they have a file of their own.
        form: Python's pickles or plain binary records.
        has_superclasses: whether each image has a coarse label too.
    """

    name: str
    data_set: Literal["cifar10", "cifar100"]
    folder: str
    archives: tuple[str, ...]
    splits: Mapping[str, Split]
    meta: tuple[str, ...]
    form: Literal["python", "binary"]
    has_superclasses: bool

    @property
    def files(self) -> tuple[str, ...]:
        """All files that are needed."""
        return (*self.meta, *self.splits)


LAYOUTS = (
    Layout(
        name="CIFAR-10, Python version",
        data_set="cifar10",
        folder="cifar-10-batches-py",
        archives=("cifar-10-python.tar.gz", "cifar-10-batches-py.tar.gz", "cifar-10-batches-py-target_archive"),
        splits={**{f"data_batch_{number}": "train" for number in range(1, 6)}, "test_batch": "test"},
        meta=("batches.meta",),
        form="python",
        has_superclasses=False,
    ),
    Layout(
        name="CIFAR-100, Python version",
        data_set="cifar100",
        folder="cifar-100-python",
        archives=("cifar-100-python.tar.gz", "cifar-100-python-target_archive"),
        splits={"train": "train", "test": "test"},
        meta=("meta",),
        form="python",
        has_superclasses=True,
    ),
    Layout(
        name="CIFAR-10, binary version",
        data_set="cifar10",
        folder="cifar-10-batches-bin",
        archives=("cifar-10-binary.tar.gz",),
        splits={**{f"data_batch_{number}.bin": "train" for number in range(1, 6)}, "test_batch.bin": "test"},
        meta=("batches.meta.txt",),
        form="binary",
        has_superclasses=False,
    ),
    Layout(
        name="CIFAR-100, binary version",
        data_set="cifar100",
        folder="cifar-100-binary",
        archives=("cifar-100-binary.tar.gz",),
        splits={"train.bin": "train", "test.bin": "test"},
        meta=("fine_label_names.txt", "coarse_label_names.txt"),
        form="binary",
        has_superclasses=True,
    ),
)


def layout_of_folder(folder: Path) -> Layout | None:
    """The layout whose files lie in `folder`; by the folder's name too, so that a missing file can be named."""
    files, folders = names_in(folder)
    for layout in LAYOUTS:
        if layout.meta[0] in files and not files.isdisjoint(layout.splits):
            return layout
    return next((layout for layout in LAYOUTS if folder.name == layout.folder and not folders), None)


def layout_of_archive(path: Path) -> Layout | None:
    """The layout of a tar archive, by the first folder in it; by its name where that says more."""
    try:
        with open(path, "rb") as handle:
            head = handle.read(_HEAD_BYTES)
        if head[:2] == b"\x1f\x8b" or head[257:262] == b"ustar":
            with tarfile.open(path, "r:*") as archive:
                folders = {part for member in itertools.islice(archive, 3) for part in PurePosixPath(member.name).parts}
            for layout in LAYOUTS:
                if layout.folder in folders:
                    return layout
    except (tarfile.TarError, OSError, EOFError, zlib.error, ValueError):
        pass  # the name decides, and reading it as what it is called says what is wrong
    bare = path.name.lower().removesuffix(".gz")
    return next((layout for layout in LAYOUTS if bare in {name.removesuffix(".gz") for name in layout.archives}), None)


def open_folder(folder: Path, layout: Layout, spec: str, beside: Sequence[Stray] = ()) -> ArrayRowsSource:
    """The images of an unpacked archive; `beside` are strays that the caller knows of.

    Raises:
        DataError: a file is missing or damaged.
    """
    files, folders = names_in(folder)
    _refuse_missing(layout, files, str(folder))
    others = (files - set(layout.files)) | {f"{name}/" for name in folders}

    def content(file: str) -> bytes:
        path = folder / file
        with _explained(path):
            _refuse_huge(path.stat().st_size, str(path))
            return path.read_bytes()

    def load(part: str) -> dict[str, Rows]:
        return {part: _rows(content(part), layout, str(folder / part))}

    strays = [*(Stray(name, _NO_PART) for name in sorted(others)), *beside]
    return _source(layout, spec, {file: content(file) for file in layout.meta}, load, strays)


def open_archive(path: Path, layout: Layout, spec: str, beside: Sequence[Stray] = ()) -> ArrayRowsSource:
    """The images inside a tar archive, gzipped or not, which stays packed.

    Opening goes through the archive once for the names in it, and the first use of an image once more for the pixels.

    Raises:
        DataError: it is no whole archive, or a file is missing in it or damaged.
    """
    meta: dict[str, bytes] = {}
    found: set[str] = set()
    strays = list(beside)
    for member in _members(path, layout):
        if member.file is None:
            strays.append(Stray(printable(member.path), _NO_PART))
            continue
        found.add(member.file)
        if member.file in layout.meta:
            meta[member.file] = member.read()
    _refuse_missing(layout, found, str(path))

    def load(_part: str) -> dict[str, Rows]:
        # A packed stream can only be read from its beginning: all parts in one go.
        parts = (member for member in _members(path, layout) if member.file in layout.splits)
        rows = {str(member.file): _rows(member.read(), layout, f"{path}: {member.file}") for member in parts}
        _refuse_missing(layout, {*rows, *layout.meta}, str(path))
        return rows

    return _source(layout, spec, meta, load, strays)


def _source(
    layout: Layout,
    spec: str,
    meta: Mapping[str, bytes],
    load: Callable[[str], Mapping[str, Rows]],
    strays: list[Stray],
) -> ArrayRowsSource:
    classes, superclasses = _class_names(meta, layout, spec)
    return ArrayRowsSource(
        spec=spec,
        kind="cifar",
        parts=layout.splits,
        load=load,
        class_names=classes,
        superclass_names=superclasses,
        strays=strays,
    )


class _Member(NamedTuple):
    """A file in an archive: its name in the layout if it is part of it, its path, and how to read it in time."""

    file: str | None
    path: str
    read: Callable[[], bytes]


def _members(path: Path, layout: Layout) -> Iterator[_Member]:
    """Every file in an archive, in its order; each can be read until the next one is asked for."""
    with _explained(path), tarfile.open(path, "r:*") as archive:
        for member in archive:
            place = PurePosixPath(member.name)
            # A link is never followed, and a file of another folder is another file.
            belongs = member.isreg() and place.parent.name == layout.folder and place.name in layout.files
            if not member.isdir():
                read = functools.partial(_read_member, archive, member, path)
                yield _Member(place.name if belongs else None, member.name, read)


def _read_member(archive: tarfile.TarFile, member: tarfile.TarInfo, path: Path) -> bytes:
    _refuse_huge(member.size, f"{path}: {member.name}")
    with _explained(path):
        stream = archive.extractfile(member)
        assert stream is not None  # a regular file
        return stream.read()


@contextlib.contextmanager
def _explained(path: Path) -> Iterator[None]:
    """Turn what reading a damaged or vanished file raises into a `DataError`."""
    try:
        yield
    except DataError:
        raise
    except (tarfile.TarError, OSError, EOFError, zlib.error, ValueError) as error:
        raise DataError(f"{path} cannot be read: {error}", expected="a whole file", remedy=_DAMAGED) from error


def _refuse_huge(size: int, where: str) -> None:
    if size > _MAX_FILE_BYTES:
        raise DataError(
            f"{where} has {size:,} bytes", expected=f"at most {_MAX_FILE_BYTES:,}: no part of CIFAR is larger"
        )


def _refuse_missing(layout: Layout, found: Collection[str], where: str) -> None:
    missing = [file for file in layout.files if file not in found]
    if missing:
        raise DataError(
            f"{where} lacks {', '.join(missing)}",
            expected=f"all files of {layout.name}: {', '.join(layout.files)}",
            remedy="unpack the archive again, or fetch it again when it is cut off",
        )


def _class_names(meta: Mapping[str, bytes], layout: Layout, spec: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Names of the classes and of the superclasses, by number."""
    if layout.form == "binary":
        lists = [_lines(meta[file]) for file in layout.meta]
    else:
        (file,) = layout.meta
        where = f"{spec}: {file}"
        entries = _entries(read_pickle(meta[file], where), where)
        keys = ("fine_label_names", "coarse_label_names") if layout.has_superclasses else ("label_names",)
        lists = [_texts(entries, key, where) for key in keys]
    if not all(lists):
        raise DataError(f"{spec} names no classes", expected=f"names in {' and '.join(layout.meta)}", remedy=_DAMAGED)
    return lists[0], lists[1] if layout.has_superclasses else ()


def _lines(content: bytes) -> tuple[str, ...]:
    lines = content.decode("utf-8", "replace").splitlines()
    return tuple(line.strip() for line in lines if line.strip())


def _rows(content: bytes, layout: Layout, where: str) -> Rows:
    """The images and labels of one file."""
    return _binary_rows(content, layout, where) if layout.form == "binary" else _pickled_rows(content, layout, where)


def _binary_rows(content: bytes, layout: Layout, where: str) -> Rows:
    label_bytes = 2 if layout.has_superclasses else 1
    record = label_bytes + _IMAGE_BYTES
    if not content or len(content) % record:
        raise DataError(
            f"{where} has {len(content):,} bytes",
            expected=f"a multiple of {record:,}, the size of an image with its label",
            remedy=_DAMAGED,
        )
    records = np.frombuffer(content, dtype=np.uint8).reshape(-1, record)
    return Rows(
        images=_as_images(records[:, label_bytes:]),
        labels=records[:, label_bytes - 1].astype(np.int64),
        superclasses=records[:, 0].astype(np.int64) if layout.has_superclasses else None,
    )


def _pickled_rows(content: bytes, layout: Layout, where: str) -> Rows:
    entries = _entries(read_pickle(content, where), where)
    pixels = entries.get("data")
    if not isinstance(pixels, np.ndarray) or pixels.dtype != np.uint8 or pixels.shape[1:] != (_IMAGE_BYTES,):
        found = f"{pixels.dtype} {pixels.shape}" if isinstance(pixels, np.ndarray) else type(pixels).__name__
        raise DataError(
            f"{where} has the pixels {found}",
            expected=f"`data`, an array of bytes with {_IMAGE_BYTES:,} columns",
            remedy=_DAMAGED,
        )
    return Rows(
        images=_as_images(pixels),
        labels=_numbers(entries, "fine_labels" if layout.has_superclasses else "labels", where),
        superclasses=_numbers(entries, "coarse_labels", where) if layout.has_superclasses else None,
        columns={"filename": _texts(entries, "filenames", where)} if "filenames" in entries else {},
    )


def _as_images(pixels: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """A view (N, 32, 32, 3) of rows (N, 3072) that hold one colour after the other."""
    return pixels.reshape(-1, 3, _SIDE_PIXELS, _SIDE_PIXELS).transpose(0, 2, 3, 1)


def _entries(value: object, where: str) -> dict[str, object]:
    """The entries of a pickled dictionary, whose keys Python 2 wrote as bytes."""
    if not isinstance(value, dict):
        raise DataError(f"{where} holds a {type(value).__name__}", expected="a pickled dictionary", remedy=_DAMAGED)
    return {key.decode("latin-1") if isinstance(key, bytes) else str(key): entry for key, entry in value.items()}


def _texts(entries: Mapping[str, object], key: str, where: str) -> tuple[str, ...]:
    values = entries.get(key)
    if not isinstance(values, list) or not all(isinstance(value, bytes | str) for value in values):
        raise DataError(f"{where} has no list of text named {key!r}", expected=f"`{key}`", remedy=_DAMAGED)
    return tuple(value.decode("utf-8", "replace") if isinstance(value, bytes) else value for value in values)


def _numbers(entries: Mapping[str, object], key: str, where: str) -> npt.NDArray[np.int64]:
    values = entries.get(key)
    # Far smaller than what fits, so that no label of a damaged file overflows.
    if not isinstance(values, list) or not all(isinstance(value, int) and abs(value) < 2**31 for value in values):
        raise DataError(f"{where} has no list of numbers named {key!r}", expected=f"`{key}`", remedy=_DAMAGED)
    return np.array(values, dtype=np.int64)
