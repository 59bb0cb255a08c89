"""Parquet in the Hugging Face layout: a struct column with the image's bytes, and label columns.

Class names and their order come from the `ClassLabel` features in the schema's metadata. Split names come from the
file names (`train-00000-of-00005.parquet`). Other columns are kept; other `ClassLabel` columns as names.
"""

from __future__ import annotations

import bisect
import contextlib
import itertools
import json
import threading
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from eyebright.cores import available_cores
from eyebright.data.sources.base import Item, Stray, refuse_colliding_class_names, split_in_name
from eyebright.data.sources.multi_label import one_class, refuse_several_classes
from eyebright.decode import UndecodableImage, read_image_file
from eyebright.errors import DataError

LABEL_COLUMNS = ("label", "labels", "fine_label", "class", "target", "category")
# Of row groups that were read last: as many as the threads of a scan go through at a time, or one larger one.
_CACHED_BYTES = (32 << 20) * min(available_cores(), 16)
# Of a row group that is read from its beginning to its end, so that memory does not depend on its size.
_ROWS_AT_ONCE = 64
_BUFFER_BYTES = 1 << 20


def find_shards(folder: Path) -> list[Path]:
    """Parquet files with an image column in `folder` or its `data` folder, sorted."""
    found = sorted(folder.glob("*.parquet")) or sorted(folder.glob("data/*.parquet"))
    return [path for path in found if image_column(_schema(path)) is not None]


def image_column(schema: pa.Schema) -> str | None:
    """The first column that is a struct with the field `bytes`, or None."""
    for field in schema:
        if pa.types.is_struct(field.type) and field.type.get_field_index("bytes") >= 0:
            return str(field.name)
    return None


