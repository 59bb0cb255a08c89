"""The fingerprint of a data set: one hash over every (id, label, split), whatever the order of the rows.

It is the BLAKE2b-128 of the sorted lines `["id", "label", "split"]`, JSON without escapes for other alphabets, joined
by line feeds. The lines are made, sorted and hashed by Arrow, a part at a time: no row becomes a Python object.
"""

from __future__ import annotations

import hashlib
import json
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from eyebright.data.codes import as_codes

_NEEDS_ESCAPES = r"[^ !#-\[\]-~]"  # anything but printable ASCII without quotation mark and backslash
_PART_ROWS = 65_536


def fingerprint(ids: Any, labels: Any, splits: Any) -> str:
    """32 hexadecimal digits that change when any row does; three Arrow columns of text, equally long."""
    digest = hashlib.blake2b(digest_size=16)
    columns = [_as_json(column) for column in (ids, labels, splits)]
    # The line feed is part of the line. It does not change the order: no line is the beginning of another.
    lines = pc.binary_join_element_wise("[", columns[0], ", ", columns[1], ", ", columns[2], "]\n", "")
    del columns
    order = pc.sort_indices(lines)
    lines = _combined(lines)
    for start in range(0, len(lines), _PART_ROWS):
        part = lines.take(order.slice(start, _PART_ROWS))
        _, ends, text = part.buffers()
        length = int(np.frombuffer(ends, dtype=np.int64)[len(part)])
        last = start + len(part) == len(lines)
        digest.update(memoryview(text)[: length - 1 if last else length])
    return digest.hexdigest()


def _as_json(column: Any) -> Any:
    """Every value as JSON text, `null` for null."""
    if pc.any(pc.match_substring_regex(column, _NEEDS_ESCAPES)).as_py():
        codes, values = as_codes(column)
        texts = pa.array([json.dumps(value, ensure_ascii=False) for value in values.to_pylist()], pa.string())
        column = texts.take(pa.array(codes, mask=codes < 0))
    else:
        column = pc.binary_join_element_wise('"', column, '"', "")
    return column.fill_null("null")


def _combined(column: Any) -> pa.Array:
    """One array with 64-bit offsets: the lines of forty million images are more than two gigabytes."""
    column = column.cast(pa.large_string())
    return column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
