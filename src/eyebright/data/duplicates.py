"""Images of the same bytes, and images without a label: which row is used, and what the others are told.

One row stays for each split that the user gave; a row without a split follows the others. Rows of the same bytes under
two labels are all set aside: none of them says which label is right.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from eyebright.data.codes import as_codes, as_mask

Rows = npt.NDArray[np.int64]


def resolve_labels_and_duplicates(table: pa.Table) -> pa.Table:
    """Give unlabelled, contradicting and repeated images their status and reason.

    Args:
        table: columns of the manifest; only rows of status ok are changed.
    """
    readable = as_mask(pc.and_(pc.equal(table["status"], "ok"), pc.is_valid(table["id"])))
    labelled = as_mask(pc.is_valid(table["label"]))
    bare = np.flatnonzero(readable & ~labelled)
    changes = [(bare, "unlabelled", pa.repeat("the source gives it no label", len(bare)))]
    repeated, starts = _repeated(table["id"], np.flatnonzero(readable & labelled))
    if len(repeated):
        changes += _conflicts_and_copies(table.take(pa.array(repeated)), repeated, starts)
    rows = np.concatenate([part for part, _, _ in changes])
    if not len(rows):
        return table
    order = pa.array(np.argsort(rows))
    changed = np.zeros(table.num_rows, dtype=np.bool_)
    changed[rows] = True
    statuses = pa.concat_arrays([pa.repeat(status, len(part)) for part, status, _ in changes])
    reasons = pa.concat_arrays([reason for _, _, reason in changes])
    for name, values in (("status", statuses), ("reason", reasons)):
        column = pc.replace_with_mask(table[name], pa.array(changed), values.take(order))
        table = table.set_column(table.schema.get_field_index(name), table.schema.field(name), column)
    return table


def _repeated(ids: pa.ChunkedArray, rows: Rows) -> tuple[Rows, Rows]:
    """Those of `rows` whose id is not alone, equal ids together in the order of rows; and where each id starts."""
    codes, _ = as_codes(ids)
    codes = codes[rows]
    several = np.bincount(codes)[codes] > 1 if len(codes) else np.zeros(0, dtype=np.bool_)
    rows, codes = rows[several], codes[several]
    order = np.argsort(codes, kind="stable")
    return rows[order], np.flatnonzero(np.diff(codes[order], prepend=-1))


def _conflicts_and_copies(table: pa.Table, rows: Rows, starts: Rows) -> list[tuple[Rows, str, pa.Array]]:
    """Changes as (rows, status, reasons).

    Args:
        table: the repeated rows only, equal ids together; entry i is about row `rows[i]` of the manifest.
        rows: int64 (R,).
        starts: first entry of every id, int64 (G,).
    """
    entries = np.arange(len(rows))
    sizes = np.diff(starts, append=len(rows))
    first = np.repeat(starts, sizes)
    labels, names = as_codes(table["label"])
    differs = labels != labels[first]
    contradicted = np.repeat(np.add.reduceat(differs, starts, dtype=np.int64) > 0, sizes)
    # The nearest contradiction: for those labelled as the first entry the first that is not, for the others the first.
    next_differing = np.minimum.reduceat(np.where(differs, entries, len(rows)), starts)
    opponent = np.where(differs, first, np.repeat(next_differing, sizes))[contradicted]
    quoted = pa.array([repr(name) for name in names.to_pylist()], pa.string())
    conflict_reasons = _joined(
        "the same bytes as ",
        table["source"].take(pa.array(opponent)),
        ", which is labelled ",
        quoted.take(pa.array(labels[opponent])),
    )
    leader = _leaders(table["split"], entries, first)
    copies = ~contradicted & (leader != entries)
    copy_reasons = _joined("the same bytes as ", table["source"].take(pa.array(leader[copies])))
    return [
        (rows[contradicted], "conflicting-labels", conflict_reasons),
        (rows[copies], "duplicate", copy_reasons),
    ]


def _leaders(given: pa.ChunkedArray, entries: Rows, first: Rows) -> Rows:
    """For every entry the one that is kept in its place: the first of its id and split.

    An entry without a split follows the first of its id that has one, else the first of all.
    """
    splits, _ = as_codes(given)
    # Entries of one id lie together, so that a stable sort by split keeps their order within each split.
    order = np.lexsort((entries, splits, first))
    starts = np.flatnonzero(np.diff(first[order], prepend=-1) | np.diff(splits[order], prepend=-2))
    leader = np.empty_like(entries)
    leader[order] = np.repeat(order[starts], np.diff(starts, append=len(order)))
    with_split = np.flatnonzero(splits >= 0)
    heads = np.arange(len(entries))
    ids, places = np.unique(first[with_split], return_index=True)
    heads[ids] = with_split[places]
    return np.where(splits >= 0, leader, heads[first])


def _joined(*parts: Any) -> pa.Array:
    joined = pc.binary_join_element_wise(*parts, "")
    return joined.combine_chunks() if isinstance(joined, pa.ChunkedArray) else joined
