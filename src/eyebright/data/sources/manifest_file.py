"""A manifest written by Eyebright, as a source: the images of the source that it was made of, as the manifest says.

Labels, splits, groups, weights, superclasses and further columns come from the manifest, so that the corrections of a
plan, or the division of a run, hold. What a plan left out stays out, with its reason. Images that came to the source
later are not part of it. An image whose bytes have changed since is refused: a label that was given to one picture is
never given to another.
"""

from __future__ import annotations

import hashlib
import json
import shlex
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from eyebright.data.sources.base import (
    Item,
    Source,
    Stray,
    refuse_colliding_class_names,
    tolerating_colliding_class_names,
)
from eyebright.decode import UndecodableImage
from eyebright.errors import DataError
from eyebright.identity import content_id

METADATA_KEY = b"eyebright"
LATEST_VERSION = 1

_ITEM_COLUMNS = ("source", "label", "split", "group", "weight", "superclass")
_OTHER_COLUMNS = ("id", "width", "height", "format", "bytes", "status", "reason")
_STRAY = ("stray", "dropped", "quarantined")
_BATCH_ROWS = 16_384
_ID_BYTES = 16


def is_manifest(schema: pa.Schema) -> bool:
    """Whether a Parquet file with this schema is a manifest."""
    return METADATA_KEY in (schema.metadata or {}) and {*_ITEM_COLUMNS, *_OTHER_COLUMNS} <= set(schema.names)


class ManifestSource:
    """The images of a manifest, read from the source that it was made of.

    Attributes:
        inner: that source.

    Args:
        path: the manifest.
        spec: what the user gave.
        open_inner: opens a source by what a user would give for it.

    Raises:
        DataError: the manifest is broken or of a later version, or its images are not where it says.
    """

    kind = "manifest"

    def __init__(self, path: Path, spec: str | None = None, *, open_inner: Callable[[str], Source]) -> None:
        self.spec = str(path) if spec is None else spec
        self._path = path
        facts = _read_facts(path)
        self.class_names: tuple[str, ...] | None = facts.classes
        refuse_colliding_class_names(
            facts.classes, remedy=f"merge them: `eyebright audit {shlex.quote(self.spec)} --fix plan.yaml`"
        )
        self.inner = _open_inner(path, facts.spec, open_inner)
        try:
            self._table = pq.read_table(path)
        except (OSError, pa.ArrowException) as error:
            raise DataError(
                f"the manifest {path} cannot be read: {error}",
                expected="a whole Parquet file",
                remedy="write it again: `eyebright audit DATA --apply plan.yaml`",
            ) from error
        self._read = _CheckedRead(self.inner.read, *_places_and_ids(self._table, path))

    @property
    def origin(self) -> Source:
        """Where the images lie, past any number of manifests. A manifest made of this source should name that one:
        it then depends on no other manifest, and may replace this one.
        """
        return self.inner.origin if isinstance(self.inner, ManifestSource) else self.inner

    def items(self) -> Iterator[Item]:
        """The images that are in use or might be, in the order of the manifest."""
        left_out = pc.is_in(self._table["status"], value_set=pa.array(_STRAY))
        table = self._table.filter(pc.invert(left_out)).drop_columns(list(_OTHER_COLUMNS))
        extras = [name for name in table.schema.names if name not in _ITEM_COLUMNS]
        for batch in table.to_batches(max_chunksize=_BATCH_ROWS):
            columns = {name: batch.column(name).to_pylist() for name in batch.schema.names}
            for row in range(batch.num_rows):
                yield Item(
                    **{name: columns[name][row] for name in _ITEM_COLUMNS},
                    extra={name: columns[name][row] for name in extras},
                )

    def strays(self) -> list[Stray]:
        """What the source has that is no image, and what a plan dropped or quarantined."""
        left_out = pc.is_in(self._table["status"], value_set=pa.array(_STRAY))
        rows = self._table.select(["source", "reason", "status"]).filter(left_out)
        return [Stray(**row) for row in rows.to_pylist()]

    def read(self, source: str) -> bytes | npt.NDArray[np.uint8]:
        """The bytes or pixels of one image, from the source that the manifest was made of.

        Raises:
            UndecodableImage: it is gone, or is not the image any more that the manifest was made of.
        """
        return self._read(source)

    def reader(self) -> Callable[[str], bytes | npt.NDArray[np.uint8]]:
        """A function that reads like `read` and holds no list of items."""
        inner: Any = self.inner
        return self._read.by(inner.reader() if hasattr(inner, "reader") else inner.read)


class _Facts(NamedTuple):
    spec: str
    classes: tuple[str, ...]