class HfParquetSource:
    """The images inside Parquet files.

    Raises:
        DataError: a file is broken, the files disagree about the classes, or there is no label column.
    """

    kind = "hf-parquet"

    def __init__(self, root: Path, shards: list[Path], spec: str) -> None:
        self.spec = spec
        self._root = root
        self._shards = {shard.relative_to(root).as_posix(): shard for shard in shards}
        schemas = {name: _schema(shard) for name, shard in self._shards.items()}
        first, schema = next(iter(schemas.items()))
        self._names = _class_label_names(schema)
        column = image_column(schema)
        assert column is not None
        self._image_column = column
        self._label_column = _label_column(schema, self._names, first)
        self.class_names = self._names.get(self._label_column)
        for name, other in schemas.items():
            if other.names != schema.names or _class_label_names(other) != self._names:
                raise DataError(
                    f"{name} has other columns or class names than {first}",
                    expected="Parquet files of one data set in a folder",
                    remedy="put each data set into a folder of its own",
                )
        refuse_colliding_class_names(self.class_names or (), remedy="rename one class in the Parquet metadata")
        if _may_hold_several(schema.field(self._label_column).type):
            refuse_several_classes(self._label_rows(), column=self._label_column, table=spec)
        self._row_group_starts = {name: _row_group_starts(shard) for name, shard in self._shards.items()}
        self._first_groups = dict(
            zip(self._shards, np.cumsum([0, *(len(s) - 1 for s in self._row_group_starts.values())]), strict=False)
        )
        self._images: OrderedDict[tuple[str, int], pa.StructArray] = OrderedDict()
        self._lock = threading.Lock()

    def items(self) -> Iterator[Item]:
        """All rows, shard by shard in the order of their names. Images are not read."""
        for name, shard in self._shards.items():
            file = pq.ParquetFile(shard)
            split = split_in_name(name)
            others = [column for column in file.schema_arrow.names if column != self._image_column]
            columns = {}
            for column in others:
                values = file.read(columns=[column]).column(column).to_pylist()
                if column == self._label_column:
                    values = [one_class(value) for value in values]
                columns[column] = _decode_names(values, self._names.get(column))
            labels = columns.pop(self._label_column)
            for row, label in enumerate(labels):
                yield Item(
                    source=f"{name}#{row}",
                    label=None if label is None else str(label),
                    split=split,
                    extra={column: values[row] for column, values in columns.items()},
                )

    def strays(self) -> list[Stray]:
        """None: every row is an image."""
        return []

    def read(self, source: str) -> bytes:
        """The encoded bytes of one row; the row groups read last stay in memory."""
        name, group, row = self._place(source)
        return self._bytes_of(self._row_group(name, group)[row].as_py(), source)

    def read_many(self, sources: Sequence[str]) -> Iterator[bytes | UndecodableImage]:
        """What `read` gives or raises for each; of a row group, rows that ascend are read in one pass over it.

        A few rows of a row group are in memory at a time, however large it is.
        """
        for (name, group), members in itertools.groupby(sources, self._group_or_none):
            if name is None:
                yield from (UndecodableImage("missing", f"there is no row {source}") for source in members)
                continue
            rows: _Pass | None = None
            for source in members:
                row = self._place(source)[2]
                try:
                    if rows is None or row < rows.next_row:
                        rows = _Pass(self._shards[name], group, self._image_column)
                    content: bytes | UndecodableImage = self._bytes_of(rows.value(row), source)
                except UndecodableImage as error:
                    content = error
                yield content

    def pieces(self, sources: Iterable[str]) -> npt.NDArray[np.int64]:
        """The number of the row group of each, over all files: int64 (N,)."""
        places = (self._place(source) for source in sources)
        numbers = (self._first_groups[name] + group for name, group, _ in places)
        return np.fromiter(numbers, dtype=np.int64)

    def _place(self, source: str) -> tuple[str, int, int]:
        """The file, the row group, and the row in that."""
        name, _, row_text = source.rpartition("#")
        starts = self._row_group_starts.get(name)
        row = int(row_text) if row_text.isdecimal() else -1
        if starts is None or not 0 <= row < starts[-1]:
            raise UndecodableImage("missing", f"there is no row {source}")
        group = bisect.bisect_right(starts, row) - 1
        return name, group, row - starts[group]

    def _group_or_none(self, source: str) -> tuple[str | None, int]:
        try:
            return self._place(source)[:2]
        except UndecodableImage:
            return None, 0

    def _bytes_of(self, image: Any, source: str) -> bytes:
        if image is None or (image["bytes"] is None and not image.get("path")):
            raise UndecodableImage("missing", f"row {source} holds no image")
        if image["bytes"] is None:
            return read_image_file(self._root / image["path"])
        return bytes(image["bytes"])

    def _label_rows(self) -> Iterator[tuple[str, Any]]:
        """Every row's name and what its label column holds."""
        for name, shard in self._shards.items():
            values = pq.ParquetFile(shard).read(columns=[self._label_column]).column(self._label_column).to_pylist()
            yield from ((f"{name}#{row}", value) for row, value in enumerate(values))

    def _row_group(self, name: str, group: int) -> pa.StructArray:
        # Held while reading, so that several threads do not read the same row group at once.
        with self._lock:
            images = self._images.get((name, group))
            if images is None:
                with _explained(name, group):
                    table = pq.ParquetFile(self._shards[name]).read_row_group(group, columns=[self._image_column])
                images = table.column(self._image_column).combine_chunks()
                if isinstance(images, pa.ChunkedArray):
                    images = images.chunk(0)
                self._images[name, group] = images
                while len(self._images) > 1 and sum(held.nbytes for held in self._images.values()) > _CACHED_BYTES:
                    self._images.popitem(last=False)
            self._images.move_to_end((name, group))
            return images


