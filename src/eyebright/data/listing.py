"""The table of a manifest, put together from the chunks of items and facts as they come."""

from __future__ import annotations

import contextlib
from typing import Any

import pyarrow as pa

from eyebright.data.duplicates import resolve_labels_and_duplicates
from eyebright.data.probing import Facts, probe
from eyebright.data.sources.base import Item, Source, Stray
from eyebright.progress import Progress

MANIFEST_SCHEMA = pa.schema(
    [
        ("id", pa.string()),  # 32 hexadecimal digits: BLAKE2b-128 of the file's bytes; null when there are none to read
        ("source", pa.string()),
        ("label", pa.string()),
        ("split", pa.string()),  # null until assigned
        ("group", pa.string()),
        ("width", pa.int32()),  # pixels, upright; null when the header could not be read
        ("height", pa.int32()),
        ("format", pa.string()),
        ("bytes", pa.int64()),
        ("status", pa.string()),
        ("reason", pa.string()),  # empty when the status is ok
        ("weight", pa.float64()),
        ("superclass", pa.string()),  # the class above the label; null where the source knows of none
    ]
)

_BATCH_ROWS = 16_384
# What Arrow raises for values of several types, and for whole numbers of more than 64 bits.
_NO_COMMON_TYPE = (pa.ArrowInvalid, pa.ArrowTypeError, OverflowError)
_FROM_ITEM = ("source", "label", "split", "group", "superclass")


def list_images(
    source: Source, *, max_pixels: int, workers: int | None = None, progress: Progress | None = None
) -> pa.Table:
    """One row for every image, then one for every stray; columns of `MANIFEST_SCHEMA`, then the user's own.

    Beside the table itself, memory is needed for one batch of rows, and for user columns of mixed types.
    """
    batches: list[pa.RecordBatch] = []
    user: dict[str, _UserColumn] = {}
    items: list[Item] = []
    facts: list[Facts] = []

    def flush() -> None:
        for name in dict.fromkeys(name for item in items for name in item.extra):
            user.setdefault(name, _UserColumn(rows=sum(batch.num_rows for batch in batches)))
        for name, column in user.items():
            column.append([item.extra.get(name) for item in items])
        batches.append(_batch(items, facts))
        items.clear()
        facts.clear()

    with contextlib.closing(probe(source, max_pixels=max_pixels, workers=workers, progress=progress)) as chunks:
        for part, part_facts in chunks:
            items += part
            facts.append(part_facts)
            if len(items) >= _BATCH_ROWS:
                flush()
    flush()
    strays = source.strays()
    table = resolve_labels_and_duplicates(pa.Table.from_batches([*batches, _stray_batch(strays)], MANIFEST_SCHEMA))
    for name, column in user.items():
        column.append([None] * len(strays))
        # The user's column `id` must not hide ours.
        table = table.append_column(f"user_{name}" if name in MANIFEST_SCHEMA.names else name, column.as_arrow())
    return table


class _UserColumn:
    """A column whose type is known at the end only.

    The outcome does not depend on how the rows were cut into parts: it is what Arrow makes of all values at once, or
    their text where Arrow finds no common type.
    """

    def __init__(self, rows: int) -> None:
        self._parts: list[Any] = [pa.nulls(rows)]

    def append(self, values: list[Any]) -> None:
        # Values of several types stay as they are: whether 1 beside 2.5 is to become 1.0 or "1" depends on the rest.
        if len({type(value) for value in values if value is not None}) > 1:
            self._parts.append(values)
            return
        try:
            self._parts.append(pa.array(values))
        except _NO_COMMON_TYPE:
            self._parts.append(values)

    def as_arrow(self) -> pa.ChunkedArray:
        kinds = {part.type if isinstance(part, pa.Array) else None for part in self._parts} - {pa.null()}
        if len(kinds) <= 1 and None not in kinds:
            kind = next(iter(kinds), pa.null())
            return pa.chunked_array([part.cast(kind) for part in self._parts], kind)
        values = [value for part in self._parts for value in (part.to_pylist() if isinstance(part, pa.Array) else part)]
        try:
            return pa.chunked_array([pa.array(values)])
        except _NO_COMMON_TYPE:
            return pa.chunked_array([pa.array([None if value is None else str(value) for value in values])])


def _batch(items: list[Item], facts: list[Facts]) -> pa.RecordBatch:
    columns: dict[str, list[Any]] = {
        name: [value for part in facts for value in getattr(part, name)] for name in Facts._fields
    }
    columns.update({name: [getattr(item, name) for item in items] for name in _FROM_ITEM})
    columns["weight"] = [1.0 if item.weight is None else item.weight for item in items]
    return pa.record_batch([pa.array(columns[field.name], field.type) for field in MANIFEST_SCHEMA], MANIFEST_SCHEMA)


def _stray_batch(strays: list[Stray]) -> pa.RecordBatch:
    columns: dict[str, list[Any]] = {
        "source": [stray.source for stray in strays],
        "status": [stray.status for stray in strays],
        "reason": [stray.reason for stray in strays],
        "weight": [1.0] * len(strays),
    }
    nothing = [None] * len(strays)
    return pa.record_batch(
        [pa.array(columns.get(field.name, nothing), field.type) for field in MANIFEST_SCHEMA], MANIFEST_SCHEMA
    )