class _CheckedRead:
    """Reads an image and compares its content with the id that the manifest has for it.

    Args:
        read: how the image is read.
        places: hashes of the places of all images that have an id, uint64 (N,), sorted.
        ids: their ids as 16 bytes each, (N,). Both together need 24 bytes an image, also in another process.
    """

    def __init__(
        self,
        read: Callable[[str], bytes | npt.NDArray[np.uint8]],
        places: npt.NDArray[np.uint64],
        ids: npt.NDArray[np.void],
    ) -> None:
        self._read, self._places, self._ids = read, places, ids

    def by(self, read: Callable[[str], bytes | npt.NDArray[np.uint8]]) -> _CheckedRead:
        """The same comparison with another way to read."""
        return _CheckedRead(read, self._places, self._ids)

    def __call__(self, source: str) -> bytes | npt.NDArray[np.uint8]:
        content = self._read(source)
        place = np.uint64(_place(source))
        expected = self._ids[np.searchsorted(self._places, place) : np.searchsorted(self._places, place, "right")]
        if len(expected) and bytes.fromhex(content_id(content)) not in {item.tobytes() for item in expected}:
            raise UndecodableImage("unreadable", "its content has changed since the manifest was made")
        return content


def _places_and_ids(table: pa.Table, path: Path) -> tuple[npt.NDArray[np.uint64], npt.NDArray[np.void]]:
    known = table.select(["source", "id"]).filter(pc.is_valid(table["id"]))
    texts = known["id"].to_pylist()
    try:
        if any(len(text) != 2 * _ID_BYTES for text in texts):
            raise ValueError
        content = bytes.fromhex("".join(texts))
    except ValueError:
        raise DataError(
            f"the manifest {path} has ids that are none", expected="32 hexadecimal digits for every image"
        ) from None
    ids = np.array(memoryview(content), dtype=np.uint8).view(f"V{_ID_BYTES}")
    places = np.fromiter(map(_place, known["source"].to_pylist()), dtype=np.uint64, count=known.num_rows)
    order = np.argsort(places, kind="stable")
    return places[order], ids[order]


def _place(source: str) -> int:
    return int.from_bytes(hashlib.blake2b(source.encode(), digest_size=8).digest(), "big")


def _read_facts(path: Path) -> _Facts:
    """What the metadata of a manifest say."""
    try:
        metadata = pq.read_schema(path).metadata or {}
        facts = json.loads(metadata[METADATA_KEY])
        version = int(facts["version"])
        found = _Facts(spec=str(facts["spec"]), classes=tuple(str(name) for name in facts["classes"]))
    except (OSError, pa.ArrowException, KeyError, TypeError, ValueError) as error:
        raise DataError(
            f"the manifest {path} cannot be read: {type(error).__name__}: {error}",
            expected="a manifest.parquet written by Eyebright",
            remedy="write it again: `eyebright audit DATA --apply plan.yaml`",
        ) from error
    if version > LATEST_VERSION:
        raise DataError(
            f"the manifest {path} has version {version}",
            expected=f"version {LATEST_VERSION} or earlier",
            remedy="update Eyebright",
        )
    return found


def _open_inner(path: Path, spec: str, open_inner: Callable[[str], Source]) -> Source:
    """Open what the manifest was made of: from the working directory, or else from the manifest's folder."""
    beside = path.parent / spec
    place = spec if Path(spec).expanduser().exists() or not beside.exists() else str(beside)
    _refuse_circle(path, place)
    try:
        with tolerating_colliding_class_names():  # the manifest may have merged them
            return open_inner(place)
    except DataError as error:
        raise DataError(
            f"the images of the manifest {path} cannot be opened: {error.problem}",
            expected=f"the data at {spec}, as when the manifest was made",
            remedy="put the images back there, or make the manifest again where they are now: "
            "`eyebright audit DATA --apply plan.yaml` (entries of a plan are matched by content, not by place)",
        ) from error


def _refuse_circle(path: Path, place: str) -> None:
    """Raise when a manifest is, through others, made of itself."""
    seen = [path.resolve()]
    current = Path(place).expanduser()
    while current.is_file() and current.suffix.lower() == ".parquet":
        if current.resolve() in seen:
            raise DataError(
                f"the manifest {path} names itself as its source",
                expected="a manifest beside the data that it was made of",
                remedy="apply the plan to the data again and write the manifest under another name",
            )
        seen.append(current.resolve())
        try:
            if not is_manifest(pq.read_schema(current)):
                return
        except (OSError, pa.ArrowException):
            return  # opening it will say what is wrong
        spec = _read_facts(current).spec
        beside = current.parent / spec
        current = Path(spec).expanduser() if Path(spec).expanduser().exists() else beside