class _Pass:
    """One row group, read from its beginning, a few rows at a time."""

    def __init__(self, shard: Path, group: int, column: str) -> None:
        self.next_row = 0  # rows before it cannot be asked for any more
        self._name, self._group = shard.name, group
        self._first = 0
        self._rows: Any = ()
        with _explained(self._name, group):
            file = pq.ParquetFile(shard, buffer_size=_BUFFER_BYTES)
            self._batches = file.iter_batches(_ROWS_AT_ONCE, row_groups=[group], columns=[column], use_threads=False)

    def value(self, row: int) -> Any:
        """What the row holds; rows must be asked for in ascending order."""
        while row >= self._first + len(self._rows):
            self._first += len(self._rows)
            with _explained(self._name, self._group):
                self._rows = next(self._batches).column(0)
        self.next_row = row
        return self._rows[row - self._first].as_py()


@contextlib.contextmanager
def _explained(name: str, group: int) -> Iterator[None]:
    """Failures of reading a row group as those of its images."""
    try:
        yield
    except FileNotFoundError as error:
        raise UndecodableImage("missing", f"the file {name} is gone") from error
    except (OSError, StopIteration, pa.ArrowException) as error:
        raise UndecodableImage("unreadable", f"row group {group} of {name}: {error}") from error


def _schema(path: Path) -> pa.Schema:
    try:
        return pq.read_schema(path)
    except (OSError, pa.ArrowException) as error:
        raise DataError(
            f"{path} cannot be read as Parquet: {error}", expected="a whole Parquet file", remedy="fetch the file again"
        ) from error


def _row_group_starts(path: Path) -> list[int]:
    """First row of every row group, and the number of rows at the end."""
    metadata = pq.read_metadata(path)
    starts = [0]
    for group in range(metadata.num_row_groups):
        starts.append(starts[-1] + metadata.row_group(group).num_rows)
    return starts


def _class_label_names(schema: pa.Schema) -> dict[str, tuple[str, ...]]:
    """Names of the classes of every `ClassLabel` column that the metadata declares."""
    text = (schema.metadata or {}).get(b"huggingface")
    if text is None:
        return {}
    try:
        features = json.loads(text)["info"]["features"]
        single = {name: _inner_feature(spec) for name, spec in features.items()}
        labels = {name: spec["names"] for name, spec in single.items() if spec.get("_type") == "ClassLabel"}
    except (ValueError, KeyError, TypeError, AttributeError):  # foreign metadata: the plain values still work
        return {}
    return {name: tuple(str(label) for label in names) for name, names in labels.items() if name in schema.names}


def _inner_feature(spec: Any) -> dict[str, Any]:
    """What a column holds; of a `Sequence` or `List`, what is in it."""
    if not isinstance(spec, dict):
        return {}
    inner = spec.get("feature")
    return inner if isinstance(inner, dict) else spec


def _may_hold_several(kind: pa.DataType) -> bool:
    """Whether a label column of this type may name several classes in one row: lists and texts, not numbers."""
    kinds = pa.types
    return bool(kinds.is_list(kind) or kinds.is_large_list(kind) or kinds.is_fixed_size_list(kind)) or bool(
        kinds.is_string(kind) or kinds.is_large_string(kind)
    )


def _label_column(schema: pa.Schema, names: dict[str, tuple[str, ...]], shard: str) -> str:
    for column in LABEL_COLUMNS:
        if column in schema.names:
            return column
    if len(names) == 1:
        return next(iter(names))
    raise DataError(
        f"{shard} has no label column: its columns are {', '.join(schema.names)}",
        expected=f"a column named {' or '.join(LABEL_COLUMNS)}, or one ClassLabel column",
    )


def _decode_names(values: list[Any], names: tuple[str, ...] | None) -> list[Any]:
    """Names for class numbers; -1 and null mean that there is no label."""
    if names is None:
        return values
    decoded: list[Any] = []
    for value in values:
        if isinstance(value, list):
            decoded.append(_decode_names(value, names))
            continue
        if isinstance(value, int) and value >= len(names):
            raise DataError(f"label {value} was found where {len(names)} class names are declared")
        known = isinstance(value, int) and value >= 0
        decoded.append(names[value] if known else None if isinstance(value, int) else value)
    return decoded
